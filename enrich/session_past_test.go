package enrich_test

import (
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// An event that names a leg by its control id alone stands on the session until the leg is known.
func TestAnEventThatFindsItsLegLeavesTheSession(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.log.untrimmed = true
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.lives(a)
		more := func(f fields) fields { f["call_leg_id"] = nil; return f }
		w.deliver(b.event(call.TypeConferenceJoined, 5*time.Second, more(fields{"conference_id": "c1"})))
		w.deliver(b.event(call.TypePlaybackEnded, 6*time.Second, more(fields{"media_name": "m", "status": "completed"})))
		w.deliver(b.event(call.TypeSpeakEnded, 7*time.Second, more(fields{"status": "completed"})))
		w.deliver(b.event(call.TypeRecordingSaved, 8*time.Second, more(fields{"recording_id": "r1"})))
		after(30 * time.Second)
		s := w.sessionOf(a)
		if s.EventCount != 4 || len(s.Conferences) != 1 || len(s.Playbacks) != 1 || len(s.Speaks) != 1 || len(s.Recordings) != 1 {
			t.Fatalf("the session has not what was told of a leg that is not known: %+v", s)
		}
		w.lives(b)
		w.settled() // as if the leg had come first
		check(t, "events of the leg", len(w.legOf(b).Events), 7)
	})
}

// What has left the log stands, and only that.
func TestASessionKeepsOfItsOwnEventsThoseThatAreNoLegs(t *testing.T) {
	joined := func(at time.Duration) *session.Event {
		return happened(call.TypeConferenceJoined, at, &call.Conference{ID: "c"})
	}
	saved := func(at time.Duration, id string) *session.Event {
		return happened(call.TypeConferenceRecordingSaved, at, &call.Recording{ID: id, Conference: "c"})
	}
	played := func(at time.Duration) *session.Event {
		return happened(call.TypePlaybackEnded, at, &call.Playback{Media: "m"})
	}
	past := []*session.Event{
		happened(call.TypeConferenceCreated, time.Second, &call.Conference{ID: "c"}), played(2 * time.Second), saved(3*time.Second, "r1"),
	}
	legs := []*session.Event{joined(4 * time.Second), played(5 * time.Second), saved(6*time.Second, "r2")}
	compose := func(own, ofLeg []*session.Event) (summary.Session, *session.View) {
		v := &session.View{ID: "s", FirstAt: off(0), Events: own, Legs: []session.LegView{{ID: "l", Events: ofLeg}}}
		return enrich.ComposeSession(v, nil), v
	}
	before, _ := compose(append(past, legs...), nil)
	want, _ := compose(past, legs)
	s, v := compose(nil, legs)
	got := enrich.KeepPast(s, &before, v, nil)
	check(t, "the session", got, want)
}

// Which legs were joined does not depend on which of the events came in first.
func TestBridgesDependOnNoOrder(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.log.untrimmed = true
		a, b, c := newLeg("s1", 1), newLeg("s1", 2), newLeg("s1", 3)
		w.deliver(a.event(call.TypeBridged, 5*time.Second, nil))
		w.deliver(c.event(call.TypeBridged, 5900*time.Millisecond, nil))
		for _, l := range []leg{a, b, c} {
			w.lives(l)
		}
		after(30 * time.Second)
		w.deliver(b.event(call.TypeBridged, 5500*time.Millisecond, nil))
		w.settled()
		check(t, "bridges", w.sessionOf(a).Bridges, []summary.Bridge{
			{At: *known(5 * time.Second), Legs: []string{a.id, b.id}}, {At: *known(5900 * time.Millisecond), Legs: []string{c.id}},
		})
	})
}

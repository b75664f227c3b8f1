package enrich_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
			{At: summary.MustAt(callStart.Add(5 * time.Second)), Legs: []string{a.id, b.id}}, {At: summary.MustAt(callStart.Add(5900 * time.Millisecond)), Legs: []string{c.id}},
		})
	})
}

func check[T any](t *testing.T, field string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", field, diff)
	}
}

func costs(costed, total int, amount string) *summary.SessionCost {
	return &summary.SessionCost{LegsCosted: costed, LegsTotal: total, Totals: []summary.Amount{{Currency: "USD", Amount: amount}}}
}

// The stream of summaries keeps its messages for a time: a leg of a session may have
// left it, and the session not.
func TestALegThatLeftTheSummariesStandsInItsSession(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.deliver(b.event(call.TypeInitiated, -5*time.Second, fields{"direction": "incoming", "start_time": stamp(-5 * time.Second)}))
		w.deliver(b.event(call.TypeAnswered, -3*time.Second, nil))
		w.deliver(b.event(call.TypeHangup, 50*time.Second, fields{"hangup_cause": "normal_clearing", "hangup_source": "caller", "end_time": stamp(50 * time.Second)}))
		w.deliver(b.cost("0.0200"))
		w.lives(a)
		w.forgotten()
		want := w.sessionOf(a)
		w.sink.age(b.key())
		w.deliver(a.cost("0.0100"))
		after(time.Minute)
		w.deliver(a.recording(1))
		after(time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised", "3 amended leg_revised")
		got := w.sessionOf(a)
		want.Legs[1].Revision = 3
		want.Cost = costs(2, 2, "0.0300")
		want.Revision, want.Changed, want.Reasons, want.PublishedAt = got.Revision, got.Changed, got.Reasons, got.PublishedAt
		check(t, "the session", got, want)
	})
}

// A leg that an earlier look has published does not say by itself what its revision changed.
func TestTheCostOfALegIsAddedThoughItsSessionWasNotPublishedAtOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.lives(a)
		w.deliver(a.cost("0.0200"))
		w.forgotten()
		w.sink.age(a.key())
		w.lives(b)
		after(time.Minute)
		failed := false
		w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
			if d.Key == a.sessionKey() && !failed {
				failed = true
				return notStored
			}
			return noFault
		})
		w.deliver(b.cost("0.0100"))
		after(time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_added", "3 amended leg_revised")
		check(t, "cost", w.sessionOf(a).Cost, costs(2, 2, "0.0300"))
		if !failed {
			t.Error("nothing failed")
		}
	})
}

package compose_test

import (
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

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
	sessionOf := func(own, ofLeg []*session.Event) (summary.Session, *session.View) {
		v := &session.View{ID: "s", FirstAt: off(0), Events: own, Legs: []session.LegView{{ID: "l", Events: ofLeg}}}
		return compose.Session(v, nil), v
	}
	before, _ := sessionOf(append(past, legs...), nil)
	want, _ := sessionOf(past, legs)
	s, v := sessionOf(nil, legs)
	got := compose.MergeSession(s, &before, v, nil)
	check(t, "the session", got, want)
}

package compose_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

func TestLegReasons(t *testing.T) {
	status := func(s summary.StatusState, final bool) summary.Status { return summary.Status{State: s, Final: final} }
	events := func(types ...string) []summary.Event {
		var list []summary.Event
		for _, typ := range types {
			e := summary.Event{ID: typ, Type: typ}
			if typ == "backfilled" {
				e.Backfill = true
			}
			list = append(list, e)
		}
		return list
	}
	pending := status(summary.StatusPending, false)
	for name, c := range map[string]struct {
		before, after summary.Leg
		want          []summary.Reason
	}{
		"confirmed":              {summary.Leg{Status: pending}, summary.Leg{Status: status(summary.StatusConfirmed, true)}, []summary.Reason{"status_confirmed"}},
		"failed":                 {summary.Leg{Status: pending}, summary.Leg{Status: status(summary.StatusNotFound, true)}, []summary.Reason{"status_failed"}},
		"still pending, finally": {summary.Leg{Status: pending}, summary.Leg{Status: status(summary.StatusPending, true)}, []summary.Reason{"status_failed"}},
		"recording":              {summary.Leg{}, summary.Leg{Events: events("call.recording.saved")}, []summary.Reason{"recording"}},
		"cost":                   {summary.Leg{}, summary.Leg{Events: events("call.cost")}, []summary.Reason{"cost"}},
		"conference recording":   {summary.Leg{}, summary.Leg{Events: events("conference.recording.saved")}, []summary.Reason{"recording"}},
		"transcription":          {summary.Leg{}, summary.Leg{Events: events("call.recording.transcription.saved")}, []summary.Reason{"transcription"}},
		"insights":               {summary.Leg{}, summary.Leg{Events: events("call.conversation_insights.generated")}, []summary.Reason{"insights"}},
		"late event":             {summary.Leg{}, summary.Leg{Events: events("call.bridged")}, []summary.Reason{"late_event"}},
		"backfill":               {summary.Leg{}, summary.Leg{Events: events("backfilled")}, []summary.Reason{"backfill"}},
		"each once, in one order": {
			summary.Leg{Status: pending, Events: events("call.hangup")},
			summary.Leg{Status: status(summary.StatusConfirmed, true), Events: events("call.hangup", "call.cost", "call.bridged", "call.hold", "call.recording.saved", "backfilled")},
			[]summary.Reason{"status_confirmed", "backfill", "recording", "cost", "late_event"},
		},
		"never none": {summary.Leg{}, summary.Leg{From: "a"}, []summary.Reason{"late_event"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compose.LegReasons(&c.before, &c.after)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSessionReasons(t *testing.T) {
	of := func(legs ...summary.SessionLeg) summary.Session { return summary.Session{Legs: legs} }
	a1, a2, b1 := summary.SessionLeg{CallLegID: "a", Revision: 1}, summary.SessionLeg{CallLegID: "a", Revision: 2}, summary.SessionLeg{CallLegID: "b", Revision: 1}
	for name, c := range map[string]struct {
		before, after summary.Session
		want          []summary.Reason
	}{
		"a leg joined":      {of(a1), of(a1, b1), []summary.Reason{"leg_added"}},
		"a leg was revised": {of(a1, b1), of(a2, b1), []summary.Reason{"leg_revised"}},
		"both":              {of(a1), of(a2, b1), []summary.Reason{"leg_added", "leg_revised"}},
		"a leg is listed that was left out": {
			summary.Session{LegCount: 2, LegsOmitted: 1, Legs: []summary.SessionLeg{b1}},
			summary.Session{LegCount: 2, Legs: []summary.SessionLeg{a2, b1}},
			[]summary.Reason{"leg_revised"},
		},
		"an event of the session": {of(a1), of(a1), []summary.Reason{"late_event"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compose.SessionReasons(&c.before, &c.after)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

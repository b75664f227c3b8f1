package publish_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish"
)

func TestTheSubjectOfASummaryIsReadBack(t *testing.T) {
	leg, session := summary.Key{Kind: summary.KindLeg, Session: "s", Leg: "l"}, summary.Key{Kind: summary.KindSession, Session: "s"}
	for subject, want := range map[string]publish.Subject{
		"calls.leg.completed.17.s.l":   {Completed: true, Connection: "17", Key: leg},
		"emea.leg.amended._.s.l":       {Key: leg},
		"calls.session.completed._.s":  {Completed: true, Key: session},
		"calls.session.amended.17.s":   {Connection: "17", Key: session},
		"":                             {},
		"calls.leg.completed.17.s":     {},
		"calls.session.completed.17":   {},
		"calls.session.amended.17.s.l": {},
		"calls.leg.completed.17.s.l.x": {},
		"calls.leg.deleted.17.s.l":     {},
		"calls.event.17.call.hangup":   {},
		"calls.parked.not_json":        {},
	} {
		got, ok := publish.ParseSubject(subject)
		if diff := cmp.Diff(want, got); diff != "" || ok != (want != publish.Subject{}) {
			t.Errorf("%s: %v (-want +got):\n%s", subject, ok, diff)
		}
	}
}

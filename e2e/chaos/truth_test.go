package chaos_test

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/fake"

	"github.com/google/go-cmp/cmp"
)

// whole reports whether every webhook of a leg was answered.
func (c *chaos) whole(id string, deliveries []fake.Delivery) bool {
	for _, d := range deliveries {
		if string(d.LegID) == id && !c.ledger.sent[d.EventID].answered() {
			return false
		}
	}
	return true
}

// cutOff reports whether some of what was answered of a call may be lost with the end of a log.
func (c *chaos) cutOff(played fake.Call) bool {
	return slices.ContainsFunc(played.Deliveries, func(d fake.Delivery) bool { return c.mayBeLost(c.ledger.sent[d.EventID]) })
}

// checkLeg holds the summary of a leg against the truth.
func (c *chaos) checkLeg(scenario fake.Scenario, truth fake.Leg, published told) {
	c.t.Helper()
	id := string(truth.Ref.Leg)
	l := published.legs[id]
	if l == nil {
		return // What was answered of it counts as lost.
	}
	if l.Status.State != summary.StatusConfirmed {
		c.find("wrong", "leg %s is %s after %d attempts, http %d", id, l.Status.State, l.Status.Attempts, l.Status.HTTPStatus)
	}
	want, got := legatotest.TruthOf(scenario, truth), legatotest.LegFacts(l)
	want.Status = got.Status
	if c.whole(id, c.callOf(l.CallSessionID).Deliveries) {
		if diff := cmp.Diff(want, got); diff != "" {
			c.find("wrong", "leg %s of a call %s (-want +got):\n%s", id, scenario, diff)
		}
		c.checkSeconds(id, truth, l)
		return
	}
	// Of a leg with holes nothing may be known; what is known must be true.
	for _, f := range []struct{ name, want, got string }{
		{"direction", want.Direction, got.Direction},
		{"from", want.From, got.From},
		{"to", want.To, got.To},
		{"control id", want.Control, got.Control},
		{"connection", want.Connection, got.Connection},
		{"cause", want.Cause, got.Cause},
		{"source", want.Source, got.Source},
		{"SIP code", want.SIPCode, got.SIPCode},
	} {
		if f.got != "" && f.got != f.want {
			c.find("phantom", "leg %s has %s %q, want %q", id, f.name, f.got, f.want)
		}
	}
	if got.Outcome != want.Outcome && got.Outcome != summary.OutcomeUnknown {
		c.find("wrong", "leg %s of a call %s is %s", id, scenario, got.Outcome)
	}
	for name, at := range map[string][2]time.Time{
		"start": {want.Start, got.Start}, "answer": {want.Answer, got.Answer}, "end": {want.End, got.End},
	} {
		if !at[1].IsZero() && at[1].Sub(at[0]).Abs() > time.Second {
			c.find("phantom", "leg %s has %s %v, want %v", id, name, at[1], at[0])
		}
	}
}

// checkSeconds holds the durations of a leg that is known whole against the truth.
func (c *chaos) checkSeconds(id string, truth fake.Leg, l *summary.Leg) {
	c.t.Helper()
	ring, talk := truth.End.Sub(truth.Start), time.Duration(0)
	if truth.Answered() {
		ring, talk = truth.AnsweredAt.Sub(truth.Start), truth.End.Sub(truth.AnsweredAt)
	}
	for name, s := range map[string]struct {
		want time.Duration
		got  *summary.Seconds
	}{
		"duration": {truth.End.Sub(truth.Start), l.DurationSeconds}, "ring": {ring, l.RingSeconds}, "talk": {talk, l.TalkSeconds},
	} {
		want := summary.Lasting(s.want)
		if s.got == nil || *s.got != *want {
			c.find("wrong", "leg %s has %s_seconds %v, want %v", id, name, s.got, *want)
		}
	}
}

func (c *chaos) callOf(session string) fake.Call {
	i := slices.IndexFunc(c.world.Calls, func(played fake.Call) bool { return string(played.Session) == session })
	if i < 0 {
		return fake.Call{}
	}
	return c.world.Calls[i]
}

// checkSession holds a session against the newest revisions of its legs.
func (c *chaos) checkSession(played fake.Call, published told) {
	c.t.Helper()
	s, legs, whole := published.sessions[string(played.Session)], 0, true
	for _, l := range played.Legs {
		leg := published.legs[string(l.Ref.Leg)]
		whole = whole && leg != nil && c.whole(string(l.Ref.Leg), played.Deliveries)
		if leg == nil {
			continue
		}
		legs++
		if s == nil {
			continue
		}
		i := slices.IndexFunc(s.Legs, func(in summary.SessionLeg) bool { return in.CallLegID == string(l.Ref.Leg) })
		if i < 0 {
			c.find("lost", "revision %d of session %s does not show leg %s", s.Revision, played.Session, l.Ref.Leg)
		} else if s.Legs[i].Revision != leg.Revision {
			c.find("wrong", "revision %d of session %s shows revision %d of leg %s, which is at %d",
				s.Revision, played.Session, s.Legs[i].Revision, l.Ref.Leg, leg.Revision)
		}
	}
	if s == nil {
		if legs > 0 {
			c.find("lost", "session %s has %d summaries of legs and none of its own", played.Session, legs)
		}
		return
	}
	if s.LegCount != legs {
		c.find("wrong", "session %s counts %d legs, %d have summaries", played.Session, s.LegCount, legs)
	}
	first := played.Legs[0]
	if whole && (s.From != first.From || s.To != first.To || s.Direction != first.Direction || s.Outcome != legatotest.WantOutcome[played.Scenario]) {
		c.find("wrong", "session %s of a call %s is %s from %s, %s", played.Session, played.Scenario, s.Direction, s.From, s.Outcome)
	}
}

package compose_test

import (
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// party is a leg of a session, with its times in seconds: when it began, was answered (0: never) and ended.
func party(id, direction string, start, answer, end int, o summary.Outcome) summary.Leg {
	at := func(s int) *summary.Time { return known(time.Duration(s) * time.Second) }
	l := summary.Leg{
		CallLegID: id, To: "to " + id, From: "from " + id, Direction: direction, Outcome: o, Revision: 1,
		FirstReceivedAt: *at(start), StartedAt: at(start), EndedAt: at(end), Status: summary.Status{State: summary.StatusConfirmed},
		Hangup: &summary.Hangup{Cause: "of " + id},
	}
	if answer > 0 {
		l.AnsweredAt = at(answer)
	}
	return l
}

// bridgedAt lets legs be bridged to each other at a second.
func bridgedAt(v *session.View, second int, legs ...string) {
	for _, id := range legs {
		e := happened(call.TypeBridged, time.Duration(second)*time.Second, nil)
		if l, ok := v.Leg(call.LegID(id)); ok {
			l.Events = append(l.Events, e)
			continue
		}
		v.Legs = append(v.Legs, session.LegView{ID: call.LegID(id), Events: []*session.Event{e}})
	}
}

func TestTheOutcomeOfASessionAndOfItsFarLegs(t *testing.T) {
	const in, out = "incoming", "outgoing"
	for name, c := range map[string]struct {
		legs    []summary.Leg
		outcome summary.Outcome
		far     summary.Outcome
		farLeg  string
	}{
		"no leg":                                 {nil, summary.OutcomeUnknown, "", ""},
		"one leg":                                {[]summary.Leg{party("a", in, 0, 1, 9, summary.OutcomeAnswered)}, summary.OutcomeAnswered, "", ""},
		"an agent who answered, a busy customer": {[]summary.Leg{party("agent", out, 0, 1, 9, summary.OutcomeAnswered), party("customer", out, 2, 0, 8, summary.OutcomeBusy)}, summary.OutcomeAnswered, summary.OutcomeBusy, "customer"},
		"a parked browser, a busy number":        {[]summary.Leg{party("browser", in, 0, 0, 9, summary.OutcomeUnknown), party("number", out, 2, 0, 8, summary.OutcomeBusy)}, summary.OutcomeUnknown, summary.OutcomeBusy, "number"},
		"three dialled at once, the second talks": {
			[]summary.Leg{party("a", out, 0, 0, 5, summary.OutcomeCanceled), party("b", out, 1, 4, 64, summary.OutcomeAnswered), party("c", out, 2, 0, 5, summary.OutcomeCanceled)},
			summary.OutcomeAnswered, summary.OutcomeAnswered, "b",
		},
		"dialled, and nobody answers": {
			[]summary.Leg{party("a", out, 0, 0, 5, summary.OutcomeNoAnswer), party("b", out, 1, 0, 5, summary.OutcomeCanceled), party("c", out, 2, 0, 5, summary.OutcomeBusy)},
			summary.OutcomeNoAnswer, summary.OutcomeBusy, "c",
		},
		"one came in unanswered, another answered": {[]summary.Leg{party("a", in, 0, 0, 9, summary.OutcomeCanceled), party("b", out, 2, 3, 8, summary.OutcomeAnswered)}, summary.OutcomeCanceled, summary.OutcomeAnswered, "b"},
		"a direction that is not known":            {[]summary.Leg{party("a", "", 0, 0, 9, summary.OutcomeCanceled), party("b", out, 2, 3, 8, summary.OutcomeAnswered)}, summary.OutcomeCanceled, summary.OutcomeAnswered, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			got := compose.Session(&session.View{ID: "s", FirstAt: off(0)}, c.legs)
			check(t, "outcome", got.Outcome, c.outcome)
			check(t, "far_outcome", got.FarOutcome, c.far)
			check(t, "far_leg", got.FarLeg, c.farLeg)
		})
	}
}

func TestWhomACallEndedUpWithAndWhoEndedIt(t *testing.T) {
	const in, out, answered, canceled = "incoming", "outgoing", summary.OutcomeAnswered, summary.OutcomeCanceled
	type bridge struct {
		at   int
		legs []string
	}
	for name, c := range map[string]struct {
		legs    []summary.Leg
		bridges []bridge
		finalTo string
		hangup  string
		farLeg  string
	}{
		"a consultation, and back": {
			[]summary.Leg{party("caller", in, 0, 1, 90, answered), party("agent", out, 5, 9, 91, answered), party("expert", out, 30, 35, 60, answered)},
			[]bridge{{10, []string{"caller", "agent"}}, {36, []string{"agent", "expert"}}, {62, []string{"caller", "agent"}}},
			"to agent", "caller", "agent",
		},
		"two answer, one is bridged": {
			[]summary.Leg{party("caller", in, 0, 1, 60, answered), party("a", out, 5, 10, 59, answered), party("b", out, 5, 11, 12, answered)},
			[]bridge{{10, []string{"caller", "a"}}},
			"to a", "a", "a",
		},
		"a ring group in two rounds": {
			[]summary.Leg{
				party("caller", in, 0, 1, 80, answered), party("a1", out, 5, 0, 20, canceled), party("b1", out, 5, 0, 20, canceled),
				party("a2", out, 21, 0, 30, canceled), party("b2", out, 21, 29, 81, answered),
			},
			[]bridge{{30, []string{"caller", "b2"}}},
			"to b2", "caller", "b2",
		},
		"an attended transfer": {
			[]summary.Leg{party("caller", in, 0, 1, 90, answered), party("agent", out, 5, 9, 50, answered), party("expert", out, 30, 35, 89, answered)},
			[]bridge{{10, []string{"caller", "agent"}}, {36, []string{"agent", "expert"}}, {50, []string{"caller", "expert"}}},
			"to expert", "expert", "expert",
		},
		"a transfer whose bridge only the new leg tells": {
			[]summary.Leg{party("caller", in, 0, 1, 90, answered), party("agent", out, 5, 9, 31, answered), party("other", out, 30, 35, 91, answered)},
			[]bridge{{10, []string{"caller", "agent"}}, {35, []string{"other"}}},
			"to other", "caller", "other",
		},
		"no bridge, the last answer counts": {
			[]summary.Leg{party("caller", in, 0, 1, 90, answered), party("b", out, 5, 20, 50, answered), party("c", out, 6, 10, 91, answered)},
			nil, "to b", "b", "b",
		},
		"no conversation at all": {
			[]summary.Leg{party("caller", in, 0, 0, 30, canceled), party("a", out, 5, 0, 20, summary.OutcomeNoAnswer)},
			nil, "", "caller", "a",
		},
		"a bridge that the first leg has no part in": {
			[]summary.Leg{party("parked", in, 0, 1, 90, answered), party("a", out, 5, 9, 50, answered), party("b", out, 6, 12, 49, answered)},
			[]bridge{{12, []string{"a", "b"}}},
			"to b", "b", "b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := &session.View{ID: "s", FirstAt: off(0)}
			for _, b := range c.bridges {
				bridgedAt(v, b.at, b.legs...)
			}
			got := compose.Session(v, c.legs)
			check(t, "final_to", got.FinalTo, c.finalTo)
			check(t, "far_leg", got.FarLeg, c.farLeg)
			if got.Hangup == nil || got.Hangup.CallLegID != c.hangup || got.Hangup.Cause != "of "+c.hangup {
				t.Errorf("hangup %+v; want that of %s", got.Hangup, c.hangup)
			}
			// What is merged onto what is stored says the same of the parties.
			check(t, "merged", compose.MergeSession(got, &got, v, c.legs), got)
			// One whose end is not known did not end the call.
			for i := range c.legs {
				if c.legs[i].CallLegID == c.hangup {
					c.legs[i].Hangup = nil
				}
			}
			if h := compose.Session(v, c.legs).Hangup; h != nil && h.CallLegID == c.hangup {
				t.Errorf("hangup %+v, which nobody told of", h)
			}
		})
	}
}

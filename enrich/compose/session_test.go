package compose_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

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

// drawSessionLeg draws the nth leg of a session as it may be published.
func drawSessionLeg(t *rapid.T, n int, from time.Duration) summary.Leg {
	seconds := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, 9).Draw(t, name)) * time.Second
	}
	start := from + seconds("start")
	id := fmt.Sprint("leg", n)
	l := summary.Leg{
		Revision: 1, CallLegID: id, From: "from " + id, To: "to " + id, ConnectionID: "n " + id,
		FirstReceivedAt: *known(start), PublishedAt: *known(from + time.Minute), StartedAt: known(start),
		Outcome: rapid.SampledFrom([]summary.Outcome{summary.OutcomeAnswered, summary.OutcomeBusy}).Draw(t, "outcome"),
		Status:  summary.Status{State: rapid.SampledFrom([]summary.StatusState{summary.StatusConfirmed, summary.StatusPending}).Draw(t, "state")},
	}
	answer := start + seconds("ring")
	if l.Outcome == summary.OutcomeAnswered {
		l.AnsweredAt = known(answer)
	}
	l.EndedAt = known(answer + seconds("talk"))
	if rapid.Bool().Draw(t, "hung up") {
		l.Hangup = &summary.Hangup{Cause: "cause " + id}
	}
	if rapid.Bool().Draw(t, "costed") {
		l.Cost = drawCost(t)
	}
	compose.Derive(&l)
	return l
}

func drawCost(t *rapid.T) *summary.Cost {
	amount := rapid.SampledFrom([]string{"0.0050", "0.01", "3"})
	return &summary.Cost{Status: "success", Totals: []summary.Amount{{
		Currency: rapid.SampledFrom([]string{"USD", "EUR"}).Draw(t, "currency"), Amount: amount.Draw(t, "amount"),
	}}}
}

// A session of legs of which some cannot be found any more says the same as if all were at hand.
func TestASessionStandsThoughLegsOfItCannotBeFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := &session.View{ID: "s", FirstAt: off(0)}
		var all []summary.Leg
		for n := range rapid.IntRange(1, 6).Draw(t, "legs") {
			all = append(all, drawSessionLeg(t, n, 0))
		}
		before := compose.Session(v, all)
		before.PublishedAt = *known(2 * time.Minute)
		omitted := rapid.IntRange(0, len(all)-1).Draw(t, "omitted")
		var left []string
		for _, row := range before.Legs[len(all)-omitted:] {
			left = append(left, row.CallLegID)
		}
		before.Legs, before.LegsOmitted = before.Legs[:len(all)-omitted], omitted

		var found []summary.Leg
		for i := range all {
			switch leg := &all[i]; rapid.IntRange(0, 2).Draw(t, "leg") {
			case 0: // it cannot be found
			case 1:
				if !slices.Contains(left, leg.CallLegID) {
					found = append(found, *leg)
				}
			case 2: // it is revised
				if leg.Cost == nil {
					leg.Cost, leg.Changed = drawCost(t), []string{"/cost"}
				}
				leg.Revision, leg.PublishedAt = 2, *known(3 * time.Minute)
				found = append(found, *leg)
				left = slices.DeleteFunc(left, func(id string) bool { return id == leg.CallLegID })
			}
		}
		if rapid.Bool().Draw(t, "one more") {
			from := time.Duration(0)
			if omitted > 0 {
				from = 5 * time.Minute // what cannot be found is in order up to there
			}
			leg := drawSessionLeg(t, len(all), from)
			all, found = append(all, leg), append(found, leg)
		}

		want := compose.Session(v, all)
		want.Legs = slices.DeleteFunc(want.Legs, func(row summary.SessionLeg) bool { return slices.Contains(left, row.CallLegID) })
		want.LegsOmitted = len(left)
		got := compose.MergeSession(compose.Session(v, found), &before, v, found)
		if diff := diffContent(t, want, got); diff != "" {
			t.Fatal(diff)
		}
		got.PublishedAt = *known(10 * time.Minute)
		again := compose.MergeSession(compose.Session(v, found), &got, v, found)
		if diff := diffContent(t, got, again); diff != "" {
			t.Fatalf("the second time: %s", diff)
		}
	})
}

func costs(costed, total int, amount string) summary.SessionCost {
	return summary.SessionCost{LegsCosted: costed, LegsTotal: total, Totals: []summary.Amount{{Currency: "USD", Amount: amount}}}
}

func diffContent(t *rapid.T, want, got summary.Session) string {
	a, errA := compose.SessionContent(want)
	b, errB := compose.SessionContent(got)
	if err := cmp.Or(errA, errB); err != nil {
		t.Fatal(err)
	}
	return gocmp.Diff(string(a), string(b))
}

// A session that is too large leaves legs out of its list. A later revision does not
// lose them, though only the legs of the list can be found.
func TestASessionThatLeftLegsOutKeepsThemWhenALegIsRevised(t *testing.T) {
	const many = 3500
	v := &session.View{ID: "s", FirstAt: off(0)}
	all := make([]summary.Leg, many)
	for i := range all {
		start := time.Duration(i) * time.Second
		all[i] = summary.Leg{
			Revision: 1, CallLegID: fmt.Sprintf("5e0a1b2c-1111-11ee-aaaa-02420a00%04d", i), Outcome: summary.OutcomeAnswered,
			FirstReceivedAt: *known(start), PublishedAt: *known(2 * time.Hour), StartedAt: known(start),
			AnsweredAt: known(start), EndedAt: known(start + time.Minute), EndedBy: summary.EndedByHangup,
			Status: summary.Status{State: summary.StatusConfirmed},
			Cost:   &summary.Cost{Totals: []summary.Amount{{Currency: "USD", Amount: "0.0010"}}},
		}
	}
	all[0].Cost, all[many-1].Cost = nil, nil
	before, _, err := compose.FitSession(compose.Session(v, all), summary.MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	before.PublishedAt = *known(3 * time.Hour)
	if before.LegsOmitted == 0 {
		t.Fatal("no leg was left out")
	}
	for name, i := range map[string]int{"a leg of the list": 0, "one that was left out": many - 1} {
		t.Run(name, func(t *testing.T) {
			found := slices.Clone(all[:len(before.Legs)])
			if i > 0 {
				found = append(found, all[i])
			}
			leg := &found[min(i, len(found)-1)]
			leg.Revision, leg.PublishedAt, leg.Changed = 2, *known(4 * time.Hour), []string{"/cost"}
			leg.Cost = &summary.Cost{Totals: []summary.Amount{{Currency: "USD", Amount: "0.0020"}}}
			got, _, err := compose.FitSession(compose.MergeSession(compose.Session(v, found), &before, v, found), summary.MaxBody)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "listed and omitted", len(got.Legs)+got.LegsOmitted, many)
			check(t, "cost", got.Cost, new(costs(many-1, many, "3.5000")))
			check(t, "reasons", compose.SessionReasons(&before, &got), []summary.Reason{summary.ReasonLegRevised})
			want := before
			want.Legs, want.LegsOmitted, want.Cost, want.PublishedAt = got.Legs, got.LegsOmitted, got.Cost, got.PublishedAt
			check(t, "all else", got, want)
		})
	}
}

// Bridges that a session has no room for are counted, and not counted anew with each revision.
func TestASessionSaysHowManyBridgesItLeavesOut(t *testing.T) {
	const many, kept = 12_000, 500
	bridged := func(i int) session.LegView {
		leg := call.LegID(fmt.Sprintf("5e0a1b2c-1111-11ee-aaaa-02420a0%05d", i))
		return session.LegView{ID: leg, Events: []*session.Event{happened(call.TypeBridged, time.Duration(i)*time.Minute, nil)}}
	}
	past := &session.View{ID: "s", FirstAt: off(0)}
	for i := range many {
		past.Legs = append(past.Legs, bridged(i))
	}
	fit := func(s summary.Session) summary.Session {
		s, _, err := compose.FitSession(s, summary.MaxBody)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := fit(compose.Session(past, nil))
	check(t, "bridges", len(before.Bridges), kept)
	check(t, "left out", before.Omitted["bridges"], many-kept)

	// The call has left the log, and some of its legs are bridged once more: few enough for the message, and too many.
	for later, room := range map[int]int{3: kept + 3, many / 2: kept} {
		news := &session.View{ID: "s", FirstAt: off(0)}
		for i := range later {
			news.Legs = append(news.Legs, bridged(many+i))
		}
		merge := func(before summary.Session) summary.Session {
			return fit(compose.MergeSession(compose.Session(news, nil), &before, news, nil))
		}
		once := merge(before)
		check(t, "bridges with the news", len(once.Bridges), room)
		check(t, "known in all", len(once.Bridges)+once.Omitted["bridges"], many)
		check(t, "the same news again", merge(once), once)
	}
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

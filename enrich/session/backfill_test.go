package session_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// backfilling are the rules of the service.
var backfilling = func() session.Rules {
	r := rules
	r.Outage, r.BackfillAfter = 20*time.Second, 30*time.Second
	return r
}()

func newRepairTape(tb testing.TB) *tape {
	tp := newTape(tb)
	tp.rules = backfilling
	tp.table = tp.newTable()
	tp.table.Restart(call.Log{ID: "first epoch", First: 1})
	return tp
}

// live is pass for a service that runs: it writes the log when nobody else does.
func (tp *tape) live(d time.Duration) {
	for until := time.Now().Add(d); ; {
		pass(min(5*time.Second, time.Until(until)))
		if !time.Now().Before(until) {
			return
		}
		tp.probe()
	}
}

// serve is run for a service that runs.
func (tp *tape) serve(until time.Time, do func(session.Check)) (all []dueAt) {
	for time.Now().Before(until) {
		all = append(all, tp.run(time.Now().Add(min(5*time.Second, time.Until(until))), do)...)
		tp.probe()
	}
	return all
}

func only(kind session.CheckKind, all []dueAt) []dueAt {
	var some []dueAt
	for _, c := range all {
		if c.Kind == kind {
			some = append(some, c)
		}
	}
	return some
}

// by records a webhook of a type, the attempt that got through.
func (tp *tape) by(typ string, r call.Ref, attempt int) {
	tp.event(call.Event{Type: typ, Ref: r, Attempt: attempt, OccurredAt: time.Now().UTC()})
}

func (tp *tape) hangsUp(r call.Ref, cause, sip string) {
	tp.event(call.Event{Type: call.TypeHangup, Ref: r, OccurredAt: time.Now().UTC(), Detail: &call.Hangup{Cause: cause, SIPCode: sip}})
}

func TestALegWithAHoleIsLookedUpInTheHistory(t *testing.T) {
	r := ref(0)
	none := session.Missing{}
	for name, tc := range map[string]struct {
		say func(tp *tape)
		// asked is whether the history is asked; missing is what the leg must have had.
		asked   bool
		missing session.Missing
	}{
		"not a leg of which all came": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.says(call.TypeAnswered, r)
			tp.says(call.TypeBridged, r)
			tp.hangsUp(r, "normal_clearing", "200")
		}, false, none},
		"not a leg that nobody answered": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.hangsUp(r, "timeout", "487")
		}, false, none},
		"not a leg that was cancelled, whatever the code of the CANCEL": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.hangsUp(r, "originator_cancel", "200")
		}, false, none},
		"not a live leg": {func(tp *tape) { tp.says(call.TypeAnswered, r) }, false, session.Missing{Initiated: true, Hangup: true}},
		"not a leg whose hole is filled before": {func(tp *tape) {
			tp.says(call.TypeAnswered, r)
			tp.hangsUp(r, "normal_clearing", "200")
			tp.live(29 * time.Second)
			tp.says(call.TypeInitiated, r)
		}, false, none},
		"not a leg whose call has left the log": {func(tp *tape) {
			tp.says(call.TypeCost, r)
			tp.check(session.Check{Kind: session.CheckExpire, Session: "s", Leg: r.Leg, Upto: tp.last(), Trimmed: true})
		}, false, session.Missing{Initiated: true, Hangup: true}},
		"without its call.initiated": {func(tp *tape) {
			tp.says(call.TypeAnswered, r)
			tp.hangsUp(r, "normal_clearing", "200")
		}, true, session.Missing{Initiated: true}},
		"bridged and not answered": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.says(call.TypeBridged, r)
			tp.hangsUp(r, "normal_clearing", "")
		}, true, session.Missing{Answered: true}},
		"answered by what its hangup says": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.hangsUp(r, "normal_clearing", "200")
		}, true, session.Missing{Answered: true}},
		"answered, for it ran into its time limit": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.hangsUp(r, "time_limit", "")
		}, true, session.Missing{Answered: true}},
		"answered, it seems, for somebody pressed a key": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.says(call.TypeDTMF, r)
			tp.hangsUp(r, "normal_clearing", "")
		}, true, none},
		"first heard of at its hangup": {func(tp *tape) {
			tp.hangsUp(r, "timeout", "487")
			tp.says(call.TypeInitiated, r)
		}, true, none},
		"with an event that got through at its second attempt": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.by(call.TypeAnswered, r, 2)
			tp.hangsUp(r, "normal_clearing", "200")
		}, true, none},
		"not for an event that came twice": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.event(call.Event{ID: "a", Type: call.TypeAnswered, Ref: r, Attempt: 1})
			tp.event(call.Event{ID: "a", Type: call.TypeAnswered, Ref: r, Attempt: 2})
			tp.hangsUp(r, "normal_clearing", "200")
		}, false, none},
		"that lived while the service was down": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			pass(21 * time.Second)
			tp.probe()
			tp.hangsUp(r, "timeout", "487")
		}, true, none},
		"not one that ended before": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.hangsUp(r, "timeout", "487")
			pass(21 * time.Second)
			tp.probe()
		}, false, none},
		"not one that began after": {func(tp *tape) {
			tp.says(call.TypeInitiated, ref(1))
			pass(21 * time.Second)
			tp.says(call.TypeInitiated, r)
			tp.hangsUp(r, "timeout", "487")
		}, false, none},
		"not for a pause that is none": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			pass(20 * time.Second)
			tp.hangsUp(r, "timeout", "487")
		}, false, none},
		"ended by its status": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.answer(r, ended(1))
		}, true, session.Missing{Hangup: true}},
		"that Telnyx does not know any more": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.answer(r, notFound(1, true))
		}, true, session.Missing{Hangup: true}},
		"given up for its silence": {func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.check(session.Check{Kind: session.CheckExpire, Session: "s", Leg: r.Leg, Upto: tp.last()})
		}, true, session.Missing{Hangup: true}},
		"that has no control id": {func(tp *tape) {
			tp.says(call.TypeHangup, call.Ref{Session: "s", Leg: r.Leg})
		}, true, session.Missing{Initiated: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newRepairTape(t)
				tc.say(tp)
				since := time.Now()
				all := only(session.CheckBackfill, tp.serve(since.Add(50*time.Second), nil))
				if got := len(all) > 0; got != tc.asked {
					t.Fatalf("the history is asked: %t; want %t", got, tc.asked)
				}
				if tc.asked && (len(all) != 1 || all[0].Leg != r.Leg || all[0].Attempt != 1 || all[0].at.Sub(since) > backfilling.BackfillAfter) {
					t.Errorf("checks %+v; want one, half a minute after the end", all)
				}
				if diff := gocmp.Diff(tc.missing, tp.leg(r).Missing); diff != "" {
					t.Errorf("missing (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTheHistoryIsAskedAFewTimesWithLongerAndLongerPauses(t *testing.T) {
	seconds := func(all []dueAt, since time.Time) (at []int) {
		for _, c := range all {
			at = append(at, int(c.at.Sub(since).Seconds()))
		}
		return at
	}
	answers := func(a session.Backfill) func(*tape, session.Check) {
		return func(tp *tape, c session.Check) {
			a.Attempt = c.Attempt
			tp.backfilled(c.Ref(), a)
		}
	}
	refusal := func(result status.Result, wait float64) session.Backfill {
		return session.Backfill{Answer: status.Answer{Result: result, RetryAfter: wait}}
	}
	for name, tc := range map[string]struct {
		answer func(tp *tape, c session.Check)
		want   []int
	}{
		"once when it is whole": {answers(session.Backfill{Answer: status.Answer{Result: status.Answered}, Whole: true}), []int{30}},
		"three times when it is not": {
			answers(session.Backfill{Answer: status.Answer{Result: status.Answered}, Rows: 2}), []int{30, 150, 750},
		},
		"three times when it is refused": {answers(refusal(status.Denied, 0)), []int{30, 150, 750}},
		"not before Telnyx allows it":    {answers(refusal(status.RateLimited, 1e9)), []int{30, 150, 750}},
		"not once the hole is filled": {func(tp *tape, c session.Check) {
			tp.event(call.Event{Type: call.TypeInitiated, Ref: c.Ref(), Backfill: true})
			tp.backfilled(c.Ref(), session.Backfill{Answer: status.Answer{Result: status.Answered, Attempt: c.Attempt}})
		}, []int{30}},
		// One whose task was lost is made up for, and not for ever.
		"when no outcome comes":   {func(*tape, session.Check) {}, []int{30, 150, 270, 390, 510}},
		"an outcome twice is one": {func(tp *tape, c session.Check) { f := answers(refusal(status.Denied, 0)); f(tp, c); f(tp, c) }, []int{30, 150, 750}},
		"an outcome of an unknown leg": {func(tp *tape, c session.Check) {
			tp.backfilled(ref(9), session.Backfill{})
			answers(session.Backfill{Whole: true})(tp, c)
		}, []int{30}},
		"what else happens counts not": {func(tp *tape, c session.Check) {
			tp.says(call.TypeCost, c.Ref())
			answers(session.Backfill{Whole: true})(tp, c)
		}, []int{30}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newRepairTape(t)
				bare := call.Ref{Session: "s", Leg: "leg-0"} // no control id: no status is asked for
				tp.says(call.TypeAnswered, bare)
				tp.hangsUp(bare, "normal_clearing", "200")
				over := time.Now()
				all := tp.serve(over.Add(time.Hour), func(c session.Check) {
					if c.Kind == session.CheckBackfill {
						tc.answer(tp, c)
					}
				})
				if diff := gocmp.Diff(tc.want, seconds(only(session.CheckBackfill, all), over)); diff != "" {
					t.Errorf("asked at seconds (-want +got):\n%s", diff)
				}
				tp.table.SetFloor(tp.last())
				tp.run(time.Now().Add(time.Minute), nil)
				if _, ok := tp.table.View("s"); ok {
					t.Error("the session is not forgotten when nothing can come any more")
				}
			})
		})
	}
}

// The defaults: a leg with a missing event is remembered until the history was asked for the last time.
func TestASessionIsRememberedUntilItsLegsAreBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newRepairTape(t)
		tp.rules.AmendWindow = time.Minute // much less than the history may need
		tp.table = tp.newTable()
		tp.table.Restart(call.Log{ID: "first epoch", First: 1})
		tp.hangsUp(call.Ref{Session: "s", Leg: "leg-0"}, "timeout", "")
		n := 0
		tp.serve(time.Now().Add(20*time.Minute), func(c session.Check) {
			tp.table.SetFloor(tp.last())
			if c.Kind == session.CheckBackfill {
				n++
				tp.backfilled(c.Ref(), session.Backfill{Answer: status.Answer{Result: status.Unreachable, Attempt: c.Attempt}})
			}
		})
		if n != 3 {
			t.Errorf("asked %d times; want 3", n)
		}
	})
}

func TestWhatComesFromTheHistoryIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newRepairTape(t)
		tp.says(call.TypeInitiated, ref(0))
		tp.check(session.Check{Kind: session.CheckExpire, Session: "s", Leg: ref(0).Leg, Upto: tp.last()})
		tp.live(time.Minute)
		tp.event(call.Event{Type: call.TypeAnswered, Ref: ref(0), OccurredAt: time.Now().Add(-time.Hour), Backfill: true})
		if l := tp.leg(ref(0)); l.Ending != session.Expired {
			t.Errorf("an answer of long ago took the leg back to life: %d", l.Ending)
		}
		tp.event(call.Event{Type: call.TypeHangup, Ref: ref(0), OccurredAt: time.Now().Add(-time.Hour), Backfill: true})
		if l := tp.leg(ref(0)); l.Ending != session.ByHangup || l.Missing.Any() {
			t.Errorf("ending %d, lacking %+v; want by its hangup, lacking nothing", l.Ending, l.Missing)
		}
	})
}

// That Telnyx does not know the leg any more was final before its hangup was found.
func TestAHangupFromTheHistoryDoesNotExtendTheStatusWindow(t *testing.T) {
	for name, ago := range map[string]time.Duration{
		"of a call of an hour ago": time.Hour,
		"of a call of just now":    time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newRepairTape(t)
				tp.says(call.TypeInitiated, ref(0))
				tp.live(time.Second)
				tp.answer(ref(0), notFound(1, true))
				tp.live(30 * time.Second)
				tp.event(call.Event{Type: call.TypeHangup, Ref: ref(0), OccurredAt: time.Now().Add(-ago), Backfill: true})
				if !tp.leg(ref(0)).Final {
					t.Error("it is not final any more")
				}
				tp.serve(time.Now().Add(30*time.Minute), func(c session.Check) {
					if c.Kind == session.CheckStatus {
						t.Errorf("attempt %d is asked for", c.Attempt)
					}
				})
			})
		})
	}
}

// Replicas that have followed live and one that has just read the log decide alike, whatever the log holds.
func TestReplicasDecideAlikeAboutBackfillsAndOutages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		moves := rapid.SliceOfN(rapid.IntRange(0, 11), 5, 40).Draw(rt, "moves")
		seeds := rapid.SliceOfN(rapid.IntRange(0, 1<<20), len(moves), len(moves)).Draw(rt, "seeds")
		failure := ""
		synctest.Test(t, func(t *testing.T) {
			tp := newRepairTape(t)
			for i, move := range moves {
				tp.move(move, seeds[i])
				other := tp.replay()
				// The clock of one that has just started is its own until an entry comes in.
				mine, _, _ := tp.table.Due(100)
				theirs, _, _ := other.Due(100)
				if diff := gocmp.Diff(byID(theirs), byID(mine)); diff != "" {
					failure = fmt.Sprintf("after move %d (-restarted +live):\n%s", i, diff)
					return
				}
				v, _ := tp.table.View("s")
				w, _ := other.View("s")
				if diff := gocmp.Diff(w, v); diff != "" {
					failure = fmt.Sprintf("after move %d the views (-restarted +live):\n%s", i, diff)
					return
				}
				for _, c := range mine {
					tp.check(c)
				}
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// move lets something happen.
func (tp *tape) move(what, seed int) {
	r := ref(seed % 3)
	switch what {
	case 0, 1:
		tp.says(call.TypeInitiated, r)
	case 2:
		tp.by([]string{call.TypeAnswered, call.TypeBridged, call.TypeDTMF}[seed%3], r, 1+seed%2)
	case 3:
		tp.hangsUp(r, "normal_clearing", []string{"200", "487"}[seed%2])
	case 4:
		tp.answer(r, []session.Answer{alive(seed % 5), ended(seed % 5), notFound(seed%5, true)}[seed/3%3])
	case 5, 6:
		tp.backfilled(r, session.Backfill{Answer: status.Answer{Result: status.Answered, Attempt: 1 + seed%3}, Whole: seed%4 == 0})
	case 7:
		tp.event(call.Event{Type: call.TypeAnswered, Ref: r, Backfill: true})
	case 8:
		pass(time.Duration(19+seed%4) * time.Second) // an outage or none
		tp.probe()
	default:
		tp.live(time.Duration(1+seed%700) * time.Second)
		tp.probe()
	}
}

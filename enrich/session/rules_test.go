package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// hungUp returns a tape on which a leg has hung up just now, and a first answer
// was given a second later.
func hungUp(t *testing.T, first func(int) session.Answer) (tp *tape, end time.Time) {
	t.Helper()
	tp = newTape(t)
	tp.says(call.TypeInitiated, ref(0))
	pass(20 * time.Second)
	end = time.Now()
	tp.says(call.TypeHangup, ref(0))
	pass(time.Second)
	if first != nil {
		tp.answer(ref(0), first(1))
	}
	return tp, end
}

func onlyStatus(all []dueAt) []dueAt { return of(all, session.CheckStatus) }

func of(all []dueAt, kind session.CheckKind) []dueAt {
	var some []dueAt
	for _, c := range all {
		if c.Kind == kind {
			some = append(some, c)
		}
	}
	return some
}

func TestAskingBacksOffUntilTheWindowClosesAndAsksOnceMoreAMinuteLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, alive)
		last := time.Now()
		all := onlyStatus(tp.run(end.Add(time.Hour), func(c session.Check) {
			if c.Kind == session.CheckStatus {
				tp.answer(c.Ref(), alive(c.Attempt))
			}
		}))
		if len(all) < 10 || len(all) > 20 {
			t.Fatalf("%d attempts by the calendar; want between 10 and 20", len(all))
		}
		want := time.Second
		for i, c := range all[:len(all)-1] {
			wait := c.at.Sub(last)
			if wait < want*8/10 || wait > want*12/10 {
				t.Errorf("attempt %d came after %v; want %v and a fifth either way", c.Attempt, wait, want)
			}
			if c.Attempt != i+2 {
				t.Errorf("attempt %d after %d", c.Attempt, i+1)
			}
			if c.at.After(end.Add(rules.StatusWindow)) {
				t.Errorf("attempt %d came %v after the end", c.Attempt, c.at.Sub(end))
			}
			last, want = c.at, min(2*want, time.Minute)
		}
		if got := all[len(all)-1].at.Sub(end); got != lastAttempt {
			t.Errorf("the last attempt came %v after the end; want %v", got, lastAttempt)
		}
		if _, ok := tp.table.View("s"); !ok {
			t.Fatal("the session was forgotten while the queue was not through")
		}
		if !tp.leg(ref(0)).Final {
			t.Error("after the last attempt the state is not final")
		}
	})
}

func TestReplicasAskAtTheSameTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, unreachable)
		for time.Since(end) < 12*time.Minute {
			pass(250 * time.Millisecond)
			other := tp.replay()
			// The first has followed live, the other has just read the log.
			mine, _, _ := tp.table.Due(10)
			theirs, _, _ := other.Due(10)
			if diff := gocmp.Diff(theirs, mine); diff != "" {
				t.Fatalf("%v after the end (-restarted +live):\n%s", time.Since(end), diff)
			}
			for _, c := range mine {
				tp.check(c)
				if c.Kind == session.CheckStatus {
					tp.answer(c.Ref(), unreachable(c.Attempt))
				}
			}
		}
		if got := tp.leg(ref(0)); !got.Final || got.Asked < 10 {
			t.Errorf("%d attempts, final %t", got.Asked, got.Final)
		}
	})
}

func TestTheWaitThatTelnyxAsksForIsHonoured(t *testing.T) {
	limited := func(seconds float64) func(int) session.Answer {
		return func(n int) session.Answer {
			return session.Answer{Answer: status.Answer{Attempt: n, Result: status.RateLimited, RetryAfter: seconds}}
		}
	}
	for name, tc := range map[string]struct {
		seconds     float64
		least, most time.Duration
	}{
		"half a minute":                {30, 30 * time.Second, 30 * time.Second},
		"less than the calendar's own": {0.1, 800 * time.Millisecond, 1200 * time.Millisecond},
		"an absurd one is cut":         {1e300, status.MaxRetryAfter, status.MaxRetryAfter},
		"a negative one is none":       {-1e300, 800 * time.Millisecond, 1200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp, _ := hungUp(t, limited(tc.seconds))
				asked := time.Now()
				all := onlyStatus(tp.run(asked.Add(2*time.Minute), nil))
				if len(all) != 1 {
					t.Fatalf("%d checks; want one", len(all))
				}
				if got := all[0].at.Sub(asked); got < tc.least || got > tc.most {
					t.Errorf("asked again after %v; want %v to %v", got, tc.least, tc.most)
				}
			})
		})
	}
	t.Run("past the last attempt's time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tp, end := hungUp(t, alive)
			pass(lastAttempt - 10*time.Second)
			tp.answer(ref(0), limited(30)(2))
			asked := time.Now()
			all := onlyStatus(tp.run(end.Add(time.Hour), func(c session.Check) {
				if c.Kind == session.CheckStatus {
					tp.answer(c.Ref(), limited(30)(c.Attempt))
				}
			}))
			if len(all) == 0 || all[0].at.Sub(asked) != 30*time.Second {
				t.Errorf("attempts %v; want one 30 s after the refusal", all)
			}
			if last := all[len(all)-1].at.Sub(end); last > closesAfter || !tp.leg(ref(0)).Final {
				t.Errorf("the last attempt came %v after the end, final %t; want an end of it after %v", last, tp.leg(ref(0)).Final, closesAfter)
			}
		})
	})
}

func TestTheSweepHonoursTheWaitThatTelnyxAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		a := alive(1)
		a.Result, a.IsAlive, a.RetryAfter = status.RateLimited, nil, 60
		pass(time.Second)
		tp.answer(ref(0), a)
		if _, wait, _ := tp.table.Due(1); wait != rules.SweepAfter {
			t.Errorf("the next call is due in %v; want %v", wait, rules.SweepAfter)
		}
	})
}

func TestAfterADowntimeTheLastAttemptComesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, _ := hungUp(t, alive)
		pass(3 * time.Hour)
		table := tp.replay()
		checks, _, _ := table.Due(10)
		if diff := gocmp.Diff([]session.CheckKind{session.CheckStatus, session.CheckSettle}, kinds(checks)); diff != "" {
			t.Fatalf("due after three hours (-want +got):\n%s", diff)
		}
		tp.table = table
		tp.check(checks[0])
		tp.answer(ref(0), notFound(2, true))
		if l := tp.leg(ref(0)); !l.Final || l.Ending != session.ByHangup || l.Confirmed != nil {
			t.Errorf("final %t, ending %d, confirmed %v", l.Final, l.Ending, l.Confirmed)
		}
		if more := onlyStatus(tp.run(time.Now().Add(time.Hour), nil)); len(more) != 0 {
			t.Errorf("asked again: %v", more)
		}
	})
}

func TestAnAnswerThatConfirmsEndsTheAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, ended)
		if all := onlyStatus(tp.run(end.Add(time.Hour), nil)); len(all) != 0 {
			t.Errorf("asked again after a confirmation: %v", all)
		}
	})
}

func TestTheFirstAttemptBelongsToTheHangupsTask(t *testing.T) {
	for name, tc := range map[string]struct {
		say func(tp *tape)
		// first is when a check asks for the first attempt, counted from the last event.
		first time.Duration
	}{
		"a check makes up for it when nothing came of it for a minute": {
			func(tp *tape) { tp.says(call.TypeHangup, ref(0)) }, time.Minute,
		},
		"an orphaned hangup has no task any more": {
			func(tp *tape) {
				tp.says(call.TypeHangup, call.Ref{Control: "v3:alias"})
				pass(time.Second)
				r := ref(0)
				r.Control = "v3:alias"
				tp.says(call.TypeAnswered, r)
			}, time.Second,
		},
		"neither has the hangup of a session that turns out to be a leg's": {
			func(tp *tape) {
				tp.says(call.TypeHangup, call.Ref{Session: "s", Control: "v3:alias"})
				pass(time.Second)
				r := ref(0)
				r.Control = "v3:alias"
				tp.says(call.TypeAnswered, r)
			}, time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.says(call.TypeInitiated, ref(0))
				pass(time.Minute)
				tc.say(tp)
				since := time.Now()
				all := onlyStatus(tp.run(since.Add(4*time.Minute), func(c session.Check) {
					if c.Kind == session.CheckStatus {
						tp.answer(c.Ref(), ended(c.Attempt))
					}
				}))
				if len(all) != 1 || all[0].at.Sub(since) != tc.first || all[0].Attempt != 1 {
					t.Errorf("checks %v; want one of attempt 1 after %v", all, tc.first)
				}
			})
		})
	}
}

func TestALegWhoseControlIDIsLearnedAfterItsHangupIsAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		bare := call.Ref{Session: "s", Leg: ref(0).Leg}
		tp.says(call.TypeHangup, bare)
		if !tp.leg(bare).Final {
			t.Error("a leg that cannot be asked about is not final")
		}
		pass(4 * time.Minute)
		tp.says(call.TypeCost, ref(0))
		if tp.leg(bare).Final {
			t.Error("a leg that can be asked about now is final")
		}
		checks := tp.due()
		if diff := gocmp.Diff([]session.CheckKind{session.CheckStatus}, kinds(checks)); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
	})
}

func TestAnUnansweredCheckIsReplacedAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, alive)
		// Whatever asks, no answer ever comes.
		all := onlyStatus(tp.run(end.Add(10*time.Hour), nil))
		for i, c := range all {
			if c.Attempt != i+2 {
				t.Errorf("check %d asks for attempt %d; the id of an earlier one would make it a duplicate", i+1, c.Attempt)
			}
			if i > 0 && c.at.Sub(all[i-1].at) < 5*time.Minute {
				t.Errorf("replaced after %v", c.at.Sub(all[i-1].at))
			}
		}
		if len(all) < 2 || len(all) > 4 {
			t.Errorf("%d checks; want two to four", len(all))
		}
	})
}

func TestALegThatWasNeverAskedAboutIsAskedAboutHoweverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeHangup, call.Ref{Control: ref(0).Control})
		pass(rules.AmendWindow - time.Minute) // the status window is long over
		tp.says(call.TypeAnswered, ref(0))
		learned := time.Now()
		all := tp.run(learned.Add(10*time.Hour), nil) // whoever asks, no answer comes
		if checks := onlyStatus(all); len(checks) != 1 || checks[0].at.Sub(learned) != time.Second {
			t.Errorf("checks %v; want one before that is accepted", checks)
		}
		if closes := of(all, session.CheckClose); len(closes) != 1 || closes[0].at.Sub(learned) < 5*time.Minute || !tp.leg(ref(0)).Final {
			t.Errorf("closed by %v, final %t; want once, with time for an answer", closes, tp.leg(ref(0)).Final)
		}
	})
}

func TestAnAnswerOfAnAttemptThatWasGivenUpCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, alive)
		all := onlyStatus(tp.run(end.Add(7*time.Minute), nil))
		if len(all) != 2 {
			t.Fatalf("%d checks; want the first and its replacement", len(all))
		}
		tp.answer(ref(0), ended(all[0].Attempt))
		if l := tp.leg(ref(0)); l.Confirmed == nil || l.Confirmed.Attempt != 2 {
			t.Errorf("confirmed by %v; want attempt 2", l.Confirmed)
		}
	})
}

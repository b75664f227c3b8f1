package session_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"pgregory.net/rapid"
)

// closesAfter is when the asking about a leg has ended at the latest, counted from its end.
const closesAfter = lastAttempt + time.Minute

func rateLimited(n int) session.Answer {
	return session.Answer{Answer: status.Answer{Attempt: n, Result: status.RateLimited}}
}

// Whoever gets no answer, or only some, or none in the end: when its window is over a leg is final, by the log alone.
func TestEveryLegIsFinalWhenItsWindowIsOver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		answers := rapid.SliceOfN(rapid.SampledFrom([]func(int) session.Answer{nil, alive, unreachable, rateLimited}), 1, 12).Draw(rt, "answers")
		hangupFirst := rapid.Bool().Draw(rt, "the hangup's task asks")
		failure := ""
		synctest.Test(t, func(t *testing.T) {
			tp := newTape(t)
			tp.says(call.TypeInitiated, ref(0))
			pass(20 * time.Second)
			tp.says(call.TypeHangup, ref(0))
			end := time.Now()
			n := 0
			next := func(r call.Ref, attempt int) {
				answer := answers[min(n, len(answers)-1)]
				if n++; answer != nil {
					tp.answer(r, answer(attempt))
				}
			}
			if pass(time.Second); hangupFirst {
				next(ref(0), 1)
			}
			all := tp.run(end.Add(time.Hour), func(c session.Check) {
				if c.Kind == session.CheckStatus {
					next(c.Ref(), c.Attempt)
				}
			})
			if !tp.leg(ref(0)).Final {
				failure = fmt.Sprintf("an hour after its end it is not final; checks %v", all)
			}
			for _, c := range all {
				if after := c.at.Sub(end); c.Kind == session.CheckStatus && after > closesAfter || c.Kind == session.CheckClose && after != closesAfter {
					failure = fmt.Sprintf("%s %v after the end; want all over after %v", c.Kind, after, closesAfter)
				}
			}
			if v, _ := tp.replay().View("s"); !v.Legs[0].Final {
				failure = "by the log alone it is not final"
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

func TestALegThatNobodyAskedAboutIsClosedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		tp.says(call.TypeHangup, ref(0))
		end := time.Now()
		all := tp.run(end.Add(time.Hour), nil)
		if l := tp.leg(ref(0)); !l.Final || l.AskedSince != 0 {
			t.Errorf("final %t after %d answers", l.Final, l.AskedSince)
		}
		checks := onlyStatus(all)
		if len(checks) < 3 || len(checks) > 7 || checks[0].at.Sub(end) != time.Minute {
			t.Errorf("checks %v; want one a minute after the end, and some that make up for a place that was lost", checks)
		}
		if closes := of(all, session.CheckClose); len(closes) != 1 || closes[0].at.Sub(end) != closesAfter {
			t.Errorf("closed by %v; want once, %v after the end", closes, closesAfter)
		}
	})
}

func TestInAShortWindowALegIsLookedForInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		short := rules
		short.StatusWindow = time.Minute
		tp.rules = short
		tp.table = tp.newTable()
		tp.table.Restart(call.Log{ID: "short", First: 1})
		tp.says(call.TypeInitiated, ref(0))
		tp.says(call.TypeHangup, ref(0))
		end := time.Now()
		checks := onlyStatus(tp.run(end.Add(time.Hour), nil))
		if len(checks) < 3 || checks[2].at.Sub(end) > short.StatusWindow {
			t.Errorf("checks %v; want three within %v", checks, short.StatusWindow)
		}
		if !tp.leg(ref(0)).Final {
			t.Error("it is not final")
		}
	})
}

func TestAnAttemptIsWantedUntilThereIsNoTimeForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, nil)
		wants := func(attempt int) bool { return tp.table.Wants("s", ref(0).Leg, attempt) }
		if !wants(1) || tp.table.Wants("s", "another", 1) || tp.table.Wants("another", ref(0).Leg, 1) {
			t.Error("at first only its own attempt is wanted")
		}
		tp.answer(ref(0), alive(1))
		if wants(1) || !wants(2) {
			t.Error("after an answer the next attempt is wanted")
		}
		tp.run(end.Add(closesAfter-status.MaxTimeout-time.Second), nil)
		if !wants(9) {
			t.Error("not wanted while there is time for an answer")
		}
		pass(time.Second)
		if wants(9) {
			t.Error("still wanted though an answer could come too late")
		}
		tp.answer(ref(0), ended(9))
		if wants(10) {
			t.Error("wanted after a confirmation")
		}
	})
}

// The clock of the log is the leader's: another leader's may be hours ahead. That is no silence of a leg.
func TestALegIsNotExpiredUnaskedWhenTheLogsClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		tp.probe()
		tp.ahead = 5 * time.Hour
		tp.probe()
		all := tp.run(time.Now().Add(10*time.Minute), func(c session.Check) {
			if c.Kind == session.CheckStatus {
				tp.answer(c.Ref(), alive(c.Attempt))
			}
		})
		if expired := of(all, session.CheckExpire); len(expired) > 0 || tp.leg(ref(0)).Ending != session.NotOver {
			t.Errorf("it was closed by %v", expired)
		}
	})
}

func TestTheMemoryOfALegDoesNotGrowWithItsSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		n := 0
		for range 4 {
			tp.run(time.Now().Add(55*time.Minute), func(c session.Check) {
				if n++; n%5 == 0 {
					tp.answer(c.Ref(), unreachable(c.Attempt))
				} else {
					tp.answer(c.Ref(), alive(c.Attempt))
				}
			})
		}
		l := tp.leg(ref(0))
		if n < 40 || l.Asked != n || len(l.Answers) > 7 {
			t.Errorf("after %d answers %d are kept, and the last attempt is %d", n, len(l.Answers), l.Asked)
		}
		pass(time.Second)
		tp.says(call.TypeHangup, ref(0))
		if l := tp.leg(ref(0)); l.AskedSince != 0 {
			t.Errorf("%d answers count as received since the end", l.AskedSince)
		}
		tp.answer(ref(0), session.Answer{Answer: status.Answer{Attempt: n + 1, Result: status.Answered, IsAlive: new(false)}})
		if l := tp.leg(ref(0)); l.Confirmed == nil {
			t.Error("that it was seen alive is forgotten")
		}
	})
}

// The clock of the log is the leader's: another leader's may be minutes behind. Nobody waits until it has caught up.
func TestNothingIsHeldBackWhenTheLogsClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		pass(28 * time.Second)
		tp.says(call.TypeHangup, ref(0))
		pass(3 * time.Second)
		before := tp.table.NowOf(ref(0).Session)
		tp.ahead = -10 * time.Minute
		tp.probe() // more than half a minute after the entry that the clock was counted from
		if back := before.Sub(tp.table.Now()); back < 9*time.Minute {
			t.Fatalf("the clock was set back by %v", back)
		}
		if now := tp.table.NowOf(ref(0).Session); now.Before(before) {
			t.Errorf("for the work on the session it is %v, %v before what it was", now, before.Sub(now))
		}
		settled := time.Time{}
		tp.run(time.Now().Add(time.Minute), func(c session.Check) {
			if c.Kind == session.CheckSettle && settled.IsZero() {
				settled = time.Now()
			}
		})
		if settled.IsZero() {
			t.Error("the session is not found quiet within a minute")
		}
	})
}

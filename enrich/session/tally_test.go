package session_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

func TestLegsThatWereOverAreCompletedOrPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		want := func(when string, over, completed uint64, pending int) {
			t.Helper()
			if diff := cmp.Diff(session.Tally{Over: over, Completed: completed, Pending: pending}, tp.table.Tally()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		a, b, c := ref(0), ref(1), ref(2)
		for _, r := range []call.Ref{a, b, c} {
			tp.says(call.TypeInitiated, r)
		}
		want("while all live", 0, 0, 0)
		tp.says(call.TypeHangup, a)
		tp.says(call.TypeHangup, a)
		want("when one has hung up, twice", 1, 0, 1)
		tp.table.Published(a.Session, a.Leg, 1)
		tp.table.Published(a.Session, a.Leg, 1)
		want("when it is published, twice", 1, 1, 0)
		tp.table.Published(b.Session, b.Leg, 1)
		want("when one is published that lives as far as is known here", 1, 1, 0)
		tp.says(call.TypeHangup, b)
		want("when its hangup comes", 2, 2, 0)
		tp.table.Published("another session", a.Leg, 1)
		tp.table.Published(a.Session, "another leg", 1)
		want("when others are published", 2, 2, 0)

		expired := tp.says(call.TypeAnswered, c)
		pass(5 * time.Hour)
		check := session.Check{Kind: session.CheckExpire, Session: c.Session, Leg: c.Leg, Upto: expired}
		tp.check(check)
		want("when one has expired", 3, 2, 1)
		tp.says(call.TypeCost, c)
		want("when an event takes that back", 3, 2, 1)
		tp.says(call.TypeHangup, c)
		want("when it is over again", 3, 2, 1)
		check.Trimmed = true
		tp.check(check)
		want("when its call is found to have left the log", 3, 3, 0)

		tp.table.Restart(call.Log{ID: "second epoch", First: 1})
		want("when the log is read anew", 0, 0, 0)
	})
}

func TestALegWhoseSummaryNobodySawStaysPendingForTwoMinutesMoreAndIsMissingAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, ended)
		tp.run(end.Add(rules.SessionSettle+time.Second), nil)
		tp.table.SetFloor(tp.last())
		settled := tp.log[tp.last()-1].ReceivedAt
		for _, c := range []struct {
			after time.Duration
			want  session.Tally
		}{
			{rules.AmendWindow + 2*time.Minute - time.Second, session.Tally{Over: 1, Pending: 1}},
			{rules.AmendWindow + 2*time.Minute + 6*time.Second, session.Tally{Over: 1}},
		} {
			tp.run(settled.Add(c.after), nil)
			if got := tp.table.Tally(); got != c.want {
				t.Errorf("%v after it settled: %+v; want %+v", c.after, got, c.want)
			}
		}
		if st := tp.table.Stats(); st != (session.Stats{}) {
			t.Errorf("left: %+v", st)
		}
	})
}

func TestTheBacklogIsAsOldAsTheOldestEntryThatTheQueueHasNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		age := func(when string, want time.Duration) {
			t.Helper()
			if got := tp.table.Backlog(); got != want {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		age("an empty log", 0)
		tp.says(call.TypeInitiated, ref(0))
		pass(300 * time.Millisecond)
		within := tp.says(call.TypeAnswered, ref(0))
		pass(10 * time.Second)
		later := tp.says(call.TypeHangup, ref(0))
		pass(5 * time.Second)
		age("nothing is done", 15300*time.Millisecond)
		tp.table.SetFloor(within - 1)
		age("one of a second is done, not the other", 15300*time.Millisecond)
		tp.table.SetFloor(within)
		age("all but the last are done", 5*time.Second)
		tp.table.SetFloor(later)
		age("all are done", 0)
		tp.fold(call.Entry{Topic: call.TopicHeartbeat})
		tp.backfilled(ref(0), session.Backfill{})
		pass(time.Minute)
		age("what the queue does not hand out", 0)
		tp.check(session.Check{Kind: session.CheckStatus, Session: "s", Leg: ref(0).Leg, Attempt: 1})
		pass(time.Second)
		age("a check", time.Second)
		tp.table.Restart(call.Log{ID: "second epoch", First: 1})
		age("another log", 0)
	})
}

// counted is what a table holds, but for how old that is.
func counted(t *session.Table) session.Stats {
	st := t.Stats()
	st.Oldest = 0
	return st
}

func TestStatsCountWhatIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		want := func(when string, want session.Stats) {
			t.Helper()
			if diff := cmp.Diff(want, tp.table.Stats()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		want("nothing", session.Stats{})
		other := call.Ref{Session: "t", Leg: "of t", Control: "c of t"}
		tp.says(call.TypeInitiated, ref(0))
		pass(time.Minute)
		tp.says(call.TypeInitiated, other)
		pass(time.Minute)
		tp.says(call.TypeAnswered, ref(0)) // makes it no younger
		want("two legs", session.Stats{Sessions: 2, Legs: 2, OpenSessions: 2, OpenLegs: 2, Oldest: 2 * time.Minute})
		tp.says(call.TypeHangup, ref(0))
		want("one has hung up and is not quiet yet", session.Stats{Sessions: 2, Legs: 2, OpenSessions: 2, OpenLegs: 1, Oldest: time.Minute})
		tp.run(time.Now().Add(rules.SessionSettle), nil)
		want("its session is over", session.Stats{Sessions: 2, Legs: 2, OpenSessions: 1, OpenLegs: 1, Oldest: time.Minute + rules.SessionSettle})
		tp.says(call.TypeHangup, other)
		tp.run(time.Now().Add(rules.SessionSettle), nil)
		want("all is over", session.Stats{Sessions: 2, Legs: 2})
	})
}

func TestAfterAnOutageTheLegsThatLivedAreCheckedAtOnce(t *testing.T) {
	const legs = 60
	for name, live := range map[string]bool{"by a replica that was there all the time": true, "by one that has just started": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newRepairTape(t)
				for i := range legs {
					tp.says(call.TypeInitiated, ref(i))
				}
				tp.live(time.Minute)
				tp.says(call.TypeInitiated, ref(legs)) // a leg that has hung up is not checked
				tp.hangsUp(ref(legs), "timeout", "")
				tp.answer(ref(legs), ended(1))
				pass(2 * time.Minute)
				if !live {
					tp.table = tp.replay()
				}
				if early := only(session.CheckStatus, tp.run(time.Now(), nil)); len(early) > 0 {
					t.Fatalf("checked before the log was written again: %v", early)
				}
				back := time.Now()
				tp.probe()
				all := only(session.CheckStatus, tp.serve(back.Add(10*time.Second), func(c session.Check) {
					if c.Kind == session.CheckStatus && c.Leg != ref(3).Leg {
						tp.answer(c.Ref(), alive(c.Attempt))
					}
				}))
				seen := make(map[call.LegID]bool)
				for i, c := range all {
					seen[c.Leg] = true
					if c.Leg == ref(legs).Leg {
						t.Error("a leg that was over was checked")
					}
					// 50 a second.
					if at := c.at.Sub(back); at > time.Duration(i+1)*20*time.Millisecond {
						t.Errorf("check %d came after %v", i, at)
					}
				}
				if len(seen) != legs || len(all) != legs {
					t.Fatalf("%d checks of %d legs; want %d", len(all), len(seen), legs)
				}
				if first, last := all[0].at, all[len(all)-1].at; last.Sub(first) < time.Second {
					t.Errorf("all within %v: nothing bounds them", last.Sub(first))
				}
				// From here the sweep goes on as ever.
				again := only(session.CheckStatus, tp.serve(back.Add(6*time.Minute), nil))
				again = slices.DeleteFunc(again, func(c dueAt) bool { return c.Leg == ref(3).Leg }) // which nobody answered for
				if len(again) != legs-1 || again[0].at.Sub(back) < rules.SweepAfter {
					t.Errorf("%d checks; want %d, when the silence was long enough again", len(again), legs-1)
				}
			})
		})
	}
}

func TestACheckFromBeforeAnOutageIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newRepairTape(t)
		tp.says(call.TypeInitiated, ref(0))
		before := only(session.CheckStatus, tp.serve(time.Now().Add(rules.SweepAfter+time.Second), nil))
		pass(time.Minute)
		tp.probe()
		after := only(session.CheckStatus, tp.serve(time.Now().Add(time.Second), nil))
		if len(before) != 1 || len(after) != 1 || after[0].Attempt != 2 {
			t.Errorf("checks %v, then %v; want one of attempt 1, and after the outage one of attempt 2", before, after)
		}
		// That one may be lost as well: there is no turn when Telnyx asks for a pause.
		made := time.Now()
		again := only(session.CheckStatus, tp.serve(made.Add(150*time.Second), nil))
		if len(again) != 1 || again[0].at.Sub(made) > 2*time.Minute {
			t.Errorf("checks %v; want one more within two minutes", again)
		}
	})
}

func TestManyLegsAreCheckedWithinFourMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const legs = 20_000
		tp := newRepairTape(t)
		for i := range legs {
			r := ref(i)
			r.Session = call.SessionID(fmt.Sprintf("s-%d", i))
			tp.says(call.TypeInitiated, r)
		}
		pass(time.Minute)
		back := time.Now()
		tp.probe()
		asked := make(map[call.LegID]bool)
		for time.Since(back) < 4*time.Minute {
			checks, wait, _ := tp.table.Due(1000)
			for _, c := range checks {
				asked[c.Leg] = true
				tp.check(c)
				tp.answer(c.Ref(), alive(c.Attempt))
			}
			pass(max(wait, 10*time.Millisecond))
		}
		if len(asked) != legs {
			t.Errorf("%d of %d legs were checked", len(asked), legs)
		}
	})
}

func TestOutagesAreThoseOfTheLog(t *testing.T) {
	for name, tc := range map[string]struct {
		stamps []time.Duration // of entries after the leg's first
		want   bool
	}{
		"a pause":                            {[]time.Duration{5 * time.Second, 26 * time.Second}, true},
		"none":                               {[]time.Duration{15 * time.Second, 30 * time.Second, 50 * time.Second}, false},
		"a clock that steps back":            {[]time.Duration{-time.Hour, -time.Hour + time.Second}, false},
		"a pause, by a clock behind":         {[]time.Duration{-time.Hour, -time.Hour + 21*time.Second}, true},
		"an entry that cannot be read tells": {[]time.Duration{21 * time.Second}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newRepairTape(t)
				tp.says(call.TypeInitiated, ref(0))
				first := time.Now().UTC()
				for i, at := range tc.stamps {
					tp.table.Fold(call.Entry{Seq: uint64(i) + 2, ReceivedAt: first.Add(at), Topic: call.TopicStatus, Data: []byte("no JSON")})
				}
				pass(time.Millisecond)
				checks, _, _ := tp.table.Due(10)
				// An hour back is no outage but no time to be due either: hence the clock of the log.
				if got := len(checks) > 0 && checks[0].Kind == session.CheckStatus; got != tc.want {
					t.Errorf("checks %v; want one: %t", checks, tc.want)
				}
			})
		})
	}
}

func TestOpenLegsAreToldWithTheirLastEventAndWhatIsToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		a, b := ref(0), ref(1)
		tp.says(call.TypeInitiated, a)
		began := time.Now()
		pass(10 * time.Second)
		tp.says(call.TypeAnswered, a)
		tp.says(call.TypeInitiated, b)
		tp.says(call.TypeHangup, b)
		legs, all := tp.table.Open(10)
		if all != 1 || len(legs) != 1 {
			t.Fatalf("got %d, %d of them: %+v", all, len(legs), legs)
		}
		l := legs[0]
		if l.Leg != a.Leg || l.Session != a.Session || l.Last != call.TypeAnswered {
			t.Errorf("got %+v", l)
		}
		if age, silent := time.Since(l.Since), time.Since(l.Alive); age != time.Since(began) || silent != 0 {
			t.Errorf("it is %v old and silent for %v", age, silent)
		}
		if l.Next == nil || l.Next.Kind != session.CheckStatus || !l.Next.Due.After(time.Now()) {
			t.Errorf("next is %+v", l.Next)
		}
		if legs, all := tp.table.Open(0); all != 1 || len(legs) != 0 {
			t.Errorf("no room for any: got %d, %d of them", all, len(legs))
		}
	})
}

func TestManyOpenLegsAreToldInTheOrderOfTheirSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		const sessions = 1234
		var want []call.LegID
		for i := range sessions {
			tp.says(call.TypeInitiated, ref(i))
			if i%3 == 0 {
				tp.says(call.TypeHangup, ref(i))
			} else {
				want = append(want, ref(i).Leg)
			}
		}
		for _, most := range []int{0, 1, 700, sessions} {
			legs, all := tp.table.Open(most)
			got := make([]call.LegID, len(legs))
			for i, l := range legs {
				got[i] = l.Leg
			}
			if some := want[:min(most, len(want))]; all != len(want) || !slices.Equal(got, some) {
				t.Errorf("at most %d: got %d of %d, want %d of %d, each in its place", most, len(got), all, len(some), len(want))
			}
		}
	})
}

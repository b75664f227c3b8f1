package session_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

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

package session_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

func TestASilentLegIsSweptOnceUntilItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		start := time.Now()
		tp.says(call.TypeInitiated, ref(0))
		all := tp.run(start.Add(14*time.Minute), nil)
		want := []session.Check{{
			Kind: session.CheckStatus, Session: "s", Leg: ref(0).Leg,
			Control: ref(0).Control, Connection: ref(0).Connection, Attempt: 1, Epoch: 1, Sweep: true,
		}}
		if len(all) != 1 {
			t.Fatalf("%d checks; want one", len(all))
		}
		if diff := gocmp.Diff(want[0], all[0].Check); diff != "" {
			t.Errorf("the check (-want +got):\n%s", diff)
		}
		if got := all[0].at.Sub(start); got != rules.SweepAfter {
			t.Errorf("swept after %v; want %v", got, rules.SweepAfter)
		}
		tp.answer(ref(0), alive(1))
		answered := time.Now()
		all = tp.run(answered.Add(9*time.Minute), nil)
		if len(all) != 1 || all[0].at.Sub(answered) != rules.SweepAfter || all[0].Attempt != 2 {
			t.Errorf("after an answer that it lives: %v; want attempt 2 after %v", all, rules.SweepAfter)
		}
		tp.answer(ref(0), unreachable(2))
		refused := time.Now()
		all = tp.run(refused.Add(9*time.Minute), nil)
		if len(all) != 1 || all[0].at.Sub(refused) != rules.SweepAfter || all[0].Attempt != 3 {
			t.Errorf("after a try that failed: %v; want attempt 3 after %v", all, rules.SweepAfter)
		}
		tp.answer(ref(0), ended(3))
		all = tp.run(time.Now().Add(time.Hour), nil)
		if len(all) != 1 || all[0].Kind != session.CheckSettle {
			t.Errorf("after its end: %v; want its session's settling", all)
		}
	})
}

func TestAnEventPutsTheSweepOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		start := time.Now()
		tp.says(call.TypeInitiated, ref(0))
		tp.run(start.Add(4*time.Minute), nil)
		tp.says(call.TypeAnswered, ref(0))
		pass(time.Minute)
		redeliver(tp) // says nothing new
		all := tp.run(start.Add(10*time.Minute), nil)
		if len(all) != 1 || all[0].at.Sub(start) != 9*time.Minute {
			t.Errorf("checks %v; want one five minutes after the event", all)
		}
	})
}

func TestASessionSettlesAfterItsLastNews(t *testing.T) {
	settle := rules.SessionSettle
	r := ref(0)
	for name, tc := range map[string]struct {
		then func(tp *tape)
		// want are the times of settling, counted from the hangup.
		want []time.Duration
	}{
		"once after the hangup": {func(*tape) {}, []time.Duration{settle}},
		"a late event before starts the time anew": {func(tp *tape) {
			pass(3 * time.Second)
			tp.says(call.TypeCost, r)
		}, []time.Duration{settle + 3*time.Second}},
		"a late event afterwards unsettles it": {func(tp *tape) {
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says(call.TypeCost, r)
		}, []time.Duration{settle, settle + time.Minute}},
		"an event of the session alone does as well": {func(tp *tape) {
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says("conference.ended", call.Ref{Session: "s"})
		}, []time.Duration{settle, settle + time.Minute}},
		"a redelivery does not": {func(tp *tape) {
			pass(3 * time.Second)
			redeliver(tp)
		}, []time.Duration{settle}},
		"a status answer does not": {func(tp *tape) {
			pass(3 * time.Second)
			tp.answer(r, ended(1))
		}, []time.Duration{settle}},
		"a probe does not": {func(tp *tape) {
			pass(3 * time.Second)
			tp.probe()
		}, []time.Duration{settle}},
		"a leg that is added unsettles it, until that one is over": {func(tp *tape) {
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says(call.TypeInitiated, ref(1))
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says(call.TypeHangup, ref(1))
		}, []time.Duration{settle, settle + 2*time.Minute}},
		"a leg that ends by its status does as well": {func(tp *tape) {
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says(call.TypeInitiated, ref(1))
			tp.run(time.Now().Add(time.Minute), nil)
			tp.answer(ref(1), ended(1))
		}, []time.Duration{settle, settle + 2*time.Minute}},
		"orphans that are adopted unsettle it": {func(tp *tape) {
			tp.says(call.TypeCost, call.Ref{Control: "v3:alias"})
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says(call.TypeRecordingSaved, call.Ref{Session: "s", Leg: r.Leg, Control: "v3:alias"})
		}, []time.Duration{settle, settle + time.Minute}},
		"orphans that are adopted through a redelivery do as well": {func(tp *tape) {
			tp.event(call.Event{ID: "x", Type: call.TypeRecordingSaved, Ref: call.Ref{Session: "s", Leg: r.Leg}})
			tp.says(call.TypeCost, call.Ref{Control: "v3:alias"})
			tp.run(time.Now().Add(time.Minute), nil)
			tp.event(call.Event{ID: "x", Type: call.TypeRecordingSaved, Ref: call.Ref{Session: "s", Leg: r.Leg, Control: "v3:alias"}})
		}, []time.Duration{settle, settle + time.Minute}},
		"a hangup after the status said that it ended unsettles it": {func(tp *tape) {
			tp.says(call.TypeInitiated, ref(1))
			tp.answer(ref(1), ended(1))
			tp.run(time.Now().Add(time.Minute), nil)
			tp.says(call.TypeHangup, ref(1))
		}, []time.Duration{settle, settle + time.Minute}},
		"the check of a replica that had not read the news settles nothing": {func(tp *tape) {
			upto := tp.last()
			pass(4 * time.Second)
			tp.says(call.TypeCost, r)
			pass(time.Second)
			tp.check(session.Check{Kind: session.CheckSettle, Session: "s", Upto: upto})
			if tp.view("s").Over {
				tp.tb.Fatalf("the check settled it")
			}
		}, []time.Duration{settle + 4*time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.says(call.TypeInitiated, r)
				hangup := time.Now()
				tp.says(call.TypeHangup, r)
				tp.answer(r, ended(1)) // so that nothing but the settling is due
				tc.then(tp)
				tp.run(time.Now().Add(time.Hour), nil)
				var got []time.Duration
				for _, e := range tp.log {
					if e.Topic == call.TopicCheck && e.Ref.Leg == "" {
						got = append(got, e.ReceivedAt.Sub(hangup))
					}
				}
				if name == "the check of a replica that had not read the news settles nothing" {
					got = got[1:]
				}
				if diff := gocmp.Diff(tc.want, got); diff != "" {
					t.Errorf("settled after (-want +got):\n%s", diff)
				}
				if v := tp.view("s"); !v.Over || v.Settles != len(tc.want) {
					t.Errorf("over %t, settled %d times; want %d", v.Over, v.Settles, len(tc.want))
				}
			})
		})
	}
}

func TestASessionIsOverOnlyWhenItsLegsAreAndACheckFoundItQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		over := func(want bool, when string) {
			t.Helper()
			if got := tp.view("s").Over; got != want {
				t.Errorf("over is %t %s", got, when)
			}
			// Without legs it may be one that has left the log: somebody must look.
			idle := !want && len(tp.view("s").Legs) > 0
			if p := tp.table.Place(call.Ref{Session: "s"}); p.Idle != idle {
				t.Errorf("idle is %t %s", p.Idle, when)
			}
		}
		settle := func() {
			tp.check(session.Check{Kind: session.CheckSettle, Session: "s", Upto: tp.last()})
		}
		tp.says("conference.created", call.Ref{Session: "s"})
		settle()
		over(false, "without legs")
		tp.says(call.TypeInitiated, ref(0))
		tp.says(call.TypeInitiated, ref(1))
		tp.says(call.TypeHangup, ref(0))
		settle()
		over(false, "while a leg lives")
		tp.says(call.TypeHangup, ref(1))
		over(false, "before a check found it quiet")
		settle()
		over(true, "when all are over and it was quiet")
		tp.says(call.TypeCost, ref(1))
		over(false, "after a late event")
		tp.check(session.Check{Kind: session.CheckSettle, Session: "s", Upto: 1 << 62})
		over(true, "after another check")
		tp.says(call.TypeCost, ref(1))
		over(false, "after a check that spoke of the future")
	})
}

func TestASessionWithoutLegsIsForgottenWithTheAmendWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says("conference.created", call.Ref{Session: "s"})
		tp.table.SetFloor(1)
		if all := tp.run(time.Now().Add(rules.AmendWindow-time.Second), nil); len(all) != 0 {
			t.Errorf("checks of a session without legs: %v", all)
		}
		tp.view("s")
		tp.run(time.Now().Add(time.Second), nil)
		if _, ok := tp.table.View("s"); ok {
			t.Error("it is still known after the amend window")
		}
	})
}

func TestWhatWasHandedOutIsNotHandedOutAgainForSomeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		pass(2 * time.Second)
		tp.says(call.TypeInitiated, ref(1))
		pass(rules.SweepAfter - 2*time.Second)
		first, wait, _ := tp.table.Due(10)
		if len(first) != 1 || first[0].Leg != ref(0).Leg || wait != 2*time.Second {
			t.Fatalf("due %v, next call in %v; want the first leg, and the other in 2 s", first, wait)
		}
		tp.says("conference.floor.changed", call.Ref{Session: "s"}) // news of the session change nothing
		if again := tp.due(); len(again) != 0 {
			t.Errorf("handed out again at once: %v", again)
		}
		pass(2 * time.Second)
		second, wait, _ := tp.table.Due(10)
		if len(second) != 1 || second[0].Leg != ref(1).Leg || wait != 3*time.Second {
			t.Fatalf("due %v, next call in %v; want the other leg, and a call in 3 s", second, wait)
		}
		tp.check(second[0])
		if again := tp.due(); len(again) != 0 {
			t.Errorf("handed out again while it is on its way: %v", again)
		}
		pass(3 * time.Second)
		if again := tp.due(); len(again) != 1 || again[0] != first[0] {
			t.Errorf("due after five seconds: %v; want again %v", again, first)
		}
		tp.check(first[0])
		pass(6 * time.Second)
		if again := tp.due(); len(again) != 0 {
			t.Errorf("due although it is in the log: %v", again)
		}
	})
}

func TestDueKeepsToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		for i := range 7 {
			tp.says(call.TypeInitiated, ref(i))
			r := ref(i)
			r.Session = call.SessionID(fmt.Sprint("other-", i))
			tp.says(call.TypeInitiated, r)
		}
		pass(rules.SweepAfter)
		seen := make(map[string]bool)
		for _, want := range []int{3, 3, 3, 3, 2, 0} {
			checks, wait, _ := tp.table.Due(3)
			if len(checks) != want {
				t.Fatalf("%d checks; want %d", len(checks), want)
			}
			if len(seen)+want < 14 && wait != 0 {
				t.Errorf("the next call is due in %v although more is due", wait)
			}
			for _, c := range checks {
				if seen[c.ID()] {
					t.Errorf("%s twice", c.ID())
				}
				seen[c.ID()] = true
			}
		}
	})
}

func TestALaggingReplicaFindsEverythingDueLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.table.SetLag(2 * time.Second)
		start := time.Now()
		tp.says(call.TypeInitiated, ref(0))
		all := tp.run(start.Add(10*time.Minute), nil)
		if len(all) != 1 || all[0].at.Sub(start) != rules.SweepAfter+2*time.Second {
			t.Errorf("checks %v; want one after %v", all, rules.SweepAfter+2*time.Second)
		}
	})
}

func TestTheScheduleSaysWhenSomethingBecomesDueEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		_, wait, _ := tp.table.Due(10)
		for len(tp.table.ScheduleChanged()) > 0 {
			<-tp.table.ScheduleChanged()
		}
		tp.says(call.TypeHangup, ref(0))
		select {
		case <-tp.table.ScheduleChanged():
		default:
			t.Error("it was not signalled")
		}
		if _, sooner, _ := tp.table.Due(10); sooner >= wait || sooner != rules.SessionSettle {
			t.Errorf("next call in %v; before in %v", sooner, wait)
		}
	})
}

func TestASessionIsForgottenOnlyWhenNobodyNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, ended)
		known := func() bool { _, ok := tp.table.View("s"); return ok }
		tp.run(end.Add(10*time.Minute), nil)
		tp.says(call.TypeCost, ref(0))
		late := time.Now()
		tp.run(late.Add(rules.AmendWindow), nil)
		if !known() {
			t.Error("forgotten within the amend window of its last entry")
		}
		tp.table.SetFloor(tp.last() - 1)
		tp.run(time.Now().Add(time.Hour), nil)
		if !known() {
			t.Error("forgotten while a task of it was with a worker")
		}
		if got := tp.table.Needed(); got != 1 {
			t.Errorf("the log is needed from %d; want 1", got)
		}
		tp.table.SetFloor(tp.last())
		tp.run(time.Now().Add(6*time.Second), nil)
		if known() || tp.table.Stats() != (session.Stats{}) {
			t.Errorf("still known, %+v", tp.table.Stats())
		}
		if got, want := tp.table.Needed(), tp.last()+1; got != want {
			t.Errorf("the log is needed from %d; want %d", got, want)
		}
		for _, r := range []call.Ref{{Leg: ref(0).Leg}, {Control: ref(0).Control}, {Session: "s"}} {
			if p := tp.table.Place(r); p.Session != "" || !p.Idle {
				t.Errorf("%v still leads to %+v", r, p)
			}
		}
		// What comes now is of a new session, whole in itself.
		tp.says(call.TypeRecordingSaved, ref(0))
		if l := tp.leg(ref(0)); len(l.Events) != 1 || l.Ending != session.NotOver || l.Initiated {
			t.Errorf("a late event after that: %+v", l)
		}
	})
}

func TestTheFloorOfAnotherLogIsNotBelieved(t *testing.T) {
	tp := newTape(t)
	tp.probe()
	tp.table.SetFloor(1000)
	if got := tp.table.Floor(); got != 1 {
		t.Errorf("floor %d; want no more than the position", got)
	}
}

func TestTheScheduleOfASessionIsWhatBecomesDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newRepairTape(t)
		if plan := tp.table.Schedule("s"); plan != nil {
			t.Errorf("a session that nobody knows has the plan %v", plan)
		}
		tp.says(call.TypeInitiated, ref(0))
		pass(time.Minute)
		tp.says(call.TypeInitiated, ref(1))
		tp.hangsUp(ref(1), "normal_clearing", "200") // it was answered, which no event says
		tp.answer(ref(1), unreachable(1))
		kinds := make(map[session.CheckKind]int)
		for range 40 {
			plan := tp.table.Schedule("s")
			if len(plan) == 0 {
				break
			}
			again := tp.table.Schedule("s")
			if diff := gocmp.Diff(plan, again); diff != "" {
				t.Fatalf("a look at the plan changes it:\n%s", diff)
			}
			for i := 1; i < len(plan); i++ {
				if plan[i].Due.Before(plan[i-1].Due) {
					t.Errorf("the plan is not in order: %v", plan)
				}
			}
			all := tp.run(plan[0].Due.Add(time.Millisecond), nil)
			if len(all) == 0 {
				t.Fatalf("nothing became due; planned was %v", plan[0])
			}
			if diff := gocmp.Diff(plan[0].Check, all[0].Check); diff != "" || all[0].at.Sub(plan[0].Due).Abs() > time.Millisecond {
				t.Errorf("due at %v, planned for %v (-plan +due):\n%s", all[0].at, plan[0].Due, diff)
			}
			kinds[all[0].Kind]++
		}
		if kinds[session.CheckStatus] == 0 || kinds[session.CheckBackfill] == 0 {
			t.Errorf("of all kinds only %v became due", kinds)
		}
	})
}

// finish records a call of one leg that is over, confirmed, settled and published, and says that the queue is through.
func (tp *tape) finish(r call.Ref) {
	tp.says(call.TypeInitiated, r)
	tp.says(call.TypeHangup, r)
	tp.answer(r, ended(1))
	tp.check(session.Check{Kind: session.CheckSettle, Session: r.Session, Upto: tp.last()})
	tp.table.Published(r.Session, r.Leg, 1)
	tp.table.Published(r.Session, "", 1)
	tp.table.SetFloor(tp.last())
}

func TestASessionThatWasOpenedIsNotPackedBeforeWhoeverOpenedItHasSeenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.finish(ref(0))
		tp.run(time.Now().Add(2*time.Minute), nil)
		if n := tp.table.Packed(); n != 1 {
			t.Fatalf("%d sessions are packed after two minutes", n)
		}
		tp.view("s")
		tp.due() // as it may run between the opening and what that was for
		if n := tp.table.Packed(); n != 0 {
			t.Error("a session is packed in the moment in which it was opened")
		}
		tp.run(time.Now().Add(2*time.Minute), nil)
		if n := tp.table.Packed(); n != 1 {
			t.Errorf("%d sessions are packed two minutes after somebody has looked", n)
		}
	})
}

func TestASessionThatIsPackedAgainKeepsNoOtherFromBeingForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		start, other := time.Now(), call.Ref{Session: "other", Leg: "l", Control: "v3:l"}
		for _, r := range []call.Ref{{Session: "first", Leg: "f", Control: "v3:f"}, ref(0), other} {
			tp.finish(r)
			pass(time.Second)
		}
		late := rules.AmendWindow - 2*time.Minute
		tp.run(start.Add(late), nil)
		tp.says(call.TypeCost, ref(0))
		tp.run(start.Add(late+rules.SessionSettle), nil)
		tp.table.SetFloor(tp.last())
		tp.run(start.Add(late+90*time.Second), nil)
		if n := tp.table.Packed(); n != 3 {
			t.Fatalf("%d sessions are packed", n)
		}
		tp.run(start.Add(rules.AmendWindow+3*time.Second), nil)
		if _, ok := tp.table.View(other.Session); ok {
			t.Error("a session is still known after its amend window, as long as one is that was packed before it")
		}
		if _, ok := tp.table.View("s"); !ok {
			t.Error("a session of which something came late is not known any more")
		}
		tp.run(start.Add(late+rules.AmendWindow+time.Minute), nil)
		if st := tp.table.Stats(); st.Sessions != 0 {
			t.Errorf("in the end the table holds %+v", st)
		}
	})
}

package session_test

import (
	"fmt"
	"runtime"
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
			Control: ref(0).Control, Connection: ref(0).Connection, Attempt: 1, Life: 1,
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
			t.Fatalf("due %v, next look in %v; want the first leg, and the other in 2 s", first, wait)
		}
		tp.says("conference.floor.changed", call.Ref{Session: "s"}) // news of the session change nothing
		if again := tp.due(); len(again) != 0 {
			t.Errorf("handed out again at once: %v", again)
		}
		pass(2 * time.Second)
		second, wait, _ := tp.table.Due(10)
		if len(second) != 1 || second[0].Leg != ref(1).Leg || wait != 3*time.Second {
			t.Fatalf("due %v, next look in %v; want the other leg, and a look in 3 s", second, wait)
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
				t.Errorf("the next look is in %v although more is due", wait)
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

func TestTheAgendaTellsWhenSomethingBecomesDueEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		_, wait, _ := tp.table.Due(10)
		for len(tp.table.AgendaChanged()) > 0 {
			<-tp.table.AgendaChanged()
		}
		tp.says(call.TypeHangup, ref(0))
		select {
		case <-tp.table.AgendaChanged():
		default:
			t.Error("nobody was told")
		}
		if _, sooner, _ := tp.table.Due(10); sooner >= wait || sooner != rules.SessionSettle {
			t.Errorf("next look in %v; before in %v", sooner, wait)
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

func TestALegGoesByNoControlIDAfterItWasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		// The delivery that stands does not name the control id that a later one named.
		ev := call.Event{ID: "x", Type: call.TypeHangup, Ref: call.Ref{Session: "s", Leg: ref(0).Leg}}
		tp.event(ev)
		ev.Ref.Control = "v3:named"
		tp.event(ev)
		ev.Ref.Control = "v3:also"
		tp.event(ev)
		tp.answer(ref(0), ended(1))
		tp.run(time.Now().Add(time.Minute), nil)
		tp.table.SetFloor(tp.last())
		tp.run(time.Now().Add(time.Hour), nil)
		for _, c := range []call.ControlID{"v3:named", "v3:also"} {
			tp.says(call.TypeCost, call.Ref{Control: c})
		}
		if got := tp.table.Stats(); got != (session.Stats{Orphans: 2}) {
			t.Errorf("%+v; want two orphans and nothing else", got)
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

func TestOrphansLeaveWithTheAmendWindowAndAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.probe()
		for i := range 3 {
			tp.says(call.TypeAnswered, call.Ref{Control: ref(i).Control})
			tp.says(call.TypeHangup, call.Ref{Leg: ref(i).Leg})
		}
		tp.fold(tp.log[1]) // a redelivery is no other event
		if got := tp.table.Needed(); got != 2 {
			t.Errorf("the log is needed from %d; want from the first orphan on", got)
		}
		pass(rules.AmendWindow)
		tp.says(call.TypeInitiated, ref(0))
		if got := tp.table.Stats(); got != (session.Stats{Sessions: 1, Legs: 1, Orphans: 4}) {
			t.Errorf("at the end of the window: %+v", got)
		}
		pass(time.Second)
		tp.says(call.TypeInitiated, ref(1))
		if l := tp.leg(ref(1)); len(l.Events) != 1 {
			t.Errorf("%d events; want none adopted after the window", len(l.Events))
		}
		if got := tp.table.Needed(); got != 2 {
			t.Errorf("the log is needed from %d; want from the orphan on that was adopted", got)
		}
		pass(2 * time.Minute)
		_, _, lost := tp.table.Due(1)
		if lost != 4 || tp.table.Stats().Orphans != 0 {
			t.Errorf("%d lost and %d left; want 4 and none", lost, tp.table.Stats().Orphans)
		}
		if _, _, again := tp.table.Due(1); again != 0 {
			t.Errorf("%d counted again", again)
		}
	})
}

func TestAReplayAdoptsTheOrphansThatWereAdopted(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"adopted in time": rules.AmendWindow - time.Second, "too late": rules.AmendWindow + time.Second,
		"when they had long been forgotten": 2 * rules.AmendWindow,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.says(call.TypeHangup, call.Ref{Control: ref(0).Control})
				tp.run(time.Now().Add(after), nil)
				tp.says(call.TypeInitiated, ref(0))
				want, _ := contentOf(tp.table, "s")
				got, _ := contentOf(tp.replay(), "s")
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("(-live +replayed):\n%s", diff)
				}
				if over := want.OpenLegs == 0; over != (after < rules.AmendWindow) {
					t.Errorf("over is %t", over)
				}
			})
		})
	}
}

// TestForgottenSessionsLeaveNothingBehind has thousands of calls come and go
// while one stays, and looks at what is left.
func TestForgottenSessionsLeaveNothingBehind(t *testing.T) {
	const calls = 5000
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, call.Ref{Session: "stays", Leg: "stays"}) // the oldest of all, and no control id: nothing is due
		round := func(n int) {
			for i := range calls {
				r := call.Ref{
					Session: call.SessionID(fmt.Sprintf("session-%d-%d", n, i)), Leg: call.LegID(fmt.Sprintf("leg-%d-%d", n, i)),
					Control: call.ControlID(fmt.Sprintf("v3:%d-%d", n, i)),
				}
				tp.says(call.TypeHangup, call.Ref{Control: r.Control}) // an orphan first
				tp.says(call.TypeInitiated, r)
				tp.answer(r, ended(1))
			}
			tp.run(time.Now().Add(10*time.Second), nil)
			tp.table.SetFloor(tp.last())
			tp.before, tp.log, tp.events, tp.changed = tp.last(), nil, nil, nil
			pass(rules.AmendWindow + 2*time.Minute)
			for {
				checks, wait, _ := tp.table.Due(100)
				if len(checks) == 0 && wait > 0 {
					break
				}
			}
			if got := tp.table.Stats(); got != (session.Stats{Sessions: 1, Legs: 1, OpenLegs: 1}) {
				t.Fatalf("left: %+v", got)
			}
		}
		round(0)
		before := heap()
		for n := range 4 {
			round(n + 1)
		}
		// 20,000 sessions of some 2 KiB would be 40 MB.
		grown := int64(heap()) - int64(before)
		if grown > 2<<20 {
			t.Errorf("%d bytes are still held", grown)
		}
		if got := tp.table.Needed(); got != 1 {
			t.Errorf("the log is needed from %d; want 1", got)
		}
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

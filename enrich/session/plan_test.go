package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

func TestThePlanOfASessionIsWhatBecomesDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newRepairTape(t)
		if plan := tp.table.Plan("s"); plan != nil {
			t.Errorf("a session that nobody knows has the plan %v", plan)
		}
		tp.says(call.TypeInitiated, ref(0))
		pass(time.Minute)
		tp.says(call.TypeInitiated, ref(1))
		tp.hangsUp(ref(1), "normal_clearing", "200") // it was answered, and nobody told of that
		tp.answer(ref(1), unreachable(1))
		kinds := make(map[session.CheckKind]int)
		for range 40 {
			plan := tp.table.Plan("s")
			if len(plan) == 0 {
				break
			}
			again := tp.table.Plan("s")
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
		if kinds[session.CheckStatus] == 0 || kinds[session.CheckRepair] == 0 {
			t.Errorf("of all kinds only %v became due", kinds)
		}
	})
}

package session_test

import (
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

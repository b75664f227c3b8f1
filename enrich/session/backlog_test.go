package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

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
		time.Sleep(300 * time.Millisecond)
		within := tp.says(call.TypeAnswered, ref(0))
		time.Sleep(10 * time.Second)
		later := tp.says(call.TypeHangup, ref(0))
		time.Sleep(5 * time.Second)
		age("nothing is done", 15300*time.Millisecond)
		tp.table.SetFloor(within - 1)
		age("one of a second is done, not the other", 15300*time.Millisecond)
		tp.table.SetFloor(within)
		age("all but the last are done", 5*time.Second)
		tp.table.SetFloor(later)
		age("all are done", 0)
		tp.fold(call.Entry{Topic: call.TopicHeartbeat})
		tp.backfilled(ref(0), session.Backfill{})
		time.Sleep(time.Minute)
		age("what the queue does not hand out", 0)
		tp.check(session.Check{Kind: session.CheckStatus, Session: "s", Leg: ref(0).Leg, Attempt: 1})
		time.Sleep(time.Second)
		age("a check", time.Second)
		tp.table.Restart(call.Log{ID: "second epoch", First: 1})
		age("another log", 0)
	})
}

func TestOpenIsWhatIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		want := func(when string, want session.Open) {
			t.Helper()
			if diff := cmp.Diff(want, tp.table.Open()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		want("nothing", session.Open{})
		other := call.Ref{Session: "t", Leg: "of t", Control: "c of t"}
		tp.says(call.TypeInitiated, ref(0))
		time.Sleep(time.Minute)
		tp.says(call.TypeInitiated, other)
		time.Sleep(time.Minute)
		tp.says(call.TypeAnswered, ref(0)) // makes it no younger
		want("two legs", session.Open{Sessions: 2, Oldest: 2 * time.Minute})
		tp.says(call.TypeHangup, ref(0))
		want("one has hung up and is not quiet yet", session.Open{Sessions: 2, Oldest: time.Minute})
		tp.run(time.Now().Add(rules.SessionSettle), nil)
		want("its session is over", session.Open{Sessions: 1, Oldest: time.Minute + rules.SessionSettle})
		tp.says(call.TypeHangup, other)
		tp.run(time.Now().Add(rules.SessionSettle), nil)
		want("all is over", session.Open{})
	})
}

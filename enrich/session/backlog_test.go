package session_test

import (
	"testing"
	"testing/synctest"
	"time"

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

package enrich_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// What the queue has not done is not trimmed, also where the fold has no use for it.
func TestTheLogIsNotTrimmedAboveTheQueuesFloor(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		nobody := &replica{}
		waits := w.log.store(call.Entry{Topic: call.TopicEvent + call.TypeHangup, ID: "bad", Ref: call.Ref{Session: "s0"}, Data: []byte("{")}).Seq
		w.queue.routed(func(e call.Entry) *replica {
			if e.Seq == waits {
				return nobody
			}
			return nil
		})
		w.lives(newLeg("s1", 1))
		after(2 * time.Hour)
		if w.log.first > waits {
			t.Errorf("the log begins at %d, and the task %d waits", w.log.first, waits)
		}
		w.queue.routed(nil)
		after(10 * time.Minute)
		if w.log.first <= waits {
			t.Errorf("the log begins at %d, and the task %d is done", w.log.first, waits)
		}
		if len(w.parking.parked) != 1 {
			t.Errorf("%d entries are parked", len(w.parking.parked))
		}
	})
}

// A replica that is behind by less than the margin does not notice the trimming of another.
func TestTheLastMinutesAreNotTrimmed(t *testing.T) {
	const margin = 3 * time.Minute
	inWorld(t, 1, func(w *world) {
		w.lives(newLeg("s1", 1))
		after(time.Hour)
		for range 40 {
			after(7 * time.Second)
			entries := w.log.all()
			switch age := time.Since(entries[0].ReceivedAt); {
			case age < margin-5*time.Second: // an entry comes every five seconds
				t.Fatalf("the oldest entry is %v old", age)
			case age > margin+time.Minute:
				t.Fatalf("the oldest entry is %v old, and nobody needs it", age)
			}
		}
	})
}

func TestTheLogIsNotTrimmedAboveWhatAnotherReaderNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		var needed atomic.Uint64 // 0: nobody can tell
		w.needed = func(context.Context) (uint64, error) {
			if n := needed.Load(); n > 0 {
				return n, nil
			}
			return 0, errors.New("not known yet")
		}
		w.start()
		w.lives(newLeg("s1", 1))
		after(time.Hour)
		if w.log.first != 1 {
			t.Errorf("the log begins at %d, and nobody knows what is needed", w.log.first)
		}
		needed.Store(3)
		after(time.Minute)
		if w.log.first != 3 {
			t.Errorf("the log begins at %d, want 3, which is needed", w.log.first)
		}
		needed.Store(math.MaxUint64)
		after(time.Minute)
		if w.log.first <= 3 {
			t.Errorf("the log begins at %d, and nothing of it is needed", w.log.first)
		}
	})
}

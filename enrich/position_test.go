package enrich_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/call"
)

// The log ends below what it held, as after a failure of its disk: no fold will
// soon pass the position of what was published, and what was known then is known no more.
func TestASummaryWhosePositionTheLogHasLostIsMergedWith(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		for range 200 {
			w.log.store(call.Entry{Topic: call.TopicProbe})
		}
		w.deliver(a.answered())
		after(time.Second)
		w.deliver(a.hangup())
		after(20 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		stood := w.sink.of(a.key())[0].Position.Seq

		w.shrink(1)
		after(time.Second)
		again := w.deliver(a.hangup()).Seq
		after(30 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		if w.queue.deliveries(again) == -1 {
			t.Error("the hangup was done before anything is known about the stored summary")
		}
		after(time.Minute)
		if folded := w.replicas[0].worker.Table().Position(); folded >= stood {
			t.Fatalf("the fold is at %d and has passed the stored position %d: nothing was tested", folded, stood)
		}
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are not done", open)
		}
		// That it was answered is in the stored summary alone.
		if got := w.legOf(a); got.Outcome != summary.OutcomeAnswered || got.AnsweredAt == nil || len(got.Events) != 3 {
			t.Errorf("got %+v", got)
		}
		w.consistent()
	})
}

// shrink takes from the log what comes after an entry. The queue goes back with it.
func (w *world) shrink(last uint64) {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	w.log.entries = w.log.entries[:last-w.log.first+1]
	for id, e := range w.log.known {
		if e.Seq > last {
			delete(w.log.known, id)
		}
	}
	for _, seq := range append([]uint64(nil), w.queue.order...) {
		if seq > last {
			w.queue.end(seq)
		}
	}
	w.queue.next = min(w.queue.next, last+1)
	for _, r := range w.replicas {
		r.replay()
	}
}

// A task is let go by what the fold knew, and before the worker looks the
// table is empty again, or knows the half of it.
func TestATaskThatTheFoldHasPassedAndLostAgainIsNotDone(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		r := w.replicas[0]
		var legs []leg
		for i := range 60 {
			a := newLeg(fmt.Sprintf("s%d", i), 1)
			legs = append(legs, a)
			w.deliver(a.initiated())
			w.deliver(a.answered())
		}
		after(time.Second)
		replayed := make(map[uint64]bool)
		r.folds(func(e call.Entry) {
			if e.Topic == call.TopicEvent+call.TypeHangup && !replayed[e.Seq] {
				replayed[e.Seq] = true
				r.replay() // as soon as it is folded
			}
		})
		for _, a := range legs {
			w.deliver(a.hangup())
			synctest.Wait()
		}
		r.folds(nil)
		w.settled()
		if len(replayed) != len(legs) {
			t.Errorf("%d replays of %d", len(replayed), len(legs))
		}
		for _, a := range legs {
			w.wantRevisions(a.key(), "1 completed")
			w.wantRevisions(a.sessionKey(), "1 completed")
		}
	})
}

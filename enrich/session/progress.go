package session

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// progress is how far the log is folded, and who waits for it to be folded further.
type progress struct {
	position atomic.Uint64
	caughtUp atomic.Bool

	// What follows is guarded by the table's lock. log is the one that is folded, as it was at the start.
	log call.Log
	// began is when the first entry was received, latest the latest timestamp folded.
	began, latest time.Time
	waiting       []waiter
	// restarts is closed by the next restart, catchesUp when the replay is through; caughtUpAt is when that was, by
	// this machine.
	restarts, catchesUp chan struct{}
	caughtUpAt          time.Time
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

func newProgress() progress {
	return progress{log: call.Log{First: 1}, restarts: make(chan struct{}), catchesUp: make(chan struct{})}
}

func (p *progress) restart(log call.Log) {
	p.log, p.began, p.latest = log, time.Time{}, time.Time{}
	p.reach(log.First - 1)
	if p.caughtUp.Swap(false) {
		p.catchesUp = make(chan struct{})
	}
	close(p.restarts)
	p.restarts = make(chan struct{})
}

// begin notes the first entry.
func (p *progress) begin(e *call.Entry) {
	if p.began.IsZero() {
		p.began = e.ReceivedAt
	}
}

// advance notes that an entry is folded.
func (p *progress) advance(e *call.Entry) {
	p.begin(e)
	p.latest = later(p.latest, e.ReceivedAt)
	p.reach(e.Seq)
}

// reach wakes those who wait for a position that is reached.
func (p *progress) reach(seq uint64) {
	p.position.Store(seq)
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		if w.seq > seq {
			return false
		}
		close(w.done)
		return true
	})
}

func (p *progress) catchUp(now time.Time) {
	p.caughtUpAt = now
	p.caughtUp.Store(true)
	close(p.catchesUp)
}

// wait returns when the entry at seq is folded, or with the error of ctx. mu is the table's lock.
func (p *progress) wait(ctx context.Context, mu sync.Locker, seq uint64) error {
	if p.position.Load() >= seq {
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	mu.Lock()
	p.waiting = append(p.waiting, w)
	p.reach(p.position.Load()) // it can be folded by now
	mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		mu.Lock()
		p.waiting = slices.DeleteFunc(p.waiting, func(other waiter) bool { return other.done == w.done })
		mu.Unlock()
		return fmt.Errorf("wait for entry %d to be folded: %w", seq, ctx.Err())
	}
}

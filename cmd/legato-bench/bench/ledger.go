package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Ledger tells which legs and sessions were completed, and when. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	pending map[string]bool      // legs and sessions that have no summary yet
	seen    map[string]time.Time // those that have
	doubled int
	done    chan struct{} // closed when nothing is pending
}

// Expect begins to wait for the summaries of all legs and sessions of a workload.
// What was completed before is forgotten.
func (l *Ledger) Expect(w *Workload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending, l.seen = make(map[string]bool, len(w.Legs)+len(w.Sessions)), map[string]time.Time{}
	l.done = make(chan struct{})
	l.expect(w)
}

// ExpectToo waits for those of one more workload.
func (l *Ledger) ExpectToo(w *Workload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		l.done = make(chan struct{}) // That of the workloads before is closed.
	}
	l.expect(w)
}

func (l *Ledger) expect(w *Workload) {
	for _, leg := range w.Legs {
		l.pending[string(leg.Ref.Leg)] = true
	}
	for _, id := range w.Sessions {
		l.pending[string(id)] = true
	}
}

// Completed takes the first summary of a leg or session.
func (l *Ledger) Completed(id string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		return // nothing was expected yet
	}
	if _, twice := l.seen[id]; twice {
		l.doubled++
		return
	}
	l.seen[id] = at
	if !l.pending[id] {
		return // a late one of an earlier workload
	}
	if delete(l.pending, id); len(l.pending) == 0 {
		close(l.done)
	}
}

// Wait waits until everything expected is there. It fails when that does not
// happen within the patience, and when something came twice.
func (l *Ledger) Wait(ctx context.Context, patience time.Duration) error {
	l.mu.Lock()
	done := l.done
	l.mu.Unlock()
	select {
	case <-done:
	case <-time.After(patience):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) > 0 {
		return fmt.Errorf("%d legs and sessions have no summary %v after the last webhook", len(l.pending), patience)
	}
	if l.doubled > 0 {
		return fmt.Errorf("%d summaries were published as completed more than once", l.doubled)
	}
	return nil
}

// At returns when a leg or session was completed; zero: it was not.
func (l *Ledger) At(id string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[id]
}

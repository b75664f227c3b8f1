package ingest

import (
	"context"
	"sync"
)

// drain counts the webhooks whose handler runs, and once it is closed lets no more in. It exists beside
// http.Server's own shutdown because that one hangs up on whatever comes late, and a sender deserves its 503.
type drain struct {
	mu      sync.Mutex
	running int
	closed  bool
	empty   chan struct{}
}

func newDrain() *drain { return &drain{empty: make(chan struct{})} }

// enter counts one in and reports whether it may run.
func (d *drain) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.running++
	return true
}

// leave counts out one that entered.
func (d *drain) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
	if d.closed && d.running == 0 {
		close(d.empty)
	}
}

// close lets nobody in any more. It may be called again.
func (d *drain) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed && d.running == 0 {
		close(d.empty)
	}
	d.closed = true
}

// isClosed reports whether close was called.
func (d *drain) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// wait returns when the last one is out of a closed drain, or with ctx's error.
func (d *drain) wait(ctx context.Context) error {
	select {
	case <-d.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

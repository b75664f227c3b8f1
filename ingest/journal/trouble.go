package journal

import (
	"sync"
	"time"
)

// Trouble is what keeps the log from being followed, or its queue from being worked.
type Trouble struct {
	// Since is when it began. Zero: all is well.
	Since time.Time
	// Err is the newest cause.
	Err error
}

// Health keeps the newest cause of a failure that lasts. The zero value is well.
type Health struct {
	mu sync.Mutex
	Trouble
}

// Note takes the cause of a failure.
func (t *Health) Note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Since.IsZero() {
		t.Since = time.Now()
	}
	t.Err = err
}

// Clear says that all is well.
func (t *Health) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Trouble = Trouble{}
}

// State tells how it is.
func (t *Health) State() Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Trouble
}

// Following tells what keeps the log from being followed.
func (a *Appender) Following() Trouble { return a.Follows.State() }

// Working tells what keeps the queue from being worked.
func (a *Appender) Working() Trouble { return a.Works.State() }

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

// trouble keeps the newest cause of a failure that lasts.
type trouble struct {
	mu sync.Mutex
	Trouble
}

func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Since.IsZero() {
		t.Since = time.Now()
	}
	t.Err = err
}

func (t *trouble) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Trouble = Trouble{}
}

func (t *trouble) state() Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Trouble
}

// Following tells what keeps the log from being followed.
func (j *Journal) Following() Trouble { return j.following.state() }

// Working tells what keeps the queue from being worked.
func (j *Journal) Working() Trouble {
	if t := j.paused.state(); t.Err != nil {
		return t
	}
	return j.working.state()
}

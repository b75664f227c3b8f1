package load

import (
	"sync"
	"time"
)

// Progress tells how far a loader is.
type Progress struct {
	// Loaded counts the messages that are in the warehouse and acknowledged, Applied the rows that they changed there, and
	// Rejected those of them that were set aside.
	Loaded, Applied, Rejected int64
	// Pending is how many messages are still to be loaded, as the last one told.
	Pending uint64
	// CaughtUp is when Pending was first 0. Zero: it has not been yet.
	CaughtUp time.Time
	// Stored is when the newest message that was loaded had been stored.
	Stored time.Time
	// LastBatch is when the target last took a batch, or was found with nothing to do.
	LastBatch time.Time
	// Failure is why nothing is loaded. Nil: nothing fails.
	Failure error
}

// state is what a loader tells of itself.
type state struct {
	mu       sync.Mutex
	progress Progress
	failure  error
	failures int64
	batches  int64
	seconds  float64
}

// Progress returns how far the loader is.
func (l *Loader) Progress() Progress {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	p := l.state.progress
	p.Failure = l.state.failure
	return p
}

func (s *state) opened(pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = nil
	s.progress.Pending = pending
	s.catchUp()
}

func (s *state) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	s.failures++
}

// idle notes that there is nothing to load.
func (s *state) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.LastBatch = time.Now()
}

func (s *state) loaded(c *commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.progress
	p.Loaded += int64(len(c.replies))
	p.Applied += int64(c.applied)
	p.Rejected += int64(c.rejected)
	p.Pending = c.last.pending
	p.Stored, p.LastBatch = c.last.stored, time.Now()
	s.batches++
	s.seconds += c.took.Seconds()
	s.catchUp()
}

func (s *state) catchUp() {
	if s.progress.Pending == 0 && s.progress.CaughtUp.IsZero() {
		s.progress.CaughtUp = time.Now()
	}
}

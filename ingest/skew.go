package ingest

import (
	"sync"
	"time"
)

// skew remembers the last webhook that was refused for its timestamp.
type skew struct {
	mu  sync.Mutex
	at  time.Time
	age time.Duration
}

func (s *skew) note(now time.Time, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.age = now, age
}

// skewTold is how long a refusal is worth telling about: a clock that is wrong refuses every webhook.
const skewTold = time.Minute

// Skew says how far the timestamp of a genuine webhook was from this machine's
// clock, when one was refused for that within the last minute; empty: none was.
func (s *Server) Skew() string {
	s.skew.mu.Lock()
	defer s.skew.mu.Unlock()
	// A clock that was set back since has been seen to.
	if since := s.now().Sub(s.skew.at); s.skew.at.IsZero() || since < 0 || since > skewTold {
		return ""
	}
	return signedAt(s.skew.age)
}

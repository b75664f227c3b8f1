package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// backlog is what the queue is not through with: when those entries were received, by the second, and which of them
// could not be folded.
type backlog struct {
	// floor is up to where the queue needs no more work.
	floor     uint64
	stretches []stretch
	unusable  map[uint64]error
}

// stretch are entries that were received within a second.
type stretch struct {
	last uint64 // the sequence of its last one
	at   time.Time
}

func newBacklog() backlog { return backlog{unusable: make(map[uint64]error)} }

// note takes the next entry; err is why it could not be folded.
func (b *backlog) note(e *call.Entry, err error) {
	if err != nil {
		b.unusable[e.Seq] = err
	}
	// What the log keeps for its readers alone is nobody's task.
	if e.Topic == call.TopicHeartbeat || e.Topic == call.TopicBackfill {
		return
	}
	if n := len(b.stretches); n > 0 && e.ReceivedAt.Sub(b.stretches[n-1].at) < time.Second {
		b.stretches[n-1].last = e.Seq
		return
	}
	b.stretches = append(b.stretches, stretch{e.Seq, e.ReceivedAt})
}

// raise forgets what lies at or below a sequence.
func (b *backlog) raise(floor uint64) {
	b.floor = max(b.floor, floor)
	i := slices.IndexFunc(b.stretches, func(s stretch) bool { return s.last > b.floor })
	if i < 0 {
		i = len(b.stretches)
	}
	b.stretches = slices.Delete(b.stretches, 0, i)
	for seq := range b.unusable {
		if seq <= b.floor {
			delete(b.unusable, seq)
		}
	}
}

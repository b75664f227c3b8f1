package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// backlog remembers when the entries were received that the queue hands out, by
// the second, so that it can be told how old the oldest is that nobody is through with.
type backlog []stretch

// stretch are entries that were received within a second.
type stretch struct {
	last uint64 // the sequence of its last one
	at   time.Time
}

// note takes the next entry.
func (b *backlog) note(e *call.Entry) {
	// What the log keeps for its readers alone is nobody's task.
	if e.Topic == call.TopicProbe || e.Topic == call.TopicRepair {
		return
	}
	if n := len(*b); n > 0 && e.ReceivedAt.Sub((*b)[n-1].at) < time.Second {
		(*b)[n-1].last = e.Seq
		return
	}
	*b = append(*b, stretch{e.Seq, e.ReceivedAt})
}

// through forgets what lies at or below a sequence.
func (b *backlog) through(floor uint64) {
	i := slices.IndexFunc(*b, func(s stretch) bool { return s.last > floor })
	if i < 0 {
		i = len(*b)
	}
	*b = slices.Delete(*b, 0, i)
}

// Open tells what of the table is not over.
type Open struct {
	// Sessions counts the sessions.
	Sessions int
	// Oldest is how long ago, on the log's clock, the first entry of the leg was received
	// that is open the longest; 0 when none is.
	Oldest time.Duration
}

// Open walks the table.
func (t *Table) Open() Open {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var o Open
	now := t.clock.now(time.Now())
	for _, s := range t.born.list {
		if s.forgotten {
			continue
		}
		if !s.over() {
			o.Sessions++
		}
		for _, l := range s.legs {
			if ending, _ := l.ending(); ending == NotOver {
				o.Oldest = max(o.Oldest, now.Sub(l.since))
			}
		}
	}
	return o
}

// Backlog returns how long ago, on the log's clock, the oldest entry was received
// that the queue is not through with, to a second; 0 when there is none.
func (t *Table) Backlog() time.Duration {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.backlog) == 0 {
		return 0
	}
	return max(t.clock.now(time.Now()).Sub(t.backlog[0].at), 0)
}

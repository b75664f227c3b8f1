package disk

import (
	"context"
	"slices"
	"sync"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// maxTail and maxTailBytes bound what is kept in memory for those who read; who lags further reads from the disk.
	maxTail, maxTailBytes = 16_384, 32 << 20
	// minSpare is how many entries are let go of before those that are left move to a place of their own.
	minSpare = 1024
)

// Who reads the log.
const (
	folding = iota
	working
	copying
	readers
)

// tail is the end of the log: its newest entries in memory, and who waits for what.
type tail struct {
	mu sync.Mutex
	// entries are the newest ones, contiguous up to last; bytes is the size of their bodies.
	entries []*call.Entry
	bytes   int
	first   uint64 // of the log
	last    uint64 // of the log
	folded  uint64
	// passed is up to where each has read.
	passed [readers]uint64
	// added is closed when entries come, moved when the fold has moved: who reads only what is folded is not woken before.
	added, moved chan struct{}
}

func newTail(first, last uint64) *tail {
	t := &tail{first: first, last: last, folded: first - 1, added: make(chan struct{}), moved: make(chan struct{})}
	for i := range t.passed {
		t.passed[i] = last
	}
	return t
}

// tell wakes who waits for a change.
func tell(changed *chan struct{}) {
	close(*changed)
	*changed = make(chan struct{})
}

// add appends entries that are durable.
func (t *tail) add(entries []*call.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range entries {
		t.bytes += len(e.Data)
		t.last = e.Seq
	}
	t.entries = append(t.entries, entries...)
	t.prune()
	tell(&t.added)
}

// prune lets go of what everybody has read, and of what is too much. What was handed out stays as it is.
func (t *tail) prune() {
	begin := t.last + 1 - uint64(len(t.entries))
	n := 0
	for n < len(t.entries) && (begin+uint64(n) <= slices.Min(t.passed[:]) || len(t.entries)-n > maxTail || t.bytes > maxTailBytes) {
		t.bytes -= len(t.entries[n].Data)
		n++
	}
	t.entries = t.entries[n:]
	switch {
	case len(t.entries) == 0:
		t.entries = nil
	case n >= minSpare:
		t.entries = slices.Clone(t.entries)
	}
}

// bounds returns the extent of the log, and how far it is folded.
func (t *tail) bounds() (first, last, folded uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first, t.last, t.folded
}

// fold notes how far the log is folded.
func (t *tail) fold(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.folded = seq
	tell(&t.moved)
}

// trim notes that the log begins later.
func (t *tail) trim(first uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first = first
}

// next returns what stands in memory from a sequence on, and none where that must be read from the disk. It waits until
// there is something for that reader; the queue reads only what is folded. Its error is that of ctx, or errWoken.
func (t *tail) next(ctx context.Context, who int, from uint64, wake <-chan struct{}) ([]*call.Entry, error) {
	for {
		t.mu.Lock()
		t.passed[who] = from - 1
		upto, changed := t.last, t.added
		if who == working {
			upto, changed = min(upto, t.folded), t.moved
		}
		if from <= upto {
			defer t.mu.Unlock()
			begin := t.last + 1 - uint64(len(t.entries))
			if from < begin {
				return nil, nil
			}
			return t.entries[from-begin : upto+1-begin : upto+1-begin], nil
		}
		t.mu.Unlock()
		select {
		case <-changed:
		case <-wake:
			return nil, errWoken
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

package enrich_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// duplicateWindow is how long the log refuses an id that it has stored.
const duplicateWindow = 2 * time.Minute

var errDown = errors.New("the server is out of reach")

// fakeLog is the log: it stores each id once within the window, numbers and
// stamps entries, and hands them to whoever follows.
type fakeLog struct {
	mu      sync.Mutex
	life    int
	first   uint64
	entries []call.Entry
	known   map[string]call.Entry
	changed chan struct{} // closed by the next change
	// untrimmed keeps everything, for tests that compare with all of it.
	untrimmed bool

	// need is what was last said to be needed, and scarce what that is answered.
	need   call.Need
	scarce bool
	// refuse is asked before an entry of a replica is stored. Nil: never.
	refuse func(r *replica, e call.Entry) error
}

func newFakeLog() *fakeLog {
	return &fakeLog{life: 1, first: 1, known: make(map[string]call.Entry), changed: make(chan struct{})}
}

// describe is the log's description. The lock is held.
func (l *fakeLog) describe() call.Log {
	return call.Log{ID: fmt.Sprintf("log-%d", l.life), First: l.first, Last: l.first + uint64(len(l.entries)) - 1}
}

func (l *fakeLog) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *fakeLog) store(e call.Entry) call.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UTC()
	if before, ok := l.known[e.ID]; ok && e.ID != "" && now.Sub(before.ReceivedAt) < duplicateWindow {
		return call.Receipt{Seq: before.Seq, Duplicate: true}
	}
	e.Seq, e.ReceivedAt = l.first+uint64(len(l.entries)), now
	l.entries = append(l.entries, e)
	if e.ID != "" {
		l.known[e.ID] = e
	}
	l.tell()
	return call.Receipt{Seq: e.Seq}
}

// recreate puts another log in the place of this one: empty, counting from 1.
func (l *fakeLog) recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life++
	l.first, l.entries, l.known = 1, nil, make(map[string]call.Entry)
	l.tell()
}

// refusing sets refuse.
func (l *fakeLog) refusing(refuse func(r *replica, e call.Entry) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
}

// all returns the entries that the log holds.
func (l *fakeLog) all() []call.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// read returns the entries at some places.
func (l *fakeLog) read(seqs []uint64) (entries []*call.Entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seq := range seqs {
		if seq < l.first || seq >= l.first+uint64(len(l.entries)) {
			return nil, fmt.Errorf("there is no entry %d", seq)
		}
		e := l.entries[seq-l.first]
		entries = append(entries, &e)
	}
	return entries, nil
}

// get returns the entry at seq, and a channel that is closed when something
// changes; ok is false when it is not there yet, and gone when it never will be.
func (l *fakeLog) get(life int, seq uint64) (e call.Entry, ok, gone bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case life != l.life, seq < l.first:
		return e, false, true, nil
	case seq < l.first+uint64(len(l.entries)):
		return l.entries[seq-l.first], true, false, nil
	}
	return e, false, false, l.changed
}

// follow folds the log into a replica's table until ctx ends.
func (l *fakeLog) follow(ctx context.Context, r *replica) {
	for ctx.Err() == nil {
		l.mu.Lock()
		log, life, kick := l.describe(), l.life, r.kick()
		r.worker.Table().Restart(log)
		var stands []*call.Entry
		for _, e := range l.entries {
			stands = append(stands, &e)
		}
		l.mu.Unlock()
		r.worker.Table().Skim(stands)
		wants := r.worker.Table().Skimmed()
		next := func(seq uint64) uint64 {
			for seq <= log.Last && wants != nil && !wants(seq) {
				seq++
			}
			return seq
		}
		for seq := next(log.First); l.fold(ctx, r, life, seq, kick); seq = next(seq + 1) {
		}
	}
}

// fold folds the next entry as soon as it is there; false when there is no next.
func (l *fakeLog) fold(ctx context.Context, r *replica, life int, seq uint64, kick <-chan struct{}) bool {
	for {
		e, ok, gone, changed := l.get(life, seq)
		if gone || ctx.Err() != nil {
			return false
		}
		if ok {
			select {
			case <-kick:
				return false
			default:
			}
			if !r.mayFold(ctx, e) {
				return false
			}
			r.worker.Table().Fold(e)
			return true
		}
		select {
		case <-changed:
		case <-kick:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// logOf is the log as one replica has it.
type logOf struct {
	*fakeLog
	r *replica
}

// Append implements enrich.Log.
func (l logOf) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	if err := l.r.alive(ctx); err != nil {
		return call.Receipt{}, err
	}
	l.mu.Lock()
	refuse := l.refuse
	l.mu.Unlock()
	if refuse != nil {
		if err := refuse(l.r, e); err != nil {
			return call.Receipt{}, err
		}
	}
	return l.store(e), nil
}

// State implements enrich.Log.
func (l logOf) State(ctx context.Context) (call.Log, error) {
	if err := l.r.alive(ctx); err != nil {
		return call.Log{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.describe(), nil
}

// Reserve implements enrich.Log.
func (l logOf) Reserve(n call.Need) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.need = n
	return l.scarce
}

// Trim implements enrich.Log.
func (l logOf) Trim(ctx context.Context, seq uint64) error {
	if err := l.r.alive(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.first && !l.untrimmed {
		n := min(seq-l.first, uint64(len(l.entries)))
		l.entries = slices.Clone(l.entries[n:])
		l.first += n
	}
	return nil
}

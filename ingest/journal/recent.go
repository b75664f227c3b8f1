package journal

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Recent remembers the ids that were stored lately, so that a redelivery costs no write.
//
// Two generations take turns: looking for ids that have expired among hundreds of thousands would stall every webhook,
// dropping a whole generation costs nothing. An id is remembered for one to two turns.
type Recent struct {
	mu        sync.Mutex
	now, last generation
	turned    time.Time
}

// generation is where ids are stored. It holds digests, in which the garbage collector has nothing to follow. They are
// of a cryptographic hash: two ids with one digest would cost a webhook.
type generation map[digest]uint64

type digest [16]byte

const (
	// RecentTurn is how long an id is remembered at least: Telnyx repeats a webhook within a minute (retries_ms add up to
	// at most 60 s). A stream knows an id for two minutes; the log on the disk has nothing else than this, and what it
	// takes twice is handed to applications twice. The fold sees the rest.
	RecentTurn = 2 * time.Minute
	// MaxRecent bounds a generation: measured, 35 bytes each, so 35 MB in all. At 10,000 events a second, with Legato's
	// own entries, it lasts 40 s.
	MaxRecent = 500_000
)

// NewRecent returns one that remembers nothing.
func NewRecent() *Recent {
	r := &Recent{}
	r.Forget()
	return r
}

func digestOf(id string) digest {
	var room [96]byte // on the stack, for all ids but absurd ones
	sum := sha256.Sum256(append(room[:0], id...))
	return digest(sum[:len(digest{})])
}

// Seq returns where the id is stored. The empty id is never known.
func (r *Recent) Seq(id string) (uint64, bool) {
	if id == "" {
		return 0, false
	}
	d := digestOf(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.turned) > 2*RecentTurn {
		// Where little is stored nothing turns them: what was said long ago can be said again.
		r.forget()
	}
	seq, ok := r.now[d]
	if !ok {
		seq, ok = r.last[d]
	}
	return seq, ok
}

// Stored remembers that the id stands at seq, which is 0 where the server did not say.
func (r *Recent) Stored(id string, seq uint64) {
	if id == "" {
		return
	}
	d := digestOf(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.turned) > RecentTurn || len(r.now) >= MaxRecent {
		r.last, r.now, r.turned = r.now, make(generation), time.Now()
	}
	r.now[d] = seq
}

// Seen remembers an entry that was read from the log, whoever has stored it:
// redeliveries reach any replica, also one that has just started.
func (r *Recent) Seen(e *call.Entry) {
	// What is older would only push out what may still come again.
	if time.Since(e.ReceivedAt) > 2*RecentTurn {
		return
	}
	if _, ok := r.Seq(e.ID); !ok {
		r.Stored(e.ID, e.Seq)
	}
}

// Forget drops everything: the log that these ids were in is another one now.
func (r *Recent) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

func (r *Recent) forget() { r.now, r.last, r.turned = make(generation), make(generation), time.Now() }

package journal

import (
	"strings"
	"sync"
	"time"

	"github.com/patrickmn/go-cache"

	"github.com/legato-calls/legato/internal/call"
)

// Recent remembers the ids that were stored lately, so that a redelivery costs no write.
//
// Two generations of go-cache take turns: a janitor that walks hundreds of
// thousands of items under the cache's lock would stall every webhook, dropping
// a whole generation costs nothing. An id is remembered for one to two turns.
type Recent struct {
	mu        sync.Mutex
	now, last *cache.Cache
	turned    time.Time
}

const (
	// recentTurn: Telnyx repeats a webhook within a minute (retries_ms add up to at most 60 s), so one to two turns
	// of 30 s see most redeliveries; the server's own window of two minutes and the fold see the rest.
	recentTurn = 30 * time.Second
	// maxRecent bounds a generation: measured, 130 bytes each, so 26 MB in all.
	maxRecent = 100_000
)

// NewRecent returns one that remembers nothing.
func NewRecent() *Recent {
	return &Recent{now: newGeneration(), last: newGeneration(), turned: time.Now()}
}

func newGeneration() *cache.Cache { return cache.New(cache.NoExpiration, 0) }

// Seq returns where the id is stored. The empty id is never known.
func (r *Recent) Seq(id string) (uint64, bool) {
	if id == "" {
		return 0, false
	}
	r.mu.Lock()
	if time.Since(r.turned) > 2*recentTurn {
		// Where little is stored nothing turns them: what was said long ago can be said again.
		r.now, r.last, r.turned = newGeneration(), newGeneration(), time.Now()
	}
	now, last := r.now, r.last
	r.mu.Unlock()
	v, ok := now.Get(id)
	if !ok {
		v, ok = last.Get(id)
	}
	if !ok {
		return 0, false
	}
	return v.(uint64), true
}

// Stored remembers that the id stands at seq, which is 0 where the server did not say.
func (r *Recent) Stored(id string, seq uint64) {
	if id == "" {
		return
	}
	r.mu.Lock()
	if time.Since(r.turned) > recentTurn || r.now.ItemCount() >= maxRecent {
		r.last, r.now, r.turned = r.now, newGeneration(), time.Now()
	}
	now := r.now
	r.mu.Unlock()
	now.SetDefault(id, seq)
}

// Seen remembers an entry that was read from the log, whoever has stored it:
// redeliveries reach any replica, also one that has just started.
func (r *Recent) Seen(e *call.Entry) {
	// What is older would only push out what may still come again.
	if time.Since(e.ReceivedAt) > 2*recentTurn {
		return
	}
	if _, ok := r.Seq(e.ID); !ok {
		r.Stored(strings.Clone(e.ID), e.Seq) // and not the entry with it
	}
}

// Forget drops everything: the log that these ids were in is another one now.
func (r *Recent) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.last, r.turned = newGeneration(), newGeneration(), time.Now()
}

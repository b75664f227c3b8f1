package session

import (
	"container/heap"
	"runtime"
	"slices"
	"sync"
)

// PackAll packs every session that can be, quiet or not, and returns how many.
func (t *Table) PackAll() (packed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.packAll()
}

// PackBefore does it when do waits to change the table, and returns when do has.
func (t *Table) PackBefore(do func()) (packed int) {
	var doing sync.WaitGroup
	t.mu.RLock()
	doing.Go(do)
	for t.mu.TryRLock() {
		t.mu.RUnlock()
		runtime.Gosched()
	}
	packed = t.packAll() // nobody else has the lock, or gets it
	t.mu.RUnlock()
	doing.Wait()
	return packed
}

func (t *Table) packAll() (packed int) {
	for _, s := range slices.Collect(t.fold.ids.all()) {
		if !t.fold.ids.pack(s, s.expires(t.cfg.Rules)) {
			continue
		}
		packed++
		if s.slot.place >= 0 {
			heap.Remove(&t.schedule.queue, s.slot.place)
		}
	}
	return packed
}

// Packed returns how many sessions are packed.
func (t *Table) Packed() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.fold.ids.packed.sessions
}

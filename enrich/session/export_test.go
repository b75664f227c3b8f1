package session

import (
	"container/heap"
	"slices"
)

// PackAll packs every session that can be, quiet or not, and returns how many.
func (t *Table) PackAll() (packed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
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

package session

import "time"

// Stats counts what the table holds.
type Stats struct {
	Sessions, Legs, OpenLegs, Orphans int
}

// Stats walks the table.
func (t *Table) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	st := Stats{Orphans: t.fold.ids.orphans.count()}
	for s := range t.fold.ids.all() {
		st.Sessions++
		st.Legs += len(s.legs)
		for _, l := range s.legs {
			if !l.over() {
				st.OpenLegs++
			}
		}
	}
	return st
}

// Open is what of the table is not over.
type Open struct {
	// Sessions counts the sessions.
	Sessions int
	// Oldest is how long ago, on the log's clock, the first entry of the leg was received that is open the longest; 0
	// when none is.
	Oldest time.Duration
}

// Open walks the table.
func (t *Table) Open() Open {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var o Open
	now := t.clock.now(time.Now())
	for s := range t.fold.ids.all() {
		if !s.over() {
			o.Sessions++
		}
		for _, l := range s.legs {
			if !l.over() {
				o.Oldest = max(o.Oldest, now.Sub(l.since))
			}
		}
	}
	return o
}

// Tally returns the tally.
func (t *Table) Tally() Tally {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.tally
}

// Backlog returns how long ago, on the log's clock, the oldest entry was received that the queue is not through with,
// to a second; 0 when there is none.
func (t *Table) Backlog() time.Duration {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.backlog.stretches) == 0 {
		return 0
	}
	return max(t.clock.now(time.Now()).Sub(t.backlog.stretches[0].at), 0)
}

package session

import "time"

// Stats is what the table holds.
type Stats struct {
	// Orphans are events whose call is not known.
	Sessions, Legs, Orphans int
	// OpenSessions and OpenLegs are not over.
	OpenSessions, OpenLegs int
	// Oldest is how long ago, on the log's clock, the first entry of the leg was received that is open the longest; 0
	// when none is.
	Oldest time.Duration
}

// Stats walks the table.
func (t *Table) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	st := Stats{Orphans: t.fold.ids.orphans.count()}
	now := t.clock.now(time.Now())
	for s := range t.fold.ids.all() {
		st.Sessions++
		st.Legs += len(s.legs)
		if !s.over() {
			st.OpenSessions++
		}
		for _, l := range s.legs {
			if l.open() {
				st.OpenLegs++
				st.Oldest = max(st.Oldest, now.Sub(l.since))
			}
		}
	}
	return st
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

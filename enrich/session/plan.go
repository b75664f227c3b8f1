package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Planned is a check that is to come, as far as is known now.
type Planned struct {
	Check
	// Due is when, on the log's clock. It can have passed: then nobody has acted on it yet.
	Due time.Time
}

// Plan returns the next check of each kind of a session and its legs, the soonest first; none
// when nothing is to come or the session is not known. It changes nothing, unlike Due.
func (t *Table) Plan(id call.SessionID) []Planned {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.known(id)
	if s == nil {
		return nil
	}
	var plan []Planned
	s.agenda(t.cfg.Rules, t.clock.now(time.Now()), func(c Check, at time.Time) {
		plan = append(plan, Planned{Check: c, Due: at.UTC()})
	})
	slices.SortStableFunc(plan, func(a, b Planned) int { return a.Due.Compare(b.Due) })
	return plan
}

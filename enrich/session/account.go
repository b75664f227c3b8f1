package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Accounts are what became of the legs that this table has seen end, since the
// log was last read from its beginning. Over is Completed and Pending together, at any moment: where it
// is not, a leg was forgotten whose summary nobody has seen.
//
// A leg counts when it is first over, and once; a late event may open it again. One whose
// call has left memory, and is brought back by a late event, counts again.
type Accounts struct {
	// Over counts the legs that were over; Completed those of them whose summary is known to be published.
	Over, Completed uint64
	// Pending are the legs in the table that were over and are not known to be completed.
	Pending int
}

// Accounts walks the table.
func (t *Table) Accounts() Accounts {
	t.mu.RLock()
	defer t.mu.RUnlock()
	a := Accounts{Over: t.over, Completed: t.completed}
	for _, s := range t.born.list {
		for _, l := range s.legs {
			if l.wasOver && !l.completed {
				a.Pending++
			}
		}
	}
	return a
}

// Complete tells that a leg's summary is published, whoever has done it. A leg
// that is not over yet, for all that is folded, counts when it is.
func (t *Table) Complete(sid call.SessionID, id call.LegID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.knownLeg(sid, id); l != nil {
		t.complete(l)
	}
}

func (t *Table) complete(l *leg) {
	if l.completed {
		return
	}
	l.completed = true
	if l.wasOver {
		t.completed++
	}
}

// untold reports whether the session has a leg that was over and is not known to be completed.
func (s *session) untold() bool {
	return slices.ContainsFunc(s.legs, func(l *leg) bool { return l.wasOver && !l.completed })
}

// account counts the legs of a session that are over for the first time.
func (t *Table) account(s *session) {
	for _, l := range s.legs {
		if l.wasOver {
			continue
		}
		if ending, _ := l.ending(); ending == NotOver {
			continue
		}
		l.wasOver = true
		t.over++
		if l.completed {
			t.completed++
		}
	}
}

// Life returns the identity of the log that is folded, and when its first entry
// was received; zero: it has none yet.
func (t *Table) Life() (log string, began time.Time) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.log.ID, t.began
}

package session

import "slices"

// Tally is what became of the legs that this table has seen end, since the log was last read from its beginning. Over
// is Completed and Pending together, at any moment: where it is not, a leg was forgotten whose summary nobody has
// seen.
//
// A leg counts when it is first over, and once; a late event may open it again. One whose call has left memory, and
// is brought back by a late event, counts again.
type Tally struct {
	// Over counts the legs that were over; Completed those of them whose summary is known to be published.
	Over, Completed uint64
	// Pending are the legs in the table that were over and are not known to be completed.
	Pending int
}

// tallied is as what a leg is counted.
type tallied uint8

const (
	notTallied tallied = iota
	talliedPending
	talliedCompleted
)

// count takes what became of the legs of a session since it was counted last.
func (t *Tally) count(s *session) {
	for _, l := range s.legs {
		if l.tallied == notTallied && l.over() {
			l.tallied = talliedPending
			t.Over++
			t.Pending++
		}
		if l.tallied == talliedPending && l.completed {
			l.tallied = talliedCompleted
			t.Completed++
			t.Pending--
		}
	}
}

// drop takes out a session that is forgotten.
func (t *Tally) drop(s *session) {
	for _, l := range s.legs {
		if l.tallied == talliedPending {
			t.Pending--
		}
	}
}

// pending reports whether the session has a leg that was over and is not known to be completed.
func (s *session) pending() bool {
	return slices.ContainsFunc(s.legs, func(l *leg) bool { return l.tallied == talliedPending })
}

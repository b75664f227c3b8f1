package session

import (
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Learn folds an entry of Legato's own that the log has no room for: a check, an answer or the outcome of a backfill,
// never an event. It says what the log and its clock say as well, or what is read back from the stored summary, so a
// table that did not learn it arrives at the same, later. It returns the entry with the place and time that it was
// folded at; false when the session is not known.
//
// The session is kept until Release: there is no task in the queue that would keep it.
func (t *Table) Learn(e call.Entry) (call.Entry, bool) {
	content := decode(&e, t.cfg.Decode)

	t.mu.Lock()
	now := t.clock.now(time.Now())
	e.Seq, e.ReceivedAt = t.progress.position.Load(), now.UTC()
	known := t.fold.ids.session(e.Ref.Session)
	if content.event != nil || known == nil {
		t.mu.Unlock()
		return e, false
	}
	s, err := t.fold.apply(&e, &content)
	if s != nil && err == nil {
		s.held++
		t.tally.count(s)
		t.schedule.put(s, now)
	}
	t.mu.Unlock()

	if s == nil || err != nil {
		return e, false
	}
	if t.cfg.Changed != nil {
		t.cfg.Changed(s.id)
	}
	return e, true
}

// Release gives back what Learn has kept.
func (t *Table) Release(id call.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.fold.ids.session(id); s != nil && s.held > 0 {
		s.held--
	}
}

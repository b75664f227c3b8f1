package session

import (
	"cmp"
	"runtime"
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

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

// backlog is what the queue is not through with: when those entries were received, by the second, and which of them
// could not be folded.
type backlog struct {
	// floor is up to where the queue needs no more work.
	floor     uint64
	stretches []stretch
	unusable  map[uint64]error
}

// stretch are entries that were received within a second.
type stretch struct {
	last uint64 // the sequence of its last one
	at   time.Time
}

func newBacklog() backlog { return backlog{unusable: make(map[uint64]error)} }

// note takes the next entry.
func (b *backlog) note(e *call.Entry) {
	// What the log keeps for its readers alone is nobody's task.
	if e.Topic == call.TopicHeartbeat || e.Topic == call.TopicBackfill {
		return
	}
	if n := len(b.stretches); n > 0 && e.ReceivedAt.Sub(b.stretches[n-1].at) < time.Second {
		b.stretches[n-1].last = max(b.stretches[n-1].last, e.Seq)
		return
	}
	b.stretches = append(b.stretches, stretch{e.Seq, e.ReceivedAt})
}

// raise forgets what lies at or below a sequence.
func (b *backlog) raise(floor uint64) {
	b.floor = max(b.floor, floor)
	i := slices.IndexFunc(b.stretches, func(s stretch) bool { return s.last > b.floor })
	if i < 0 {
		i = len(b.stretches)
	}
	b.stretches = slices.Delete(b.stretches, 0, i)
	for seq := range b.unusable {
		if seq <= b.floor {
			delete(b.unusable, seq)
		}
	}
}

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
	packed := &t.fold.ids.packed
	st := Stats{Orphans: t.fold.ids.orphans.count(), Sessions: packed.sessions, Legs: packed.legs}
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
				st.Oldest = max(st.Oldest, now.Sub(l.since.time()))
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

const (
	// The legs that lived through an outage are checked one after the other, 50 a second, and all within four
	// minutes: those that ended meanwhile can be asked about for ten.
	outageStep   = 20 * time.Millisecond
	outageWithin = 4 * time.Minute
	// outageUnanswered is how long such a check may stay without an answer: one more, or two, still find a status
	// that is kept for ten minutes.
	outageUnanswered = 2 * time.Minute
)

// noteOutage finds out whether nobody wrote the log for a while before an entry: whoever runs appends a heartbeat when
// nothing else comes. Events of the legs that were open then may be missing: they are to be checked. It reports
// whether there are any.
func (f *fold) noteOutage(e *call.Entry) bool {
	before := f.previous
	// Taken as it is: a pause after a leader's clock stepped back must be seen as well. A step forward looks like a
	// pause, which costs a request for each open leg.
	f.previous = e.ReceivedAt
	if !isOutage(f.rules, before, e.ReceivedAt) {
		return false
	}
	var open []*leg
	for s := range f.ids.all() {
		for _, l := range s.legs {
			if l.open() {
				open = append(open, l)
			}
		}
	}
	for i, l := range open {
		step := min(outageStep, outageWithin/time.Duration(len(open)))
		l.record.outage, l.record.outageSeq = logTimeOf(e.ReceivedAt.Add(time.Duration(i)*step)), e.Seq
	}
	return len(open) > 0
}

// isOutage reports whether nobody wrote the log between two entries.
func isOutage(r Rules, before, at time.Time) bool {
	return r.Outage > 0 && !before.IsZero() && at.Sub(before) > r.Outage
}

// Open is a leg that is not over.
type Open struct {
	Session    call.SessionID
	Leg        call.LegID
	Connection call.ConnectionID
	// Since is when the first entry that named it was received, Alive when its last sign of life was.
	Since, Alive time.Time
	// Last is the type of its newest event, by occurrence. Empty: it has none.
	Last string
	// Next is what is to come, if nothing else happens. Nil: nothing is.
	Next *Scheduled
}

// openSlice is how many sessions are looked at while nobody may write the table: a busy service has a hundred thousand.
const openSlice = 500

// Open returns the legs that are not over, those of the oldest session first, at most so many, and counts them all. The
// table may change meanwhile.
func (t *Table) Open(most int) (legs []Open, all int) {
	for next, more := uint64(0), true; more; {
		var some []Open
		var n int
		some, n, next, more = t.openFrom(next, most-len(legs))
		legs, all = append(legs, some...), all+n
		if more {
			runtime.Gosched() // whoever waits to write goes first
		}
	}
	return legs, all
}

// openFrom looks at some sessions, from the one on that began with an entry, and returns where the next begin.
func (t *Table) openFrom(from uint64, most int) (legs []Open, all int, next uint64, more bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	now := t.clock.now(time.Now())
	sessions := t.fold.ids.inOrder
	at, _ := slices.BinarySearchFunc(sessions, from, func(k *kept, seq uint64) int { return cmp.Compare(k.firstSeq, seq) })
	sessions = sessions[at:]
	if len(sessions) > openSlice {
		sessions, next, more = sessions[:openSlice], sessions[openSlice].firstSeq, true
	}
	for _, k := range sessions {
		if k.live == nil {
			continue
		}
		for _, l := range k.live.legs {
			if !l.open() {
				continue
			}
			if all++; all <= most {
				legs = append(legs, l.describe(t.cfg.Rules, now))
			}
		}
	}
	return legs, all, next, more
}

func (l *leg) describe(r Rules, now time.Time) Open {
	o := Open{Session: l.session.id, Leg: l.id, Connection: l.connection(), Since: l.since.time(), Alive: l.aliveAt.time()}
	var last *Event
	for _, e := range l.events.list {
		if last == nil || order(last, e) < 0 {
			last = e
		}
	}
	if last != nil {
		o.Last = last.Type
	}
	if check, at, ok := l.nextCheck(r, now); ok {
		o.Next = &Scheduled{Check: check, Due: at.UTC()}
	}
	return o
}

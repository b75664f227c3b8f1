package session

import (
	"container/heap"
	"slices"
	"time"
)

// askedFor is how long a check may take into the log before it is handed out again.
const askedFor = 5 * time.Second

// agenda is the heap of sessions by the time at which they must be looked at.
type agenda []*session

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].wake.Before(a[j].wake) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	s := x.(*session)
	s.place = len(*a)
	*a = append(*a, s)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	old := *a
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	s.place = -1
	return s
}

// schedule puts the session where it belongs in the agenda. During a replay
// nothing is done: what seems due then may be done further on in the log.
func (t *Table) schedule(s *session) {
	if !t.live.Load() {
		return
	}
	now := t.clock.now(time.Now())
	checks, next := s.due(t.cfg.Rules, now)
	switch {
	case len(checks) > 0:
		s.wake = now
	case !next.IsZero():
		s.wake = next
	default:
		s.wake = s.expires(t.cfg.Rules)
	}
	t.place(s)
}

func (t *Table) place(s *session) {
	if s.place < 0 {
		heap.Push(&t.agenda, s)
	} else {
		heap.Fix(&t.agenda, s.place)
	}
	if t.agenda[0] == s {
		select {
		case t.agendaCh <- struct{}{}:
		default:
		}
	}
}

func (t *Table) rebuildAgenda() {
	for _, s := range t.born.list {
		if !s.forgotten {
			t.schedule(s)
		}
	}
}

// AgendaChanged delivers a value when something became due earlier than it was before.
func (t *Table) AgendaChanged() <-chan struct{} { return t.agendaCh }

// Due returns the checks that have become due, at most limit of them, and the
// time until the next look is needed. Sessions for which nothing can come any more and
// whose entries the queue is through with are forgotten on the way; events whose
// call never became known leave with them, and are counted in lost.
//
// A check that was returned and is not folded within some seconds is returned again.
func (t *Table) Due(limit int) (checks []Check, wait time.Duration, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.live.Load() {
		return nil, time.Second, 0
	}
	now := t.clock.now(time.Now()).Add(-t.lag)
	lost = t.orphans.forget(now.Add(-t.cfg.Rules.AmendWindow))
	for len(t.agenda) > 0 && len(checks) < limit {
		s := t.agenda[0]
		if s.wake.After(now) {
			return checks, s.wake.Sub(now), lost
		}
		due, next := s.due(t.cfg.Rules, now)
		switch expires := s.expires(t.cfg.Rules); {
		case len(due) > 0 && (s.asked.IsZero() || now.Sub(s.asked) >= askedFor):
			checks = append(checks, due...)
			s.asked = now
			s.wake = now.Add(askedFor)
		case len(due) > 0:
			s.wake = s.asked.Add(askedFor)
		case !next.IsZero():
			s.wake = next
		case expires.After(now):
			s.wake = expires
		case s.lastSeq > t.floor:
			// A task of it is still with a worker: it must find its session.
			s.wake = now.Add(askedFor)
		default:
			t.forget(s)
			continue
		}
		heap.Fix(&t.agenda, 0)
	}
	if len(t.agenda) == 0 {
		return checks, time.Minute, lost
	}
	return checks, max(t.agenda[0].wake.Sub(now), 0), lost
}

// forget drops a session from the table.
func (t *Table) forget(s *session) {
	heap.Remove(&t.agenda, s.place)
	t.sessions.Delete(string(s.id))
	for _, l := range s.legs {
		if t.byLeg[l.id] == l {
			delete(t.byLeg, l.id)
		}
		for _, e := range l.events.list {
			if t.byCtl[e.Facts.Control] == l {
				delete(t.byCtl, e.Facts.Control)
			}
		}
	}
	t.born.forget(s)
}

// SetLag makes this replica find everything due so much later than its time.
func (t *Table) SetLag(lag time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lag = lag
}

// Floor returns what SetFloor was told.
func (t *Table) Floor() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.floor
}

// SetFloor tells up to where the queue needs no more work. Sessions with
// entries above it are not forgotten.
func (t *Table) SetFloor(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.floor = max(t.floor, seq)
	for at := range t.unusable {
		if at <= t.floor {
			delete(t.unusable, at)
		}
	}
}

// Needed returns the sequence of the oldest entry that the table needs; entries
// before it may be trimmed, as far as this replica is concerned.
func (t *Table) Needed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	needed := t.position.Load() + 1
	if seq := t.orphans.oldest(); seq > 0 {
		needed = min(needed, seq)
	}
	return min(needed, t.born.oldest(needed))
}

// lineage keeps sessions by their first entry. They are born in the order of
// the log, so the oldest is at the front.
type lineage struct {
	list []*session
	gone int // how many of list are forgotten
	// pins are entries older than the session that they were adopted into.
	pins []pin
}

type pin struct {
	seq uint64
	s   *session
}

func (b *lineage) add(s *session) { b.list = append(b.list, s) }

// forget lets go of what a session knows. Its place stays until the list is
// compacted, which an old session at the front must not put off.
func (b *lineage) forget(s *session) {
	s.forgotten, s.legs, s.events = true, nil, events{}
	b.gone++
	if b.gone > len(b.list)/2 {
		b.list = slices.DeleteFunc(b.list, func(s *session) bool { return s.forgotten })
		b.gone = 0
	}
}

func (b *lineage) pin(seq uint64, s *session) {
	if seq < s.firstSeq {
		b.pins = append(b.pins, pin{seq, s})
	}
}

// oldest returns the first sequence that any remembered session needs, none when there is no session.
func (b *lineage) oldest(none uint64) uint64 {
	oldest := none
	if i := slices.IndexFunc(b.list, func(s *session) bool { return !s.forgotten }); i >= 0 {
		oldest = b.list[i].firstSeq
	}
	kept := b.pins[:0]
	for _, p := range b.pins {
		if !p.s.forgotten {
			kept = append(kept, p)
			oldest = min(oldest, p.seq)
		}
	}
	clear(b.pins[len(kept):])
	b.pins = kept
	return oldest
}

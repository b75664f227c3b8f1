package session

import (
	"container/heap"
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// askedFor is how long a check may take into the log before it is handed out again.
	askedFor = 5 * time.Second
	// inFlight is how long an entry may be on its way from the log to this
	// replica. What the fold could still need within it is not dropped.
	inFlight = time.Minute
	// toldWithin is how long the word that a leg is completed may take to get here, by
	// way of the published summaries, from the end of a replay and of the amend window.
	toldWithin = 2 * time.Minute
	// forgetAtOnce bounds how many sessions are forgotten under one lock: after a
	// replay all that ended long ago leave together.
	forgetAtOnce = 4096
)

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
	s.wake = t.wake(s, t.clock.now(time.Now()))
	if s.place < 0 {
		heap.Push(&t.agenda, s)
	} else {
		heap.Fix(&t.agenda, s.place)
	}
	if t.agenda[0] == s {
		t.agendaChanged()
	}
}

// wake is when the session must be looked at next, as far as the log tells.
func (t *Table) wake(s *session, now time.Time) time.Time {
	switch _, since, next := s.due(t.cfg.Rules, now); {
	case !since.IsZero():
		return since
	case !next.IsZero():
		return next
	}
	return s.expires(t.cfg.Rules)
}

func (t *Table) agendaChanged() {
	select {
	case t.agendaCh <- struct{}{}:
	default:
	}
}

// setBack is how far the clock must be set back for the agenda to be made anew.
const setBack = time.Second

// tick sets the clock by an entry that came in.
func (t *Table) tick(stamp time.Time) {
	local := time.Now()
	before := t.clock.now(local)
	t.clock.set(stamp, local)
	if before.Sub(t.clock.now(local)) > setBack {
		// What was put off by some seconds was put off to a time that is far away now.
		t.rebuildAgenda()
	}
}

func (t *Table) rebuildAgenda() {
	now := t.clock.now(time.Now())
	clear(t.agenda)
	t.agenda = t.agenda[:0]
	for _, s := range t.born.list {
		if !s.forgotten {
			s.wake, s.place = t.wake(s, now), len(t.agenda)
			t.agenda = append(t.agenda, s)
		}
	}
	heap.Init(&t.agenda)
	t.agendaChanged()
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
	local := time.Now()
	now := t.clock.now(local).Add(-t.lag)
	lost = t.orphans.forget(now.Add(-t.cfg.Rules.AmendWindow - inFlight))
	for forgotten := 0; len(t.agenda) > 0 && len(checks) < limit && forgotten < forgetAtOnce; {
		s := t.agenda[0]
		if s.wake.After(now) {
			break
		}
		ready, wake := t.visit(s, now, local, limit-len(checks))
		if wake.IsZero() {
			t.forget(s)
			forgotten++
			continue
		}
		checks = append(checks, ready...)
		s.wake = wake
		heap.Fix(&t.agenda, 0)
	}
	if len(t.agenda) == 0 {
		return checks, time.Minute, lost
	}
	return checks, max(t.agenda[0].wake.Sub(now), 0), lost
}

// visit looks at a session whose time has come: it returns the checks to hand
// out, at most room of them, and when to look again; zero: the session can be forgotten.
func (t *Table) visit(s *session, now, local time.Time, room int) (ready []Check, wake time.Time) {
	due, _, wake := s.due(t.cfg.Rules, now)
	look := func(at time.Time) {
		if wake.IsZero() || at.Before(wake) {
			wake = at
		}
	}
	var handed []asked
	for _, c := range due {
		a := asked{kind: c.Kind, leg: c.Leg, attempt: c.Attempt, upto: c.Upto, at: local}
		i := slices.IndexFunc(s.asked, func(a asked) bool { return a.is(&c) })
		switch {
		case i >= 0 && local.Sub(s.asked[i].at) < askedFor:
			a.at = s.asked[i].at
		case c.Kind == CheckExpire && !t.clock.anchored():
			// Right after a replay there is only this machine's clock, and what
			// is wrong by hours would end a live leg. The next entry tells the time.
			look(now.Add(askedFor))
			continue
		case len(ready) < room:
			ready = append(ready, c)
		default:
			look(now)
			continue
		}
		handed = append(handed, a)
		look(now.Add(askedFor - local.Sub(a.at)))
	}
	s.asked = handed
	if !wake.IsZero() {
		return ready, wake
	}
	switch expires := s.expires(t.cfg.Rules); {
	case expires.After(now):
		return nil, expires
	case s.lastSeq > t.floor, !t.clock.anchored():
		// A task of it is still with a worker: it must find its session.
		return nil, now.Add(askedFor)
	case s.untold() && (now.Before(expires.Add(toldWithin)) || local.Before(t.liveSince.Add(toldWithin))):
		// Forgotten now, a leg that another replica completed, or this one in its
		// last life, would be missing in the accounts.
		return nil, now.Add(askedFor)
	}
	return nil, time.Time{}
}

// forget drops a session from the table.
func (t *Table) forget(s *session) {
	heap.Remove(&t.agenda, s.place)
	t.sessions.Delete(string(s.id))
	for _, l := range s.legs {
		if t.byLeg[l.id] == l {
			delete(t.byLeg, l.id)
		}
		t.disclaim(l, l.control)
		for _, c := range l.aliases {
			t.disclaim(l, c)
		}
	}
	t.born.forget(s)
}

func (t *Table) disclaim(l *leg, c call.ControlID) {
	if t.byCtl[c] == l {
		delete(t.byCtl, c)
	}
}

// SetLag makes this replica find everything due so much later than its time.
func (t *Table) SetLag(lag time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lag = lag
}

// Floor returns how far the queue is through with the log, as SetFloor was told.
func (t *Table) Floor() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.floor
}

// SetFloor tells up to where the queue needs no more work. Sessions with
// entries above it are not forgotten. What lies beyond the fold's position is not
// taken: it may have been said of another life of the log.
func (t *Table) SetFloor(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.floor = max(t.floor, min(seq, t.position.Load()))
	t.backlog.through(t.floor)
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
	s.forgotten, s.legs, s.events, s.asked = true, nil, events{}, nil
	b.gone++
	if b.gone > len(b.list)/2 {
		b.list = slices.DeleteFunc(b.list, func(s *session) bool { return s.forgotten })
		b.pins = slices.DeleteFunc(b.pins, func(p pin) bool { return p.s.forgotten })
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
	for _, p := range b.pins {
		if !p.s.forgotten {
			oldest = min(oldest, p.seq)
		}
	}
	return oldest
}

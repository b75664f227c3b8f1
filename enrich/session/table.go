package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"github.com/patrickmn/go-cache"
)

// Config says how the table folds.
type Config struct {
	// Rules are the times by which it decides.
	Rules Rules
	// Decode reads the event of an entry whose topic is an event's. The wire
	// format is not this package's business.
	Decode func(call.Entry) (call.Event, error)
	// Changed is told of every session that an entry was folded into, from the
	// goroutine that folds; it must not block. Nil: nobody asks.
	Changed func(call.SessionID)
	// Unusable is told of an entry that could not be folded. It must not block. Nil: nobody asks.
	Unusable func(e call.Entry, err error)
}

// Table is the live table: the fold of the log, one entry after the other.
// It implements journal.Follower; its other methods may be called from anywhere.
type Table struct {
	cfg Config

	position atomic.Uint64
	live     atomic.Bool

	mu       sync.RWMutex
	log      call.Log
	clock    clock
	last     time.Time    // the latest timestamp folded
	previous time.Time    // that of the last entry folded
	sessions *cache.Cache // call_session_id → *session
	byLeg    map[call.LegID]*leg
	byCtl    map[call.ControlID]*leg
	orphans  orphans
	proven   map[call.ConnectionID]struct{}
	unusable map[uint64]error
	types    map[string]string
	agenda   agenda
	born     lineage
	floor    uint64
	backlog  backlog
	began    time.Time // when the first entry was received
	// over and completed are the sums of Accounts.
	over, completed uint64
	lag             time.Duration
	waiting         []waiter
	agendaCh        chan struct{}
	restarts        chan struct{} // closed by the next Restart
	caughtUp        chan struct{} // closed when the replay is through
	liveSince       time.Time     // when that was, by this machine
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

// New returns an empty table, to be filled by following the log.
func New(cfg Config) *Table {
	t := &Table{cfg: cfg, agendaCh: make(chan struct{}, 1), restarts: make(chan struct{}), caughtUp: make(chan struct{})}
	t.clear(call.Log{First: 1})
	return t
}

func (t *Table) clear(log call.Log) {
	t.log = log
	t.clock, t.last, t.previous = clock{}, time.Time{}, time.Time{}
	// Entries expire on the log's clock, which go-cache does not know: the table
	// itself decides when a session is forgotten, and no janitor ever walks it.
	t.sessions = cache.New(cache.NoExpiration, 0)
	t.byLeg = make(map[call.LegID]*leg)
	t.byCtl = make(map[call.ControlID]*leg)
	t.orphans = newOrphans()
	t.proven = make(map[call.ConnectionID]struct{})
	t.unusable = make(map[uint64]error)
	t.types = make(map[string]string)
	t.agenda = nil
	t.born = lineage{}
	t.floor, t.backlog = 0, nil
	t.began, t.over, t.completed = time.Time{}, 0, 0
}

// Restart discards the table: the log begins anew at its first entry.
func (t *Table) Restart(log call.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear(log)
	t.position.Store(log.First - 1)
	t.release(log.First - 1)
	if t.live.Load() {
		t.caughtUp = make(chan struct{})
	}
	t.live.Store(false)
	close(t.restarts)
	t.restarts = make(chan struct{})
	t.catchUp()
}

// Fold takes the next entry of the log.
func (t *Table) Fold(e call.Entry) {
	what, err := t.open(&e)

	t.mu.Lock()
	var s *session
	outage := t.noteOutage(&e)
	if err == nil {
		s, err = t.put(&e, what)
	}
	if err != nil {
		t.unusable[e.Seq] = err
	}
	if t.live.Load() {
		t.tick(e.ReceivedAt)
	}
	if s != nil {
		t.account(s)
		if e.Trace != "" {
			s.trace = strings.Clone(e.Trace) // and not all headers with it
		}
	}
	switch {
	case outage && t.live.Load():
		t.rebuildAgenda()
	case s != nil:
		t.schedule(s)
	}
	if t.began.IsZero() {
		t.began = e.ReceivedAt
	}
	t.backlog.note(&e)
	t.position.Store(e.Seq)
	t.release(e.Seq)
	t.last = later(t.last, e.ReceivedAt)
	if !t.live.Load() {
		t.catchUp()
	}
	t.mu.Unlock()

	if err != nil && t.cfg.Unusable != nil {
		t.cfg.Unusable(e, err)
	}
	if s != nil && t.cfg.Changed != nil {
		t.cfg.Changed(s.id)
	}
}

// put folds what an entry holds. A fault of this package in one entry must not
// stop the fold of all others, again at every replay.
func (t *Table) put(e *call.Entry, what opened) (s *session, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("fold entry %d: panic: %v", e.Seq, p)
		}
	}()
	switch {
	case what.event != nil:
		s = t.foldEvent(e, what.event)
	case what.answer != nil:
		s = t.foldAnswer(e, what.answer)
	case what.check != nil:
		s = t.foldCheck(e, what.check)
	case what.repair != nil:
		s = t.foldRepair(e, what.repair)
	}
	return s, nil
}

func (t *Table) foldAnswer(e *call.Entry, a *Answer) *session {
	if a.Result == status.Answered && a.Connection != "" {
		t.proven[a.Connection] = struct{}{}
	}
	l := t.knownLeg(a.Session, a.Leg)
	if l == nil {
		return nil
	}
	s := l.session
	s.touch(e)
	before, _ := l.ending()
	l.answer(&Received{Answer: *a, Seq: e.Seq, At: e.ReceivedAt})
	if a.Result == status.Answered && a.IsAlive != nil && *a.IsAlive {
		l.heard, l.heardSeq = e.ReceivedAt, e.Seq
	}
	if after, _ := l.ending(); before == NotOver && after != NotOver {
		s.stir(e)
	}
	return s
}

func (t *Table) foldCheck(e *call.Entry, c *Check) *session {
	s := t.known(c.Session)
	if s == nil {
		return nil
	}
	s.touch(e)
	switch c.Kind {
	case CheckSettle:
		was := s.over()
		s.settled = max(s.settled, min(c.Upto, e.Seq))
		if !was && s.over() {
			s.settles++
		}
	case CheckStatus:
		if l := s.leg(c.Leg); l != nil && c.Attempt > l.checked {
			l.checked, l.checkedAt, l.checkedSeq = c.Attempt, e.ReceivedAt, e.Seq
		}
	case CheckRepair:
		if l := s.leg(c.Leg); l != nil && c.Attempt > l.record.checked {
			l.record.checked, l.record.checkedAt = c.Attempt, e.ReceivedAt
		}
	case CheckExpire:
		l := s.leg(c.Leg)
		if l == nil {
			break
		}
		if c.Departed {
			t.complete(l)
		}
		before, _ := l.ending()
		l.expired = max(l.expired, min(c.Upto, e.Seq))
		l.record.departed = l.record.departed || c.Departed
		if after, _ := l.ending(); before == NotOver && after != NotOver {
			s.stir(e)
		}
	}
	return s
}

func (t *Table) known(id call.SessionID) *session {
	if v, ok := t.sessions.Get(string(id)); ok {
		return v.(*session)
	}
	return nil
}

func (t *Table) knownLeg(sid call.SessionID, id call.LegID) *leg {
	if s := t.known(sid); s != nil {
		return s.leg(id)
	}
	return nil
}

// release wakes those who wait for a position that is reached.
func (t *Table) release(seq uint64) {
	kept := t.waiting[:0]
	for _, w := range t.waiting {
		if w.seq <= seq {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	t.waiting = kept
}

// catchUp ends the replay when all that was in the log at its start is folded.
func (t *Table) catchUp() {
	if t.position.Load() < t.log.Last {
		return
	}
	t.live.Store(true)
	t.liveSince = time.Now()
	if t.last.After(t.liveSince) {
		t.clock.set(t.last, t.liveSince) // this machine's clock is behind the log's
	}
	t.rebuildAgenda()
	close(t.caughtUp)
}

// Position returns how far the log is folded.
func (t *Table) Position() uint64 { return t.position.Load() }

// Live reports whether the replay is through.
func (t *Table) Live() bool { return t.live.Load() }

// CaughtUp returns a channel that is closed when the replay is through. After a
// Restart it is another one.
func (t *Table) CaughtUp() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.caughtUp
}

// Restarted returns a channel that is closed by the next Restart.
func (t *Table) Restarted() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.restarts
}

// Now is the time on the log's clock.
func (t *Table) Now() time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.clock.now(time.Now()).UTC()
}

// Wait returns when the entry at seq is folded, or lies before the log's first
// one; its error is that of ctx. It goes on waiting across a Restart.
func (t *Table) Wait(ctx context.Context, seq uint64) error {
	if t.position.Load() >= seq {
		return nil
	}
	t.mu.Lock()
	if t.position.Load() >= seq {
		t.mu.Unlock()
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		t.waiting = slices.DeleteFunc(t.waiting, func(other waiter) bool { return other.done == w.done })
		t.mu.Unlock()
		return fmt.Errorf("wait for entry %d to be folded: %w", seq, ctx.Err())
	}
}

// View returns a session as it is folded now; false when the table does not know
// it: then the view says only up to which position it does not.
func (t *Table) View(id call.SessionID) (View, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var v View
	s := t.known(id)
	if s != nil {
		v = s.view(t.cfg.Rules)
	}
	// Entries are folded one by one under the lock: what is folded is exactly
	// all up to the position.
	v.Position, v.Log = t.position.Load(), t.log.ID
	return v, s != nil
}

// Unusable returns why the entry at seq could not be folded, nil when it was.
func (t *Table) Unusable(seq uint64) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.unusable[seq]
}

// Proven reports whether the API key has had a 200 for the connection.
func (t *Table) Proven(c call.ConnectionID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.proven[c]
	return ok
}

// Place is where an entry belongs, and whether anything may have to be done for it.
type Place struct {
	// Session and Leg are the call that the entry belongs to; Leg is empty for
	// an event of the session alone, both for one whose call is not known.
	Session call.SessionID
	Leg     call.LegID
	// Idle tells that neither the leg nor the session is over, that the session has
	// legs, and that the leg's history begins with its call.initiated: nothing is to be published.
	Idle bool
	// Trace is the traceparent of the session's last entry that was traced. Empty: none was.
	Trace string
	// Position is the log sequence up to which this is so. After a Restart it
	// can be less than a position that was reached before.
	Position uint64
}

// Place finds the call that a ref names, through its control id or leg id where it names no session.
func (t *Table) Place(ref call.Ref) Place {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p := Place{Idle: true, Position: t.position.Load()}
	s, l := t.find(ref)
	if s != nil {
		// What is told of a session without legs may be told of one that has left the log.
		p.Session, p.Trace, p.Idle = s.id, s.trace, !s.over() && len(s.legs) > 0
	}
	if l != nil {
		ending, _ := l.ending()
		p.Leg, p.Idle = l.id, ending == NotOver && l.initiated
	}
	return p
}

// Stats counts what the table holds.
type Stats struct {
	Sessions, Legs, OpenLegs, Orphans int
}

// Stats walks the table.
func (t *Table) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	st := Stats{Orphans: t.orphans.count()}
	for _, s := range t.born.list {
		if s.forgotten {
			continue
		}
		st.Sessions++
		st.Legs += len(s.legs)
		for _, l := range s.legs {
			if ending, _ := l.ending(); ending == NotOver {
				st.OpenLegs++
			}
		}
	}
	return st
}

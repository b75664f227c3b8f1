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
)

// fold turns entries into what is known about sessions and their legs.
type fold struct {
	rules Rules
	ids   identity
	// proven are the connections for which the API key has had a 200.
	proven map[call.ConnectionID]struct{}
	// previous is when the entry before was received.
	previous time.Time
	// changes counts the entries that were folded into a session.
	changes uint64
}

func newFold(r Rules) fold {
	return fold{rules: r, ids: newIdentity(), proven: make(map[call.ConnectionID]struct{})}
}

// apply folds what an entry holds, and returns the session that it is about; nil: no session that is known. A fault
// of this package in one entry must not stop the fold of all others, again at every replay.
func (f *fold) apply(e *call.Entry, c *content) (s *session, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("fold entry %d: panic: %v", e.Seq, p)
		}
	}()
	f.changes++
	switch {
	case c.err != nil:
		return nil, c.err
	case c.event != nil:
		s = f.event(e, c.event)
	case c.answer != nil:
		s = f.answer(e, c.answer)
	case c.check != nil:
		s = f.check(e, c.check)
	case c.backfill != nil:
		s = f.backfill(e, c.backfill)
	}
	if s == nil {
		return nil, nil
	}
	s.version = f.changes
	s.noteEntry(e.Seq)
	if e.Trace != "" {
		s.trace = strings.Clone(e.Trace) // and not all headers with it
	}
	return s, nil
}

// event folds an event into the leg or the session that it names, and into a leg also the events that were waiting
// for an id that it states.
func (f *fold) event(e *call.Entry, stated *call.Event) *session {
	event := keep(e, stated)
	// The horizon, before which orphans are not adopted any more, is the log's, so that a replay, in which nothing
	// was forgotten yet, adopts the same.
	horizon := e.ReceivedAt.Add(-f.rules.AmendWindow)
	s, l, found := f.ids.attach(e, stated.Ref, horizon)
	if s == nil {
		f.ids.orphans.add(stated.Ref, event)
		return nil
	}
	s.touch(e)
	if l == nil {
		if s.events.add(event) {
			s.noteActivity(e)
		}
		return s
	}
	learned := false
	for _, waited := range found {
		learned = f.into(e, l, waited, horizon) || learned
	}
	if f.into(e, l, event, horizon) || learned {
		s.noteActivity(e)
	}
	return s
}

// into folds an event into a leg, and the events that it leads to. It reports whether one of them was new.
func (f *fold) into(e *call.Entry, l *leg, event *Event, horizon time.Time) (isNew bool) {
	l.version = f.changes
	isNew = l.take(e, event)
	for _, other := range f.ids.learn(l, event, horizon) {
		// What goes by the same control id leads no further.
		isNew = l.take(e, other) || isNew
		l.learn(other)
	}
	return isNew
}

// keep is what is kept of a decoded event.
func keep(e *call.Entry, ev *call.Event) *Event {
	return &Event{
		ID: ev.ID, Type: ev.Type, OccurredAt: ev.OccurredAt,
		ReceivedAt: e.ReceivedAt, Seq: e.Seq, Attempt: ev.Attempt, Backfill: e.Backfill || ev.Backfill, Approximate: ev.Approximate,
		Facts:  &Facts{Facts: ev.Facts, Control: ev.Ref.Control, Connection: ev.Ref.Connection},
		Detail: ev.Detail,
	}
}

func (f *fold) answer(e *call.Entry, a *Answer) *session {
	f.prove(a)
	l := f.ids.leg(a.Session, a.Leg)
	if l == nil {
		return nil
	}
	l.session.touch(e)
	wasOver := l.over()
	l.version = f.changes
	l.noteAnswer(&Received{Answer: *a, Seq: e.Seq, At: e.ReceivedAt})
	if a.Result == status.Answered && a.IsAlive != nil && *a.IsAlive {
		l.aliveAt, l.aliveSeq = logTimeOf(e.ReceivedAt), e.Seq
	}
	if !wasOver && l.over() {
		l.session.noteActivity(e)
	}
	return l.session
}

// prove notes that the API key has had a 200 for a connection.
func (f *fold) prove(a *Answer) {
	if a.Result == status.Answered && a.Connection != "" {
		f.proven[a.Connection] = struct{}{}
	}
}

func (f *fold) check(e *call.Entry, c *Check) *session {
	s := f.ids.session(c.Session)
	if s == nil {
		return nil
	}
	s.touch(e)
	if c.Kind == CheckSettle {
		wasOver := s.over()
		s.settled = max(s.settled, min(c.Upto, e.Seq))
		if !wasOver && s.over() {
			s.settles++
		}
	} else if l := s.leg(c.Leg); l != nil {
		l.version = f.changes
		l.noteCheck(e, c)
	}
	return s
}

func (f *fold) backfill(e *call.Entry, b *Backfill) *session {
	l := f.ids.leg(b.Session, b.Leg)
	if l == nil {
		return nil
	}
	l.session.touch(e)
	l.version = f.changes
	l.noteBackfill(b, e.ReceivedAt)
	return l.session
}

// progress is how far the log is folded, and who waits for it to be folded further.
type progress struct {
	position atomic.Uint64
	caughtUp atomic.Bool

	// What follows is guarded by the table's lock. log is the one that is folded, as it was at the start.
	log call.Log
	// began is when the first entry was received, latest the latest timestamp folded.
	began, latest time.Time
	waiting       []waiter
	// restarts is closed by the next restart, catchesUp when the replay is through; caughtUpAt is when that was, by
	// this machine.
	restarts, catchesUp chan struct{}
	caughtUpAt          time.Time
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

func newProgress() progress {
	return progress{log: call.Log{First: 1}, restarts: make(chan struct{}), catchesUp: make(chan struct{})}
}

func (p *progress) restart(log call.Log) {
	p.log, p.began, p.latest = log, time.Time{}, time.Time{}
	p.reach(log.First - 1)
	if p.caughtUp.Swap(false) {
		p.catchesUp = make(chan struct{})
	}
	close(p.restarts)
	p.restarts = make(chan struct{})
}

// begin notes the first entry.
func (p *progress) begin(e *call.Entry) {
	if p.began.IsZero() {
		p.began = e.ReceivedAt
	}
}

// advance notes that an entry is folded.
func (p *progress) advance(e *call.Entry) {
	p.begin(e)
	p.latest = later(p.latest, e.ReceivedAt)
	p.reach(e.Seq)
}

// reach wakes those who wait for a position that is reached.
func (p *progress) reach(seq uint64) {
	p.position.Store(seq)
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		if w.seq > seq {
			return false
		}
		close(w.done)
		return true
	})
}

func (p *progress) catchUp(now time.Time) {
	p.caughtUpAt = now
	p.caughtUp.Store(true)
	close(p.catchesUp)
}

// wait returns when the entry at seq is folded, or with the error of ctx. mu is the table's lock.
func (p *progress) wait(ctx context.Context, mu sync.Locker, seq uint64) error {
	if p.position.Load() >= seq {
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	mu.Lock()
	p.waiting = append(p.waiting, w)
	p.reach(p.position.Load()) // it can be folded by now
	mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		mu.Lock()
		p.waiting = slices.DeleteFunc(p.waiting, func(other waiter) bool { return other.done == w.done })
		mu.Unlock()
		return fmt.Errorf("wait for entry %d to be folded: %w", seq, ctx.Err())
	}
}

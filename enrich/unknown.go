package enrich

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

// unknownAfter is how long events that cannot begin a call wait for others of it: Telnyx repeats a webhook for about as
// long.
const unknownAfter = time.Minute

// maxUnknown bounds how many calls that nobody knows are waited for at one time: their tasks are held, and a queue of which
// all tasks are held hands out no other.
const maxUnknown = 8192

// unknowns are the times until which calls that nobody knows are waited for, by the log's clock.
type unknowns struct {
	most  int
	mu    sync.Mutex
	until []time.Time // about in order
}

// admit reports whether another one may be waited for.
func (u *unknowns) admit(now, until time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	passed := 0
	for passed < len(u.until) && !u.until[passed].After(now) {
		passed++
	}
	if u.until = u.until[passed:]; len(u.until) >= u.most {
		return false
	}
	u.until = append(u.until, until)
	return true
}

// beginsNothing reports whether an event of a type comes when its call may be over: a cost, a recording, insights.
func beginsNothing(eventType string) bool { return call.EventTypeOf(eventType).After }

// isStrange reports whether only such events of a call are known, of its legs or of the session alone.
func isStrange(v *session.View) bool {
	if len(v.Legs) == 0 {
		return len(v.Events) > 0 && !slices.ContainsFunc(v.Events, func(e *session.Event) bool { return !beginsNothing(e.Type) })
	}
	return !slices.ContainsFunc(v.Legs, func(l session.LegView) bool { return l.Begun })
}

// takeUnknown decides about an event that names no session, and a leg that nobody knows. One that can begin no call is
// parked when nobody knows the leg a while later either.
func (w *Worker) takeUnknown(ctx context.Context, t Task) {
	e := t.Entry()
	if !beginsNothing(e.EventType()) {
		w.metrics.tasks.WithLabelValues(taskNothingDue).Inc()
		w.answer(t.Ack())
		return
	}
	now, until := w.table.Now(), e.ReceivedAt.Add(unknownAfter)
	if now.Before(until) && w.unknowns.admit(now, until) {
		w.giveBack(t, taskNotKnown, until.Sub(now))
		return
	}
	w.parkAside(ctx, t, reasonUnknown)
}

// awaits reports whether the rest of a call that nobody knows is waited for, of which an event was received first at a
// time.
func (p *pass) awaits(first time.Time) bool {
	until := first.Add(unknownAfter)
	if !p.now.Before(until) {
		return false
	}
	if p.job.awaited.IsZero() && !p.w.unknowns.admit(p.now, until) {
		return false
	}
	p.job.awaited = until
	p.later(until) // its tasks are held: they have the events that may be parked
	return true
}

// runUnknown decides about a strange session without legs, of which nothing is stored, as about a strange leg. The table
// forgets it by itself. It reports whether the session is left alone for that.
func (p *pass) runUnknown(ctx context.Context) (bool, error) {
	if len(p.legs) > 0 || !isStrange(p.view) {
		return false, nil
	}
	if p.awaits(firstReceived(p.view.Events, 0)) {
		return true, nil
	}
	if _, found, err := p.w.cfg.Sink.Last(ctx, key(p.view.ID, "")); err != nil || found {
		return err != nil, err
	}
	p.unknown, p.sessionDone = true, true
	return true, nil
}

// runUnknown decides about a leg of a strange call of which nothing is stored. When no other event came for a while, its
// events are parked, and the log says that it is over, so that every replica lets it go; another event takes that back.
// It reports whether the leg is left alone for that.
func (l *leg) runUnknown(ctx context.Context) (bool, error) {
	p, v := l.pass, l.view
	if !isStrange(p.view) {
		return false, nil
	}
	if v.Dismissed {
		l.unknown, l.done = true, true
		return true, nil
	}
	if v.Ending != session.NotOver {
		return false, nil
	}
	if p.awaits(firstReceived(v.Events, 0)) {
		return true, nil
	}
	if _, found, err := p.w.cfg.Sink.Last(ctx, key(p.view.ID, "")); err != nil || found {
		return err != nil, err
	}
	err := l.expire(ctx, session.Check{Unknown: true})
	l.unknown, l.done = err == nil, err == nil
	return true, err
}

// isUnknown reports whether an entry is an event of a call that nobody knows.
func (p *pass) isUnknown(e call.Entry) bool {
	l := p.leg(e.Ref)
	return e.EventType() != "" && (p.unknown || l != nil && l.unknown)
}

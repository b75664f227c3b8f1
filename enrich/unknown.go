package enrich

import (
	"context"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

// unknownAfter is how long events that cannot begin a call wait for others of it: Telnyx repeats a webhook for about as
// long.
const unknownAfter = time.Minute

// isStrange reports whether only such events of a call are known as come when it may be over: a cost, a recording,
// insights.
func isStrange(v *session.View) bool {
	return len(v.Legs) > 0 && !slices.ContainsFunc(v.Legs, func(l session.LegView) bool { return l.Begun })
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
	if until := firstReceived(v.Events, 0).Add(unknownAfter); p.now.Before(until) {
		p.later(until) // its tasks are held: they have the events that may be parked
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
	return l != nil && l.unknown && e.EventType() != ""
}

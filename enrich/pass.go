package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// pass is one pass over a session: what its tasks ask for, and what came of it.
type pass struct {
	job  *job
	w    *Worker
	view *session.View
	now  time.Time

	legs map[call.LegID]*leg
	// settling: a task of the session's settling is held; settled: for the first time.
	settling, settled bool
	// sessionDone: nothing is left to publish about the session in this view.
	sessionDone bool
	// unknown: nobody knows the call of a session without legs.
	unknown bool
	// isBehind: a stored summary was met that knows more than this fold has read.
	isBehind bool
	// until is when to repeat the pass; zero: when something changes.
	until time.Time
}

func (j *job) newPass(view *session.View, tasks []Task) *pass {
	p := &pass{job: j, w: j.w, view: view, now: j.w.table.NowOf(j.id), legs: make(map[call.LegID]*leg, len(view.Legs))}
	for i := range view.Legs {
		v := &view.Legs[i]
		p.legs[v.ID] = &leg{pass: p, view: v}
	}
	for _, t := range tasks {
		p.assign(t)
	}
	return p
}

// assign gives a task to the leg or the session that it is about.
func (p *pass) assign(t Task) {
	e := t.Entry()
	l, c := p.leg(e.Ref), checkOf(e)
	if l == nil {
		if c.Kind == session.CheckSettle {
			p.settling, p.settled = true, p.settled || !t.Again()
		}
		return
	}
	l.wanted = true
	switch {
	case e.Topic == call.TopicEvent+call.TypeHangup:
		l.hangup = true
		// A later delivery of the hangup is no first task of it either.
		l.again = l.again || t.Again() || e.ReceivedAt.After(l.view.Hangup)
	case c.Kind == session.CheckStatus:
		l.check = max(l.check, c.Attempt)
	case c.Kind == session.CheckBackfill:
		l.backfill = max(l.backfill, c.Attempt)
	}
}

// checkOf reads the check of an entry; one of no kind when it has none.
func checkOf(e call.Entry) (c session.Check) {
	if e.Topic != call.TopicCheck || json.Unmarshal(e.Data, &c) != nil {
		return session.Check{} // what was folded can be read
	}
	return c
}

// leg finds the leg that a ref names; nil when it names none. The fold knows of a control id alone
// whose it is: a leg may go by several.
func (p *pass) leg(ref call.Ref) *leg {
	if ref.Leg == "" && ref.Control != "" {
		if place := p.w.table.Place(ref); place.Session == p.view.ID {
			return p.legs[place.Leg]
		}
	}
	return p.legs[ref.Leg]
}

func (p *pass) later(t time.Time) {
	if !t.IsZero() && (p.until.IsZero() || t.Before(p.until)) {
		p.until = t
	}
}

// held has the pass repeated when a task is held no longer.
func (p *pass) held(until time.Time, held bool) bool {
	if held {
		p.later(until)
	}
	return held
}

// run works on the legs that tasks name, and then on the session. A leg whose work fails
// for good does not keep the others from being done.
func (p *pass) run(ctx context.Context) error {
	var failed error
	trimmed := false
	for _, l := range p.legs {
		// Somebody who still remembered this call has found it over and quiet: a leg
		// without a beginning is then none that goes on, but one that was trimmed.
		headless := p.settling && !l.view.Initiated
		if l.wanted || p.view.Over || headless {
			err := l.run(ctx)
			if err != nil && !isPermanent(err) {
				return err
			}
			failed = errors.Join(failed, err)
		}
		trimmed = trimmed || l.trimmed
	}
	if failed != nil {
		// Of a session that goes on nothing is due: what is done of its other legs is done.
		p.sessionDone = !p.view.Over && !trimmed
		return failed
	}
	return p.runSession(ctx)
}

// runSession publishes what is due for the session, after what is due for its legs.
func (p *pass) runSession(ctx context.Context) error {
	if left, err := p.runUnknown(ctx); err != nil || left {
		return err
	}
	var legs []summary.Leg
	strange := isStrange(p.view)
	for _, l := range p.legs {
		switch {
		case strange && l.view.Dismissed:
			continue // it has no summary
		case p.view.Over && l.summary == nil, !p.view.Over && l.trimmed && !l.done:
			return nil // the leg's own summary comes first
		case p.view.Over, l.trimmed:
			legs = append(legs, *l.summary)
		}
	}
	if (!p.view.Over || strange) && len(legs) == 0 && len(p.legs) > 0 {
		// It goes on. A check will find it quiet; that brings a task of its own. Or nobody knows it.
		p.sessionDone = true
		return nil
	}
	why, err := p.reconcile(ctx, &wholeSession{pass: p, legs: legs})
	if why == reasonNotOver {
		p.sessionDone = true // nothing is stored: its events wait in the table for their legs
	}
	return err
}

// isThrough reports whether nothing is left to do for an entry.
func (p *pass) isThrough(e call.Entry) bool {
	if l := p.leg(e.Ref); l != nil && !l.done {
		return false
	}
	return p.sessionDone
}

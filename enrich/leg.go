package enrich

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// leg is one leg in a pass: a subject.
type leg struct {
	pass *pass
	view *session.LegView
	// hangup: a task of the leg's hangup is held; again: it was handed out before.
	hangup, again bool
	// check and backfill are the highest attempts that held checks ask for.
	check, backfill int
	// wanted: a task names this leg. Others are worked on only for their session.
	wanted bool

	// done: nothing is left to publish about the leg in this view.
	done bool
	// summary is the one that stands, stored and equal to the view, once done; nil when it has none.
	summary *summary.Leg
	// unknown: nobody knows its call.
	unknown bool
	// trimmed: of the leg's call something was trimmed from the log that its stored summary knows.
	trimmed bool
}

// run asks for and publishes what is due for the leg.
func (l *leg) run(ctx context.Context) error {
	v, p := l.view, l.pass
	if v.Dismissed {
		if left, err := l.runUnknown(ctx); err != nil || left {
			return err
		}
	}
	if v.Ending == session.NotOver {
		if !v.Initiated {
			if err := l.runHeadless(ctx); err != nil || l.trimmed {
				return err
			}
			if left, err := l.runUnknown(ctx); err != nil || left {
				return err
			}
		}
		l.done = l.check <= v.Asked || v.Control == "" || !p.held(p.job.ask(ctx, l, l.check))
		return nil
	}
	asking := false
	if l.wanted {
		attempt, until := decideAsk(v, p.w.cfg.Timing, l.hangup, l.check, p.now)
		p.later(until)
		// Of a leg that has a summary the next one may not wait for the answer. The hangup's task does.
		asking = attempt > 0 && p.held(p.job.ask(ctx, l, attempt)) || l.hangup && !until.IsZero()
	}
	if p.w.cfg.History != nil {
		if attempt := decideBackfill(v, l.backfill); attempt > 0 && p.held(p.job.backfill(ctx, v, p.view.Epoch, attempt)) {
			asking = true
		}
	}
	if _, err := p.reconcile(ctx, l); err != nil {
		return err
	}
	// The task is held until the answer is in the log, for a while: before that nobody else would ask again soon.
	l.done = l.done && !asking
	return nil
}

// runHeadless merges events of a leg whose history does not begin with its
// call.initiated onto its stored summary, if it has one: then its call was trimmed from the log.
func (l *leg) runHeadless(ctx context.Context) error {
	p := l.pass
	none := "none/" + cacheKey(l.key())
	if _, ok := p.w.stored.Get(none); ok {
		return nil
	}
	why, err := p.reconcile(ctx, l)
	if why == reasonNotOver {
		// Nothing is stored: the leg counts as new. Once it is over it is compared with what is stored anyway.
		// It is not forgotten within the amend window, after which a summary may well be stored.
		p.w.stored.Set(none, struct{}{}, min(rememberStored, p.w.cfg.Rules.AmendWindow))
		return nil
	}
	l.trimmed = true
	if err != nil || !l.done {
		return err
	}
	// The fold takes it for a leg that goes on.
	err = l.expire(ctx, session.Check{Trimmed: true})
	l.done = err == nil
	return err
}

// expire says in the log that the leg is over, and as c says why, so that every replica lets it go in time; a later
// event takes that back.
func (l *leg) expire(ctx context.Context, c session.Check) error {
	c.Kind, c.Session, c.Leg, c.Upto = session.CheckExpire, l.pass.view.ID, l.view.ID, l.view.AliveSeq
	c.Control, c.Connection = l.view.Control, l.view.Connection
	_, learned, err := l.pass.w.appendOwn(ctx, internalEntry(call.TopicCheck, c.ID(), c.Ref(), c))
	if learned != nil {
		l.pass.w.table.Release(learned.Ref.Session) // the task at hand keeps it
	}
	return err
}

func (l *leg) key() summary.Key { return key(l.pass.view.ID, l.view.ID) }

func (l *leg) published() int { return l.view.Revision }

func (l *leg) isNew() bool { return l.view.Ending != session.NotOver && l.hangup && !l.again }

func (l *leg) due(stored summary.Stored) verdict {
	if stored.Revision == 0 {
		return decideFirst(l.view, l.pass.w.cfg.Timing, l.hangup || l.check > 0, l.pass.now)
	}
	return decideAmend(newsSince(l.view, l.pass.after(stored)), l.pass.now)
}

func (l *leg) version() version { return version{changes: l.view.Version} }

func (l *leg) draft() *compose.Draft {
	return compose.LegDraft(compose.Leg(l.pass.view.ID, l.view), l.pass.w.maxBody())
}

func (l *leg) merge(_ context.Context, stored summary.Stored, draft *compose.Draft, isLost bool) (m merged, err error) {
	if m.before, err = compose.Read(l.key(), stored.Body); err != nil {
		return m, err
	}
	knows := !isLost && compose.Covers(*draft.Leg, *m.before.Leg)
	m.after, m.again, m.own = draft, knows && !l.isConfirmedElsewhere(m.before.Leg), knows
	if !m.again { // the draft alone does not make it again
		l.trimmed = l.trimmed || !knows
		m.after = compose.LegDraft(compose.MergeLeg(*m.before.Leg, *draft.Leg), l.pass.w.maxBody())
	}
	return m, err
}

// isConfirmedElsewhere reports whether a stored summary has its status by an answer that this fold does not have: where
// the log had no room for it, the replica that got it has learned it alone.
func (l *leg) isConfirmedElsewhere(stored *summary.Leg) bool {
	s := stored.Status
	return s.State == summary.StatusConfirmed && s.FetchedAt != nil && l.view.Confirmed == nil &&
		!slices.ContainsFunc(l.view.Answers, func(a *session.Received) bool { return s.FetchedAt.Equal(summary.At(a.FetchedAt).Time) })
}

func (l *leg) resume(k known) error {
	d := l.draft()
	if k.truncated {
		if _, err := d.Content(); err != nil {
			return err
		}
	}
	d, err := d.Revise(nil, k.stored.Revision, k.stored.PublishedAt)
	if err == nil {
		l.settle(d)
	}
	return err
}

func (l *leg) settle(d *compose.Draft) { l.done, l.summary = true, d.Leg }

// report counts and logs a published revision: one wide line, no parties.
func (l *leg) report(d *compose.Draft, why reason) {
	leg, v, w, now := d.Leg, l.view, l.pass.w, l.pass.now
	if leg.Revision == 1 && !v.Hangup.IsZero() {
		w.metrics.completion.Observe(now.Sub(v.Hangup).Seconds())
	}
	if leg.Status.State == summary.StatusNotAsked && v.Control != "" &&
		slices.ContainsFunc(leg.Changed, func(pointer string) bool { return strings.HasPrefix(pointer, "/status") }) {
		w.metrics.unasked.Inc()
	}
	w.report(l.key(), leg.Revision, leg.Outcome, leg.Reasons, now, v.Since, v.Hangup,
		"connection_id", leg.ConnectionID, "ended_by", string(leg.EndedBy), "status", string(leg.Status.State), "why", string(why),
		"events", len(leg.Events)+leg.EventsOmitted, "recordings", len(leg.Recordings), "attempts", leg.Status.Attempts)
}

// newsSince returns when the first event of the leg after position p was
// received, or, when there is none, the last answer; zero when there is neither. Of the answers all but
// the last are known to have been no news: an attempt that failed says nothing.
func newsSince(v *session.LegView, p uint64) time.Time {
	if first := firstReceived(v.Events, p); !first.IsZero() {
		return first
	}
	var last time.Time
	for _, a := range v.Answers {
		if a.Seq > p && a.At.After(last) {
			last = a.At
		}
	}
	return last
}

// firstReceived is when the first of the events after position p was received,
// zero when there is none.
func firstReceived(events []*session.Event, p uint64) (first time.Time) {
	for _, e := range events {
		if e.Seq > p && (first.IsZero() || e.ReceivedAt.Before(first)) {
			first = e.ReceivedAt
		}
	}
	return first
}

package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/compose"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"go.opentelemetry.io/otel/trace"
)

// look is one look at a session: what its tasks ask for, and what came of it.
type look struct {
	job  *job
	w    *Worker
	view *session.View
	now  time.Time

	legs map[call.LegID]*legWork
	// settling: a task of the session's settling is held; settled: for the first time.
	settling, settled bool
	// sessionDone: nothing is left to publish about the session in this view.
	sessionDone bool
	// isBehind: a stored summary was met that knows more than this fold has read.
	isBehind bool
	// until is when to look again; zero: when something changes.
	until time.Time
}

// legWork is one leg in a look.
type legWork struct {
	view *session.LegView
	// hangup: a task of the leg's hangup is held; again: it was handed out before.
	hangup, again bool
	// check and repair are the highest attempts that held checks ask for.
	check, repair int
	// wanted: a task names this leg. Others are worked on only for their session.
	wanted bool

	// done: nothing is left to publish about the leg in this view.
	done bool
	// summary is the leg's newest summary, stored and equal to the view, once done; nil when it has none.
	summary *summary.Leg
	// departed: the leg's call has left the log, its summary was read back.
	departed bool
}

func (l *look) later(t time.Time) {
	if !t.IsZero() && (l.until.IsZero() || t.Before(l.until)) {
		l.until = t
	}
}

// sort finds the leg of every task.
func (l *look) sort(tasks []Task) {
	for i := range l.view.Legs {
		v := &l.view.Legs[i]
		l.legs[v.ID] = &legWork{view: v}
	}
	for _, t := range tasks {
		e := t.Entry()
		lw := l.leg(e.Ref)
		if lw == nil {
			if check(e).Kind == session.CheckSettle {
				l.settling, l.settled = true, l.settled || !t.Again()
			}
			continue
		}
		lw.wanted = true
		switch e.Topic {
		case call.TopicEvent + call.TypeHangup:
			lw.hangup = true
			// A later delivery of the hangup is no first task of it either.
			lw.again = lw.again || t.Again() || e.ReceivedAt.After(lw.view.Hangup)
		case call.TopicCheck:
			switch c := check(e); c.Kind {
			case session.CheckStatus:
				lw.check = max(lw.check, c.Attempt)
			case session.CheckRepair:
				lw.repair = max(lw.repair, c.Attempt)
			case session.CheckSettle, session.CheckExpire:
			}
		}
	}
}

// check reads the check of an entry; one of no kind when it has none.
func check(e call.Entry) (c session.Check) {
	if e.Topic != call.TopicCheck || json.Unmarshal(e.Data, &c) != nil {
		return session.Check{} // what was folded can be read
	}
	return c
}

// leg finds the leg that a ref names. Where it names none the fold knows: a leg
// may go by several control ids.
func (l *look) leg(ref call.Ref) *legWork {
	if ref.Leg == "" && ref.Control != "" {
		if place := l.w.table.Place(ref); place.Session == l.view.ID {
			return l.legs[place.Leg]
		}
	}
	return l.legs[ref.Leg]
}

// through reports whether nothing is left to do for an entry.
func (l *look) through(e call.Entry) bool {
	if lw := l.leg(e.Ref); lw != nil && !lw.done {
		return false
	}
	return l.sessionDone
}

// do works on the wanted legs, and then on the session. A leg that cannot be
// done does not keep the others from being done.
func (l *look) do(ctx context.Context) error {
	var poisoned error
	for _, lw := range l.legs {
		// Somebody who still remembered this call has found it over and quiet: its
		// legs are then none that live, but departed ones.
		headless := l.settling && !lw.view.Initiated
		if !lw.wanted && !l.view.Over && !headless {
			continue
		}
		err := l.doLeg(ctx, lw)
		if err != nil && !errors.Is(err, errPoison) {
			return err
		}
		poisoned = errors.Join(poisoned, err)
	}
	if poisoned != nil {
		// Of a session that goes on nothing is due: what is done of its other legs is done.
		departed := func(lw *legWork) bool { return lw.departed }
		l.sessionDone = !l.view.Over && !slices.ContainsFunc(slices.Collect(maps.Values(l.legs)), departed)
		return poisoned
	}
	return l.doSession(ctx)
}

func (l *look) position() summary.Position {
	return summary.Position{Log: l.view.Log, Seq: l.view.Position}
}

// doLeg asks and publishes what is due for a leg.
func (l *look) doLeg(ctx context.Context, lw *legWork) error {
	v := lw.view
	if v.Ending == session.NotOver {
		if !v.Initiated {
			if err := l.doDeparted(ctx, lw); err != nil || lw.departed {
				return err
			}
		}
		if lw.check > v.Asked && v.Control != "" && !l.job.gaveUp(v.ID, session.CheckStatus, lw.check) {
			l.job.ask(ctx, v, l.view.Life, lw.check)
			return nil
		}
		lw.done = true
		return nil
	}
	attempt, until := 0, time.Time{}
	if lw.wanted {
		attempt, until = decideAsk(v, l.w.cfg.Timing, lw.hangup, lw.check, l.now)
	}
	l.later(until)
	if attempt > 0 {
		l.job.ask(ctx, v, l.view.Life, attempt)
	}
	repair := 0
	if l.w.cfg.History != nil {
		repair = decideRepair(v, lw.repair)
	}
	if repair > 0 {
		l.job.repair(ctx, v, l.view.Life, repair)
	}
	if err := l.publishLeg(ctx, lw); err != nil {
		return err
	}
	// Who asks is through when the answer is in the log: from there the calendar
	// goes on, and before that nobody else would ask again.
	if attempt > 0 && !l.job.gaveUp(v.ID, session.CheckStatus, attempt) ||
		repair > 0 && !l.job.gaveUp(v.ID, session.CheckRepair, repair) {
		lw.done = false
	}
	return nil
}

// doDeparted merges events of a leg whose history does not begin with its
// call.initiated onto its stored summary, if it has one: then its call has left the log.
func (l *look) doDeparted(ctx context.Context, lw *legWork) error {
	k := key(l.view.ID, lw.view.ID)
	none := "none/" + cacheKey(k)
	if _, ok := l.w.stored.Get(none); ok {
		return nil
	}
	stored, ok, err := l.w.cfg.Sink.Last(ctx, k)
	if err != nil {
		return err
	}
	if !ok {
		// It counts as new. Once it is over it is compared with what is stored anyway.
		// It is not forgotten within the amend window, after which a summary may well be stored.
		l.w.stored.Set(none, struct{}{}, min(rememberStored, l.w.cfg.Rules.AmendWindow))
		return nil
	}
	lw.departed = true
	if err := l.compareLeg(ctx, lw, compose.Leg(l.view.ID, lw.view), stored); err != nil || !lw.done {
		return err
	}
	// The fold takes it for a leg that lives. Said in the log that it is over, every
	// replica lets it go in time; an event that comes later takes it back.
	c := session.Check{
		Kind: session.CheckExpire, Session: l.view.ID, Leg: lw.view.ID,
		Control: lw.view.Control, Connection: lw.view.Connection, Upto: lw.view.HeardSeq, Departed: true,
	}
	if _, err := l.w.cfg.Log.Append(ctx, internalEntry(call.TopicCheck, c.ID(), c.Ref(), c)); err != nil {
		lw.done = false
		return err
	}
	return nil
}

// known is what this replica knows to be stored for a key.
type known struct {
	stored summary.Stored // without its body
	// content is the hash of the view's content that was found equal to the stored one.
	content uint64
}

var seed = maphash.MakeSeed()

func (l *look) remember(k summary.Key, s summary.Stored, content []byte) {
	s.Body = nil
	l.w.stored.SetDefault(cacheKey(k), known{stored: s, content: maphash.Bytes(seed, content)})
}

// publishLeg brings the stored summary of a leg that is over up to the view.
func (l *look) publishLeg(ctx context.Context, lw *legWork) error {
	k := key(l.view.ID, lw.view.ID)
	cached, ok := l.w.stored.Get(cacheKey(k))
	// Most looks at a leg that is just over find that its time has not come: they need no summary of it.
	if !ok && lw.hangup && !lw.again {
		if d := l.first(lw); !d.act {
			l.later(d.until)
			return nil
		}
	}
	leg, content, err := compose.FitLeg(compose.Leg(l.view.ID, lw.view))
	if err != nil {
		return poison("%w", err)
	}
	if ok && cached.(known).content == maphash.Bytes(seed, content) {
		leg.Revision = cached.(known).stored.Revision
		lw.done, lw.summary = true, &leg
		return nil
	}
	// Only who holds a hangup for the first time may suppose that nothing is
	// stored; for anybody else somebody may have published it before.
	if !ok && lw.hangup && !lw.again {
		return l.publishFirst(ctx, lw, leg, content)
	}
	stored, found, err := l.w.cfg.Sink.Last(ctx, k)
	if err != nil {
		return err
	}
	if found {
		return l.compareLeg(ctx, lw, leg, stored)
	}
	return l.publishFirst(ctx, lw, leg, content)
}

// first decides whether a leg's completed message is due.
func (l *look) first(lw *legWork) verdict {
	return decideFirst(lw.view, l.w.cfg.Timing, lw.hangup || lw.check > 0, l.now)
}

// publishFirst publishes a leg's completed message when it is due.
func (l *look) publishFirst(ctx context.Context, lw *legWork, leg summary.Leg, content []byte) error {
	d := l.first(lw)
	if !d.act {
		l.later(d.until)
		return nil
	}
	leg.Revision, leg.PublishedAt = 1, summary.MustAt(l.now)
	stored, err := l.publish(ctx, key(l.view.ID, lw.view.ID), leg.ConnectionID, 1, leg, summary.Stored{})
	if errors.Is(err, summary.ErrRefused) {
		l.later(l.now.Add(refusedPause))
		return l.w.refused(ctx, l, lw)
	}
	if err != nil {
		return err
	}
	l.remember(key(l.view.ID, lw.view.ID), stored, content)
	l.w.table.Complete(l.view.ID, lw.view.ID)
	lw.done, lw.summary = true, &leg
	l.w.publishedLeg(&leg, lw.view, string(d.reason), l.now)
	return nil
}

// compareLeg holds the view against the stored summary and amends it where the
// view knows more.
func (l *look) compareLeg(ctx context.Context, lw *legWork, leg summary.Leg, stored summary.Stored) error {
	l.w.table.Complete(l.view.ID, lw.view.ID)
	wait, lost := l.behind(stored)
	if wait {
		return nil
	}
	var before summary.Leg
	if err := json.Unmarshal(stored.Body, &before); err != nil {
		return poison("read back revision %d of leg %s: %w", stored.Revision, lw.view.ID, err)
	}
	leg, viewContent, err := compose.FitLeg(leg)
	if err != nil {
		return poison("%w", err)
	}
	// A merged leg is not remembered: the view alone does not make it again.
	merged := lost || !compose.Covers(leg, before)
	if merged {
		lw.departed = true
		leg = compose.MergeLeg(before, leg)
	}
	was, err := compose.LegContent(before)
	if err != nil {
		return poison("%w", err)
	}
	leg, is, err := compose.FitLeg(leg)
	if err != nil {
		return poison("%w", err)
	}
	k := key(l.view.ID, lw.view.ID)
	if string(was) == string(is) {
		if !merged {
			l.remember(k, stored, viewContent)
		}
		lw.done, lw.summary = true, &before
		return nil
	}
	if d := decideAmend(l.newsSince(lw, stored), l.now); !d.act {
		l.later(d.until)
		return nil
	}
	if leg.Changed, err = compose.Changed(was, is); err != nil {
		return poison("%w", err)
	}
	leg.Reasons = compose.LegReasons(&before, &leg)
	leg.Revision, leg.PublishedAt = stored.Revision+1, summary.MustAt(l.now)
	next, err := l.publish(ctx, k, leg.ConnectionID, leg.Revision, leg, stored)
	if errors.Is(err, summary.ErrRefused) {
		l.w.metrics.refused.Inc()
		l.later(l.now.Add(refusedPause))
		return nil
	}
	if err != nil {
		return err
	}
	if !merged {
		l.remember(k, next, viewContent)
	}
	lw.done, lw.summary = true, &leg
	l.w.publishedLeg(&leg, lw.view, string(reasonLate), l.now)
	return nil
}

// newsSince is when the first of what the stored summary does not know came in.
func (l *look) newsSince(lw *legWork, stored summary.Stored) time.Time {
	return newsSince(lw.view, l.after(stored))
}

// after is the sequence in this log up to which a stored summary was made.
func (l *look) after(stored summary.Stored) uint64 {
	if stored.Position.Log != l.view.Log {
		return 0 // sequences of another log say nothing
	}
	return stored.Position.Seq
}

// publish encodes and publishes one revision.
func (l *look) publish(ctx context.Context, k summary.Key, connection string, revision int, body any, prev summary.Stored) (summary.Stored, error) {
	data, err := summary.Encode(body)
	if err != nil {
		return summary.Stored{}, poison("%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ctx, span := l.w.span(ctx, "publish", trace.SpanKindProducer, k)
	defer span.End()
	stored, err := l.w.cfg.Sink.Publish(ctx, summary.Draft{
		Key: k, Connection: connection, Revision: revision,
		Position: l.position(), PublishedAt: l.now, Body: data,
	}, prev)
	publishedSpan(span, revision, err)
	if errors.Is(err, summary.ErrInvalid) {
		return summary.Stored{}, poison("%w", err)
	}
	return stored, err
}

const (
	publishTimeout = 5 * time.Second
	// refusedPause lets a publication that is being stored become readable.
	refusedPause = 50 * time.Millisecond
	behindPause  = 500 * time.Millisecond
	// behindMost is how long a fold may be behind a stored summary before the
	// position is taken for one that the log lost: it ended below it after a failure of its disk.
	// Even then what is stored is merged with, never replaced by what knows less.
	behindMost = time.Minute
)

// behind reports whether a stored summary was made by somebody who has read
// further. Nothing can be said about it before this fold has, too. Where it waits in vain, lost tells
// that the log has lost the position: the view may know less, and is to be merged.
func (l *look) behind(stored summary.Stored) (wait, lost bool) {
	if stored.Position.Log != l.view.Log || stored.Position.Seq <= l.view.Position {
		return false, false
	}
	if l.job.behind.IsZero() {
		l.job.behind = time.Now()
	}
	l.isBehind = true
	if time.Since(l.job.behind) > behindMost {
		return false, true
	}
	l.later(l.now.Add(behindPause))
	return true, false
}

// refused reads what stands in the way of a first publication. It may be this
// replica's own, from before a crash or a lost acknowledgement.
func (w *Worker) refused(ctx context.Context, l *look, lw *legWork) error {
	w.metrics.refused.Inc()
	stored, found, err := w.cfg.Sink.Last(ctx, key(l.view.ID, lw.view.ID))
	if err != nil || !found {
		return err // not yet readable: the next look tries again
	}
	return l.compareLeg(ctx, lw, compose.Leg(l.view.ID, lw.view), stored)
}

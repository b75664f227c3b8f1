package enrich

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// subject is a leg or a session: what has one stored summary that is to say what the view says.
type subject interface {
	key() summary.Key
	// published is the newest revision that the fold knows to be published of what it has, 0 when it knows of none.
	published() int
	// isNew reports whether nothing can be stored yet. Only the holder of the task of the subject's
	// completion may suppose that, and only the first time; otherwise somebody may have published before.
	isNew() bool
	// due decides whether to publish what is news to the stored summary; of the zero Stored, the first summary.
	due(stored summary.Stored) verdict
	// version is another whenever the draft may be.
	version() version
	// draft makes the summary that the view gives by itself.
	draft() *compose.Draft
	// merge makes of what is stored and the draft what should stand.
	merge(ctx context.Context, stored summary.Stored, draft *compose.Draft, isLost bool) (merged, error)
	// resume takes note that what is known stands: nothing is left to publish in this view.
	resume(known) error
	// settle takes note of the summary that stands: nothing is left to publish in this view.
	settle(*compose.Draft)
	// report counts and logs a published revision.
	report(*compose.Draft, reason)
}

// merged is a stored summary, and the one that should stand in its place.
type merged struct {
	before, after *compose.Draft
	// again: the same draft leads to the same summary again. own: it has nothing that only the stored one had.
	again, own bool
}

const (
	publishTimeout = 5 * time.Second
	// refusedPause lets a publication that is being stored become readable. It doubles up to maxRefusedPause: what is
	// refused again and again stands elsewhere than can be read, as after somebody has emptied the stream.
	refusedPause, maxRefusedPause = 50 * time.Millisecond, 10 * time.Second
	behindPause                   = 500 * time.Millisecond
	// behindPatience is how long a fold is behind a stored summary before the log is asked whether it reaches so far:
	// a moment is usual, where another replica is quicker.
	behindPatience = 3 * time.Second
	// maxBehind is how long a fold may be behind a stored summary before the
	// position is taken for one that the log lost: it ended below it after a failure of its disk.
	// Even then what is stored is merged with, never replaced by what knows less.
	maxBehind = time.Minute
)

// reconcile brings the stored summary of a subject up to the view. It returns the reason for which it
// published, or what kept it from that; where time changes the decision, the pass is repeated then.
func (p *pass) reconcile(ctx context.Context, s subject) (reason, error) {
	known, isKnown := p.w.remembered(s.key())
	// Of a later revision of another replica this one only knows that there is one, and it need not be there any more.
	if isKnown && known.version == s.version() && known.stored.Revision >= s.published() {
		return reasonUnchanged, s.resume(known)
	}
	isNew := !isKnown && s.isNew()
	if isNew {
		// Most passes over a leg that is just over find that its time has not come: they need no summary of it.
		if d := s.due(summary.Stored{}); !d.act {
			return p.wait(d), nil
		}
	}
	draft := s.draft()
	if isNew {
		why, err := p.publish(ctx, s, merged{after: draft, again: true, own: true}, summary.Stored{})
		if why != reasonRefused || err != nil {
			return why, err
		}
	}
	// Where it was refused, this may be its own, from before a crash or a lost acknowledgement.
	stored, found, err := p.w.cfg.Sink.Last(ctx, s.key())
	switch {
	case err != nil:
		return "", err
	case found:
		return p.amend(ctx, s, draft, stored)
	case isNew:
		return reasonRefused, nil // it is not readable yet
	}
	return p.publish(ctx, s, merged{after: draft, again: true, own: true}, p.lost(s, known))
}

// lost is what is known to have been published about a subject of which nothing is stored any more: somebody has
// emptied the stream. Revisions go on counting, for consumers pass over what they have seen. The zero Stored: nothing is,
// or it was made of more than the view has, which must not take its place: then revisions count anew.
func (p *pass) lost(s subject, known known) summary.Stored {
	if !known.own || p.after(known.stored) < p.view.Epoch { // or it was of the call before the fold let it go
		known.stored = summary.Stored{}
	}
	revision := max(s.published(), known.stored.Revision)
	if revision == 0 {
		return summary.Stored{}
	}
	return summary.Stored{Draft: summary.Draft{
		Key: s.key(), Connection: known.stored.Connection, Revision: revision, Position: known.stored.Position,
	}}
}

// amend holds what is stored against the view, and revises it where the view knows more.
func (p *pass) amend(ctx context.Context, s subject, draft *compose.Draft, stored summary.Stored) (reason, error) {
	p.w.table.Stored(call.SessionID(stored.Key.Session), call.LegID(stored.Key.Leg), stored.Revision, p.after(stored))
	wait, isLost := p.behind(ctx, stored)
	if wait {
		return reasonBehind, nil
	}
	m, err := s.merge(ctx, stored, draft, isLost)
	if err != nil {
		return "", err
	}
	was, err := m.before.Content()
	if err != nil {
		return "", err
	}
	is, err := m.after.Content()
	if err != nil {
		return "", err
	}
	if bytes.Equal(was, is) {
		p.stored(s, m, stored, m.after.Truncated)
		s.settle(m.before)
		return reasonUnchanged, nil
	}
	return p.publish(ctx, s, m, stored)
}

// publish publishes the revision that follows a stored summary, when that is due.
func (p *pass) publish(ctx context.Context, s subject, m merged, stored summary.Stored) (reason, error) {
	d := s.due(stored)
	if !d.act {
		return p.wait(d), nil
	}
	try := attempted{s.key(), stored.Revision + 1}
	if r, ok := p.job.refused[try]; ok && p.now.Before(r.until) {
		p.later(r.until)
		return reasonRefused, nil
	}
	next, err := m.after.Revise(m.before, stored.Revision+1, p.now)
	if err != nil {
		return "", err
	}
	put, err := p.put(ctx, s.key(), next, stored)
	if errors.Is(err, summary.ErrRefused) {
		// The key stands elsewhere than supposed: the next pass reads what is there.
		p.w.metrics.refused.Inc()
		p.later(p.job.refuse(try, p.now))
		return reasonRefused, nil
	}
	if err != nil {
		return "", err
	}
	delete(p.job.refused, try)
	p.stored(s, m, put, next.Truncated)
	s.settle(next)
	s.report(next, d.reason)
	return d.reason, nil
}

// put stores a revision if the key still stands at prev.
func (p *pass) put(ctx context.Context, k summary.Key, d *compose.Draft, prev summary.Stored) (summary.Stored, error) {
	body, connection, err := d.Encode()
	if err != nil {
		return summary.Stored{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ctx, span := p.w.span(ctx, "publish", trace.SpanKindProducer, k)
	defer span.End()
	revision := prev.Revision + 1
	stored, err := p.w.cfg.Sink.Publish(ctx, summary.Draft{
		Key: k, Connection: connection, Revision: revision,
		Position: p.position(), PublishedAt: p.now, Body: body,
	}, prev)
	publishedSpan(span, revision, err)
	return stored, err
}

// wait has the pass repeated when a decision can be another.
func (p *pass) wait(d verdict) reason {
	p.later(d.until)
	return d.reason
}

// stored notes, here and in the fold, that a summary stands.
func (p *pass) stored(s subject, m merged, put summary.Stored, truncated bool) {
	if m.again {
		p.w.remember(known{stored: put, version: s.version(), truncated: truncated, own: m.own})
	}
	session, leg := call.SessionID(put.Key.Session), call.LegID(put.Key.Leg)
	if m.own {
		p.w.table.Published(session, leg, put.Revision)
	} else {
		p.w.table.Stored(session, leg, put.Revision, 0)
	}
}

// attempted is a revision that a job has tried to publish.
type attempted struct {
	key      summary.Key
	revision int
}

// refusal is how often a publication was refused in a row, and when it is tried again.
type refusal struct {
	times int
	until time.Time
}

// refuse notes that a publication was refused, and returns when it is tried again.
func (j *job) refuse(what attempted, now time.Time) time.Time {
	r := j.refused[what]
	r.until = now.Add(min(refusedPause<<min(r.times, 16), maxRefusedPause))
	r.times++
	j.refused[what] = r
	return r.until
}

// behind reports whether a stored summary was made from a later position than this fold has reached. The
// two can be compared only once it has. Where it waits in vain, the log has lost the position (isLost):
// the view may know less, and is to be merged.
func (p *pass) behind(ctx context.Context, stored summary.Stored) (wait, isLost bool) {
	if stored.Position.Log != p.view.Log || stored.Position.Seq <= p.view.Position {
		return false, false
	}
	if p.job.behind.IsZero() {
		p.job.behind = time.Now()
	}
	p.isBehind = true
	switch since := time.Since(p.job.behind); {
	case since > maxBehind:
		return false, true
	case since > behindPatience:
		// A position beyond the log's end is one of a log that went on otherwise.
		if log, err := p.w.cfg.Log.State(ctx); err == nil && log.ID == stored.Position.Log && log.Last < stored.Position.Seq {
			return false, true
		}
	}
	p.later(p.now.Add(behindPause))
	return true, false
}

// position is the place in the log that the view was folded to.
func (p *pass) position() summary.Position {
	return summary.Position{Log: p.view.Log, Seq: p.view.Position}
}

// after is the sequence in this log up to which a stored summary was made.
func (p *pass) after(stored summary.Stored) uint64 {
	if stored.Position.Log != p.view.Log {
		return 0 // sequences of another log say nothing
	}
	return stored.Position.Seq
}

// known is what this replica knows to be stored for a key.
type known struct {
	stored summary.Stored // without its body
	// version is that of the draft that was found equal to the stored summary, or was stored as it; truncated: it did
	// not fit as it was; own: it has nothing that the view has not.
	version        version
	truncated, own bool
}

// version tells drafts of a subject apart: by how often what they are made of has changed in the fold, and by the
// revisions of the legs that a session lists, added up, of which none goes back.
type version struct {
	changes   uint64
	revisions int
}

func (w *Worker) remembered(k summary.Key) (known, bool) {
	v, ok := w.stored.Get(cacheKey(k))
	if !ok {
		return known{}, false
	}
	return v.(known), true
}

// remember notes which summary stands for a draft.
func (w *Worker) remember(k known) {
	k.stored.Body = nil
	w.stored.SetDefault(cacheKey(k.stored.Key), k)
}

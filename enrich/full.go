package enrich

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

// What a leg still takes of the storage, in bytes, to tell the log how much to keep free. Measured with two webhooks a
// leg: 1.1 KB a webhook, 1.7 KB of Legato's own entries; a revision of the leg's summary and one of its session's,
// headers included, take some 6 KB.
const (
	openLegBytes    = 4 << 10 // the later webhooks and Legato's own entries
	pendingLegBytes = 2 << 10 // Legato's own entries
	revisionBytes   = 6 << 10
)

// need estimates what the calls in the table still take of the storage: two revisions of a leg that is not completed,
// and, since few of the others are revised, a quarter of one.
func (w *Worker) need() call.Need {
	st, pending := w.table.Stats(), int64(w.table.Tally().Pending)
	open := int64(st.OpenLegs)
	completed := max(int64(st.Legs)-open-pending, 0)
	return call.Need{
		Legs:      open + pending,
		Log:       open*openLegBytes + pending*pendingLegBytes,
		Summaries: (open+pending)*2*revisionBytes + completed*revisionBytes/4,
	}
}

// appendOwn appends an entry of Legato's own. Where the log has no room, the fold learns it without: a call must not
// wait for room in the log that only its own end would make. Then it returns the entry as it was learned, whose session
// must be released; nil: it is in the log.
func (w *Worker) appendOwn(ctx context.Context, e call.Entry) (receipt call.Receipt, learned *call.Entry, err error) {
	if receipt, err = w.cfg.Log.Append(ctx, e); !errors.Is(err, call.ErrFull) {
		return receipt, nil, err
	}
	at, ok := w.table.Learn(e)
	if !ok {
		return call.Receipt{}, nil, err
	}
	w.metrics.learned.WithLabelValues(e.Topic).Inc()
	return call.Receipt{}, &at, nil
}

// recordOwn is appendOwn, tried again until ctx ends.
func (w *Worker) recordOwn(
	ctx context.Context, e call.Entry, options ...backoff.RetryOption,
) (receipt call.Receipt, learned *call.Entry, err error) {
	options = append(options, backoff.WithBackOff(newPauses()), backoff.WithMaxElapsedTime(0))
	receipt, err = backoff.Retry(ctx, func() (r call.Receipt, err error) {
		r, learned, err = w.appendOwn(ctx, e)
		return r, err
	}, options...)
	return receipt, learned, err
}

// appendCheck appends a check. Where the log has no room for it, no queue hands it to anybody: then this replica acts
// on it, and so may the others. What two of them publish is one, by its condition.
func (w *Worker) appendCheck(ctx context.Context, c session.Check) error {
	e := internalEntry(call.TopicCheck, c.ID(), c.Ref(), c)
	e.Sweep = c.Sweep
	_, learned, err := w.appendOwn(ctx, e)
	switch {
	case err != nil:
		return err
	case learned == nil:
		w.metrics.checks.WithLabelValues(string(c.Kind)).Inc()
		return nil
	}
	t := &localTask{w: w, entry: *learned}
	if c.Kind == session.CheckBackfill {
		// What the history would bring has no room either. The attempt counts, so that the call can be forgotten.
		return t.Ack()
	}
	w.join(ctx, w.table.Place(learned.Ref), t)
	return nil
}

// localTask is a task that no queue has handed out. Its session is kept until it is through.
type localTask struct {
	w     *Worker
	entry call.Entry
	once  sync.Once
}

func (t *localTask) release() error {
	t.once.Do(func() { t.w.table.Release(t.entry.Ref.Session) })
	return nil
}

// Entry implements Task.
func (t *localTask) Entry() call.Entry { return t.entry }

// Again implements Task: other replicas may have acted on the same.
func (t *localTask) Again() bool { return true }

// Ack implements Task.
func (t *localTask) Ack() error { return t.release() }

// Nak implements Task. The table that it was learned by is about to be discarded, or the process ends: then it becomes
// due again.
func (t *localTask) Nak(time.Duration) error { return t.release() }

// InProgress implements Task.
func (t *localTask) InProgress() error { return nil }

// Term implements Task.
func (t *localTask) Term() error { return t.release() }

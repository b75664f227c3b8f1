package enrich

import (
	"context"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

const (
	// watchMargin: the clocks of two streams of a cluster are those of their leaders.
	watchMargin = 5 * time.Minute
	// watchAgain is the pause after a disturbance.
	watchAgain = time.Second
)

// watch notes in the table which of its legs are completed, until ctx ends: other
// replicas publish as well, and so did this one before its last start. It decides nothing.
func (w *Worker) watch(ctx context.Context) error {
	log, began := w.table.Epoch()
	if began.IsZero() {
		began = w.table.Now()
	}
	for {
		err := w.cfg.Watch(ctx, began.Add(-watchMargin), func(k summary.Key, revision int, at summary.Position) {
			w.published(ctx, log, k, revision, at)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.log.Debug("watching the summaries was interrupted", "error", err)
		if !pause(ctx, watchAgain, nil) {
			return ctx.Err()
		}
	}
}

// published notes one stored revision, once the fold has passed what it was made from.
func (w *Worker) published(ctx context.Context, log string, k summary.Key, revision int, at summary.Position) {
	if at.Log == log && !w.awaitFold(ctx, at.Seq) {
		return
	}
	w.table.Published(call.SessionID(k.Session), call.LegID(k.Leg), revision)
}

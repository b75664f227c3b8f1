package enrich

import (
	"context"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

const (
	upkeepEvery = 2 * time.Second
	// trimEvery and trimMargin: trimming is cheap and never urgent; a replica that
	// lags behind by less than the margin does not notice it.
	trimEvery  = 30 * time.Second
	trimMargin = 3 * time.Minute
	// scarceMargin is the margin while webhooks are refused for want of room: better that a replica which lags reads
	// the log again.
	scarceMargin = 15 * time.Second
)

// keepUp maintains the queue's floor and the log's length, until ctx ends.
func (w *Worker) keepUp(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	var history positions
	trimmed := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := w.upkeep(ctx); err != nil {
			w.log.Debug("the queue's depth could not be read", "error", err)
			continue
		}
		now, margin := time.Now(), trimMargin
		history.note(now, w.table.Position())
		scarce := w.cfg.Log.Reserve(w.need())
		if scarce {
			margin = scarceMargin
		}
		if !scarce && now.Sub(trimmed) < trimEvery {
			continue
		}
		trimmed = now
		w.stored.DeleteExpired()
		if err := w.trim(ctx, history.before(now.Add(-margin))); err != nil && ctx.Err() == nil {
			w.log.Warn("the log could not be trimmed", "error", err)
		}
	}
}

// trim removes what nobody needs from the log, and nothing from seq on.
func (w *Worker) trim(ctx context.Context, seq uint64) error {
	below := min(w.table.Needed(), w.table.Floor()+1, seq)
	if below > 1 && w.cfg.Needed != nil {
		needed, err := w.cfg.Needed(ctx)
		if err != nil {
			return err
		}
		below = min(below, needed)
	}
	if below <= 1 {
		return nil
	}
	return w.cfg.Log.Trim(ctx, below)
}

// upkeep passes on to the table how far the queue is through with the log.
func (w *Worker) upkeep(ctx context.Context) error {
	depth, err := w.cfg.Queue.Depth(ctx, w.table.Position())
	if err != nil {
		return err
	}
	w.reached.Store(new(time.Now()))
	w.metrics.waiting.Set(float64(depth.Waiting))
	w.metrics.held.Set(float64(depth.Held))
	w.table.SetFloor(depth.Floor)
	return nil
}

// positions remembers where the fold was some minutes ago.
type positions []struct {
	at  time.Time
	seq uint64
}

func (p *positions) note(at time.Time, seq uint64) {
	*p = append(*p, struct {
		at  time.Time
		seq uint64
	}{at, seq})
}

// before returns the last position noted before a time, 0 when none was, and
// lets go of those that are older.
func (p *positions) before(at time.Time) uint64 {
	for len(*p) > 1 && (*p)[1].at.Before(at) {
		*p = (*p)[1:]
	}
	if len(*p) == 0 || !(*p)[0].at.Before(at) {
		return 0
	}
	return (*p)[0].seq
}

const (
	// watchMargin: the clocks of two streams of a cluster are those of their leaders.
	watchMargin = 5 * time.Minute
	// watchAgain is the pause after a disturbance.
	watchAgain = time.Second
)

// watch notes in the table which of its legs are completed, until ctx ends or nobody else publishes: other
// replicas do, and so did this one before its last start. It decides nothing.
func (w *Worker) watch(ctx context.Context) error {
	log, began := w.table.Epoch()
	if began.IsZero() {
		began = w.table.Now()
	}
	for {
		err := w.cfg.Watch(ctx, began.Add(-watchMargin), func(k summary.Key, revision int, at summary.Position) {
			w.published(ctx, log, k, revision, at)
		})
		if err == nil || ctx.Err() != nil {
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
	made := at.Seq
	if at.Log != log {
		made = 0
	}
	w.table.Stored(call.SessionID(k.Session), call.LegID(k.Leg), revision, made)
}

package journal

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/nats-io/nats.go/jetstream"
)

// sayEvery is how often a condition that lasts is logged.
const sayEvery = time.Minute

// State asks the server for the log's state.
func (j *Journal) State(ctx context.Context) (call.Log, error) {
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return call.Log{}, fmt.Errorf("read the state of log %s: %w", j.cfg.Stream, err)
	}
	return j.observe(stream.CachedInfo()), nil
}

// survey is a look that also measures how much room there is.
func (j *Journal) survey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return fmt.Errorf("look at log %s: %w", j.cfg.Stream, err)
	}
	j.observe(stream.CachedInfo())
	j.measure(ctx, stream.CachedInfo())
	return nil
}

// look is State within the time that a look may take.
func (j *Journal) look(ctx context.Context) (call.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	return j.State(ctx)
}

// watch looks at the log from time to time until ctx ends.
func (j *Journal) watch(ctx context.Context) {
	defer close(j.watched)
	tick := time.NewTicker(j.cfg.pace.watch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := j.survey(ctx); err != nil && ctx.Err() == nil {
			j.log.Debug("the log's state is not known", "error", err)
		}
	}
}

func describe(info *jetstream.StreamInfo) call.Log {
	return call.Log{
		ID: strconv.FormatInt(info.Created.UnixNano(), 36),
		// A stream that never held a message says 0.
		First: max(info.State.FirstSeq, 1),
		Last:  info.State.LastSeq,
	}
}

// observe takes note of what a look at the log tells.
func (j *Journal) observe(info *jetstream.StreamInfo) call.Log {
	log := describe(info)
	if was := j.life.Swap(log.ID); was != nil && was != log.ID {
		// The ids known to be stored were stored in another log.
		j.known.forget()
	}
	j.atomicFrom.Store(atomicFrom(&info.Config))
	var fill float64
	if limit := info.Config.MaxBytes; limit > 0 {
		fill = float64(info.State.Bytes) / float64(limit)
	}
	j.metrics.fill.Set(fill)
	j.metrics.bytes.Set(float64(info.State.Bytes))
	j.metrics.limit.Set(float64(max(info.Config.MaxBytes, 0)))
	j.metrics.entries.Set(float64(info.State.Msgs))
	// What was followed meanwhile is no lag, nor what lies before the first entry.
	j.metrics.lag.Set(float64(log.Last - min(log.Last, max(j.followed.Load(), log.First-1))))
	return log
}

// atomicFrom returns the minimum size of a batch that is worth being atomic.
func atomicFrom(c *jetstream.StreamConfig) int64 {
	switch {
	case !c.AllowAtomicPublish:
		return never
	case c.Replicas > 1:
		return minAtomicReplicated
	default:
		return minAtomic
	}
}

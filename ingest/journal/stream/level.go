package stream

import (
	"context"
	"fmt"

	"github.com/legato-calls/legato/ingest/journal"

	"github.com/legato-calls/legato/internal/call"
	"github.com/nats-io/nats.go/jetstream"
)

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
	j.Measure(ctx, stream.CachedInfo())
	return nil
}

// look is State within the time that a look may take.
func (j *Journal) look(ctx context.Context) (call.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	return j.State(ctx)
}

// observe takes note of what a look at the log tells.
func (j *Journal) observe(info *jetstream.StreamInfo) call.Log {
	log := journal.Describe(info)
	if was := j.life.Swap(log.ID); was != nil && was != log.ID {
		// The ids known to be stored were stored in another log.
		j.Known.Forget()
	}
	var fill float64
	if limit := info.Config.MaxBytes; limit > 0 {
		fill = float64(info.State.Bytes) / float64(limit)
	}
	j.Metrics.Fill.Set(fill)
	j.Metrics.Bytes.Set(float64(info.State.Bytes))
	j.Metrics.Limit.Set(float64(max(info.Config.MaxBytes, 0)))
	j.Metrics.Entries.Set(float64(info.State.Msgs))
	// What was followed meanwhile is no lag, nor what lies before the first entry.
	j.Metrics.Lag.Set(float64(log.Last - min(log.Last, max(j.followed.Load(), log.First-1))))
	return log
}

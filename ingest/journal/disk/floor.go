package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// floors are how far the log was through with at moments: everything up to there was copied, and what came of it
// published.
type floors []struct {
	at  time.Time
	seq uint64
}

// floor returns up to where nothing needs to be done again. What NATS may not have synced before its end lies above, and
// so does everything where the summaries are not the ones that it was said of.
func (j *Journal) floor(ctx context.Context, first, last uint64) (uint64, error) {
	p := j.store.passed()
	if p.Floor < first-1 || p.Floor > last { // of a log that has lost its end nothing is known to be done
		p.Floor = first - 1
	}
	if j.cfg.Summaries == "" {
		return p.Floor, nil
	}
	stream, err := j.js.Stream(ctx, j.cfg.Summaries)
	if err != nil {
		return 0, fmt.Errorf("look at the summaries: %w", err)
	}
	j.summaries = journal.Describe(stream.CachedInfo()).ID
	if p.Summaries != "" && p.Summaries != j.summaries {
		j.log.Warn("the stream of summaries is another one: those of all calls in the log are held against it")
		p.Floor = first - 1
	}
	return p.Floor, j.store.pass(passed{p.Floor, j.summaries})
}

// noteFloor notes on the disk where the floor was some time ago: NATS has synced by now what came of what lies below.
func (j *Journal) noteFloor(now time.Time) error {
	j.queue.mu.Lock()
	floor := j.queue.floor
	j.queue.mu.Unlock()
	floor = min(floor, j.copy.upto.Load())
	j.floors = append(j.floors, struct {
		at  time.Time
		seq uint64
	}{now, floor})
	synced, before := uint64(0), now.Add(-j.cfg.SyncedAfter)
	for len(j.floors) > 0 && !j.floors[0].at.After(before) {
		synced = j.floors[0].seq
		j.floors = j.floors[1:]
	}
	if synced <= j.store.passed().Floor {
		return nil
	}
	return j.store.pass(passed{synced, j.summaries})
}

// begin makes the log of an empty directory. Where an earlier release has left its log in the stream it is taken over,
// entry by entry, under the same id and positions; where that is broken off, the next start begins it again.
func (j *Journal) begin(ctx context.Context) error {
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return fmt.Errorf("look for the log of an earlier release: %w", err)
	}
	info := stream.CachedInfo()
	if info.State.LastSeq == 0 {
		j.id = newID()
		return j.store.begin(j.id, 1)
	}
	old := journal.Describe(info)
	j.id = old.ID
	first := old.First
	if info.State.Msgs > 0 {
		j.log.Info("taking over the log of an earlier release", "entries", info.State.Msgs, "from", first, "to", old.Last)
	}
	if err := j.store.drop(ctx, first); err != nil {
		return err
	}
	if err := j.takeOver(ctx, first, old.Last); err != nil {
		return fmt.Errorf("take over the log of an earlier release: %w", err)
	}
	floor, err := j.oldFloor(ctx, stream, old)
	if err != nil {
		return err
	}
	if err := errors.Join(j.store.pass(passed{Floor: floor}), j.store.begin(old.ID, first)); err != nil {
		return err
	}
	if err := stream.DeleteConsumer(ctx, j.cfg.Queue); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("remove the queue of an earlier release: %w", err)
	}
	return nil
}

// heal writes again what the copy has and the log has not: its disk has lost its end, or an older state of it was put
// back. A position would otherwise be given to two entries.
func (j *Journal) heal(ctx context.Context, last uint64) (uint64, error) {
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return 0, fmt.Errorf("look at the copy of the log: %w", err)
	}
	end := stream.CachedInfo().State.LastSeq
	if end <= last {
		return last, nil
	}
	j.log.Error("the log has lost its end: what the copy has of it is written again", "from", last+1, "to", end)
	j.Metrics.Lost.Add(float64(end - last))
	if err := j.takeOver(ctx, last+1, end); err != nil {
		return 0, fmt.Errorf("write the end of the log again: %w", err)
	}
	return end, nil
}

// takeOver writes the messages of a stream as the log's entries. Where the stream has lost some, heartbeats stand, which
// say nothing.
func (j *Journal) takeOver(ctx context.Context, next, last uint64) error {
	var batch []*call.Entry
	size := 0
	write := func(e call.Entry) error {
		batch, size = append(batch, &e), size+len(e.Data)
		next++
		if len(batch) < most && size < mostBytes {
			return nil
		}
		err := j.store.append(batch, &j.buf)
		batch, size = nil, 0
		return err
	}
	scan := natsd.Scan{Stream: j.cfg.Stream, From: next, Last: last}
	err := scan.Each(ctx, j.js, func(m *jetstream.RawStreamMsg) error {
		e := call.ReadPlaced(j.cfg.Prefix, m.Subject, m.Header, m.Data, m.Sequence, m.Time)
		for next < e.Seq {
			if err := write(call.Entry{Topic: call.TopicHeartbeat, Seq: next, ReceivedAt: e.ReceivedAt}); err != nil {
				return err
			}
		}
		return write(e)
	})
	if err != nil {
		return err
	}
	for next <= last {
		if err := write(call.Entry{Topic: call.TopicHeartbeat, Seq: next, ReceivedAt: time.Now().UTC()}); err != nil {
			return err
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return j.store.append(batch, &j.buf)
}

// oldFloor is up to where an earlier release was through with its log.
func (j *Journal) oldFloor(ctx context.Context, stream jetstream.Stream, old call.Log) (uint64, error) {
	queue, err := stream.Consumer(ctx, j.cfg.Queue)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return old.First - 1, nil
	case err != nil:
		return 0, fmt.Errorf("look for the queue of an earlier release: %w", err)
	}
	return min(max(queue.CachedInfo().AckFloor.Stream, old.First-1), old.Last), nil
}

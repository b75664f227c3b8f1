package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// maxBatch bounds an atomic batch; nats-server's own limit is 1,000 messages.
	maxBatch = 500
	// maxBatchBytes keeps a batch well inside what a client may buffer: 500 bodies of 16 KiB.
	maxBatchBytes = 8 << 20
	// minAtomic is the minimum size of an atomic batch on a stream without replicas, where the server
	// makes and removes a directory of files for each: four syncs to disk and, measured
	// where a sync takes 0.15 ms, as long as 18 messages on their own.
	minAtomic = 16
	// minAtomicReplicated: with replicas the server keeps a batch in memory until it proposes it.
	minAtomicReplicated = 2
	// never is more than a batch can have.
	never = maxBatch + 1
	// refusedParts is how many parts a refused batch is written again in, and minRefusedPart their minimum size.
	refusedParts, minRefusedPart = 8, 32
	// inProcessPause is the first wait for another writer of the same id, doubled each time, and inProcessTries how
	// often it is asked: some 10 + 20 + 40 + 80 ms, since all others wait meanwhile.
	inProcessPause, inProcessMaxPause = 10 * time.Millisecond, 80 * time.Millisecond
	inProcessTries                    = 5
)

// Error codes of nats-server that a write acts on.
const (
	codeIDInProcess    = 10158 // an entry of the same id is proposed but not yet stored
	codeBatchDuplicate = 10201 // a batch contains an id that is stored already
)

// store writes a batch and returns one result for each write in it.
func (j *Journal) store(ctx context.Context, batch []*write) []result {
	if int64(len(batch)) < j.atomicFrom.Load() {
		return j.storeEach(ctx, batch)
	}
	results, err := j.storeAtomic(ctx, batch)
	switch {
	case err == nil:
		return results
	case ctx.Err() != nil, errors.Is(err, nats.ErrConnectionClosed):
		return failed(batch, err) // nobody knows what became of it
	case apiCode(err) == codeBatchDuplicate:
		return j.storeParts(ctx, batch)
	}
	// Refused as a whole for the sake of few of its entries, as one that is in process or does not fit, or for a
	// moment without a leader. The ids stay the same, so nothing is stored twice.
	return j.storeEach(ctx, batch)
}

// storeParts writes a batch again that has an id in it that is stored already: in a few smaller batches, so that
// most entries still share a sync to disk, and those parts that are refused again message by message.
func (j *Journal) storeParts(ctx context.Context, batch []*write) []result {
	results := make([]result, 0, len(batch))
	for part := range slices.Chunk(batch, max(len(batch)/refusedParts, minRefusedPart)) {
		stored, err := []result(nil), error(nil)
		switch {
		case ctx.Err() != nil:
			stored = failed(part, ctx.Err())
		case len(part) == len(batch) || int64(len(part)) < j.atomicFrom.Load():
			stored = j.storeEach(ctx, part)
		default:
			if stored, err = j.storeAtomic(ctx, part); err != nil {
				stored = j.storeEach(ctx, part)
			}
		}
		results = append(results, stored...)
	}
	return results
}

func failed(batch []*write, err error) []result {
	results := make([]result, len(batch))
	for i := range results {
		results[i].err = classify(err)
	}
	return results
}

// storeAtomic writes all or nothing, with one acknowledgement.
func (j *Journal) storeAtomic(ctx context.Context, batch []*write) ([]result, error) {
	// Waiting for the first message to be acknowledged would double the round trips.
	p, err := jetstreamext.NewBatchPublisher(j.js, jetstreamext.BatchFlowControl{AckFirst: false})
	if err != nil {
		return nil, err
	}
	last := len(batch) - 1
	for _, w := range batch[:last] {
		if err := p.AddMsg(j.message(&w.entry)); err != nil {
			return nil, err
		}
	}
	ack, err := p.CommitMsg(ctx, j.message(&batch[last].entry))
	if err != nil {
		return nil, err
	}
	j.metrics.batch.Observe(float64(len(batch)))
	results := make([]result, len(batch))
	first := ack.Sequence - uint64(last)
	for i := range results {
		results[i].receipt.Seq = first + uint64(i)
	}
	return results, nil
}

// storeEach writes message by message, all under way at once. Each waits for its own
// acknowledgement: what nats.go publishes asynchronously stays in its books for
// ever when the server does not answer, and blocks it for good once there are 4,000.
func (j *Journal) storeEach(ctx context.Context, batch []*write) []result {
	results := make([]result, len(batch))
	if len(batch) == 1 {
		results[0] = j.storeOne(ctx, &batch[0].entry)
		return results
	}
	var wg sync.WaitGroup
	for i, w := range batch {
		wg.Go(func() { results[i] = j.storeOne(ctx, &w.entry) })
	}
	wg.Wait()
	return results
}

func (j *Journal) storeOne(ctx context.Context, e *call.Entry) result {
	wait := pauses(inProcessPause, inProcessMaxPause)
	for try := 1; ; try++ {
		ack, err := j.js.PublishMsg(ctx, j.message(e))
		if err == nil {
			j.metrics.batch.Observe(1)
			return result{receipt: call.Receipt{Seq: ack.Sequence, Duplicate: ack.Duplicate}}
		}
		// Another replica is writing the same entry: it is stored, or not, in a moment.
		if apiCode(err) != codeIDInProcess || try == inProcessTries || !sleep(ctx, wait.NextBackOff()) {
			return result{err: classify(err)}
		}
	}
}

// apiCode returns the server's error code, 0 when the error is not the server's.
func apiCode(err error) int {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return int(api.ErrorCode)
	}
	return 0
}

// classify maps whatever went wrong to the errors of this package.
func classify(err error) error {
	switch {
	case natsd.IsFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

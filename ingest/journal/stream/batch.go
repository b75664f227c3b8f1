package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxAsync is more than is ever published without an answer: one write.
	maxAsync = 4000
	// asyncTimeout is when a publication that the server does not answer is forgotten, later than anybody waits for it.
	asyncTimeout = 3 * time.Second
	// inProcessPause is the first wait for another writer of the same id, doubled each time, and inProcessTries how
	// often it is asked: some 10 + 20 + 40 + 80 ms, since all others wait meanwhile.
	inProcessPause, inProcessMaxPause = 10 * time.Millisecond, 80 * time.Millisecond
	inProcessTries                    = 5
)

// codeIDInProcess is nats-server's error code for an entry whose id is proposed but not yet stored.
const codeIDInProcess = 10158

// store writes entries message by message, all under way at once. Measured, that costs the server less than an atomic
// batch of any size: for each of those it makes a file store and deletes it.
func (j *Journal) store(ctx context.Context, batch []*call.Entry) []journal.Result {
	results := make([]journal.Result, len(batch))
	if len(batch) == 1 {
		results[0] = j.storeOne(ctx, batch[0])
		return results
	}
	futures := make([]jetstream.PubAckFuture, len(batch))
	for i, e := range batch {
		var err error
		if futures[i], err = j.own.PublishMsgAsync(j.message(e)); err != nil {
			results[i].Err = classify(err)
		}
	}
	for i, f := range futures {
		if f != nil {
			results[i] = j.await(ctx, batch[i], f)
		}
	}
	return results
}

// await returns what became of an entry that is under way.
func (j *Journal) await(ctx context.Context, e *call.Entry, f jetstream.PubAckFuture) journal.Result {
	select {
	case ack := <-f.Ok():
		j.Metrics.Batch.Observe(1)
		return journal.Result{Receipt: call.Receipt{Seq: ack.Sequence, Duplicate: ack.Duplicate}}
	case err := <-f.Err():
		if apiCode(err) == codeIDInProcess || errors.Is(err, nats.ErrNoResponders) {
			return j.storeOne(ctx, e)
		}
		return journal.Result{Err: classify(err)}
	case <-ctx.Done():
		return journal.Result{Err: classify(ctx.Err())}
	}
}

func (j *Journal) storeOne(ctx context.Context, e *call.Entry) journal.Result {
	wait := journal.Pauses(inProcessPause, inProcessMaxPause)
	for try := 1; ; try++ {
		ack, err := j.js.PublishMsg(ctx, j.message(e))
		if err == nil {
			j.Metrics.Batch.Observe(1)
			return journal.Result{Receipt: call.Receipt{Seq: ack.Sequence, Duplicate: ack.Duplicate}}
		}
		// Another replica is writing the same entry: it is stored, or not, in a moment.
		if apiCode(err) != codeIDInProcess || try == inProcessTries || !journal.Sleep(ctx, wait.NextBackOff()) {
			return journal.Result{Err: classify(err)}
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
		return fmt.Errorf("%w: %w", journal.ErrFull, err)
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", journal.ErrClosed, err)
	default:
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
}

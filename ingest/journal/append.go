package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/legato-calls/legato/ingest/call"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// maxBatch bounds an atomic batch; nats-server's own limit is 1,000 messages.
	maxBatch = 500
	// maxBatchBytes keeps a batch well inside what a client may buffer: 500 bodies of 16 KiB.
	maxBatchBytes = 8 << 20
)

// Error codes of nats-server that Append acts on.
const (
	codeMaxBytes         = 10077 // the stream has reached its size
	codeAtomicDisabled   = 10174
	codeAtomicIncomplete = 10176
	codeAtomicTooLarge   = 10199
	codeAtomicDuplicate  = 10201
	codeAtomicTooMany    = 10210
)

// write is one Append on its way.
type write struct {
	entry call.Entry
	// result is buffered, so that the writer never waits for a caller that left.
	result chan result
}

type result struct {
	receipt call.Receipt
	err     error
}

// Append stores an entry and returns when the server has acknowledged it.
// Concurrent calls share one atomic batch and so one sync to disk; a lone call is not delayed.
//
// Errors are ErrFull, ErrUnavailable, ErrClosed or that of ctx, wrapped. After an error
// the entry may still have been stored: append it again under the same id.
func (j *Journal) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	if seq, ok := j.known.seq(e.ID); ok && e.ID != "" {
		j.metrics.appends.WithLabelValues("duplicate").Inc()
		return call.Receipt{Seq: seq, Duplicate: true}, nil
	}
	w := &write{entry: e, result: make(chan result, 1)}
	select {
	case <-j.stop:
		return call.Receipt{}, ErrClosed
	default:
	}
	select {
	case j.pending <- w:
	case <-j.stop:
		return call.Receipt{}, ErrClosed
	case <-ctx.Done():
		return call.Receipt{}, fmt.Errorf("%w: waiting for a place: %w", ErrUnavailable, ctx.Err())
	}
	select {
	case r := <-w.result:
		return r.receipt, r.err
	case <-j.done:
		// The writer may have answered just before it ended.
		select {
		case r := <-w.result:
			return r.receipt, r.err
		default:
			return call.Receipt{}, ErrClosed
		}
	case <-ctx.Done():
		return call.Receipt{}, fmt.Errorf("%w: waiting for the acknowledgement: %w", ErrUnavailable, ctx.Err())
	}
}

// write is the one goroutine that writes: while a batch is in flight the next one gathers.
func (j *Journal) write() {
	defer close(j.done)
	for {
		select {
		case w := <-j.pending:
			j.commit(j.gather(w))
		case <-j.stop:
			for {
				select {
				case w := <-j.pending:
					j.commit(j.gather(w))
				default:
					return
				}
			}
		}
	}
}

// gather takes what is waiting, without waiting for more.
func (j *Journal) gather(first *write) []*write {
	batch, size := []*write{first}, len(first.entry.Data)
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case w := <-j.pending:
			batch = append(batch, w)
			size += len(w.entry.Data)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch and answers every write in it.
func (j *Journal) commit(writes []*write) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()

	batch, followers := j.distinct(writes)
	var results []result
	switch {
	case len(batch) == 0:
	case len(batch) > 1 && j.atomic.Load():
		results = j.commitAtomic(ctx, batch)
	default:
		results = j.commitEach(ctx, batch)
	}
	if len(batch) > 0 {
		j.metrics.batch.Observe(float64(len(batch)))
		j.metrics.latency.Observe(time.Since(start).Seconds())
	}
	for i, w := range batch {
		r := results[i]
		j.account(w.entry.ID, r)
		w.result <- r
		for _, f := range followers[w.entry.ID] {
			if r.err == nil {
				r.receipt.Duplicate = true
				j.metrics.appends.WithLabelValues("duplicate").Inc()
			}
			f.result <- r
		}
	}
}

// distinct keeps the first write of every id; later ones of the same id share
// its fate. What became known as stored since it was handed in is answered at once.
func (j *Journal) distinct(writes []*write) (batch []*write, followers map[string][]*write) {
	if len(writes) == 1 {
		return writes, nil
	}
	batch = make([]*write, 0, len(writes))
	seen := make(map[string]struct{}, len(writes))
	for _, w := range writes {
		id := w.entry.ID
		if id == "" {
			batch = append(batch, w)
			continue
		}
		if seq, ok := j.known.seq(id); ok {
			j.metrics.appends.WithLabelValues("duplicate").Inc()
			w.result <- result{receipt: call.Receipt{Seq: seq, Duplicate: true}}
			continue
		}
		if _, ok := seen[id]; ok {
			if followers == nil {
				followers = make(map[string][]*write)
			}
			followers[id] = append(followers[id], w)
			continue
		}
		seen[id] = struct{}{}
		batch = append(batch, w)
	}
	return batch, followers
}

// account notes the result of one write for dedup, metrics and readiness.
func (j *Journal) account(id string, r result) {
	now := time.Now().UnixNano()
	if r.err != nil {
		j.metrics.appends.WithLabelValues("error").Inc()
		j.failingSince.CompareAndSwap(0, now)
		return
	}
	label := "stored"
	if r.receipt.Duplicate {
		label = "duplicate"
	}
	j.metrics.appends.WithLabelValues(label).Inc()
	j.known.stored(id, r.receipt.Seq)
	j.lastStored.Store(now)
	j.failingSince.Store(0)
}

// commitAtomic writes all or nothing with one acknowledgement. What the server
// refuses as a batch (a duplicate among it, too many batches in flight) is
// written again message by message.
func (j *Journal) commitAtomic(ctx context.Context, batch []*write) []result {
	ack, err := j.publishBatch(ctx, batch)
	if err == nil {
		results := make([]result, len(batch))
		first := ack.Sequence - uint64(len(batch)) + 1
		for i := range batch {
			results[i].receipt.Seq = first + uint64(i)
		}
		return results
	}
	switch apiCode(err) {
	case codeAtomicDisabled:
		j.log.Warn("the log's stream does not allow atomic batches any more; appending one by one")
		j.atomic.Store(false)
		return j.commitEach(ctx, batch)
	case codeAtomicDuplicate, codeAtomicIncomplete, codeAtomicTooLarge, codeAtomicTooMany:
		return j.commitEach(ctx, batch)
	}
	err = classify(err)
	results := make([]result, len(batch))
	for i := range results {
		results[i].err = err
	}
	return results
}

func (j *Journal) publishBatch(ctx context.Context, batch []*write) (*jetstreamext.BatchAck, error) {
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
	return p.CommitMsg(ctx, j.message(&batch[last].entry))
}

// commitEach writes message by message, all under way at once.
func (j *Journal) commitEach(ctx context.Context, batch []*write) []result {
	results := make([]result, len(batch))
	if len(batch) == 1 {
		ack, err := j.js.PublishMsg(ctx, j.message(&batch[0].entry))
		results[0] = outcome(ack, err)
		return results
	}
	futures := make([]jetstream.PubAckFuture, len(batch))
	for i, w := range batch {
		f, err := j.js.PublishMsgAsync(j.message(&w.entry))
		if err != nil {
			results[i] = outcome(nil, err)
			continue
		}
		futures[i] = f
	}
	for i, f := range futures {
		if f == nil {
			continue
		}
		select {
		case ack := <-f.Ok():
			results[i] = outcome(ack, nil)
		case err := <-f.Err():
			results[i] = outcome(nil, err)
		case <-ctx.Done():
			results[i] = outcome(nil, ctx.Err())
		}
	}
	return results
}

func outcome(ack *jetstream.PubAck, err error) result {
	if err != nil {
		return result{err: classify(err)}
	}
	return result{receipt: call.Receipt{Seq: ack.Sequence, Duplicate: ack.Duplicate}}
}

// apiCode returns the server's error code, 0 when the error is not the server's.
func apiCode(err error) int {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return int(api.ErrorCode)
	}
	return 0
}

// classify maps whatever went wrong to the errors of this package.
func classify(err error) error {
	switch {
	case apiCode(err) == codeMaxBytes:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	default:
		// "Duplicate message id is in process" (10158) is among these: the first delivery is being written but is not yet stored.
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// appendTimeout bounds one write to the server. Telnyx gives a webhook two
	// seconds by default; what has not been acknowledged by then is sent again.
	appendTimeout = 1500 * time.Millisecond
	// appendPatience bounds Append as a whole, the wait for the batch before it included.
	appendPatience = 2 * time.Second
)

// write is one Append on its way.
type write struct {
	entry call.Entry
	// result is buffered, so that the writer never waits for a caller that left.
	result chan result
	// fate is what became of it, decided once: by the writer or by the caller.
	fate atomic.Int32
}

// Fates of a write.
const (
	underWay int32 = iota
	answered       // the writer has an answer, which the caller takes
	left           // the caller has given up: what is not yet under way need not be written
)

// leave gives the write up, and reports whether it was without an answer.
func (w *write) leave() bool { return w.fate.CompareAndSwap(underWay, left) }

// answer hands the result to the caller, and reports whether it is still there.
func (w *write) answer(r result) bool {
	if !w.fate.CompareAndSwap(underWay, answered) {
		return false
	}
	w.result <- r
	return true
}

type result struct {
	receipt call.Receipt
	err     error
}

// Append stores an entry and returns when the server has acknowledged it, after two seconds at most. Concurrent
// calls share one atomic batch and so one sync to disk; a lone call is not delayed.
//
// Errors are ErrFull, ErrUnavailable or ErrClosed, wrapped together with what caused them. After an error the entry
// may still have been stored: append it again under the same id. ErrFull comes before a limit of the storage is
// reached, and first for what begins a call: the rest is kept for calls that are on their way. While the connection
// is known to be down ErrUnavailable comes at once.
func (j *Journal) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	ctx, span := j.begin(ctx, &e)
	receipt, err := j.append(ctx, e)
	j.metrics.told(&e, receipt, err)
	finish(span, receipt, err)
	return receipt, err
}

func (j *Journal) append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	select {
	case <-j.stop:
		return call.Receipt{}, ErrClosed
	default:
	}
	if seq, ok := j.known.seq(e.ID); ok {
		return call.Receipt{Seq: seq, Duplicate: true}, nil
	}
	if err := j.admit(&e); err != nil {
		return call.Receipt{}, err
	}
	patient, cancel := context.WithTimeout(ctx, appendPatience)
	defer cancel()
	w := &write{entry: e, result: make(chan result, 1)}
	select {
	case j.pending <- w:
	case <-j.stop:
		return call.Receipt{}, ErrClosed
	case <-patient.Done():
		return call.Receipt{}, j.gaveUp(ctx, patient, "a place")
	}
	var err error
	select {
	case r := <-w.result:
		return r.receipt, r.err
	case <-j.done:
		err = ErrClosed
	case <-patient.Done():
		err = j.gaveUp(ctx, patient, "the acknowledgement")
	}
	if w.leave() {
		return call.Receipt{}, err
	}
	r := <-w.result // It came at the last moment.
	return r.receipt, r.err
}

// admit refuses what the log has no room for, and what would spoil the batch that it is in.
func (j *Journal) admit(e *call.Entry) error {
	if nc := j.js.Conn(); !nc.IsConnected() && !nc.IsClosed() {
		// Behind a write that is still waiting for its answer this one would wait as long.
		err := fmt.Errorf("%w: %w", ErrUnavailable, nats.ErrDisconnected)
		j.failed(err)
		return err
	}
	if err := j.room.admit(e); err != nil {
		return err
	}
	if size, limit := messageSize(e), j.js.Conn().MaxPayload(); limit > 0 && size > limit {
		return fmt.Errorf("%w: an entry of %d bytes: %w", ErrUnavailable, size, nats.ErrMaxPayload)
	}
	return nil
}

// failed notes that a write has failed.
func (j *Journal) failed(err error) {
	j.failure.Store(&err)
	j.failingSince.CompareAndSwap(0, time.Now().UnixNano())
}

// errLeft is a caller's own end: a job that is through by another way, or a service that stops.
var errLeft = fmt.Errorf("the caller has left: %w", context.Canceled)

// gaveUp is the error of a caller that waited in vain. When it was not the
// caller's own time that ran out, the log is not being written.
func (j *Journal) gaveUp(caller, patient context.Context, what string) error {
	if errors.Is(caller.Err(), context.Canceled) {
		return fmt.Errorf("%w: waiting for %s: %w", ErrUnavailable, what, errLeft)
	}
	err := fmt.Errorf("%w: waiting for %s: %w", ErrUnavailable, what, patient.Err())
	if caller.Err() == nil {
		j.failed(err)
	}
	return err
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

// gather takes what is waiting, without waiting for more. Writes whose caller
// has left are dropped: after a stall they would only delay those that somebody waits for.
func (j *Journal) gather(w *write) []*write {
	var batch []*write
	size := 0
	for {
		if w.fate.Load() != left {
			batch = append(batch, w)
			size += len(w.entry.Data)
		}
		if len(batch) >= maxBatch || size >= maxBatchBytes {
			return batch
		}
		select {
		case w = <-j.pending:
		default:
			return batch
		}
	}
}

// commit writes a batch and answers every write in it.
func (j *Journal) commit(writes []*write) {
	batch, followers := j.distinct(writes)
	if len(batch) == 0 {
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	results := j.store(ctx, batch)
	j.metrics.latency.Observe(time.Since(start).Seconds())
	for i, w := range batch {
		r := results[i]
		j.account(&w.entry, r)
		if !w.answer(r) && r.err == nil && !r.receipt.Duplicate {
			j.metrics.appends.WithLabelValues(kind(&w.entry), appendUntold).Inc()
		}
		r.receipt.Duplicate = r.err == nil
		for _, f := range followers[w.entry.ID] {
			f.answer(r)
		}
	}
}

// distinct keeps the first write of every id; later ones of the same id share
// its fate. What became known as stored since it was handed in is answered at once.
func (j *Journal) distinct(writes []*write) (batch []*write, followers map[string][]*write) {
	if len(writes) <= 1 {
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
			w.answer(result{receipt: call.Receipt{Seq: seq, Duplicate: true}})
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

// account notes the result of one write for dedup and readiness.
func (j *Journal) account(e *call.Entry, r result) {
	now := time.Now().UnixNano()
	switch {
	case errors.Is(r.err, ErrFull):
		// The server is well and says no: a restart, which FailingSince may lead to,
		// would not empty the log but keep it from being trimmed.
		j.failingSince.Store(0)
		j.room.refused.Note(r.err)
		return
	case r.err != nil:
		j.failed(r.err)
		return
	case !r.receipt.Duplicate:
		j.room.take(e)
		j.room.refused.Note(nil)
	}
	j.known.stored(e.ID, r.receipt.Seq)
	j.lastStored.Store(now)
	j.failingSince.Store(0)
}

// begin makes the span of an append, and the entry say which it is, so that whoever
// works on it later can tell what it came from. What is not part of a trace starts none:
// nobody waits for heartbeats and checks. Then, and without a tracer, the span is nil.
func (j *Journal) begin(ctx context.Context, e *call.Entry) (context.Context, trace.Span) {
	if j.cfg.Tracer == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, nil
	}
	ctx, span := j.cfg.Tracer.Start(ctx, "append to log", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.type", "send"),
		attribute.String("messaging.destination.name", j.cfg.Stream),
		attribute.String("legato.topic", e.Topic),
	))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	e.Trace = carrier["traceparent"]
	return ctx, span
}

// finish ends the span with what came of the append.
func finish(span trace.Span, receipt call.Receipt, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	} else {
		span.SetAttributes(attribute.Int64("legato.seq", int64(receipt.Seq)), attribute.Bool("legato.duplicate", receipt.Duplicate))
	}
	span.End()
}

// The pause after a failure doubles from minRetryPause to maxRetryPause while failures follow each other.
const (
	minRetryPause = 100 * time.Millisecond
	maxRetryPause = 2 * time.Second
)

// pauses returns pauses that double from the first to a longest one, with jitter: replicas that failed together
// do not try again together.
func pauses(first, longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: longest, Multiplier: 2, RandomizationFactor: 0.5}
}

// retry paces what is tried until it succeeds. Of failures in a row the newest is worth a warning a minute.
type retry struct {
	pauses *backoff.ExponentialBackOff
	said   time.Time // zero: nothing fails
}

func newRetry() *retry { return &retry{pauses: pauses(minRetryPause, maxRetryPause)} }

// succeeded ends the row.
func (r *retry) succeeded() {
	r.said = time.Time{}
	r.pauses.Reset()
}

// wait logs a failure and pauses; it reports whether ctx is still going.
func (r *retry) wait(ctx context.Context, log *slog.Logger, what string, err error) bool {
	if time.Since(r.said) >= sayEvery {
		r.said = time.Now()
		log.Warn(what+" was interrupted; trying again", "error", err)
	} else {
		log.Debug(what+" is still interrupted", "error", err)
	}
	return sleep(ctx, r.pauses.NextBackOff())
}

// sleep waits and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

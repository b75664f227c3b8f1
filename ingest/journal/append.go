package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// appendTimeout bounds one write. Telnyx gives a webhook two
	// seconds by default; what has not been acknowledged by then is sent again.
	appendTimeout = 1500 * time.Millisecond
	// appendPatience bounds Append as a whole, the wait for the write before it included.
	appendPatience = 2 * time.Second
)

// write is one Append on its way.
type write struct {
	entry call.Entry
	// result is buffered, so that the writer never waits for a caller that left.
	result chan Result
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
func (w *write) answer(r Result) bool {
	if !w.fate.CompareAndSwap(underWay, answered) {
		return false
	}
	w.result <- r
	return true
}

// Result is what came of an entry.
type Result struct {
	Receipt call.Receipt
	Err     error
}

// Store writes entries and returns a result for each, within the time that ctx leaves. One call is under way at a time.
type Store func(ctx context.Context, batch []*call.Entry) []Result

// Form is what the two forms of the log do differently.
type Form struct {
	// Store writes what was appended.
	Store Store
	// Refuse tells at once why an entry cannot be stored now; nil where it can be tried.
	Refuse func(e *call.Entry) error
	// Epoch names the time in which the log cannot have lost its end, so that what was stored in it is stored still; 0: that
	// is not sure. Nil: it never loses it.
	Epoch func() uint64
	// Surveyed is told what each look at the stream has found, before the room is measured by it: it may correct that.
	Surveyed func(info *jetstream.StreamInfo) error
	// Every is how often the stream is looked at.
	Every time.Duration
}

// Appender takes entries from many callers at once, and hands them to a form of the log together: while one write is
// under way the next one gathers.
type Appender struct {
	cfg  Config
	form Form
	// Metrics are those of the log.
	Metrics *Metrics
	// Known are the ids that were stored lately.
	Known *Recent
	// Follows and Works are what keeps the log from being followed and its queue from being worked.
	Follows, Works Health

	log     *slog.Logger
	js      jetstream.JetStream
	pending chan *write
	close   func()        // closes stop and ends the watch, once
	stop    chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has ended
	watched chan struct{} // closed when nobody watches the log any more
	room    room
	// foreign and unsurveyed are said now and then.
	foreign, unsurveyed rate.Sometimes

	lastStored   atomic.Int64 // unix nanoseconds of the last acknowledged write
	failingSince atomic.Int64 // unix nanoseconds of the first failure since then, 0 when none
	failure      atomic.Pointer[error]
}

const (
	// maxBatch and maxBatchBytes bound what is written together: 500 bodies of 16 KiB.
	maxBatch      = 500
	maxBatchBytes = 8 << 20
)

// NewAppender returns an appender that takes nothing before Run.
func NewAppender(cfg Config) *Appender {
	return &Appender{
		cfg: cfg, log: cfg.Logger, js: cfg.JetStream, Metrics: newMetrics(), Known: NewRecent(),
		foreign: rate.Sometimes{Interval: sayEvery}, unsurveyed: rate.Sometimes{Interval: sayEvery},
		// As many as may wait for the write under way; a caller beyond it waits in its own context.
		pending: make(chan *write, 4*maxBatch),
		stop:    make(chan struct{}), done: make(chan struct{}), watched: make(chan struct{}),
	}
}

// Run looks at the log's stream, registers the metrics, and begins to take appends for a form of the log. Close must be
// called then. It fails when the stream cannot be looked at, and when there are such metrics already.
func (a *Appender) Run(ctx context.Context, form Form) error {
	a.form = form
	if err := a.survey(ctx); err != nil {
		return err
	}
	if a.cfg.Registerer != nil {
		// Not before: what fails until here is tried again by another appender, and no name is registered twice.
		if err := a.cfg.Registerer.Register(a.Metrics.all); err != nil {
			return fmt.Errorf("register the log's metrics: %w", err)
		}
	}
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	a.close = sync.OnceFunc(func() {
		close(a.stop)
		unwatch()
	})
	go a.write() //nolint:contextcheck // each write has a time limit of its own, whoever opened the log
	go a.watch(watching)
	return nil
}

// Close waits until what was handed to Append is written, or ctx ends. A second Close waits as well.
func (a *Appender) Close(ctx context.Context) error {
	a.close()
	for _, ended := range []<-chan struct{}{a.done, a.watched} {
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("close the journal: %w", ctx.Err())
		}
	}
	return nil
}

// watch looks at the log from time to time until ctx ends.
func (a *Appender) watch(ctx context.Context) {
	defer close(a.watched)
	tick := time.NewTicker(a.form.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := a.survey(ctx); err != nil && ctx.Err() == nil {
			a.unsurveyed.Do(func() { a.log.Warn("the log is not looked after as it should be", "error", err) })
		}
	}
}

// surveyTimeout bounds a look at the log, the summaries, the account and the disk.
const surveyTimeout = 6 * time.Second

// survey looks at the log's stream, and measures how much room there is.
func (a *Appender) survey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	counted := a.room.taken.Load()
	stream, err := a.js.Stream(ctx, a.cfg.Stream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", a.cfg.Stream, err)
	}
	info := stream.CachedInfo()
	err = a.form.Surveyed(info)
	a.measure(ctx, info, counted)
	return err
}

// MetForeign tells of a message that Legato did not write.
func (a *Appender) MetForeign(e *call.Entry) {
	a.Metrics.Foreign.Inc()
	a.foreign.Do(func() {
		a.log.Warn("the log's stream has messages that Legato did not write; they are passed over: somebody else may publish there",
			"stream", a.cfg.Stream, "seq", e.Seq)
	})
}

// Pending returns how many entries wait for the write under way.
func (a *Appender) Pending() int { return len(a.pending) }

// LastStored returns when a write was last acknowledged; zero when none was.
func (a *Appender) LastStored() time.Time { return fromNanos(a.lastStored.Load()) }

// FailingSince returns when writes began to fail, zero when the last one succeeded.
func (a *Appender) FailingSince() time.Time { return fromNanos(a.failingSince.Load()) }

// Failure returns what the last failed write failed with, nil when the last one succeeded.
func (a *Appender) Failure() error {
	if err := a.failure.Load(); err != nil && a.failingSince.Load() != 0 {
		return *err
	}
	return nil
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// MessageSize is what the server holds against its limit, headers of a publication included.
func MessageSize(e *call.Entry) int64 {
	const publishHeaders = 128
	return e.Size() + publishHeaders
}

// Append stores an entry and returns when it is stored, after two seconds at most. A lone call is not delayed.
//
// Errors are ErrFull, ErrUnavailable or ErrClosed, wrapped together with what caused them. After an error the entry
// may still have been stored: append it again under the same id. ErrFull comes before a limit of the storage is
// reached, and first for what begins a call: the rest is kept for calls that are on their way.
func (a *Appender) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	ctx, span := a.begin(ctx, &e)
	receipt, err := a.append(ctx, e)
	a.Metrics.told(&e, receipt, err)
	finish(span, receipt, err)
	return receipt, err
}

func (a *Appender) append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	select {
	case <-a.stop:
		return call.Receipt{}, ErrClosed
	default:
	}
	if seq, ok := a.known(e.ID); ok {
		return call.Receipt{Seq: seq, Duplicate: true}, nil
	}
	if err := a.admit(&e); err != nil {
		return call.Receipt{}, err
	}
	// Most callers have less patience than that themselves.
	var patience <-chan time.Time
	if until, ok := ctx.Deadline(); !ok || time.Until(until) > appendPatience {
		timer := time.NewTimer(appendPatience)
		defer timer.Stop()
		patience = timer.C
	}
	w := &write{entry: e, result: make(chan Result, 1)}
	select {
	case a.pending <- w:
	case <-a.stop:
		return call.Receipt{}, ErrClosed
	case <-ctx.Done():
		return call.Receipt{}, a.gaveUp(ctx, "a place")
	case <-patience:
		return call.Receipt{}, a.gaveUp(ctx, "a place")
	}
	var err error
	select {
	case r := <-w.result:
		return r.Receipt, r.Err
	case <-a.done:
		err = ErrClosed
	case <-ctx.Done():
		err = a.gaveUp(ctx, "the acknowledgement")
	case <-patience:
		err = a.gaveUp(ctx, "the acknowledgement")
	}
	if w.leave() {
		return call.Receipt{}, err
	}
	r := <-w.result // It came at the last moment.
	return r.Receipt, r.Err
}

// epoch is that of the log's form.
func (a *Appender) epoch() uint64 {
	if a.form.Epoch == nil {
		return 1
	}
	return a.form.Epoch()
}

// known returns where an id is stored, if that is sure.
func (a *Appender) known(id string) (uint64, bool) {
	seq, ok := a.Known.Seq(id)
	return seq, ok && a.epoch() != 0
}

// admit refuses what the log has no room for, and what would spoil the batch that it is in.
func (a *Appender) admit(e *call.Entry) error {
	if err := a.form.Refuse(e); err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		a.failed(err)
		return err
	}
	if err := a.room.admit(e); err != nil {
		return err
	}
	if size, limit := MessageSize(e), a.js.Conn().MaxPayload(); limit > 0 && size > limit {
		return fmt.Errorf("%w: an entry of %d bytes: %w", ErrUnavailable, size, nats.ErrMaxPayload)
	}
	return nil
}

// failed notes that a write has failed.
func (a *Appender) failed(err error) {
	a.failure.Store(&err)
	a.failingSince.CompareAndSwap(0, time.Now().UnixNano())
}

// errLeft is a caller's own end: a job that is through by another way, or a service that stops.
var errLeft = fmt.Errorf("the caller has left: %w", context.Canceled)

// gaveUp is the error of a caller that waited in vain. When it was not the
// caller's own time that ran out, the log is not being written.
func (a *Appender) gaveUp(caller context.Context, what string) error {
	if errors.Is(caller.Err(), context.Canceled) {
		return fmt.Errorf("%w: waiting for %s: %w", ErrUnavailable, what, errLeft)
	}
	err := fmt.Errorf("%w: waiting for %s: %w", ErrUnavailable, what, context.DeadlineExceeded)
	if caller.Err() == nil {
		a.failed(err)
	}
	return err
}

// write is the one goroutine that writes: while a batch is in flight the next one gathers.
func (a *Appender) write() {
	defer close(a.done)
	for {
		select {
		case w := <-a.pending:
			a.commit(a.gather(w))
		case <-a.stop:
			for {
				select {
				case w := <-a.pending:
					a.commit(a.gather(w))
				default:
					return
				}
			}
		}
	}
}

// gather takes what is waiting, without waiting for more. Writes whose caller
// has left are dropped: after a stall they would only delay those that somebody waits for.
func (a *Appender) gather(w *write) []*write {
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
		case w = <-a.pending:
		default:
			return batch
		}
	}
}

// commit writes a batch and answers every write in it.
func (a *Appender) commit(writes []*write) {
	batch, followers := a.distinct(writes)
	if len(batch) == 0 {
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	entries := make([]*call.Entry, len(batch))
	for i, w := range batch {
		entries[i] = &w.entry
	}
	epoch := a.epoch()
	results := a.form.Store(ctx, entries)
	a.Metrics.latency.Observe(time.Since(start).Seconds())
	for i, w := range batch {
		r := results[i]
		a.account(&w.entry, r, epoch)
		if !w.answer(r) && r.Err == nil && !r.Receipt.Duplicate {
			a.Metrics.appends.WithLabelValues(kind(&w.entry), appendUntold).Inc()
		}
		r.Receipt.Duplicate = r.Err == nil
		for _, f := range followers[w.entry.ID] {
			f.answer(r)
		}
	}
}

// distinct keeps the first write of every id; later ones of the same id share
// its fate. What became known as stored since it was handed in is answered at once.
func (a *Appender) distinct(writes []*write) (batch []*write, followers map[string][]*write) {
	batch = make([]*write, 0, len(writes))
	seen := make(map[string]struct{}, len(writes))
	for _, w := range writes {
		id := w.entry.ID
		if id == "" {
			batch = append(batch, w)
			continue
		}
		if seq, ok := a.known(id); ok {
			w.answer(Result{Receipt: call.Receipt{Seq: seq, Duplicate: true}})
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

// account notes the result of one write, which was made in an epoch, for dedup and readiness.
func (a *Appender) account(e *call.Entry, r Result, epoch uint64) {
	now := time.Now().UnixNano()
	switch {
	case errors.Is(r.Err, ErrFull):
		// The server is well and says no: a restart, which FailingSince may lead to,
		// would not empty the log but keep it from being trimmed.
		a.failingSince.Store(0)
		a.room.refused.Note(r.Err)
		return
	case r.Err != nil:
		a.failed(r.Err)
		return
	case !r.Receipt.Duplicate:
		a.room.take(e)
		a.room.refused.Note(nil)
	}
	if epoch != 0 && a.epoch() == epoch {
		a.Known.Stored(e.ID, r.Receipt.Seq)
	}
	a.lastStored.Store(now)
	a.failingSince.Store(0)
}

// begin makes the span of an append, and the entry say which it is, so that whoever
// works on it later can tell what it came from. What is not part of a trace starts none:
// nobody waits for heartbeats and checks. Then, and without a tracer, the span is nil.
func (a *Appender) begin(ctx context.Context, e *call.Entry) (context.Context, trace.Span) {
	if a.cfg.Tracer == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, nil
	}
	ctx, span := a.cfg.Tracer.Start(ctx, "append to log", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.type", "send"),
		attribute.String("messaging.destination.name", a.cfg.Stream),
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

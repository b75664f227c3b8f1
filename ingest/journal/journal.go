package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/internal/call"
)

// Errors of Append. All mean that the entry may come again later; none says that it was not stored.
var (
	// ErrFull: a limit of the storage is reached, or nearly so, and the entry is not what the rest is kept for. It is
	// a [call.ErrFull].
	ErrFull = fmt.Errorf("the log is full: %w", call.ErrFull)
	// ErrUnavailable: the server did not acknowledge the entry in time, or refused it.
	ErrUnavailable = errors.New("the log cannot be written")
	// ErrClosed: the journal is stopping.
	ErrClosed = errors.New("the journal is closed")
)

// Config says where the log is.
type Config struct {
	// JetStream is the connection's JetStream context.
	JetStream jetstream.JetStream
	// Stream is the name of the log's stream, which must exist.
	Stream string
	// Summaries is the name of the stream that takes what comes of the log: what it has no room for keeps the log from
	// being trimmed. Empty: there is none.
	Summaries string
	// Disk asks how many bytes are free on the disk of the streams. Nil: it is not known.
	Disk func() (int64, error)
	// Prefix is the first token of every subject.
	Prefix string
	// Queue is the name of the durable consumer that all replicas share.
	Queue string
	// Logger receives what an operator should know.
	Logger *slog.Logger
	// Registerer receives the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Tracer makes a span of each append that is part of a trace; nil: none is made.
	Tracer trace.Tracer

	pace pace
}

// pace is how fast time passes for what waits; zero values are the package's constants.
type pace struct {
	watch   time.Duration
	ackWait time.Duration
}

// Journal appends to the log, follows it and hands out its work.
type Journal struct {
	cfg     Config
	js      jetstream.JetStream
	log     *slog.Logger
	metrics *metrics

	pending chan *write
	known   *recent
	close   func()        // closes stop and ends the watch, once
	stop    chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has ended
	watched chan struct{} // closed when nobody watches the log any more

	life       atomic.Value // string: the log's id when it was last looked at
	atomicFrom atomic.Int64 // the minimum size of an atomic batch
	room       room

	following, working, paused trouble
	foreign                    rate.Sometimes
	fewPending                 sync.Once

	followed     atomic.Uint64 // how far the log is folded here
	lastStored   atomic.Int64  // unix nanoseconds of the last acknowledged write
	failingSince atomic.Int64  // unix nanoseconds of the first failure since then, 0 when none
	failure      atomic.Pointer[error]
}

// Open reads the log's stream and starts to take appends. It fails when the
// stream cannot be read. Close must be called.
func Open(ctx context.Context, cfg Config) (*Journal, error) {
	stream, err := cfg.JetStream.Stream(ctx, cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	j := &Journal{
		cfg:     cfg,
		js:      cfg.JetStream,
		log:     cfg.Logger,
		metrics: newMetrics(cfg.Registerer),
		// As many as may wait for the batch in flight; a caller beyond it waits in its own context.
		pending: make(chan *write, 4*maxBatch),
		known:   newRecent(),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		watched: make(chan struct{}),
		foreign: rate.Sometimes{Interval: sayEvery},
	}
	j.cfg.pace.watch = cmp.Or(j.cfg.pace.watch, watchEvery)
	j.cfg.pace.ackWait = cmp.Or(j.cfg.pace.ackWait, AckWait)
	j.observe(stream.CachedInfo())
	j.measure(ctx, stream.CachedInfo())
	// ctx is for opening; this one is for as long as the journal is open.
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	j.close = sync.OnceFunc(func() {
		close(j.stop)
		unwatch()
	})
	go j.write() //nolint:contextcheck // Each batch has a time limit of its own, whoever opened the journal.
	go j.watch(watching)
	return j, nil
}

// Close waits until what was handed to Append is written, or ctx ends. A second Close waits as well.
func (j *Journal) Close(ctx context.Context) error {
	j.close()
	for _, ended := range []<-chan struct{}{j.done, j.watched} {
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("close the journal: %w", ctx.Err())
		}
	}
	return nil
}

// LastStored returns when a write was last acknowledged; zero when none was.
func (j *Journal) LastStored() time.Time { return fromNanos(j.lastStored.Load()) }

// FailingSince returns when writes began to fail, zero when the last one succeeded.
func (j *Journal) FailingSince() time.Time { return fromNanos(j.failingSince.Load()) }

// Failure returns what the last failed write failed with, nil when the last one succeeded.
func (j *Journal) Failure() error {
	if err := j.failure.Load(); err != nil && j.failingSince.Load() != 0 {
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

// Trim removes the entries before seq from the log. It is for a replica that
// has caught up; what any replica still needs must lie at or after seq.
func (j *Journal) Trim(ctx context.Context, seq uint64) error {
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return fmt.Errorf("trim log %s: %w", j.cfg.Stream, err)
	}
	if seq <= stream.CachedInfo().State.FirstSeq {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(seq)); err != nil {
		return fmt.Errorf("trim log %s below %d: %w", j.cfg.Stream, seq, err)
	}
	return nil
}

// messageSize is what the server holds against its limit, headers of an atomic batch included.
func messageSize(e *call.Entry) int64 {
	const batchHeaders = 128
	return e.Size() + batchHeaders
}

// message builds the NATS message of an entry. Each write gets a new one:
// publishing a batch leaves the batch's headers on its messages.
func (j *Journal) message(e *call.Entry) *nats.Msg {
	return &nats.Msg{Subject: e.Subject(j.cfg.Prefix), Header: e.Header(), Data: e.Data}
}

// entry reads an entry back from a message of the stream.
func (j *Journal) entry(m jetstream.Msg, meta *jetstream.MsgMetadata) call.Entry {
	e := call.ReadEntry(j.cfg.Prefix, m.Subject(), m.Headers())
	e.Seq, e.ReceivedAt, e.Data = meta.Sequence.Stream, meta.Timestamp.UTC(), m.Data()
	return e
}

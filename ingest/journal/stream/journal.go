package stream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/legato-calls/legato/ingest/journal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
)

// Config says where the log is.
type Config struct {
	journal.Config
	// Queue is the name of the durable consumer that all replicas share.
	Queue string

	pace pace
}

// pace is how fast time passes for what waits; zero values are the package's constants.
type pace struct {
	watch   time.Duration
	ackWait time.Duration
}

// Journal appends to the log, follows it and hands out its work.
type Journal struct {
	*journal.Appender
	cfg Config
	js  jetstream.JetStream
	// own publishes asynchronously, and forgets what is not acknowledged in time.
	own jetstream.JetStream
	log *slog.Logger

	life     atomic.Value  // string: the log's id when it was last looked at
	followed atomic.Uint64 // how far the log is folded here
	// confirmed is the connection, counted from 1, on which the log was last held against what was read of it.
	confirmed atomic.Uint64
	paused    journal.Health
	// fewPending is said once.
	fewPending sync.Once
}

// Open reads the log's stream and starts to take appends. It fails when the
// stream cannot be read. Close must be called.
func Open(ctx context.Context, cfg Config) (*Journal, error) {
	stream, err := cfg.JetStream.Stream(ctx, cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	own, err := jetstream.New(cfg.JetStream.Conn(), jetstream.WithPublishAsyncTimeout(asyncTimeout), jetstream.WithPublishAsyncMaxPending(maxAsync))
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	cfg.pace.watch = cmp.Or(cfg.pace.watch, watchEvery)
	cfg.pace.ackWait = cmp.Or(cfg.pace.ackWait, AckWait)
	j := &Journal{Appender: journal.NewAppender(cfg.Config), cfg: cfg, js: cfg.JetStream, own: own, log: cfg.Logger}
	for _, c := range []cause{causeStart, causeGap, causeRecreated, causeShrunk, causeRewritten} {
		j.Metrics.Restarts.WithLabelValues(string(c))
	}
	j.confirmed.Store(j.connection())
	j.observe(stream.CachedInfo())
	j.Measure(ctx, stream.CachedInfo())
	j.Run(journal.Form{Store: j.store, Refuse: j.refuse, Epoch: j.epoch, Survey: j.survey, Every: cfg.pace.watch}) //nolint:contextcheck // each write has a time limit of its own, whoever opened the journal
	return j, nil
}

// refuse tells that the connection is down: behind a write that is still waiting for its answer another would wait as long.
func (j *Journal) refuse(*call.Entry) error {
	if nc := j.js.Conn(); !nc.IsConnected() && !nc.IsClosed() {
		return nats.ErrDisconnected
	}
	return nil
}

// connection counts the connections, from 1.
func (j *Journal) connection() uint64 { return j.js.Conn().Stats().Reconnects + 1 }

// epoch is the connection, while the log is known to be as it was on it. A server that comes back may have an older disk,
// without what it had acknowledged last.
func (j *Journal) epoch() uint64 {
	if c := j.connection(); c == j.confirmed.Load() && j.js.Conn().IsConnected() {
		return c
	}
	return 0
}

// confirm says that the log was looked at on a connection. What was stored before that connection may be stored no more.
func (j *Journal) confirm(connection uint64) {
	if j.confirmed.Load() != connection {
		j.Known.Forget()
		j.confirmed.Store(connection)
	}
}

// Working tells what keeps the queue from being worked.
func (j *Journal) Working() journal.Trouble {
	if t := j.paused.State(); t.Err != nil {
		return t
	}
	return j.Appender.Working()
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

// message builds the NATS message of an entry. Each write gets a new one: publishing leaves headers on it.
func (j *Journal) message(e *call.Entry) *nats.Msg {
	return &nats.Msg{Subject: e.Subject(j.cfg.Prefix), Header: e.Header(), Data: e.Data}
}

// entry reads an entry back from a message of the stream.
func (j *Journal) entry(m jetstream.Msg, meta *jetstream.MsgMetadata) call.Entry {
	e := call.ReadEntry(j.cfg.Prefix, m.Subject(), m.Headers())
	e.Place(meta.Sequence.Stream, meta.Timestamp, m.Headers())
	e.Data = m.Data()
	return e
}

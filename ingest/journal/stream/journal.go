// Package stream is the log on JetStream, for replicas: each entry is one message of a stream. What it promises is in
// package journal.
//
// Beside that, while the connection is known to be down Append fails at once, and an id is stored once within the
// server's duplicate window, whichever replicas append it. Follow and Queue.Work survive the loss of the connection, of
// the server and of the stream.
package stream

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

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
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
	surveyed := func(info *jetstream.StreamInfo) error { j.observe(info); return nil }
	form := journal.Form{Store: j.store, Refuse: j.refuse, Epoch: j.epoch, Surveyed: surveyed, Every: cfg.pace.watch}
	if err := j.Run(ctx, form); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
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
	return call.ReadPlaced(j.cfg.Prefix, m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream, meta.Timestamp)
}

// State asks the server for the log's state.
func (j *Journal) State(ctx context.Context) (call.Log, error) {
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return call.Log{}, fmt.Errorf("read the state of log %s: %w", j.cfg.Stream, err)
	}
	return j.observe(stream.CachedInfo()), nil
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
	// What was followed meanwhile is no lag, nor what lies before the first entry.
	j.Metrics.Size(info, info.State.Msgs, log.Last-min(log.Last, max(j.followed.Load(), log.First-1)))
	return log
}

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
		return j.stored(ack)
	case err := <-f.Err():
		if apiCode(err) == codeIDInProcess {
			return j.storeOne(ctx, e)
		}
		return journal.Result{Err: classify(err)}
	case <-ctx.Done():
		return journal.Result{Err: classify(ctx.Err())}
	}
}

// stored is the result of an entry that a stream has acknowledged: where its subject is another one's, it is not the log.
func (j *Journal) stored(ack *jetstream.PubAck) journal.Result {
	if err := natsd.StoredIn(ack, j.cfg.Stream); err != nil {
		return journal.Result{Err: classify(err)}
	}
	j.Metrics.Batch.Observe(1)
	return journal.Result{Receipt: call.Receipt{Seq: ack.Sequence, Duplicate: ack.Duplicate}}
}

func (j *Journal) storeOne(ctx context.Context, e *call.Entry) journal.Result {
	wait := natsd.Pauses(inProcessPause, inProcessMaxPause)
	for try := 1; ; try++ {
		ack, err := j.js.PublishMsg(ctx, j.message(e))
		if err == nil {
			return j.stored(ack)
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

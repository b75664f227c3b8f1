// Package load keeps a warehouse current: it follows the stream of summaries and
// hands the newest revision of each leg and session to a [Target].
//
// In go the messages of a durable consumer that is the loader's own; out come batches of rows, and
// what cannot be a row, set aside with the reason.
//
// What it guarantees:
//   - A message is acknowledged only after the target has made its effect last, so whatever is killed when, nothing is missed.
//   - The effect of a message does not depend on how often or in which order it is delivered: a [Target] keeps
//     the highest revision, or knows which messages it has.
//     So a crash, a redelivery and a second loader of the same name change nothing.
//   - A row that the target refuses never stops those behind it: the batch is halved until the row stands alone.
//   - A target that is away is waited for, with back-off, and holds no messages back from another loader meanwhile.
//   - Memory is bounded by two batches, whatever the backlog.
//   - A consumer belongs to one target: a name is never shared by two targets, of which each would get a part.
//   - No error, log line or metric shows what is in a summary.
//
// It knows neither SQL nor files: packages postgres, clickhouse and dataset are the targets.
package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/internal/natsd"
)

// Config says what to load, and whither.
type Config struct {
	JetStream jetstream.JetStream
	// Stream is the stream of summaries.
	Stream string
	// Name is the durable identity: loaders of one name share the work, and go on where the last one was.
	Name   string
	Target Target
	// Linger is how long a batch waits for more messages. Zero: what the target wants, else 250 ms.
	Linger time.Duration
	Logger *slog.Logger
}

const (
	// ahead bounds what the server sends before it is asked for.
	aheadMessages, aheadBytes = 500, 1 << 20

	// Pauses after a failure; they double, with jitter.
	firstPause, maxPause = 250 * time.Millisecond, 30 * time.Second
	// finishWithin is how long the batch in hand may take when the loader is to stop.
	finishWithin = 15 * time.Second
	// idleFor is how long nothing comes before the loader notes that there is nothing to do.
	idleFor = time.Second
	// warnEvery is how often a failure that goes on is logged.
	warnEvery = time.Minute
)

// database are the batches of a target that does not say what it wants.
var database = Batches{Messages: 2000, Bytes: 4 << 20, Linger: 250 * time.Millisecond}

// Loader keeps one warehouse current.
type Loader struct {
	cfg     Config
	batches Batches
	read    *Reader
	state   state
	// begun tells that loading has begun once: what goes wrong afterwards may be put right while the loader waits.
	begun bool
}

// New returns a loader. It fails when the name cannot be a consumer's.
func New(cfg Config) (*Loader, error) {
	if err := ValidName(cfg.Name); err != nil {
		return nil, fmt.Errorf("the loader's name %w", err)
	}
	batches := database
	if t, ok := cfg.Target.(Batching); ok {
		batches = t.Batches()
	}
	if cfg.Linger != 0 {
		batches.Linger = cfg.Linger
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	read, err := NewReader()
	if err != nil {
		return nil, err
	}
	return &Loader{cfg: cfg, batches: batches, read: read, state: state{began: time.Now(), failure: errors.New("starting")}}, nil
}

// Run loads until ctx ends, and then returns nil. It fails only before it has begun, when
// trying again cannot help, with ErrConfig.
func (l *Loader) Run(ctx context.Context) error {
	pauses := backoff.ExponentialBackOff{InitialInterval: firstPause, MaxInterval: maxPause, Multiplier: 2, RandomizationFactor: 0.5}
	var warned time.Time
	for {
		err := l.follow(ctx, func() { pauses.Reset(); warned = time.Time{} })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped, not failed
		}
		if errors.Is(err, ErrConfig) && !l.begun {
			return err
		}
		l.state.failed(err)
		standby := errors.Is(err, ErrStandby)
		if !standby { // what is pending is the other one's
			if pending, known := l.pending(ctx); known {
				l.state.left(pending)
			}
		}
		if time.Since(warned) >= warnEvery {
			warned = time.Now()
			if standby {
				l.cfg.Logger.Info("loading waits for another loader", "error", err)
			} else {
				l.cfg.Logger.Warn("loading has stopped, trying again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pauses.NextBackOff()):
		}
	}
}

// pending asks the server how many messages are still to be loaded, whether the warehouse can be reached or not.
func (l *Loader) pending(ctx context.Context) (n uint64, known bool) {
	stream, err := l.cfg.JetStream.Stream(ctx, l.cfg.Stream)
	if err != nil {
		return 0, false
	}
	consumer, err := stream.Consumer(ctx, l.cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // it is made once the warehouse is there
		return stream.CachedInfo().State.Msgs, true
	case err != nil:
		return 0, false
	}
	return waiting(consumer), true
}

// waiting is how many messages a consumer has not acknowledged, delivered or not, as it was last looked up.
func waiting(consumer jetstream.Consumer) uint64 {
	info := consumer.CachedInfo()
	return info.NumPending + uint64(info.NumAckPending)
}

// follow loads until something fails or ctx ends. Each batch that is loaded is told to progressed.
func (l *Loader) follow(ctx context.Context, progressed func()) error {
	identity, err := l.cfg.Target.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the warehouse: %w", err)
	}
	stream, consumer, err := l.open(ctx, identity)
	if err != nil {
		return err
	}
	messages, err := natsd.Receive(consumer, aheadMessages, aheadBytes)
	if err != nil {
		return fmt.Errorf("read %s: %w", l.cfg.Stream, err)
	}
	l.state.opened(waiting(consumer))
	l.begun = true
	// What was sent ahead is the next reader's.
	defer messages.Stop(func(m jetstream.Msg) { l.nak(m.Reply()) })
	origin := Origin{Stream: stream.Config.Name, Created: stream.Created}
	batches := make(chan *batch)
	group, gathering := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		return l.gather(gathering, messages, origin, batches)
	})
	group.Go(func() error { return l.load(gathering, batches, progressed) })
	return group.Wait()
}

// gather makes batches of the messages until ctx ends or they cannot be read.
func (l *Loader) gather(ctx context.Context, messages *natsd.Receiver, origin Origin, to chan<- *batch) error {
	b := newBatch(l.batches)
	defer func() { l.nak(b.replies...) }()
	hand := func() error {
		select {
		case to <- b:
			b = newBatch(l.batches)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		m, err := messages.Next(ctx, l.wait(b))
		switch {
		case ctx.Err() != nil:
			if m != nil {
				l.nak(m.Reply())
			}
			return ctx.Err()
		case errors.Is(err, nats.ErrTimeout) && len(b.replies) == 0:
			l.state.idle()
			continue
		case errors.Is(err, nats.ErrTimeout):
			if err := hand(); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", l.cfg.Stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", l.cfg.Stream, err)
		}
		origin.Seq, origin.At, origin.Subject = meta.Sequence.Stream, meta.Timestamp, m.Subject()
		b.add(m, meta, origin, l.read)
		b.full = len(b.replies) == l.batches.Messages || b.bytes >= l.batches.Bytes
		// One that comes again stands behind the end, with others that do.
		b.caughtUp = meta.NumPending == 0 && meta.NumDelivered == 1 && l.Progress().CaughtUp.IsZero()
		if b.full || b.caughtUp {
			if err := hand(); err != nil {
				return err
			}
		}
	}
}

// wait is how long to wait for the next message of a batch.
func (l *Loader) wait(b *batch) time.Duration {
	if len(b.replies) == 0 {
		return idleFor
	}
	return max(time.Millisecond, l.batches.Linger-time.Since(b.began))
}

const (
	// metadataTarget is the key in a consumer's metadata under which stands the identity of its target.
	metadataTarget = "legato.load.target"
	// ackWait is when a message that was delivered to a loader that died goes to another.
	ackWait = 20 * time.Second
	// maxAckPending bounds what is delivered and not acknowledged, over all loaders of a name. What a killed
	// loader held counts until ackWait is over.
	maxAckPending = 40_000
)

// consumerName is what names of consumers are made of: they are subject tokens.
var consumerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ValidName fails when a name cannot be that of a loader.
func ValidName(name string) error {
	if !consumerName.MatchString(name) {
		return errors.New("must have 1 to 64 letters, digits, '-' and '_'")
	}
	return nil
}

// open returns the stream and the durable consumer of this name, which is made when it is missing. It fails with
// ErrConfig when the consumer is somebody else's.
func (l *Loader) open(ctx context.Context, identity string) (*jetstream.StreamInfo, jetstream.Consumer, error) {
	stream, err := l.cfg.JetStream.Stream(ctx, l.cfg.Stream)
	if err != nil {
		return nil, nil, fmt.Errorf("look up stream %s: %w", l.cfg.Stream, err)
	}
	consumer, err := stream.Consumer(ctx, l.cfg.Name)
	switch {
	case err == nil:
		owner, ours := consumer.CachedInfo().Config.Metadata[metadataTarget]
		if !ours {
			return nil, nil, fmt.Errorf("consumer %s of %s was not made by legato load; use another --name: %w", l.cfg.Name, l.cfg.Stream, ErrConfig)
		}
		if owner != identity {
			return nil, nil, fmt.Errorf("consumer %s of %s loads another warehouse, or this one before it was made anew; use another --name, "+
				"or remove the consumer (nats consumer rm %s %s) to begin with what the stream still holds: %w",
				l.cfg.Name, l.cfg.Stream, l.cfg.Stream, l.cfg.Name, ErrConfig)
		}
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, nil, fmt.Errorf("look up consumer %s of %s: %w", l.cfg.Name, l.cfg.Stream, err)
	}
	want := jetstream.ConsumerConfig{
		Durable:       l.cfg.Name,
		Description:   "legato load: hands summaries to a warehouse.",
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		Metadata:      map[string]string{metadataTarget: identity},
	}
	consumer, err = natsd.WithAckPending(maxAckPending, func(pending int) (jetstream.Consumer, error) {
		want.MaxAckPending = pending
		return stream.CreateOrUpdateConsumer(ctx, want)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make consumer %s of %s: %w", l.cfg.Name, l.cfg.Stream, err)
	}
	return stream.CachedInfo(), consumer, nil
}

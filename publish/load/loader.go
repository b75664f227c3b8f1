package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
	"golang.org/x/sync/errgroup"
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
	// waiting is how many batches wait, beside the one that is gathered, while the target has another.
	waiting = 1

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
	return &Loader{cfg: cfg, batches: batches, read: read, state: state{failure: errors.New("starting")}}, nil
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
		if time.Since(warned) >= warnEvery {
			warned = time.Now()
			l.cfg.Logger.Warn("loading has stopped, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pauses.NextBackOff()):
		}
	}
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
	info := consumer.CachedInfo()
	l.state.opened(info.NumPending + uint64(info.NumAckPending))
	l.begun = true
	// What was sent ahead is the next reader's.
	defer messages.Stop(func(m jetstream.Msg) { l.nak(m.Reply()) })
	origin := Origin{Stream: stream.Config.Name, Created: stream.Created}
	batches := make(chan *batch, waiting)
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
		origin.Seq, origin.Subject = meta.Sequence.Stream, m.Subject()
		b.add(m, meta, origin, l.read)
		if b.full = len(b.replies) == l.batches.Messages || b.bytes >= l.batches.Bytes; b.full {
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

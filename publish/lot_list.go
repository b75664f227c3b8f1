package publish

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/call"
)

// Which says which parked messages are meant. The zero value means all.
type Which struct {
	// Reason is the one that they were parked for. Empty: any.
	Reason string
	// Since is when the first of them was parked. Zero: whenever.
	Since time.Time
}

const (
	// listAtOnce is how many messages are asked for at a time, listPatience how long
	// one such request may take.
	listAtOnce   = 256
	listPatience = 2 * time.Second
)

// List hands what is parked to do, oldest first, without the bodies, which are
// not even read from the server; what is parked meanwhile is left out. It returns do's error
// as it is, ErrInvalid for a reason that is no token, and a wrapped infrastructure error otherwise.
func (l *Lot) List(ctx context.Context, which Which, do func(Kept) error) error {
	cfg := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1,
		FilterSubject: l.subject("*"), InactiveThreshold: time.Minute,
	}
	if which.Reason != "" {
		if !call.ValidToken(which.Reason) {
			return fmt.Errorf("list what is parked: %w: reason %.64q is no subject token", ErrInvalid, which.Reason)
		}
		cfg.FilterSubject = l.subject(which.Reason)
	}
	if !which.Since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &which.Since
	}
	stream, err := l.stream(ctx)
	if err != nil {
		return err
	}
	consumer, err := stream.CreateConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("list what is parked: %w", err)
	}
	// Whoever cannot delete it leaves that to the server.
	defer func() { _ = stream.DeleteConsumer(context.WithoutCancel(ctx), consumer.CachedInfo().Name) }()
	for done, all := uint64(0), consumer.CachedInfo().NumPending; done < all; {
		asked := min(all-done, listAtOnce)
		n, err := l.list(consumer, done, asked, do)
		if err != nil {
			return err
		}
		if done += n; n == asked {
			continue
		}
		// It is late, or what was still to come has been removed.
		info, err := consumer.Info(ctx)
		if err != nil {
			return fmt.Errorf("list what is parked: %w", err)
		}
		if info.NumPending == 0 {
			return nil
		}
		if n == 0 {
			return fmt.Errorf("list what is parked: the server sent nothing for %v", listPatience)
		}
	}
	return nil
}

// list asks for n messages behind those that are done, and returns how many came.
func (l *Lot) list(consumer jetstream.Consumer, done, n uint64, do func(Kept) error) (came uint64, err error) {
	batch, err := consumer.Fetch(int(n), jetstream.FetchMaxWait(listPatience))
	if err != nil {
		return 0, fmt.Errorf("list what is parked: %w", err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return came, fmt.Errorf("list what is parked: %w", err)
		}
		// Nothing is acknowledged, so nothing is sent twice: what a broken connection swallows is missed.
		if came++; meta.Sequence.Consumer != done+came {
			return came, fmt.Errorf("list what is parked: interrupted before message %d", meta.Sequence.Stream)
		}
		kept := l.kept(m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), nil)
		if kept.Size, err = strconv.Atoi(m.Headers().Get(nats.MsgSize)); err != nil {
			return came, fmt.Errorf("list what is parked: size of message %d: %w", kept.Seq, err)
		}
		if err := do(kept); err != nil {
			return came, err
		}
	}
	if err := batch.Error(); err != nil {
		return came, fmt.Errorf("list what is parked: %w", err)
	}
	return came, nil
}

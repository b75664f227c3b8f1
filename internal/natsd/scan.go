package natsd

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// scanPatience is how long one request of a read may take.
const scanPatience = 2 * time.Second

// Scan hands every message that a consumer of the configuration has at its beginning to do, in order,
// asking for so many at once; what is stored meanwhile is left out. It returns do's error as it is, and wraps all
// others with what is done.
func Scan(ctx context.Context, stream jetstream.Stream, cfg jetstream.ConsumerConfig, atOnce uint64, what string,
	do func(jetstream.Msg, *jetstream.MsgMetadata) error,
) error {
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = jetstream.AckNonePolicy, true, 1, time.Minute
	consumer, err := stream.CreateConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// Whoever cannot delete it leaves that to the server.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scanPatience)
		defer cancel()
		_ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
	}()
	for done, all := uint64(0), consumer.CachedInfo().NumPending; done < all; {
		asked := min(all-done, atOnce)
		n, err := fetch(ctx, consumer, done, asked, what, do)
		if err != nil {
			return err
		}
		if done += n; n == asked {
			continue
		}
		// It is late, or what was still to come has been removed.
		info, err := consumer.Info(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if info.NumPending == 0 {
			return nil
		}
		if n == 0 {
			return fmt.Errorf("%s: the server sent nothing for %v", what, scanPatience)
		}
	}
	return nil
}

// fetch asks for n messages behind those that are done, and returns how many came.
func fetch(ctx context.Context, consumer jetstream.Consumer, done, n uint64, what string,
	do func(jetstream.Msg, *jetstream.MsgMetadata) error,
) (came uint64, err error) {
	wait, cancel := context.WithTimeout(ctx, scanPatience)
	defer cancel()
	batch, err := consumer.Fetch(int(n), jetstream.FetchContext(wait))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return came, fmt.Errorf("%s: %w", what, err)
		}
		// Nothing is acknowledged, so nothing is sent twice: what a broken connection swallows is missed.
		if came++; meta.Sequence.Consumer != done+came {
			return came, fmt.Errorf("%s: interrupted before message %d", what, meta.Sequence.Stream)
		}
		if err := do(m, meta); err != nil {
			return came, err
		}
	}
	if err := batch.Error(); err != nil && wait.Err() == nil {
		return came, fmt.Errorf("%s: %w", what, err)
	}
	if ctx.Err() != nil {
		return came, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return came, nil
}

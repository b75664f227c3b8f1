package load

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

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

package publish

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
)

// Which says which parked messages are meant. The zero value means all.
type Which struct {
	// Reason is the one that they were parked for. Empty: any.
	Reason string
	// Since is when the first of them was parked. Zero: whenever.
	Since time.Time
}

// listAtOnce is how many messages, without their bodies, are asked for at a time.
const listAtOnce = 256

// List hands what is parked to do, oldest first, without the bodies, which are
// not even read from the server; what is parked meanwhile is left out. It returns do's error
// as it is, ErrInvalid for a reason that is no token, and a wrapped infrastructure error otherwise.
func (l *Lot) List(ctx context.Context, which Which, do func(Kept) error) error {
	cfg := jetstream.ConsumerConfig{HeadersOnly: true, FilterSubject: l.subject("*")}
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
	return read(ctx, stream, cfg, listAtOnce, "list what is parked", func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		kept := l.kept(m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), nil)
		if kept.Size, err = strconv.Atoi(m.Headers().Get(nats.MsgSize)); err != nil {
			return fmt.Errorf("list what is parked: size of message %d: %w", kept.Seq, err)
		}
		return do(kept)
	})
}

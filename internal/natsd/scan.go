package natsd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Scan reads a stream from a place to its end. The zero value of each field leaves the choice open.
type Scan struct {
	// Stream is the name of the stream. Required.
	Stream string
	// Subjects are the filters; none: everything.
	Subjects []string
	// From is the first sequence that is wanted; 0: Since decides.
	From uint64
	// Since is when the first message that is wanted was stored; zero: whenever.
	Since time.Time
	// Last is the last sequence that is wanted; 0: the last that the stream has when the scan begins, since
	// a busy stream would never end.
	Last uint64
	// HeadersOnly leaves the bodies with the server.
	HeadersOnly bool
}

const (
	// scanAhead and scanAheadBytes bound what is on its way or waits to be handled.
	scanAhead, scanAheadBytes = 4000, 16 << 20
	// scanSilence is how long nothing comes before the server is asked whether there is more.
	scanSilence = 2 * time.Second
	// scanResets is how often an interrupted consumer is made anew before the scan fails.
	scanResets = 5
	// scanForgotten is when the server drops the consumer of a scan that was killed.
	scanForgotten = time.Minute
)

// Each hands the messages to do, in order, each once. An interrupted scan goes on where it was. It returns do's error
// as it is, and wraps all others: that of ctx when it ended first, and those of infrastructure.
func (s Scan) Each(ctx context.Context, js jetstream.JetStream, do func(*jetstream.RawStreamMsg) error) error {
	fail := func(err error) error { return fmt.Errorf("read stream %s: %w", s.Stream, err) }
	stream, err := js.Stream(ctx, s.Stream)
	if err != nil {
		return fail(err)
	}
	if s.Last == 0 {
		s.Last = stream.CachedInfo().State.LastSeq
	}
	consumer, err := stream.OrderedConsumer(ctx, s.consumer())
	if err != nil {
		return fail(err)
	}
	// A consumer that cannot be deleted is left to the server.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scanSilence)
		defer cancel()
		_ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
	}()
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(scanAhead, scanAheadBytes))
	if err != nil {
		return fail(err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	wait, drained := scanSilence, false // drained: the server said that there is no more
	for {
		m, err := messages.Next(jetstream.NextMaxWait(wait))
		switch {
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case errors.Is(err, nats.ErrTimeout) && drained:
			return nil
		case errors.Is(err, nats.ErrTimeout):
			// The server is slow, or has removed what was still to come. Its answer arrives behind whatever it
			// had sent before, so that a second silence is the end.
			info, err := consumer.Info(ctx)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				continue // it is made anew once its heartbeats have been missed
			}
			if err != nil {
				return fail(err)
			}
			if drained = info.NumPending == 0; drained {
				wait = scanSilence / 10
			}
			continue
		case err != nil:
			return fail(err)
		}
		wait, drained = scanSilence, false
		meta, err := m.Metadata()
		if err != nil {
			return fail(err)
		}
		if meta.Sequence.Stream > s.Last {
			return nil
		}
		if err := do(s.message(m, meta)); err != nil {
			return err
		}
		if meta.Sequence.Stream == s.Last || meta.NumPending == 0 {
			return nil
		}
	}
}

func (s Scan) consumer() jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: s.Subjects, HeadersOnly: s.HeadersOnly, MaxResetAttempts: scanResets, InactiveThreshold: scanForgotten,
	}
	switch {
	case s.From > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.From
	case !s.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Since
	}
	return cfg
}

func (s Scan) message(m jetstream.Msg, meta *jetstream.MsgMetadata) *jetstream.RawStreamMsg {
	raw := &jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: meta.Sequence.Stream, Header: m.Headers(), Time: meta.Timestamp}
	if !s.HeadersOnly {
		raw.Data = m.Data()
	}
	return raw
}

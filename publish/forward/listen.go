package forward

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Listener posts what the raw feed of a deployment brings to an application on the machine of its developer. It
// leaves no trace in NATS: no place, no records, and nothing is tried again.
type Listener struct {
	JetStream jetstream.JetStream
	Layout    natsd.Layout
	// URL is where events are posted.
	URL *url.URL
	// Since is when the first event was received. Zero: from now on.
	Since time.Time
	// Session is the one whose events are posted. Empty: all.
	Session call.SessionID
	// Timeout bounds one attempt. Required.
	Timeout time.Duration
	// Sign signs a body anew. Nil: the signature goes on as it came.
	Sign func(body []byte) (timestamp, signature string)
	// Sent is called with every event that was posted; its error ends Run.
	Sent func(e call.Entry, a Attempt) error
}

// Run posts one event after another, in the order of the log, until ctx ends or Sent fails. It fails when the feed
// cannot be read.
func (l *Listener) Run(ctx context.Context) error {
	from := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{l.Layout.Prefix + "." + call.TopicEvent + ">"}, DeliverPolicy: jetstream.DeliverNewPolicy,
	}
	if !l.Since.IsZero() {
		from.DeliverPolicy, from.OptStartTime = jetstream.DeliverByStartTimePolicy, &l.Since
	}
	consumer, err := l.JetStream.OrderedConsumer(ctx, l.Layout.Events, from)
	if err != nil {
		return fmt.Errorf("follow %s: %w", l.Layout.Events, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("follow %s: %w", l.Layout.Events, err)
	}
	defer messages.Stop()
	target := newClient(Target{URL: l.URL}, l.Timeout, 1)
	defer target.close()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return fmt.Errorf("follow %s: %w", l.Layout.Events, err)
		case err != nil:
			continue // the ordered consumer makes itself anew
		}
		if err := l.post(ctx, target, m); err != nil {
			return err
		}
	}
}

func (l *Listener) post(ctx context.Context, target *client, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read the place of an event: %w", err)
	}
	e := call.ReadPlaced(l.Layout.Prefix, m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream, meta.Timestamp)
	if e.Foreign || l.Session != "" && e.Ref.Session != l.Session {
		return nil
	}
	if l.Sign != nil {
		e.Timestamp, e.Signature = l.Sign(e.Data)
	}
	return l.Sent(e, target.post(ctx, &e, 1, answerKept, false).attempt(e.Seq, 1))
}

package publish

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
)

// Watch tells of every revision of a leg that was stored since a time, in order, and goes on with what is stored
// until ctx ends, whose error it returns. Some may be told twice. It reads headers only.
func (p *Publisher) Watch(ctx context.Context, since time.Time, seen func(summary.Key, summary.Position)) error {
	consumer, err := p.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: "*"})},
		DeliverPolicy:  jetstream.DeliverByStartTimePolicy,
		OptStartTime:   &since,
		HeadersOnly:    true,
	})
	if err != nil {
		return fmt.Errorf("watch stream %s: %w", p.layout.Calls, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("watch stream %s: %w", p.layout.Calls, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("watch stream %s: %w", p.layout.Calls, err)
		}
		of, ok := ParseSubject(m.Subject())
		position, err := strconv.ParseUint(m.Headers().Get(HeaderPosition), 10, 64)
		if !ok || err != nil {
			continue // not Legato's
		}
		seen(of.Key, summary.Position{Log: m.Headers().Get(HeaderLog), Seq: position})
	}
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// watchPrefetch: a start reads the revisions of the last hours.
	watchPrefetch = 1000
	// watchForgotten is when the server drops the consumer of a watch that is gone.
	watchForgotten = time.Minute
	// watchRelease bounds the removal of that consumer.
	watchRelease = 500 * time.Millisecond
)

var errWatchMissed = errors.New("a summary was lost on its way")

// Watch tells of every revision that was stored since a time, in order, and goes on with what is stored until
// ctx ends, whose error it returns, or until it is interrupted. Some may be told twice, and after an interruption
// some not at all: who needs them begins again. It reads headers only.
//
// It is not nats.go's ordered consumer: where its consumer cannot be made again, that one tries for ever, on a context
// of its own.
func (p *Publisher) Watch(ctx context.Context, since time.Time, seen func(k summary.Key, revision int, at summary.Position)) error {
	fail := func(err error) error { return fmt.Errorf("watch stream %s: %w", p.layout.Calls, err) }
	consumer, err := p.js.CreateConsumer(ctx, p.layout.Calls, jetstream.ConsumerConfig{
		Description: "tells Legato of published summaries",
		FilterSubjects: []string{
			subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: "*"}),
			subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindSession, Session: "*"}),
		},
		DeliverPolicy:     jetstream.DeliverByStartTimePolicy,
		OptStartTime:      &since,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       true,
		InactiveThreshold: watchForgotten,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return fail(err)
	}
	defer p.release(ctx, consumer)
	var delivered uint64
	c, err := natsd.Consume(consumer, watchPrefetch, func(m jetstream.Msg) error {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read the metadata of a summary: %w", err)
		}
		if delivered++; meta.Sequence.Consumer != delivered {
			return errWatchMissed
		}
		of, ok := ParseSubject(m.Subject())
		position, err := strconv.ParseUint(m.Headers().Get(HeaderPosition), 10, 64)
		revision, badRevision := strconv.Atoi(m.Headers().Get(HeaderRevision))
		if ok && err == nil && badRevision == nil { // else it is not Legato's
			seen(of.Key, revision, summary.Position{Log: m.Headers().Get(HeaderLog), Seq: position})
		}
		return ctx.Err()
	})
	if err != nil {
		return fail(err)
	}
	defer c.Stop()
	return fail(c.Wait(ctx))
}

// release spares the server a consumer that nobody asks any more.
func (p *Publisher) release(ctx context.Context, consumer jetstream.Consumer) {
	if !p.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchRelease)
	defer cancel()
	// What cannot be removed is left to the server.
	_ = p.js.DeleteConsumer(ctx, p.layout.Calls, consumer.CachedInfo().Name)
}

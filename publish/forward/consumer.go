package forward

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// group is the consumer's only priority group: its pinned client works the target.
	group = "legato"
	// pinFor is how long the pinned client may be silent before another takes its place. It asks for more every
	// pullFor at the latest, the least that nats.go allows.
	pinFor, pullFor = 2 * time.Second, time.Second
	heartbeat       = 500 * time.Millisecond
	// ackWait is how long an event may be held before it is handed out again: to this same replica, which knows it
	// then, or to the next one. Where nothing new comes in, that is what makes the server choose a next one.
	ackWait = 3 * time.Second
	// prefetch is what may be on the way to this replica.
	prefetch, prefetchBytes = 256, 16 << 20
	retryFirst              = 250 * time.Millisecond
	retryMost               = 5 * time.Second
)

var errClosed = errors.New("the consumer was closed")

func consumerName(target string) string { return "forward_" + target }

// open makes sure of the consumer. A new target begins with what is received from then on.
func (r *runner) open(ctx context.Context) (jetstream.Consumer, error) {
	want := jetstream.ConsumerConfig{
		Durable: consumerName(r.target.Name), Description: "where the application " + r.target.Name + " stands",
		Metadata:       metadata(r.target),
		FilterSubjects: r.target.Filter.subjects(r.cfg.Layout.Prefix),
		DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &r.began,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{group}, PinnedTTL: pinFor,
	}
	consumer, err := natsd.WithAckPending(maxHeld, func(pending int) (jetstream.Consumer, error) {
		want.MaxAckPending = pending
		return ensure(ctx, r.cfg.JetStream, r.cfg.Layout.Events, want)
	})
	if err != nil {
		return nil, fmt.Errorf("make the place of %s on %s: %w", r.target.Name, r.cfg.Layout.Events, err)
	}
	r.mu.Lock()
	r.consumer = consumer
	r.mu.Unlock()
	return consumer, nil
}

// ensure returns a consumer that is as wanted: one that is there already is changed only where it differs, since the
// server writes each change to its disk, and where it began is kept.
func ensure(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	have, err := js.Consumer(ctx, stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		made, failed := js.CreateConsumer(ctx, stream, want)
		if failed == nil {
			return made, nil
		}
		// Another replica may have made it in between, to begin at another moment.
		if have, err = js.Consumer(ctx, stream, want.Durable); err != nil {
			return nil, failed
		}
	}
	if err != nil {
		return nil, err
	}
	c := have.CachedInfo().Config
	want.DeliverPolicy, want.OptStartTime, want.OptStartSeq = c.DeliverPolicy, c.OptStartTime, c.OptStartSeq
	same := c.AckWait == want.AckWait && c.MaxAckPending == want.MaxAckPending && c.PinnedTTL == want.PinnedTTL &&
		c.PriorityPolicy == want.PriorityPolicy && slices.Equal(c.PriorityGroups, want.PriorityGroups) &&
		slices.Equal(filters(c), filters(want))
	for name, value := range want.Metadata {
		same = same && c.Metadata[name] == value // the server has notes of its own beside ours
	}
	if same {
		return have, nil
	}
	return js.UpdateConsumer(ctx, stream, want)
}

// filters returns the subjects of a consumer: the server keeps a single one apart.
func filters(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return slices.Sorted(slices.Values(c.FilterSubjects))
}

// follow takes events from the consumer until ctx ends, across disturbances.
func (r *runner) follow(ctx context.Context) {
	pause := retryFirst
	for {
		start := time.Now()
		err := r.consume(ctx)
		if ctx.Err() != nil {
			return
		}
		r.lost() //nolint:contextcheck // an attempt is let finish, and has a time limit of its own
		if time.Since(start) > retryMost {
			pause = retryFirst
		}
		r.log.Warn("forwarding is disturbed; trying again", "error", err)
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, retryMost)
	}
}

// consume is one subscription to the consumer. It ends with ctx, or with what went wrong.
func (r *runner) consume(ctx context.Context) error {
	consumer, err := r.open(ctx)
	if err != nil {
		return err
	}
	silent := make(chan struct{}, 1)
	taking, stop := context.WithCancel(ctx)
	defer stop()
	cc, err := consumer.Consume(func(m jetstream.Msg) {
		if taking.Err() == nil { // nats.go may hand on what it has after the end
			r.take(m) //nolint:contextcheck // an attempt is let finish, and has a time limit of its own
		}
	},
		jetstream.PullMaxMessagesWithBytesLimit(natsd.Batch(consumer, prefetch), prefetchBytes), jetstream.PullExpiry(pullFor),
		jetstream.PullHeartbeat(heartbeat), jetstream.PullPriorityGroup(group),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { //nolint:contextcheck // an attempt is let finish, and has a time limit of its own
			r.log.Debug("the consumer says", "error", err)
			if errors.Is(err, jetstream.ErrPinIDMismatch) {
				r.lost()
			}
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				select {
				case silent <- struct{}{}:
				default:
				}
			}
		}))
	if err != nil {
		return fmt.Errorf("take events for %s: %w", r.target.Name, err)
	}
	defer cc.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-cc.Closed():
			return errClosed
		case <-silent:
			// A server that is away is waited for; a consumer that is gone must be made again.
			if _, err := consumer.Info(ctx); errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
				return err
			}
		}
	}
}

// sleep waits and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

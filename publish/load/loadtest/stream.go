package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
)

// stall is how long a publication may wait for room among those under way.
const stall = time.Minute

// Publish puts the messages of a plan onto the stream of summaries and returns how many there were.
func (p Plan) Publish(tb testing.TB, nc *nats.Conn) int {
	tb.Helper()
	return p.Feed(tb, nc).Publish(math.MaxInt)
}

// Feed publishes the messages of a plan bit by bit.
type Feed struct {
	tb   testing.TB
	js   jetstream.JetStream
	next func() (Message, bool)
	err  error
}

// Feed begins to publish a plan, without the conditions under which Legato publishes.
func (p Plan) Feed(tb testing.TB, nc *nats.Conn) *Feed {
	tb.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		tb.Fatal(err)
	}
	f := &Feed{tb: tb, js: js}
	errEnough := errors.New("enough")
	next, stop := iter.Pull(func(yield func(Message) bool) {
		if err := p.Each(func(m Message) error {
			if !yield(m) {
				return errEnough
			}
			return nil
		}); !errors.Is(err, errEnough) {
			f.err = err
		}
	})
	f.next = next
	tb.Cleanup(stop)
	return f
}

// Publish puts up to n more messages onto the stream and returns how many there were.
func (f *Feed) Publish(n int) (published int) {
	f.tb.Helper()
	for published < n {
		m, ok := f.next()
		if !ok {
			break
		}
		if _, err := f.js.PublishMsgAsync(m.Msg(), jetstream.WithStallWait(stall)); err != nil {
			f.tb.Fatal(err)
		}
		published++
	}
	if f.err != nil {
		f.tb.Fatal(f.err)
	}
	select {
	case <-f.js.PublishAsyncComplete():
	case <-f.tb.Context().Done():
		f.tb.Fatal(f.tb.Context().Err())
	}
	return published
}

// Newest is what a warehouse must hold of a leg or a session.
type Newest struct {
	Revision  int
	Published time.Time
	Body      []byte
}

// Fold reads the stream of summaries and returns the highest revision of each leg and each session, by kind and id; of the same
// one what was published later.
func Fold(ctx context.Context, tb testing.TB, js jetstream.JetStream, stream string) map[string]map[string]Newest {
	tb.Helper()
	found := map[string]map[string]Newest{summary.KindLeg: {}, summary.KindSession: {}}
	err := natsd.Scan{Stream: stream}.Each(ctx, js, func(m *jetstream.RawStreamMsg) error {
		var head struct {
			Kind      string    `json:"kind"`
			Revision  int       `json:"revision"`
			Published time.Time `json:"published_at"`
			Session   string    `json:"call_session_id"`
			Leg       string    `json:"call_leg_id"`
		}
		if err := json.Unmarshal(m.Data, &head); err != nil {
			return fmt.Errorf("message %d: %w", m.Sequence, err)
		}
		id := head.Leg
		if head.Kind == summary.KindSession {
			id = head.Session
		}
		known := found[head.Kind][id]
		if known.Revision < head.Revision || known.Revision == head.Revision && known.Published.Before(head.Published) {
			found[head.Kind][id] = Newest{Revision: head.Revision, Published: head.Published, Body: m.Data}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// Settled waits until everything that the stream holds is acknowledged to the consumer of a name.
func Settled(ctx context.Context, js jetstream.JetStream, stream, name string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	of, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	last := of.CachedInfo().State.LastSeq
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		consumer, err := of.Consumer(ctx, name)
		if err == nil {
			floor := consumer.CachedInfo().AckFloor.Stream
			if floor >= last {
				return nil
			}
			err = fmt.Errorf("acknowledged up to %d of %d", floor, last)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not everything is loaded after %v: %w", patience, err)
		}
	}
}

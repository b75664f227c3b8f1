package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
)

// stall is how long a publication may wait for room among those under way.
const stall = time.Minute

// Publish puts the messages of a plan onto the stream of summaries, without the conditions under which Legato publishes, and
// returns how many there were.
func (p Plan) Publish(tb testing.TB, nc *nats.Conn) int {
	tb.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		tb.Fatal(err)
	}
	n := 0
	err = p.Each(func(m Message) error {
		n++
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Data: m.Body}, jetstream.WithStallWait(stall))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-tb.Context().Done():
		tb.Fatal(tb.Context().Err())
	}
	return n
}

// Newest is what a warehouse must hold of a leg or a session.
type Newest struct {
	Kind     string
	Revision int
	Body     []byte
}

// Fold reads the stream of summaries and returns the highest revision of each leg and each session, by kind and id.
func Fold(ctx context.Context, tb testing.TB, js jetstream.JetStream, stream string) map[string]map[string]Newest {
	tb.Helper()
	found := map[string]map[string]Newest{summary.KindLeg: {}, summary.KindSession: {}}
	err := natsd.Scan{Stream: stream}.Each(ctx, js, func(m *jetstream.RawStreamMsg) error {
		var head struct {
			Kind     string `json:"kind"`
			Revision int    `json:"revision"`
			Session  string `json:"call_session_id"`
			Leg      string `json:"call_leg_id"`
		}
		if err := json.Unmarshal(m.Data, &head); err != nil {
			return fmt.Errorf("message %d: %w", m.Sequence, err)
		}
		id := head.Leg
		if head.Kind == summary.KindSession {
			id = head.Session
		}
		if found[head.Kind][id].Revision < head.Revision {
			found[head.Kind][id] = Newest{Kind: head.Kind, Revision: head.Revision, Body: m.Data}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/publish/natsd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/cmd/legato/bench"
)

// summaryPatience bounds the wait for the last summaries after the last webhook: settle times and
// status deadline are some 20 s, and a machine may be slow.
const summaryPatience = 90 * time.Second

// summaryWatch sees which legs and sessions were completed, and when.
type summaryWatch struct {
	layout natsd.Layout
	nc     *nats.Conn
	stop   func()

	mu      sync.Mutex
	pending map[string]bool      // legs and sessions that have no summary yet
	seen    map[string]time.Time // those that have
	doubled int
	amended int
	done    chan struct{} // closed when nothing is pending
}

// watchSummaries follows the stream of summaries of a target, headers only: what arrives is stored.
func watchSummaries(ctx context.Context, url string) (*summaryWatch, error) {
	layout, err := natsd.NewLayout("calls")
	if err != nil {
		return nil, err
	}
	w := &summaryWatch{layout: layout, seen: map[string]time.Time{}}
	if w.nc, err = nats.Connect(url); err != nil {
		return nil, fmt.Errorf("watch the summaries: %w", err)
	}
	w.stop, err = w.follow(ctx)
	if err != nil {
		w.nc.Close()
		return nil, fmt.Errorf("watch the summaries: %w", err)
	}
	return w, nil
}

func (w *summaryWatch) follow(ctx context.Context) (func(), error) {
	js, err := jetstream.New(w.nc)
	if err != nil {
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, w.layout.Calls, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, HeadersOnly: true,
	})
	if err != nil {
		return nil, err
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) { w.summary(m.Subject(), time.Now()) })
	if err != nil {
		return nil, err
	}
	return consuming.Stop, nil
}

func (w *summaryWatch) close() {
	w.stop()
	w.nc.Close()
}

// summary takes the subject of one summary: prefix, level, kind, connection, session, and leg for a leg's.
func (w *summaryWatch) summary(subject string, at time.Time) {
	id := subject[strings.LastIndexByte(subject, '.')+1:]
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasPrefix(subject, w.layout.Prefix+".leg.amended.") || strings.HasPrefix(subject, w.layout.Prefix+".session.amended.") {
		w.amended++
		return
	}
	if _, twice := w.seen[id]; twice {
		w.doubled++
		return
	}
	w.seen[id] = at
	if delete(w.pending, id); len(w.pending) == 0 && w.done != nil {
		close(w.done)
		w.done = nil
	}
}

// expect begins to wait for the summaries of all legs and sessions of a workload.
// What was seen before is forgotten.
func (w *summaryWatch) expect(load *bench.Workload) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := make(chan struct{})
	w.pending, w.seen, w.done = make(map[string]bool, len(load.Legs)+len(load.Sessions)), map[string]time.Time{}, done
	for _, leg := range load.Legs {
		w.pending[string(leg.Ref.Leg)] = true
	}
	for _, id := range load.Sessions {
		w.pending[string(id)] = true
	}
	return done
}

// wait waits until everything expected is there. It fails when that does not happen.
func (w *summaryWatch) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
	case <-time.After(summaryPatience):
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) > 0 {
		return fmt.Errorf("%d legs and sessions have no summary %v after the last webhook", len(w.pending), summaryPatience)
	}
	if w.doubled > 0 {
		return fmt.Errorf("%d summaries were published as completed more than once", w.doubled)
	}
	return nil
}

// at returns when the summary of a leg came.
func (w *summaryWatch) at(leg string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[leg]
}

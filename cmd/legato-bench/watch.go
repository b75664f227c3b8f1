package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

// summaryPatience bounds the wait for the last summaries after the last webhook: settle times and
// status deadline are some 20 s, and a machine may be slow.
const summaryPatience = 90 * time.Second

// summaryWatch follows the summaries of a target.
type summaryWatch struct {
	bench.Ledger
	layout natsd.Layout
	nc     *nats.Conn
	stop   func()
}

// watchSummaries follows the stream of summaries of a target, headers only: what arrives is stored.
func watchSummaries(ctx context.Context, url string) (*summaryWatch, error) {
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		return nil, err
	}
	w := &summaryWatch{layout: layout}
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

// summary takes the subject of one summary: prefix, kind, word, connection,
// session, and for a leg's the leg.
func (w *summaryWatch) summary(subject string, at time.Time) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, w.layout.Prefix+"."), ".")
	if strings.HasPrefix(rest, "completed.") {
		w.Completed(subject[strings.LastIndexByte(subject, '.')+1:], at)
	}
}

package publish_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

// fill stores first summaries of other keys, spread over connections.
func fill(tb testing.TB, js jetstream.JetStream, layout natsd.Layout, messages, connections int) {
	tb.Helper()
	for i := range messages {
		if _, err := js.PublishAsync(
			fmt.Sprintf("%s.leg.completed.other%d.session%d.leg%d", layout.Prefix, i%connections, i, i), []byte("{}")); err != nil {
			tb.Fatal(err)
		}
		// The client refuses more than 4,000 in flight.
		if i%2000 == 1999 || i == messages-1 {
			select {
			case <-js.PublishAsyncComplete():
			case <-tb.Context().Done():
				tb.Fatal(tb.Context().Err())
			}
		}
	}
}

// others are how many other summaries, and of how many connections, are stored beside those of a benchmark.
var others = []struct{ messages, connections int }{{0, 1}, {50_000, 1}, {50_000, 100}, {50_000, 5000}}

func BenchmarkPublish(b *testing.B) {
	for _, o := range others {
		b.Run(fmt.Sprintf("messages=%d/connections=%d", o.messages, o.connections), func(b *testing.B) {
			s := natsdtest.Run(b)
			fill(b, s.JS, s.Layout, o.messages, o.connections)
			p := newPublisher(b, s.JS, s.Layout)
			body := make([]byte, 2000)
			n := 0
			for b.Loop() {
				n++
				d := draft(summary.Key{Kind: summary.KindLeg, Session: fmt.Sprint(n), Leg: "l"}, "42", 1)
				d.Body = body
				mustPublish(b, p, d, summary.Stored{})
			}
		})
	}
}

func BenchmarkPublishParallel(b *testing.B) {
	s := natsdtest.Run(b)
	p := newPublisher(b, s.JS, s.Layout)
	body := make([]byte, 2000)
	n := make(chan int)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for i := 0; ; i++ {
			select {
			case n <- i:
			case <-done:
				return
			}
		}
	}()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := draft(summary.Key{Kind: summary.KindSession, Session: fmt.Sprint(<-n)}, "42", 1)
			d.Body = body
			if _, err := p.Publish(b.Context(), d, summary.Stored{}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkLast(b *testing.B) {
	for _, o := range others {
		for _, stored := range []bool{true, false} {
			b.Run(fmt.Sprintf("messages=%d/connections=%d/stored=%v", o.messages, o.connections, stored), func(b *testing.B) {
				s := natsdtest.Run(b)
				p := newPublisher(b, s.JS, s.Layout)
				if stored {
					mustPublish(b, p, draft(legKey, "42", 1), summary.Stored{})
				}
				fill(b, s.JS, s.Layout, o.messages, o.connections)
				benchLast(b, p, stored)
			})
		}
	}
}

func benchLast(b *testing.B, p *publish.Publisher, stored bool) {
	b.Helper()
	for b.Loop() {
		if _, found, err := p.Last(b.Context(), legKey); err != nil || found != stored {
			b.Fatalf("found %v, error %v", found, err)
		}
	}
}

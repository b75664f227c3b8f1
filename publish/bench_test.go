package publish_test

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/procfs"

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
var others = []struct{ messages, connections int }{{0, 1}, {50_000, 1}, {50_000, 100}, {50_000, 10_000}, {50_000, 50_000}}

func BenchmarkPublish(b *testing.B) {
	for _, o := range others {
		b.Run(fmt.Sprintf("messages=%d/connections=%d", o.messages, o.connections), func(b *testing.B) {
			s := natsdtest.Run(b)
			fill(b, s.JS, s.Layout, o.messages, o.connections)
			p := newPublisher(b, s.JS, s.Layout)
			n := 0
			for b.Loop() {
				n++
				mustPublish(b, p, large(summary.Key{Kind: summary.KindLeg, Session: fmt.Sprint(n), Leg: "l"}, 1), summary.Stored{})
			}
		})
	}
}

// BenchmarkAmend publishes later revisions: their condition names the connection.
func BenchmarkAmend(b *testing.B) {
	for _, o := range others {
		b.Run(fmt.Sprintf("messages=%d/connections=%d", o.messages, o.connections), func(b *testing.B) {
			s := natsdtest.Run(b)
			fill(b, s.JS, s.Layout, o.messages, o.connections)
			p := newPublisher(b, s.JS, s.Layout)
			prev := mustPublish(b, p, large(legKey, 1), summary.Stored{})
			for b.Loop() {
				prev = mustPublish(b, p, large(legKey, prev.Revision+1), prev)
			}
		})
	}
}

// large is a draft of some 2 KB.
func large(k summary.Key, revision int) summary.Draft {
	d := draft(k, "42", revision)
	d.Body = append(d.Body, bytes.Repeat([]byte(" "), 2000-len(d.Body))...)
	return d
}

func BenchmarkPublishParallel(b *testing.B) {
	s := natsdtest.Run(b)
	p := newPublisher(b, s.JS, s.Layout)
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
			d := large(summary.Key{Kind: summary.KindSession, Session: fmt.Sprint(<-n)}, 1)
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

// BenchmarkSubjects reports what each of 300,000 subjects takes of the memory of the server, which is this process: of its
// heap, and of its RSS when nothing is garbage.
func BenchmarkSubjects(b *testing.B) {
	const subjects = 300_000
	used := func() (heap, rss float64) {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		self, err := procfs.Self()
		if err != nil {
			b.Fatal(err)
		}
		status, err := self.NewStatus()
		if err != nil {
			b.Fatal(err)
		}
		return float64(m.HeapAlloc), float64(status.VmRSS)
	}
	for b.Loop() {
		s := natsdtest.Run(b)
		heap, rss := used()
		for i := range subjects {
			// Ids as Telnyx has them.
			if _, err := s.JS.PublishAsync(fmt.Sprintf("calls.leg.completed.%019d.%08x-eb7b-11f1-8001-0242ac000000.%08x-eb7b-11f1-9001-0242ac000001",
				i%3, i, i), []byte("{}")); err != nil {
				b.Fatal(err)
			}
			if i%2000 == 1999 || i == subjects-1 {
				<-s.JS.PublishAsyncComplete()
			}
		}
		moreHeap, moreRSS := used()
		b.ReportMetric((moreHeap-heap)/subjects, "heap-B/subject")
		b.ReportMetric((moreRSS-rss)/subjects, "RSS-B/subject")
		s.Stop()
	}
}

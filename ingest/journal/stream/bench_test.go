package stream_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// body is as long as a usual call.hangup.
var body = []byte(`{"data":{"event_type":"call.hangup","padding":"` + strings.Repeat("x", 1100) + `"}}`)

func webhook(n int64) call.Entry {
	id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", n)
	return call.Entry{
		Topic: call.TopicEvent + "call.hangup", ID: id + ":call.hangup",
		Ref: call.Ref{
			Session: call.SessionID(id), Leg: call.LegID(id), Connection: "1684641123236054244",
			Control: "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg",
		},
		Attempt: 1, Timestamp: "1700000000", Signature: strings.Repeat("A", 86) + "==", Data: body,
	}
}

// BenchmarkAppend appends to an embedded server that syncs each write to disk.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			s := natsdtest.Run(b)
			registry := prometheus.NewRegistry()
			j := open(b, s.JS, stream.Config{Config: journal.Config{Registerer: registry}})
			var n atomic.Int64
			b.SetBytes(int64(len(body)))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, err := j.Append(b.Context(), webhook(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			batches := batchSizes(b, registry)
			b.ReportMetric(batches.GetSampleSum()/float64(batches.GetSampleCount()), "entries/batch")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkAppendAmongDuplicates appends entries of which every hundredth was
// stored by another replica, so that nearly every batch is refused.
func BenchmarkAppendAmongDuplicates(b *testing.B) {
	s := natsdtest.Run(b)
	other := open(b, s.JS, stream.Config{})
	j := open(b, s.JS, stream.Config{})
	var wg sync.WaitGroup
	for i := int64(100); i <= int64(b.N); i += 100 {
		wg.Go(func() { _, _ = other.Append(b.Context(), webhook(i)) })
		if i%10000 == 0 {
			wg.Wait()
		}
	}
	wg.Wait()
	var n atomic.Int64
	b.ResetTimer()
	for range 256 {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if _, err := j.Append(b.Context(), webhook(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

type counter struct {
	last chan struct{}
	want uint64
}

func (*counter) Restart(call.Log) {}

func (c *counter) Fold(e call.Entry) {
	if e.Seq == c.want {
		close(c.last)
	}
}

// BenchmarkFollow replays a log.
func BenchmarkFollow(b *testing.B) {
	const entries = 50_000
	s := natsdtest.Run(b)
	j := open(b, s.JS, stream.Config{})
	var wg sync.WaitGroup
	for c := range 250 {
		wg.Go(func() {
			for i := range entries / 250 {
				if _, err := j.Append(b.Context(), webhook(int64(c*entries+i))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		c := &counter{last: make(chan struct{}), want: entries}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = j.Follow(ctx, c)
		}()
		<-c.last
		cancel()
		<-done
	}
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkMessage(b *testing.B) {
	s := natsdtest.Run(b)
	j := open(b, s.JS, stream.Config{})
	e := webhook(1)
	b.Run("build", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			runtime.KeepAlive(j.Message(&e))
		}
	})
	if _, err := j.Append(b.Context(), e); err != nil {
		b.Fatal(err)
	}
	consumer, err := s.JS.OrderedConsumer(b.Context(), s.Layout.Events, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	m, err := consumer.Next()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			meta, err := m.Metadata()
			if err != nil {
				b.Fatal(err)
			}
			runtime.KeepAlive(j.ReadEntry(m, meta))
		}
	})
}

// BenchmarkRecent tells how much memory an id takes that was stored lately.
func BenchmarkRecent(b *testing.B) {
	const ids = 100_000
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := journal.NewRecent()
		for i := range ids {
			r.Stored(webhook(int64(i)).ID, uint64(i))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(r)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/ids, "bytes/id")
}

package stream_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func scanned(tb testing.TB, r *stream.Reader, from stream.From) (all []call.Entry) {
	tb.Helper()
	if err := r.Scan(tb.Context(), from, func(e call.Entry) error { all = append(all, e); return nil }); err != nil {
		tb.Fatal(err)
	}
	return all
}

func seqsOf(entries []call.Entry) (seqs []uint64) {
	for _, e := range entries {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

func TestAReaderFindsWhatWasAppended(t *testing.T) {
	s := natsdtest.Run(t)
	r := stream.NewReader(s.JS, logStream, "calls")
	if got := scanned(t, r, stream.From{}); got != nil {
		t.Errorf("an empty log has %v", got)
	}
	j := openSoon(t, s.JS)
	full := call.Entry{
		Topic: call.TopicEvent + "call.hangup", ID: "full", Attempt: 3, Signature: "s", Timestamp: "12", Backfill: true, Data: []byte("body"),
		Ref: call.Ref{Session: "s-1", Leg: "l-1", Control: "v3:c", Connection: "17"},
	}
	must(t)(j.Append(t.Context(), full))
	fill(t, j, 1, 9)
	all := scanned(t, r, stream.From{})
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, seqsOf(all)); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
	want := full
	want.Seq, want.ReceivedAt, want.Data = 1, all[0].ReceivedAt, nil
	if diff := cmp.Diff(want, all[0]); diff != "" || time.Since(all[0].ReceivedAt) > patience {
		t.Errorf("what a scan tells of an entry (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{7, 8, 9, 10}, seqsOf(scanned(t, r, stream.From{Seq: 7}))); diff != "" {
		t.Errorf("from an entry on (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{10}, seqsOf(scanned(t, r, stream.From{Since: all[9].ReceivedAt}))); diff != "" {
		t.Errorf("from a time on (-want +got):\n%s", diff)
	}
	if got := scanned(t, r, stream.From{Since: time.Now().Add(time.Hour)}); got != nil {
		t.Errorf("from a time that is to come: %v", got)
	}
	if err := j.Trim(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{3, 4, 5, 6, 7, 8, 9, 10}, seqsOf(scanned(t, r, stream.From{Seq: 1}))); diff != "" {
		t.Errorf("of a log that was trimmed (-want +got):\n%s", diff)
	}
	bodies, err := r.Entries(t.Context(), []uint64{1, 4, 10, 11})
	if err != nil || len(bodies) != 2 || string(bodies[0].Data) != `{"n":3}` || bodies[1].Seq != 10 {
		t.Errorf("entries with their bodies: %v, %v", bodies, err)
	}
	if log, err := r.Describe(t.Context()); err != nil || log.First != 3 || log.Last != 10 || log.ID == "" {
		t.Errorf("the log is described as %+v, %v", log, err)
	}
	consumers := 0
	stream, err := s.JS.Stream(t.Context(), logStream)
	if err != nil {
		t.Fatal(err)
	}
	for range stream.ConsumerNames(t.Context()).Name() {
		consumers++
	}
	if consumers != 0 {
		t.Errorf("a reader has left %d consumers", consumers)
	}
}

func TestAScanEndsWhenItIsTold(t *testing.T) {
	s := natsdtest.Run(t)
	j := openSoon(t, s.JS)
	fill(t, j, 1, 20)
	r := stream.NewReader(s.JS, logStream, "calls")
	enough := errors.New("enough")
	n := 0
	err := r.Scan(t.Context(), stream.From{}, func(call.Entry) error {
		if n++; n == 5 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 5 {
		t.Errorf("told to end after 5 it ended after %d with %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = r.Scan(ctx, stream.From{}, func(call.Entry) error { cancel(); <-ctx.Done(); return nil })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("without a context it ended with %v", err)
	}
	if err := s.JS.DeleteStream(t.Context(), logStream); err != nil {
		t.Fatal(err)
	}
	if err := r.Scan(t.Context(), stream.From{}, func(call.Entry) error { return nil }); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a log: %v", err)
	}
}

// BenchmarkScan looks through the headers of 100,000 webhooks.
func BenchmarkScan(b *testing.B) {
	const entries = 100_000
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
	r := stream.NewReader(s.JS, logStream, "calls")
	for b.Loop() {
		if n := len(scanned(b, r, stream.From{})); n != entries {
			b.Fatalf("%d entries", n)
		}
	}
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
}

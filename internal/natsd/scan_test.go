package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// fillStream stores n messages, the odd ones under calls.event.odd, the even ones under calls.event.even.
func fillStream(t *testing.T, s *natsdtest.Server, n int) {
	t.Helper()
	for i := range n {
		subject := "calls.event." + []string{"odd", "even"}[i%2]
		if _, err := s.JS.Publish(t.Context(), subject, fmt.Append(nil, "body ", i+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func consumersOf(t *testing.T, stream jetstream.Stream) (names []string) {
	t.Helper()
	for name := range stream.ConsumerNames(t.Context()).Name() {
		names = append(names, name)
	}
	return names
}

func TestAScanGivesWhatIsWantedInOrder(t *testing.T) {
	s := natsdtest.Run(t)
	stream, err := s.JS.Stream(t.Context(), s.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	scan := func(what natsd.Scan) (seqs []uint64) {
		t.Helper()
		what.Stream = s.Layout.Events
		err := what.Each(t.Context(), s.JS, func(m *jetstream.RawStreamMsg) error {
			if (m.Data == nil) != what.HeadersOnly || m.Time.IsZero() {
				t.Errorf("message %d came with %q, stored at %v", m.Sequence, m.Data, m.Time)
			}
			seqs = append(seqs, m.Sequence)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seqs
	}
	if got := scan(natsd.Scan{}); got != nil {
		t.Errorf("an empty stream has %v", got)
	}
	fillStream(t, s, 10)
	sixth, err := stream.GetMsg(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		scan natsd.Scan
		want []uint64
	}{
		"everything":                           {natsd.Scan{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"headers only":                         {natsd.Scan{HeadersOnly: true}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"from a sequence on":                   {natsd.Scan{From: 8}, []uint64{8, 9, 10}},
		"from a time on":                       {natsd.Scan{Since: sixth.Time}, []uint64{6, 7, 8, 9, 10}},
		"from a time that is to come":          {natsd.Scan{Since: time.Now().Add(time.Hour)}, nil},
		"up to a sequence":                     {natsd.Scan{Last: 3}, []uint64{1, 2, 3}},
		"up to one that the filter leaves out": {natsd.Scan{Last: 4, Subjects: []string{"calls.event.odd"}}, []uint64{1, 3}},
		"of one subject":                       {natsd.Scan{Subjects: []string{"calls.event.even"}}, []uint64{2, 4, 6, 8, 10}},
		"of several subjects":                  {natsd.Scan{Subjects: []string{"calls.event.even", "calls.event.odd"}, From: 9}, []uint64{9, 10}},
		"of a subject that nobody used":        {natsd.Scan{Subjects: []string{"calls.event.none"}}, nil},
	} {
		if diff := cmp.Diff(row.want, scan(row.scan)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if left := consumersOf(t, stream); left != nil {
		t.Errorf("consumers were left behind: %v", left)
	}
}

func TestAScanEnds(t *testing.T) {
	s := natsdtest.Run(t)
	fillStream(t, s, 20)
	stream, err := s.JS.Stream(t.Context(), s.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	scan := natsd.Scan{Stream: s.Layout.Events}
	stop := errors.New("stop")
	if err := scan.Each(t.Context(), s.JS, func(*jetstream.RawStreamMsg) error { return stop }); err != stop { //nolint:errorlint // As it is.
		t.Errorf("with the error of its callback: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := scan.Each(ctx, s.JS, func(*jetstream.RawStreamMsg) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("with its context: got %v", err)
	}
	seen := 0
	if err := scan.Each(t.Context(), s.JS, func(m *jetstream.RawStreamMsg) error {
		if seen++; m.Sequence == 1 {
			fillStream(t, s, 5) // What is stored meanwhile is left out.
		}
		return nil
	}); err != nil || seen != 20 {
		t.Errorf("at the end that it found: got %d messages, %v", seen, err)
	}
	if err := scan.Each(t.Context(), s.JS, func(m *jetstream.RawStreamMsg) error {
		if m.Sequence == 1 {
			return stream.Purge(t.Context()) // What was still to come is removed.
		}
		return nil
	}); err != nil {
		t.Errorf("where nothing is left: got %v", err)
	}
	if err := s.JS.DeleteStream(t.Context(), s.Layout.Events); err != nil {
		t.Fatal(err)
	}
	if err := scan.Each(t.Context(), s.JS, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: got %v", err)
	}
}

func TestAnInterruptedScanGoesOnWhereItWas(t *testing.T) {
	s := natsdtest.Run(t)
	// More than are asked for at a time: the consumer is lost while the server still has some.
	const n = 4200
	for i := range n {
		if _, err := s.JS.PublishAsync("calls.event.x", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			<-s.JS.PublishAsyncComplete()
		}
	}
	stream, err := s.JS.Stream(t.Context(), s.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(1)
	err = natsd.Scan{Stream: s.Layout.Events}.Each(t.Context(), s.JS, func(m *jetstream.RawStreamMsg) error {
		if m.Sequence != next {
			return fmt.Errorf("message %d came, want %d", m.Sequence, next)
		}
		if next++; m.Sequence == 10 {
			for _, name := range consumersOf(t, stream) {
				if err := stream.DeleteConsumer(t.Context(), name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || next != n+1 {
		t.Errorf("it ended before message %d: %v", next, err)
	}
}

// A buffer that has room for messages only would lose one: the server also says when it has sent all that a request asked for.
func TestAReceiverLosesNothingThatComesBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	const ahead, aheadBytes, messages, wanted = 100, 5000, 1000, 900
	fillStream(t, s, messages)
	consumer, err := s.JS.CreateConsumer(t.Context(), s.Layout.Events, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := natsd.Receive(consumer, ahead, aheadBytes)
	if err != nil {
		t.Fatal(err)
	}
	for last := range uint64(wanted) {
		// When it has answered, all that it sent before is here.
		if _, err := consumer.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
		m, err := receiver.Next(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != last+1 {
			t.Fatalf("after message %d came %v, %v", last, meta, err)
		}
	}
	rest := 0
	receiver.Stop(func(jetstream.Msg) { rest++ })
	if info, err := consumer.Info(t.Context()); err != nil || rest == 0 || info.Delivered.Consumer != uint64(wanted+rest) {
		t.Errorf("after %d messages %d were left of %+v, %v", wanted, rest, info, err)
	}
}

func TestAReceiverSaysThatNothingComes(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	consumer, err := s.JS.CreateConsumer(t.Context(), s.Layout.Events, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := natsd.Receive(consumer, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Stop(nil)
	if m, err := receiver.Next(t.Context(), time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("of an empty stream came %v, %v", m, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err := receiver.Next(ended, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end came %v, %v", m, err)
	}
	if err := s.JS.DeleteConsumer(t.Context(), s.Layout.Events, consumer.CachedInfo().Name); err != nil {
		t.Fatal(err)
	}
	if m, err := receiver.Next(t.Context(), time.Minute); !errors.Is(err, jetstream.ErrConsumerDeleted) {
		t.Errorf("of a consumer that is deleted came %v, %v", m, err)
	}
}

func TestATailReadsOnWithOneConsumer(t *testing.T) {
	s := natsdtest.Run(t)
	create := func() jetstream.Stream {
		t.Helper()
		of, err := s.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NOTES", Subjects: []string{"notes"}})
		if err != nil {
			t.Fatal(err)
		}
		return of
	}
	stream := create()
	fill := func(from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			if _, err := s.JS.Publish(t.Context(), "notes", fmt.Append(nil, "body ", n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var tail natsd.Tail
	read := func(from, to uint64) (seqs []uint64, next uint64, err error) {
		next, err = tail.Read(t.Context(), stream, from, to, func(m *jetstream.RawStreamMsg) {
			if want := fmt.Sprint("body ", m.Sequence); string(m.Data) != want {
				t.Errorf("message %d is %q", m.Sequence, m.Data)
			}
			seqs = append(seqs, m.Sequence)
		})
		return seqs, next, err
	}
	check := func(what string, from, to, wantNext uint64, want ...uint64) {
		t.Helper()
		seqs, next, err := read(from, to)
		if diff := cmp.Diff(want, seqs); diff != "" || next != wantNext || err != nil {
			t.Errorf("%s: next %d, error %v (-want +got)\n%s", what, next, err, diff)
		}
	}
	fill(1, 100)
	var all []uint64
	for seq := uint64(31); seq <= 100; seq++ {
		all = append(all, seq)
	}
	check("from the middle", 31, 100, 101, all...)
	first := consumersOf(t, stream)
	if len(first) != 1 {
		t.Fatalf("consumers: %v", first)
	}
	fill(101, 103)
	check("what is new", 101, 103, 104, 101, 102, 103)
	if diff := cmp.Diff(first, consumersOf(t, stream)); diff != "" {
		t.Errorf("it has another consumer (-want +got)\n%s", diff)
	}
	check("once more from before", 99, 100, 101, 99, 100)
	for _, seq := range []uint64{102, 103} {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	check("where the last are removed", 101, 103, 102, 101)

	for _, name := range consumersOf(t, stream) {
		if err := stream.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if seqs, next, err := read(102, 103); err == nil || seqs != nil || next != 102 {
		t.Errorf("without its consumer: %v, next %d, error %v", seqs, next, err)
	}
	check("with another one", 100, 101, 102, 100, 101)

	if err := s.JS.DeleteStream(t.Context(), "NOTES"); err != nil {
		t.Fatal(err)
	}
	stream = create()
	fill(1, 102)
	check("of a stream that was made anew", 102, 102, 103, 102)
	tail.End(t.Context(), stream)
	if left := consumersOf(t, stream); left != nil {
		t.Errorf("consumers were left behind: %v", left)
	}
}

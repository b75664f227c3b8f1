package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestAppendTellsWhereTheEntryIsStored(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		callers int
	}{
		{"when it is alone", 1},
		{"when some share no batch, being too few", 8},
		{"when many share batches", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := open(t, s.JS, stream.Config{})
			must(t)(j.Append(t.Context(), entry(0)))
			entries := numbers(1, tt.callers)
			receipts, errs := appendAll(t.Context(), j, entries)
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			want := map[string]call.Receipt{}
			for _, m := range stored(t, s.JS)[1:] {
				want[m.Header.Get(jetstream.MsgIDHeader)] = call.Receipt{Seq: m.Sequence}
			}
			got := map[string]call.Receipt{}
			for i, e := range entries {
				got[e.ID] = receipts[i]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("receipts (-stored +got):\n%s", diff)
			}
			if j.LastStored().IsZero() || !j.FailingSince().IsZero() {
				t.Errorf("last stored at %v, failing since %v", j.LastStored(), j.FailingSince())
			}
		})
	}
}

// gathered has a first entry of a journal under way whose acknowledgement is held back, and
// the others wait for it, so that they are written together when the link is healed.
func gathered(t *testing.T, s *natsdtest.Server, l *link, j *stream.Journal, entries []call.Entry) func() ([]call.Receipt, []error) {
	t.Helper()
	log, err := open(t, s.JS, stream.Config{}).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.hold()
	first := make(chan error, 1)
	go func() {
		_, err := j.Append(t.Context(), call.Entry{Topic: call.TopicHeartbeat})
		first <- err
	}()
	receipts, errs := make([]call.Receipt, len(entries)), make([]error, len(entries))
	var wg sync.WaitGroup
	eventually(t, "the first entry to be stored", func() bool {
		stream, err := s.JS.Stream(t.Context(), logStream)
		return err == nil && stream.CachedInfo().State.LastSeq > log.Last
	})
	for i := range entries {
		wg.Go(func() { receipts[i], errs[i] = j.Append(t.Context(), entries[i]) })
	}
	eventually(t, "the entries to gather", func() bool { return j.Pending() >= len(entries) })
	return func() ([]call.Receipt, []error) {
		wg.Wait()
		if err := receive(t, "the first entry", first); err != nil {
			t.Error(err)
		}
		return receipts, errs
	}
}

// Who edits streams while the service runs can have another one take the subjects of the log.
func TestWhatAnotherStreamHasTakenIsNotStored(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]call.Entry{"alone": numbers(1, 1), "in a batch": numbers(1, 400)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := open(t, s.JS, stream.Config{})
			if err := s.JS.DeleteStream(t.Context(), logStream); err != nil {
				t.Fatal(err)
			}
			other := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"calls.event.>"}}
			if _, err := s.JS.CreateStream(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			for range 2 { // what is known to be stored is not asked about again
				receipts, errs := appendAll(t.Context(), j, entries)
				for i, err := range errs {
					if !errors.Is(err, journal.ErrUnavailable) || !strings.Contains(err.Error(), other.Name) {
						t.Fatalf("%s: stored at %d, %v", entries[i].ID, receipts[i].Seq, err)
					}
				}
			}
		})
	}
}

func TestAnIDIsStoredOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		run  func(t *testing.T, s *natsdtest.Server) []call.Receipt
	}{
		{"when it comes again later", func(t *testing.T, s *natsdtest.Server) []call.Receipt {
			j := open(t, s.JS, stream.Config{})
			return []call.Receipt{must(t)(j.Append(t.Context(), entry(1))), must(t)(j.Append(t.Context(), entry(1)))}
		}},
		{"when it comes many times at once", func(t *testing.T, s *natsdtest.Server) []call.Receipt {
			j := open(t, s.JS, stream.Config{})
			receipts, errs := appendAll(t.Context(), j, slices.Repeat([]call.Entry{entry(1)}, 100))
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			return receipts
		}},
		{"when it comes to a replica that has not seen it", func(t *testing.T, s *natsdtest.Server) []call.Receipt {
			one, other := open(t, s.JS, stream.Config{}), open(t, s.JS, stream.Config{})
			return []call.Receipt{must(t)(one.Append(t.Context(), entry(1))), must(t)(other.Append(t.Context(), entry(1)))}
		}},
		{"when it comes to two replicas at once", func(t *testing.T, s *natsdtest.Server) []call.Receipt {
			var receipts []call.Receipt
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 2 {
				j := open(t, s.JS, stream.Config{})
				wg.Go(func() {
					got, errs := appendAll(t.Context(), j, slices.Repeat([]call.Entry{entry(1)}, 50))
					if err := errors.Join(errs...); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					receipts = append(receipts, got...)
				})
			}
			wg.Wait()
			return receipts
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			receipts := tt.run(t, s)
			if diff := cmp.Diff([]string{"event-1"}, storedIDs(t, s.JS)); diff != "" {
				t.Errorf("stored ids (-want +got):\n%s", diff)
			}
			first := 0
			for _, r := range receipts {
				if r.Seq != 1 {
					t.Errorf("got sequence %d, want 1", r.Seq)
				}
				if !r.Duplicate {
					first++
				}
			}
			if first != 1 {
				t.Errorf("%d of %d receipts are not marked as duplicate, want 1", first, len(receipts))
			}
		})
	}
}

func TestWhatIsStoredSpoilsNothingThatIsWrittenWithIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		before  []call.Entry // stored by another replica
		entries []call.Entry
	}{
		{"when it is one of many", numbers(7, 7), numbers(1, 256)},
		{"when all of it is stored", numbers(1, 256), numbers(1, 256)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			if _, errs := appendAll(t.Context(), open(t, s.JS, stream.Config{}), tt.before); errors.Join(errs...) != nil {
				t.Fatal(errs)
			}
			known := map[string]uint64{}
			for _, m := range stored(t, s.JS) {
				known[m.Header.Get(jetstream.MsgIDHeader)] = m.Sequence
			}
			l, js := connect(t, s)
			j := open(t, js, stream.Config{})
			wait := gathered(t, s, l, j, tt.entries)
			l.heal()
			receipts, errs := wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{""}, idsOf(tt.entries)...), storedIDs(t, s.JS)); diff != "" {
				t.Errorf("stored ids (-want +got):\n%s", diff)
			}
			for i, e := range tt.entries {
				seq, was := known[e.ID]
				if receipts[i].Duplicate != was || was && receipts[i].Seq != seq {
					t.Errorf("%s, stored before: %t at %d: got %+v", e.ID, was, seq, receipts[i])
				}
			}
		})
	}
}

func TestEntriesWithoutAnIDAreAllStored(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	probes := slices.Repeat([]call.Entry{{Topic: call.TopicHeartbeat}}, 50)
	receipts, errs := appendAll(t.Context(), j, probes)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		receipts = append(receipts, must(t)(j.Append(t.Context(), probes[0])))
	}
	slices.SortFunc(receipts, func(a, b call.Receipt) int { return int(a.Seq) - int(b.Seq) })
	var want []call.Receipt
	for seq := range uint64(52) {
		want = append(want, call.Receipt{Seq: seq + 1})
	}
	if diff := cmp.Diff(want, receipts); diff != "" {
		t.Errorf("receipts (-want +got):\n%s", diff)
	}
}

// limited makes a server whose log is as the test wants it.
func limited(t *testing.T, cfg jetstream.StreamConfig, opts ...natsdtest.Option) *natsdtest.Server {
	t.Helper()
	s := natsdtest.Run(t, append(opts, natsdtest.WithoutStreams())...)
	cfg.Name, cfg.Subjects = logStream, []string{"calls.event.>", "calls.internal.>"}
	if _, err := s.JS.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnEntryThatCannotBeStoredSpoilsNoOther(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		bad  call.Entry
		want error
	}{
		{"as its body is larger than the server takes", call.Entry{Topic: call.TopicEvent + "x", ID: "bad", Data: make([]byte, 1<<20)}, nats.ErrMaxPayload},
		{"as its headers are larger than the server takes", call.Entry{Topic: call.TopicEvent + "x", ID: strings.Repeat("bad", 30_000)}, journal.ErrUnavailable},
		{"as its topic is no subject", call.Entry{Topic: call.TopicEvent + "a b", ID: "bad"}, nats.ErrBadSubject},
		{"as its topic is not of the log", call.Entry{Topic: "elsewhere", ID: "bad"}, journal.ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			j := open(t, js, stream.Config{})
			entries := numbers(1, 40)
			bad := make(chan error, 1)
			wait := gathered(t, s, l, j, entries)
			go func() {
				_, err := j.Append(t.Context(), tt.bad)
				bad <- err
			}()
			if !errors.Is(tt.want, nats.ErrMaxPayload) { // That one is refused at the door.
				eventually(t, "the bad entry to gather", func() bool { return j.Pending() > len(entries) })
			}
			l.heal()
			_, errs := wait()
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
			if err := receive(t, "the bad entry", bad); !errors.Is(err, tt.want) || !errors.Is(err, journal.ErrUnavailable) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(append([]string{""}, idsOf(entries)...), storedIDs(t, s.JS)); diff != "" {
				t.Errorf("stored ids (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendGivesUpWhenTheServerIsGone(t *testing.T) {
	// Not at the same time as other tests: it is about time.
	tests := []struct {
		name    string
		callers int
		leave   func(s *natsdtest.Server, l *link)
		least   time.Duration
	}{
		{"soon, when it has stopped", 1, func(s *natsdtest.Server, _ *link) { s.Stop() }, 0},
		{"soon, when it has stopped and many ask", 100, func(s *natsdtest.Server, _ *link) { s.Stop() }, 0},
		{"before Telnyx does, when it is silent", 1, func(_ *natsdtest.Server, l *link) { l.lose() }, time.Second},
		{"when Telnyx does, when it is silent and many ask", 1200, func(_ *natsdtest.Server, l *link) { l.lose() }, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			j := open(t, js, stream.Config{})
			must(t)(j.Append(t.Context(), entry(0)))
			was := j.LastStored()
			tt.leave(s, l)
			start := time.Now()
			_, errs := appendAll(t.Context(), j, numbers(1, tt.callers))
			took := time.Since(start)
			// A second and a half, and on a busy machine more. Three writes, one behind the other, would take 4.5 s.
			if took < tt.least || took > 4*time.Second {
				t.Errorf("it took %v, want at least %v and some 1.5 s at most", took, tt.least)
			}
			for _, err := range errs {
				if !errors.Is(err, journal.ErrUnavailable) {
					t.Fatalf("got error %v, want %v", err, journal.ErrUnavailable)
				}
			}
			if since := j.FailingSince(); since.Before(start) {
				t.Errorf("failing since %v, want after %v", since, start)
			}
			if got := j.LastStored(); !got.Equal(was) {
				t.Errorf("last stored at %v, want %v", got, was)
			}
		})
	}
}

func TestAppendIsRefusedAtOnceWhileTheConnectionIsDown(t *testing.T) {
	t.Parallel()
	l, js := connect(t, listening(t))
	j := open(t, js, stream.Config{})
	// One write is on its way when the connection breaks; it waits for its answer.
	sent := js.Conn().Stats().OutMsgs
	l.lose()
	first := make(chan error, 1)
	go func() {
		_, err := j.Append(t.Context(), entry(1))
		first <- err
	}()
	eventually(t, "the write to be on its way", func() bool { return js.Conn().Stats().OutMsgs > sent })
	l.cut()
	eventually(t, "the connection to be down", func() bool { return !js.Conn().IsConnected() })
	start := time.Now()
	_, err := j.Append(t.Context(), entry(2))
	t.Logf("refused after %v", time.Since(start))
	// This error is given before anything waits.
	if !errors.Is(err, journal.ErrUnavailable) || !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("got error %v, want %v of a connection that is down", err, journal.ErrUnavailable)
	}
	if !errors.Is(j.Failure(), nats.ErrDisconnected) || j.FailingSince().IsZero() {
		t.Errorf("the journal fails with %v since %v", j.Failure(), j.FailingSince())
	}
	if err := receive(t, "the first write to end", first); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("the write on its way: got error %v", err)
	}
	l.heal()
	eventually(t, "an append to succeed", func() bool {
		_, err := j.Append(t.Context(), entry(2))
		return err == nil
	})
	if err := j.Failure(); err != nil {
		t.Errorf("after a success the journal fails with %v", err)
	}
}

// A service that waits for its cluster opens the log again and again, with one registry.
func TestALogThatCouldNotBeOpenedIsOpenedLater(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t, natsdtest.WithoutStreams())
	registry := prometheus.NewRegistry()
	config := stream.Config{Config: journal.Config{Registerer: registry}}
	config.JetStream, config.Stream, config.Logger = s.JS, logStream, slog.New(slog.DiscardHandler)
	for range 2 {
		if _, err := stream.Open(t.Context(), config); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Fatalf("without its stream the log is opened: %v", err)
		}
	}
	if _, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, s.JS, config).Append(t.Context(), entry(1)); err != nil {
		t.Fatal(err)
	}
	if got := batchSizes(t, registry).GetSampleCount(); got != 1 {
		t.Errorf("%d writes are counted, want that of the log that was opened", got)
	}
}

// TestAppendsAreCountedByWhatTheirCallersAreTold: answers are held against these counters.
func TestAppendsAreCountedByWhatTheirCallersAreTold(t *testing.T) {
	t.Parallel()
	l, js := connect(t, listening(t))
	registry := prometheus.NewRegistry()
	j := open(t, js, stream.Config{Config: journal.Config{Registerer: registry}})
	// Ten entries, three times each at once; and once more.
	var entries []call.Entry
	for range 3 {
		entries = append(entries, numbers(1, 10)...)
	}
	for range 2 {
		if _, errs := appendAll(t.Context(), j, entries); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
	}
	backfill := entry(11)
	backfill.Backfill = true
	must(t)(j.Append(t.Context(), backfill))
	must(t)(j.Append(t.Context(), call.Entry{Topic: call.TopicHeartbeat}))
	// An entry whose acknowledgement comes when nobody waits for it any more.
	impatient, cancel := context.WithCancel(t.Context())
	sent := js.Conn().Stats().OutMsgs
	l.hold()
	go func() {
		for js.Conn().Stats().OutMsgs == sent && t.Context().Err() == nil {
			runtime.Gosched()
		}
		cancel()
	}()
	if _, err := j.Append(impatient, entry(12)); err == nil {
		t.Fatal("an append whose answer is held back succeeded")
	}
	l.heal()
	want := map[string]float64{
		"event stored": 10, "event duplicate": 50, "event left": 1, "event untold": 1,
		"backfill stored": 1, "probe stored": 1,
	}
	eventually(t, "the counters to balance", func() bool { return cmp.Equal(want, appends(t, registry)) })
}

// appends reads the counters of appends that are not zero.
func appends(tb testing.TB, registry *prometheus.Registry) map[string]float64 {
	tb.Helper()
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != "legato_log_appends_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v > 0 {
				counts[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = v
			}
		}
	}
	return counts
}

func TestAppendGoesOnWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	s := listening(t)
	l, js := connect(t, s)
	j := open(t, js, stream.Config{})
	fill(t, j, 1, 3)
	s.Restart()
	_, err := j.Append(t.Context(), entry(4))
	if !errors.Is(err, journal.ErrUnavailable) || j.FailingSince().IsZero() {
		t.Fatalf("while the server is elsewhere: got error %v, failing since %v", err, j.FailingSince())
	}
	l.point(s)
	eventually(t, "an append to succeed", func() bool {
		_, err := j.Append(t.Context(), entry(4))
		return err == nil
	})
	if !j.FailingSince().IsZero() {
		t.Errorf("failing since %v after a success", j.FailingSince())
	}
	// The server has forgotten nothing: neither has the journal.
	if r := must(t)(open(t, js, stream.Config{}).Append(t.Context(), entry(2))); r != (call.Receipt{Seq: 2, Duplicate: true}) {
		t.Errorf("an entry from before the restart: got %+v", r)
	}
	if diff := cmp.Diff(idsOf(numbers(1, 4)), storedIDs(t, s.JS)); diff != "" {
		t.Errorf("stored ids (-want +got):\n%s", diff)
	}
}

func TestWhatMayHaveBeenStoredIsStoredOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		callers int
		break_  func(*link)
	}{
		{"when the acknowledgement of one entry is lost", 1, (*link).loseAnswers},
		{"when the acknowledgement of a batch is lost", 100, (*link).loseAnswers},
		{"when a batch breaks off half way", 100, func(l *link) { l.cutAfter(10_000) }},
		{"when a batch does not arrive", 100, (*link).lose},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			j := open(t, js, stream.Config{})
			entries := numbers(1, tt.callers)
			tt.break_(l)
			_, errs := appendAll(t.Context(), j, entries)
			if err := errors.Join(errs...); err == nil && tt.name != "when a batch breaks off half way" {
				t.Fatal("got no error")
			}
			l.cut()
			l.heal()
			eventually(t, "all to be stored", func() bool {
				_, errs := appendAll(t.Context(), j, entries)
				return errors.Join(errs...) == nil
			})
			if diff := cmp.Diff(idsOf(entries), storedIDs(t, s.JS)); diff != "" {
				t.Errorf("stored ids (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAServerThatNeverAnswersLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := limited(t, jetstream.StreamConfig{}, natsdtest.WithListen("127.0.0.1:0"))
	l, js := connect(t, s)
	j := open(t, js, stream.Config{})
	l.loseAnswers()
	_, errs := appendAll(t.Context(), j, numbers(1, 200))
	for _, err := range errs {
		if !errors.Is(err, journal.ErrUnavailable) {
			t.Fatalf("got error %v, want %v", err, journal.ErrUnavailable)
		}
	}
	// From 4,000 on nothing could be published any more, ever.
	if got := js.PublishAsyncPending(); got != 0 {
		t.Errorf("%d messages wait for an acknowledgement that will not come", got)
	}
}

func TestAWriteWhoseCallerHasLeftIsNotBegun(t *testing.T) {
	t.Parallel()
	s := listening(t)
	l, js := connect(t, s)
	j := open(t, js, stream.Config{})
	wait := gathered(t, s, l, j, numbers(1, 2))
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := j.Append(ctx, entry(3))
		left <- err
	}()
	eventually(t, "the entry to gather", func() bool { return j.Pending() == 3 })
	cancel()
	if err := receive(t, "the caller", left); !errors.Is(err, context.Canceled) || !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("got error %v, want that of the context", err)
	}
	if !j.FailingSince().IsZero() {
		t.Error("a caller that leaves is no failure of the log")
	}
	l.heal()
	_, errs := wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "event-1", "event-2"}, storedIDs(t, s.JS)); diff != "" {
		t.Errorf("stored ids (-want +got):\n%s", diff)
	}
}

func TestCloseWritesWhatWasHandedIn(t *testing.T) {
	t.Parallel()
	s := listening(t)
	l, js := connect(t, s)
	j := open(t, js, stream.Config{})
	entries := numbers(1, 100)
	wait := gathered(t, s, l, j, entries)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close while an acknowledgement is held back: got error %v, want that of its context", err)
	}
	if _, err := j.Append(t.Context(), entry(101)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Append after Close: got error %v, want %v", err, journal.ErrClosed)
	}
	l.heal()
	if err := j.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, errs := wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(append([]string{""}, idsOf(entries)...), storedIDs(t, s.JS)); diff != "" {
		t.Errorf("stored ids (-want +got):\n%s", diff)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Errorf("third Close: %v", err)
	}
}

func TestAppendsDuringCloseAreStoredOrRefused(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	for round := range 8 {
		j := open(t, s.JS, stream.Config{})
		type outcome struct {
			ids []string
			err error
		}
		outcomes := make(chan outcome, 20)
		begun := make(chan struct{}, 20)
		for c := range 20 {
			go func() {
				var o outcome
				for n := 0; o.err == nil; n++ {
					e := entry(0)
					e.ID = fmt.Sprintf("%d/%d/%d", round, c, n)
					if _, o.err = j.Append(t.Context(), e); o.err == nil {
						o.ids = append(o.ids, e.ID)
					}
					if n == 0 {
						begun <- struct{}{}
					}
				}
				outcomes <- o
			}()
		}
		receive(t, "the first append", begun)
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		have := storedIDs(t, s.JS)
		for range 20 {
			o := receive(t, "an append during Close", outcomes)
			if !errors.Is(o.err, journal.ErrClosed) {
				t.Errorf("got error %v, want %v", o.err, journal.ErrClosed)
			}
			for _, id := range o.ids {
				if _, ok := slices.BinarySearch(have, id); !ok {
					t.Errorf("%s has a receipt and is not stored", id)
				}
			}
		}
	}
}

func TestAFullLogRefuses(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{EventsMaxBytes: 64 << 10}))
	j := open(t, s.JS, stream.Config{}) // It looks only every 2 s, so that the server refuses.
	big := func(n int) call.Entry {
		return call.Entry{Topic: call.TopicCheck, ID: "check/settle/" + strconv.Itoa(n), Data: make([]byte, 5000)}
	}
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = j.Append(t.Context(), big(n))
	}
	if !errors.Is(err, journal.ErrFull) || !errors.Is(err, call.ErrFull) {
		t.Fatalf("got error %v, want %v", err, journal.ErrFull)
	}
	if !j.FailingSince().IsZero() {
		t.Error("a log that is full does not fail: a restart would not help")
	}
}

// A caller that ends by itself has not seen the log fail.
func TestAnAppendWhoseCallerEndsIsNoError(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	registry := prometheus.NewRegistry()
	j := open(t, s.JS, stream.Config{Config: journal.Config{Registerer: registry}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	left := 0
	for n := range 200 {
		if _, err := j.Append(ctx, entry(n)); errors.Is(err, context.Canceled) {
			left++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if left == 0 {
		t.Fatal("no append was left")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "legato_log_appends_total" && strings.Contains(m.String(), `value:"error"`) && m.GetCounter().GetValue() > 0 {
				t.Errorf("counted as errors: %v", m)
			}
		}
	}
	if !j.FailingSince().IsZero() {
		t.Error("the log counts as failing")
	}
}

package stream_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func hangupOf(n int) call.Entry {
	return call.Entry{Topic: call.TopicEvent + call.TypeHangup, ID: "hangup-" + strconv.Itoa(n), Data: make([]byte, 300)}
}

func settling(n int) call.Entry {
	return call.Entry{Topic: call.TopicCheck, ID: "check/settle/" + strconv.Itoa(n), Data: make([]byte, 100)}
}

// edit changes the settings of a stream as an operator does.
func edit(tb testing.TB, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) {
	tb.Helper()
	stream, err := js.Stream(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	config := stream.CachedInfo().Config
	change(&config)
	if _, err := js.UpdateStream(tb.Context(), config); err != nil {
		tb.Fatal(err)
	}
}

// Whichever limit is the tightest: what begins a call is refused before it is reached, then what goes on in calls,
// then hangups; what finishes a call is taken for as long as the server takes it.
func TestRoomIsKeptAgainstTheTightestLimit(t *testing.T) {
	t.Parallel()
	for limit, restrict := range map[string]func(*testing.T, *natsdtest.Server){
		"log_bytes": func(t *testing.T, s *natsdtest.Server) {
			edit(t, s.JS, s.Layout.Events, func(c *jetstream.StreamConfig) { c.MaxBytes = 256 << 10 })
		},
		"log_messages": func(t *testing.T, s *natsdtest.Server) {
			edit(t, s.JS, s.Layout.Events, func(c *jetstream.StreamConfig) { c.MaxMsgs = 256 })
		},
		"summaries_bytes": func(t *testing.T, s *natsdtest.Server) {
			edit(t, s.JS, s.Layout.Calls, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
		},
		"summaries_messages": func(t *testing.T, s *natsdtest.Server) {
			edit(t, s.JS, s.Layout.Calls, func(c *jetstream.StreamConfig) { c.MaxMsgs = 256 })
		},
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			restrict(t, s)
			registry, logged := prometheus.NewRegistry(), &lines{}
			j := open(t, s.JS, stream.Config{Config: journal.Config{Summaries: s.Layout.Calls, Registerer: registry, Logger: logged.logger()}}.Paced(soon, 0))
			looked := looks(t, s.Conn)
			var err error
			n := 0
			for refusals := 0; refusals < 2 && n < 1000; n++ {
				if _, err = j.Append(t.Context(), entry(n)); err == nil {
					refusals = 0
					continue
				}
				// Between looks it is estimated. Then the fold has found that every one of these legs is open.
				refusals++
				j.Reserve(call.Need{Legs: int64(n), Log: int64(n) * 4096, Summaries: int64(n) * 12288})
				afterLooks(t, looked)
			}
			if !errors.Is(err, journal.ErrFull) || !strings.Contains(err.Error(), limit) {
				t.Fatalf("got error %v, want %v for %s", err, journal.ErrFull, limit)
			}
			if n < 5 || n > 250 {
				t.Errorf("%d calls were taken", n)
			}
			if name, all := j.Refuses(); name != limit || all {
				t.Errorf("the log says that it refuses for %q, all: %v", name, all)
			}
			if fill, known := j.Fill()[limit]; !known || fill < 0 || fill > 1 {
				t.Errorf("%s is said to be full to %v, known: %v", limit, fill, known)
			}
			eventually(t, "the operator to be told", func() bool { return strings.Contains(logged.String(), "limit="+limit) })
			if got := metric(t, registry, "legato_storage_refusing", "").GetGauge().GetValue(); got != 1 {
				t.Errorf("legato_storage_refusing is %v", got)
			}
			for _, e := range []call.Entry{hangupOf(1), settling(1)} {
				if _, err := j.Append(t.Context(), e); err != nil {
					t.Errorf("%s: %v", e.Topic, err)
				}
			}
		})
	}
}

// What is asked about calls leaves room for their hangups: a sweep takes none of what is kept, and answers less than
// hangups may.
func TestAnswersLeaveRoomForHangups(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{EventsMaxBytes: 256 << 10}))
	j := open(t, s.JS, stream.Config{}.Paced(soon, 0))
	looked := looks(t, s.Conn)
	legs := 0
	for refusals := 0; refusals < 2; legs++ {
		if _, err := j.Append(t.Context(), entry(legs)); err == nil {
			refusals = 0
			continue
		}
		refusals++
		j.Reserve(call.Need{Legs: int64(legs), Log: int64(legs) * 4096})
		afterLooks(t, looked)
	}
	sweep := call.Entry{Topic: call.TopicCheck, ID: "check/status/1", Sweep: true, Data: make([]byte, 100)}
	if _, err := j.Append(t.Context(), sweep); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a sweep: got error %v, want %v", err, journal.ErrFull)
	}
	answers, err := 0, error(nil)
	for ; err == nil && answers < 1000; answers++ {
		_, err = j.Append(t.Context(), call.Entry{Topic: call.TopicStatus, ID: "status/" + strconv.Itoa(answers), Data: make([]byte, 300)})
	}
	if !errors.Is(err, journal.ErrFull) || answers == 1 {
		t.Fatalf("of answers %d were taken, then: %v", answers-1, err)
	}
	for n := range legs {
		if _, err := j.Append(t.Context(), hangupOf(n)); err != nil {
			t.Fatalf("of %d hangups %d were taken: %v", legs, n, err)
		}
	}
}

// A limit that nobody tells Legato, as a server's own, shows only by its refusals: that is tried now and then, not by
// everybody all the time.
func TestWhatTheServerRefusesForWantOfRoomIsTriedNowAndThen(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t, natsdtest.WithoutStreams())
	if _, err := s.JS.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "OTHER", Subjects: []string{"other.>"}, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, DiscardNewPerSubject: true,
	}); err != nil {
		t.Fatal(err)
	}
	j, err := stream.Open(t.Context(), stream.Config{Config: journal.Config{JetStream: s.JS, Stream: "OTHER", Prefix: "other", Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	must(t)(j.Append(t.Context(), settling(0)))
	tried := published(t, s.Conn, "other.>")
	for n := range 2000 {
		if _, err := j.Append(t.Context(), settling(n+1)); !errors.Is(err, journal.ErrFull) {
			t.Fatalf("got error %v, want %v", err, journal.ErrFull)
		}
	}
	eventually(t, "the server to be asked", func() bool { return tried() > 0 })
	if n := tried(); n > 4 {
		t.Errorf("the server was asked %d times, want a few", n)
	}
	if limit, all := j.Refuses(); limit == "" || !all {
		t.Errorf("the log says that it refuses for %q, all: %v", limit, all)
	}
}

// published counts the messages on a subject from now on.
func published(tb testing.TB, nc *nats.Conn, subject string) func() int {
	tb.Helper()
	var n atomic.Int64
	sub, err := nc.Subscribe(subject, func(*nats.Msg) { n.Add(1) })
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = sub.Unsubscribe() })
	return func() int {
		if err := nc.Flush(); err != nil {
			tb.Error(err)
		}
		return int(n.Load())
	}
}

// The room on the disk of an embedded server is not the streams' alone.
func TestADiskThatOthersFillRefusesBeforeItIsFull(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{EventsMaxBytes: 1 << 30}))
	var free atomic.Int64
	free.Store(1 << 30)
	j := open(t, s.JS, stream.Config{Config: journal.Config{Disk: func() (int64, error) { return free.Load(), nil }}}.Paced(soon, 0))
	must(t)(j.Append(t.Context(), entry(1)))
	free.Store(64 << 20)
	afterLooks(t, looks(t, s.Conn))
	if _, err := j.Append(t.Context(), entry(2)); !errors.Is(err, journal.ErrFull) || !strings.Contains(err.Error(), "disk") {
		t.Errorf("got error %v, want %v for the disk", err, journal.ErrFull)
	}
	free.Store(1 << 30)
	j.Reserve(call.Need{})
	eventually(t, "webhooks to be taken again", func() bool {
		_, err := j.Append(t.Context(), entry(3))
		return err == nil
	})
}

func TestTheRestOfANearlyFullLogIsNotForEvents(t *testing.T) {
	t.Parallel()
	const size = 256 << 10
	s := natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{EventsMaxBytes: size}))
	registry := prometheus.NewRegistry()
	j := open(t, s.JS, stream.Config{Config: journal.Config{Registerer: registry}}.Paced(soon, 0))
	other := open(t, s.JS, stream.Config{}.Paced(soon, 0)) // It learns of it by looking.
	var err error
	n := 0
	for refusals := 0; refusals < 2; n++ {
		e := entry(n)
		e.Data = make([]byte, 1000)
		if _, err = j.Append(t.Context(), e); err == nil {
			refusals = 0
			continue
		}
		// Between looks the room is estimated; it is full when a look says so, too.
		refusals++
		j.Reserve(call.Need{})
		afterLooks(t, looks(t, s.Conn))
	}
	if !errors.Is(err, journal.ErrFull) {
		t.Fatalf("got error %v, want %v", err, journal.ErrFull)
	}
	if fill := metric(t, registry, "legato_log_fill_ratio", "").GetGauge().GetValue(); fill < 0.87 || fill > 0.9 {
		t.Errorf("events are refused from a share of %v on, want some 0.875", fill)
	}
	replicas := map[string]*stream.Journal{"the one that filled it": j, "another": other, "a new one": open(t, s.JS, stream.Config{})}
	for name, j := range replicas {
		t.Run("for "+name, func(t *testing.T) {
			if _, err := j.Append(t.Context(), entry(1000)); !errors.Is(err, journal.ErrFull) {
				t.Errorf("an event: got error %v, want %v", err, journal.ErrFull)
			}
			filled := entry(1001)
			filled.Backfill = true
			if _, err := j.Append(t.Context(), filled); !errors.Is(err, journal.ErrFull) {
				t.Errorf("an event from the history: got error %v, want %v", err, journal.ErrFull)
			}
			if _, err := j.Append(t.Context(), call.Entry{Topic: call.TopicHeartbeat}); !errors.Is(err, journal.ErrFull) {
				t.Errorf("a heartbeat: got error %v, want %v", err, journal.ErrFull)
			}
			for _, e := range []call.Entry{
				{Topic: call.TopicStatus, ID: "status/" + name},
				{Topic: call.TopicCheck, ID: "check/settle/" + name},
				{Topic: call.TopicEvent + call.TypeHangup, ID: "hangup of " + name},
			} {
				if _, err := j.Append(t.Context(), e); err != nil {
					t.Errorf("%s: %v", e.Topic, err)
				}
			}
			if !j.FailingSince().IsZero() {
				t.Error("a log that is full does not fail: a restart would not help")
			}
		})
	}
	if r := must(t)(j.Append(t.Context(), entry(0))); !r.Duplicate {
		t.Errorf("an event that is stored: got %+v, want a duplicate", r)
	}
	if err := j.Trim(t.Context(), uint64(n/2)); err != nil {
		t.Fatal(err)
	}
	for name, j := range map[string]*stream.Journal{"the one that filled it": j, "another": other} {
		eventually(t, "events to be taken again by "+name, func() bool {
			_, err := j.Append(t.Context(), entry(2000))
			return err == nil
		})
	}
}

func TestALogWithoutALimitIsNeverFull(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	registry := prometheus.NewRegistry()
	j := open(t, s.JS, stream.Config{Config: journal.Config{Registerer: registry}}.Paced(soon, 0))
	for n := range 20 {
		must(t)(j.Append(t.Context(), call.Entry{Topic: call.TopicEvent + "x", ID: strconv.Itoa(n), Data: make([]byte, 100_000)}))
	}
	afterLooks(t, looks(t, s.Conn))
	must(t)(j.Append(t.Context(), entry(1)))
	if fill := metric(t, registry, "legato_log_fill_ratio", "").GetGauge().GetValue(); fill != 0 {
		t.Errorf("got a share of %v, want 0", fill)
	}
}

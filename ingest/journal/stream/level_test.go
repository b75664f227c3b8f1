package stream_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/prometheus/client_golang/prometheus"
)

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

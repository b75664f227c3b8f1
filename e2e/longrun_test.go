package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

var longRun = flag.Duration("long-run", 0, "how long TestALongRunStaysFlat runs; the log is trimmed from the fourth minute on")

// reading is what a service and its log measure at a moment.
type reading struct {
	heap, resident, sessions float64
	events, bytes            uint64
}

// TestALongRunStaysFlat plays calls without an end against the real service and
// prints every ten seconds what its memory and its log measure.
func TestALongRunStaysFlat(t *testing.T) {
	if *longRun == 0 {
		t.Skip("it takes minutes: -long-run=10m")
	}
	world := legatotest.NewTelnyx(t)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--amend-window=20s", "--status-window=20s", "--sweep-after=20s")
	s := legatotest.Serve(t, world.Env(), flags...)
	js := legatotest.Dial(t, s.NATS)
	ctx, cancel := context.WithTimeout(t.Context(), *longRun)
	defer cancel()
	player, err := fake.NewPlayer(fake.PlayerConfig{
		Generator: fake.Generator{Seed: 51},
		Disorder:  fake.Disorder{Duplicates: 0.1, Reorder: 0.1, Drop: 0.02},
		Sender:    fake.SenderConfig{Target: s.Target(), Sign: world.Sign},
		Rate:      8, Speed: 40,
		OnCall: func(c fake.Call) {
			for _, l := range c.Legs {
				world.API.Register(legatotest.StatusCall(l))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	played := make(chan error, 1)
	go func() { played <- player.Run(ctx) }()
	var readings []reading
	begun, tick := time.Now(), time.NewTicker(10*time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			continue
		}
		r := measure(t, s, js)
		readings = append(readings, r)
		t.Logf("%4.0f s: heap %5.1f MiB, resident %5.1f MiB, %4.0f sessions, log %6d events, %5.1f MiB, %d webhooks accepted",
			time.Since(begun).Seconds(), r.heap/(1<<20), r.resident/(1<<20), r.sessions, r.events, float64(r.bytes)/(1<<20),
			player.Ledger().Totals().Accepted)
	}
	if err := <-played; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	// The first half fills what is to be full; from then on nothing grows.
	if *longRun < 9*time.Minute {
		t.Logf("%v is too short to tell growth from filling", *longRun)
		return
	}
	most := func(of []reading) (m reading) {
		for _, r := range of {
			m.heap, m.sessions, m.events = max(m.heap, r.heap), max(m.sessions, r.sessions), max(m.events, r.events)
		}
		return m
	}
	half := len(readings) / 2
	third, last := most(readings[half:half+half/2]), most(readings[half+half/2:])
	if last.heap > 1.3*third.heap || last.sessions > 1.3*third.sessions || float64(last.events) > 1.3*float64(third.events) {
		t.Errorf("it grows: at most %+v in the third quarter, %+v in the last", third, last)
	}
	legatotest.StopsCleanly(t, s)
}

func measure(t *testing.T, s *legatotest.Server, js jetstream.JetStream) reading {
	t.Helper()
	response, err := http.Get(s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	values := make(map[string]float64)
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			values[name], _ = strconv.ParseFloat(value, 64) // comments are no numbers, and nobody asks for them
		}
	}
	stream, err := js.Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	return reading{
		heap: values["go_memstats_heap_inuse_bytes"], resident: values["process_resident_memory_bytes"],
		sessions: values["legato_sessions"], events: state.Msgs, bytes: state.Bytes,
	}
}

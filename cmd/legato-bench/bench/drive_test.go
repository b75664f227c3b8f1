package bench_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

const path = "/webhooks/telnyx"

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// serve runs a server that hands each body to take.
func serve(t *testing.T, take func(w http.ResponseWriter, r *http.Request, body []byte)) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the body: %v", err)
		}
		take(w, r, body)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func ok(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = io.WriteString(w, "{}") }

func TestAWorkloadIsOfSignedCallEventsInTheirOrder(t *testing.T) {
	t.Parallel()
	w := bench.Build(bench.Shape{Tag: 7, Events: 700}, key, path)
	verifier := telnyx.NewVerifier([]ed25519.PublicKey{key.Public().(ed25519.PublicKey)})
	var mu sync.Mutex
	said := map[call.LegID][]string{}
	ids, bytesOfAll := map[string]bool{}, 0
	addr := serve(t, func(rw http.ResponseWriter, r *http.Request, body []byte) {
		if err := verifier.Verify(r.Header.Get(telnyx.HeaderTimestamp), r.Header.Get(telnyx.HeaderSignature), body); err != nil || r.URL.Path != path {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		e, err := telnyx.Decode(body)
		if err != nil {
			t.Errorf("%v in %s", err, body)
		}
		mu.Lock()
		defer mu.Unlock()
		ids[e.ID] = true
		bytesOfAll += len(body)
		said[e.Ref.Leg] = append(said[e.Ref.Leg], e.Type)
		ok(rw, r, nil)
	})
	result, err := bench.Saturate(t.Context(), addr, w, 1)
	if err != nil || result.Refused != 0 {
		t.Fatalf("%d refused, error %v", result.Refused, err)
	}
	if len(ids) != w.Len() || w.Len() != 700 {
		t.Errorf("%d events with %d ids", w.Len(), len(ids))
	}
	if mean := bytesOfAll / w.Len(); mean < 1050 || mean > 1200 {
		t.Errorf("bodies are of %d bytes", mean)
	}
	if len(w.Sessions) != 75 || len(w.Legs) != 100 || len(said) != 100 {
		t.Errorf("%d sessions with %d legs, of which %d were told of", len(w.Sessions), len(w.Legs), len(said))
	}
	want := []string{
		"call.initiated", "call.answered", "call.bridged", "call.playback.started", "call.playback.ended", "call.speak.started", "call.hangup",
	}
	for _, leg := range w.Legs {
		if diff := cmp.Diff(want, said[leg.Ref.Leg]); diff != "" {
			t.Fatalf("events of a leg (-want +got):\n%s", diff)
		}
	}
}

func TestAnOpenCallIsNotHungUp(t *testing.T) {
	t.Parallel()
	w := bench.Build(bench.Shape{Events: 30, PerLeg: 2, Open: true}, key, path)
	for i := range w.Len() {
		if strings.Contains(string(w.Request(i)), "call.hangup") {
			t.Fatal("it is")
		}
	}
	if w.Ends() {
		t.Error("it says that it ends")
	}
}

func TestHangupsAreSplitFromWhatComesBefore(t *testing.T) {
	t.Parallel()
	before, hangups := bench.Build(bench.Shape{Tag: 8, Events: 70}, key, path).Split()
	if before.Ends() || !hangups.Ends() || hangups.Len() != len(hangups.Legs) || before.Len() != (bench.DefaultPerLeg-1)*len(before.Legs) {
		t.Fatalf("%d events before %d hangups of %d legs", before.Len(), hangups.Len(), len(hangups.Legs))
	}
	for w, want := range map[*bench.Workload]bool{before: false, hangups: true} {
		for i := range w.Len() {
			if bytes.Contains(w.Request(i), []byte(`"call.hangup"`)) != want {
				t.Errorf("whether this is a hangup is not %v:\n%s", want, w.Request(i))
			}
		}
	}
}

func TestALongCallHasADifferentIdForEachEvent(t *testing.T) {
	t.Parallel()
	w := bench.Build(bench.Shape{Events: 2000, PerLeg: 500}, key, path)
	ids := map[string]bool{}
	for i := range w.Len() {
		_, body, _ := strings.Cut(string(w.Request(i)), "\r\n\r\n")
		var event struct{ Data struct{ ID string } }
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Fatal(err)
		}
		ids[event.Data.ID] = true
	}
	if len(ids) != w.Len() || w.Len() != 2000 {
		t.Errorf("%d ids of %d events", len(ids), w.Len())
	}
}

func TestWhatIsRefusedIsCounted(t *testing.T) {
	t.Parallel()
	w := bench.Build(bench.Shape{Events: 200}, key, path)
	addr := serve(t, func(rw http.ResponseWriter, _ *http.Request, body []byte) {
		if bytes.Contains(body, []byte("call.hangup")) {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	flood, err := bench.Saturate(t.Context(), addr, w, 4)
	if err != nil || flood.Refused != len(w.Legs) {
		t.Errorf("at saturation: %d refused of %d hangups, error %v", flood.Refused, len(w.Legs), err)
	}
	held, err := bench.Hold(t.Context(), addr, w, 4, 5000)
	if err != nil || held.Refused != len(w.Legs) {
		t.Errorf("at a fixed rate: %d refused of %d hangups, error %v", held.Refused, len(w.Legs), err)
	}
}

// A server that stalls keeps back the webhooks that come meanwhile, too. Whoever counts from
// when he could send sees only those that were under way: 4 of 400 here.
func TestLatencyCountsFromTheScheduleThoughTheServerStalls(t *testing.T) {
	t.Parallel()
	const (
		rate, stall = 1000, 200 * time.Millisecond
		under       = 4
	)
	w := bench.Build(bench.Shape{Events: 400}, key, path)
	var stalling sync.RWMutex
	var once sync.Once
	addr := serve(t, func(rw http.ResponseWriter, r *http.Request, body []byte) {
		once.Do(func() {
			stalling.Lock()
			time.AfterFunc(stall, stalling.Unlock)
		})
		stalling.RLock()
		defer stalling.RUnlock()
		ok(rw, r, body)
	})
	result, err := bench.Hold(t.Context(), addr, w, under, rate)
	if err != nil {
		t.Fatal(err)
	}
	// The stall is over 200 ms after the first; the 150 webhooks that were due in its
	// first 150 ms had to wait for more than 50.
	l := result.Latency()
	if l.P99 < 150 || l.Over50 < 120 {
		t.Errorf("a stall of %v under a load of %v/s does not show: %+v", stall, rate, l)
	}
	if lag := result.Lag(); lag.Over50 < 120-under || lag.P99 > l.P99 {
		t.Errorf("the lag is part of the latency: %+v of %+v", lag, l)
	}
}

func TestAFixedRateIsKept(t *testing.T) {
	t.Parallel()
	w := bench.Build(bench.Shape{Events: 300}, key, path)
	result, err := bench.Hold(t.Context(), serve(t, ok), w, 8, 500)
	if err != nil {
		t.Fatal(err)
	}
	if least := time.Duration(w.Len()-1) * 2 * time.Millisecond; result.Elapsed < least {
		t.Errorf("%d events at 500/s took %v, less than %v", w.Len(), result.Elapsed, least)
	}
	if result.Latency().P50 <= 0 {
		t.Errorf("no latency at all: %+v", result.Latency())
	}
}

func TestDrivingEndsWithTheConnectionAndWithTheContext(t *testing.T) {
	t.Parallel()
	w := bench.Build(bench.Shape{Events: 100}, key, path)
	broken := serve(t, func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) })
	if _, err := bench.Saturate(t.Context(), broken, w, 2); err == nil {
		t.Error("at saturation: no error for a broken connection")
	}
	if _, err := bench.Hold(t.Context(), broken, w, 2, 1000); err == nil {
		t.Error("at a fixed rate: no error for a broken connection")
	}
	ctx, cancel := context.WithCancel(t.Context())
	reached := make(chan struct{}, 4)
	hanging := serve(t, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		reached <- struct{}{}
		<-r.Context().Done()
	})
	go func() { <-reached; cancel() }()
	if _, err := bench.Hold(ctx, hanging, w, 2, 1000); err == nil {
		t.Error("no error though the context ended")
	}
}

func TestARunCountsOnlyWhenEverySummaryCameOnce(t *testing.T) {
	t.Parallel()
	const patience = time.Minute
	tests := map[string]struct {
		lose, twice int // index into what is expected; -1: none
		want        string
	}{
		"everything came once":       {-1, -1, ""},
		"a leg's is missing":         {0, -1, "1 legs and sessions have no summary 1m0s after the last webhook"},
		"a session's is missing":     {5, -1, "1 legs and sessions have no summary 1m0s after the last webhook"},
		"a leg's came twice":         {-1, 1, "1 summaries were published as completed more than once"},
		"a session's came twice":     {-1, 5, "1 summaries were published as completed more than once"},
		"one twice, another missing": {2, 3, "1 legs and sessions have no summary 1m0s after the last webhook"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 3 sessions with 4 legs.
				w := bench.Build(bench.Shape{Events: 28}, key, path)
				var l bench.Ledger
				l.Completed("before anything is expected", time.Now())
				l.Expect(w)
				var ids []string
				for _, leg := range w.Legs {
					ids = append(ids, string(leg.Ref.Leg))
				}
				for _, s := range w.Sessions {
					ids = append(ids, string(s))
				}
				l.Completed("a late one of another workload", time.Now())
				for i, id := range ids {
					if i != tt.lose {
						l.Completed(id, time.Now())
					}
					if i == tt.twice {
						l.Completed(id, time.Now())
					}
				}
				got := ""
				if err := l.Wait(t.Context(), patience); err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestOneMoreWorkloadIsExpectedBesideTheFirst(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"while the first is under way": false, "when the first is complete": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var l bench.Ledger
				complete := func(w *bench.Workload) {
					for _, leg := range w.Legs {
						l.Completed(string(leg.Ref.Leg), time.Now())
					}
					for _, s := range w.Sessions {
						l.Completed(string(s), time.Now())
					}
				}
				first, second := bench.Build(bench.Shape{Events: 28, Tag: 1}, key, path), bench.Build(bench.Shape{Events: 28, Tag: 2}, key, path)
				l.Expect(first)
				if early {
					complete(first)
				}
				l.ExpectToo(second)
				if !early {
					complete(first)
				}
				if err := l.Wait(t.Context(), time.Minute); err == nil || err.Error() != "7 legs and sessions have no summary 1m0s after the last webhook" {
					t.Errorf("with the second's missing: %v", err)
				}
				complete(second)
				if err := l.Wait(t.Context(), time.Minute); err != nil {
					t.Errorf("with all there: %v", err)
				}
				complete(first)
				if err := l.Wait(t.Context(), time.Minute); err == nil {
					t.Error("that the first's came twice was not seen")
				}
			})
		})
	}
}

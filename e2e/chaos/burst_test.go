package chaos_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

var (
	burstSize    = flag.Int("burst", 0, "hangups of TestABurstIsMeasured, all within two seconds; 0: it is not run")
	burstAPI     = flag.String("burst-api", "fast", "how the status API answers it: fast, slow (after 30 s) or limited (429 beyond 10 a second)")
	burstFlags   = flag.String("burst-flags", "", "flags of serve, separated by spaces")
	burstProgram = flag.String("burst-program", "", "the program to measure; empty: this one")
	burstFor     = flag.Duration("burst-for", 13*time.Minute, "how long to wait for the last final state")
)

// burst is a number of calls that end at once, the status API that is asked about them, and what is published.
type burst struct {
	t     *testing.T
	world *legatotest.Telnyx
	calls []fake.Call

	mu sync.Mutex
	// slow and allowed are how the API behaves: how long it takes, and how many requests a second it answers; 0: all.
	slow    time.Duration
	allowed int
	second  int64
	used    int
	asked   map[call.ControlID]int
	refused int
	// first and last are when it was asked.
	first, last time.Time

	legs      map[string]legatotest.Published
	completed map[string]int
	finalAt   time.Time
}

func newBurst(t *testing.T, n int) *burst {
	t.Helper()
	b := &burst{t: t, world: legatotest.NewTelnyx(t), asked: map[call.ControlID]int{}, legs: map[string]legatotest.Published{}, completed: map[string]int{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.world.URL = server.URL + "/v2"
	for i := range n {
		b.calls = append(b.calls, fake.Generator{Seed: 61}.Of(fake.Busy, uint64(i), time.Now().UTC().Add(-time.Minute)))
	}
	return b
}

// ServeHTTP implements http.Handler: every call that it is asked about is over.
func (b *burst) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	id, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil || !strings.Contains(path, "/calls/") {
		http.NotFound(w, r)
		return
	}
	b.mu.Lock()
	now := time.Now()
	if b.first.IsZero() {
		b.first = now
	}
	b.last = now
	if s := now.Unix(); s != b.second {
		b.second, b.used = s, 0
	}
	b.used++
	limited, slow := b.allowed > 0 && b.used > b.allowed, b.slow
	if limited {
		b.refused++
	} else {
		b.asked[call.ControlID(id)]++
	}
	b.mu.Unlock()
	if limited {
		w.Header().Set("X-Ratelimit-Reset", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"record_type": "call", "call_control_id": id, "is_alive": false}})
}

func (b *burst) behaves(slow time.Duration, allowed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow, b.allowed = slow, allowed
}

// post sends the first or the last webhook of every call, and returns how long that took.
func (b *burst) post(target func() string, which func(fake.Call) fake.Delivery) time.Duration {
	b.t.Helper()
	sender := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 5 * time.Second}
	defer sender.CloseIdleConnections()
	work := make(chan []byte)
	begun := time.Now()
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for body := range work {
				if b.t.Failed() {
					continue
				}
				legatotest.Eventually(b.t, "a webhook is accepted", func() error { return b.send(sender, target(), body) })
			}
		})
	}
	for _, c := range b.calls {
		work <- which(c).Body(1, "http://127.0.0.1/")
	}
	close(work)
	group.Wait()
	return time.Since(begun)
}

func (b *burst) send(sender *http.Client, target string, body []byte) error {
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, target, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	timestamp, signature := b.world.Sign(time.Now(), body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Telnyx-Timestamp", timestamp)
	request.Header.Set("Telnyx-Signature-Ed25519", signature)
	response, err := sender.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", response.Status)
	}
	return nil
}

func first(c fake.Call) fake.Delivery { return c.Deliveries[0] }
func last(c fake.Call) fake.Delivery  { return c.Deliveries[len(c.Deliveries)-1] }

// watch takes what is published about legs until the test ends.
func (b *burst) watch(natsURL string) {
	b.t.Helper()
	js := legatotest.Dial(b.t, natsURL)
	consumer, err := js.OrderedConsumer(b.t.Context(), "CALLS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"calls.leg.>"}})
	if err != nil {
		b.t.Fatal(err)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		var p legatotest.Published
		if err := json.Unmarshal(m.Data(), &p); err != nil {
			b.t.Error(err)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if strings.Contains(m.Subject(), ".completed.") {
			b.completed[p.Leg+fmt.Sprint(p.Revision)]++
		}
		if p.Revision > b.legs[p.Leg].Revision {
			b.legs[p.Leg] = p
			if p.Status.Final {
				b.finalAt = time.Now()
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(consuming.Stop)
}

// states counts the legs by state, and those that are final.
func (b *burst) states() (states map[string]int, final int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	states = map[string]int{}
	for _, p := range b.legs {
		states[p.Status.State]++
		if p.Status.Final {
			final++
		}
	}
	return states, final
}

// awaitFinal returns when every leg is final, or the time is over.
func (b *burst) awaitFinal(within time.Duration) (final int) {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, final = b.states(); final == len(b.calls) || time.Now().After(deadline) {
			return final
		}
		<-tick.C
	}
}

// TestABurstIsCaughtUpThroughACrash ends hundreds of calls at once while the status API refuses most requests, kills
// the program that keeps their places in line, and starts another: every leg is asked about in its window and final.
func TestABurstIsCaughtUpThroughACrash(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	const hangups, window = 300, 60 * time.Second
	b := newBurst(t, hangups)
	b.behaves(0, 5)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--status-rate=20", "--status-window="+window.String(), "--status-deadline=2s")
	s := legatotest.Serve(t, b.world.Env(), flags...)
	b.post(s.Target, first)
	b.post(s.Target, last)
	ended := time.Now()
	legatotest.Eventually(t, "every summary is out without a status", func() error {
		if n := legatotest.Scrape(t, s.Admin)["legato_legs_completed_total"]; n < hangups {
			return fmt.Errorf("%v of %d are", n, hangups)
		}
		return nil
	})
	if waiting := legatotest.Scrape(t, s.Admin).Sum("legato_status_waiting"); waiting == 0 {
		t.Error("nobody waits: the crash finds nothing to lose")
	}
	s.Kill()
	b.behaves(0, 15)
	s = legatotest.Serve(t, b.world.Env(), legatotest.Again(flags, s)...)
	b.watch(s.NATS)
	if final := b.awaitFinal(time.Until(ended.Add(window + 2*time.Minute + 5*time.Second))); final != hangups {
		t.Errorf("%d of %d legs are final", final, hangups)
	}
	states, _ := b.states()
	if states["confirmed"] != hangups {
		t.Errorf("the legs are %v; want all confirmed", states)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) != hangups {
		t.Errorf("%d of %d legs were asked about", len(b.asked), hangups)
	}
	if len(b.completed) != hangups {
		t.Errorf("%d of %d legs are completed once", len(b.completed), hangups)
	}
	t.Logf("%d hangups: all final after %v, %d requests answered and %d refused", hangups, b.finalAt.Sub(ended).Round(time.Second), total(b.asked), b.refused)
}

func total(counts map[call.ControlID]int) (n int) {
	for count := range maps.Values(counts) {
		n += count
	}
	return n
}

// TestABurstIsMeasured prints what becomes of a burst:
//
//	go test ./e2e/chaos -run TestABurstIsMeasured -v -timeout 0 -burst 2000 -burst-api slow -burst-flags --status-rate=20
func TestABurstIsMeasured(t *testing.T) {
	if *burstSize == 0 {
		t.Skip("it takes minutes: -burst=2000")
	}
	b := newBurst(t, *burstSize)
	switch *burstAPI {
	case "slow":
		b.behaves(30*time.Second, 0)
	case "limited":
		b.behaves(0, 10)
	}
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), strings.Fields(*burstFlags)...)
	s := legatotest.ServeWith(t, func(cmd *exec.Cmd) {
		if *burstProgram != "" {
			cmd.Path = *burstProgram
		}
		cmd.Env = append(os.Environ(), b.world.Env()...)
	}, flags...)
	t.Cleanup(func() {
		if text := s.Text(); t.Failed() {
			t.Logf("the program's last words: %s", text[max(len(text)-4000, 0):])
		}
	})
	t.Logf("%d calls have begun within %v", *burstSize, b.post(s.Target, first).Round(100*time.Millisecond))
	took := b.post(s.Target, last)
	if t.Failed() {
		return
	}
	ended := time.Now()
	b.watch(s.NATS)
	final := b.awaitFinal(*burstFor)
	states, _ := b.states()
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := float64(total(b.asked)+b.refused) / b.last.Sub(b.first).Seconds()
	t.Logf("%d hangups in %v, %s %s: confirmed %d, final %d, never asked %d, states %v; %d requests and %d refusals, %.1f a second; last final after %v; %v MB",
		*burstSize, took.Round(100*time.Millisecond), *burstAPI, cmp.Or(*burstFlags, "default"), states["confirmed"], final,
		*burstSize-len(b.asked), states, total(b.asked), b.refused, rate, b.finalAt.Sub(ended).Round(time.Second),
		legatotest.Scrape(t, s.Admin)["process_resident_memory_bytes"]/1e6)
}

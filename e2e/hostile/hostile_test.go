// Package hostile_test sends the real program what a hostile sender would, and sees that it loses nothing of others.
package hostile_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

var hostile = flag.Bool("hostile", false, "the long form of the hostile test: 10,000 idle connections, 100,000 requests, some minutes, and Telnyx's 2 s for good webhooks")

// siege is how hard the service is beset.
type siege struct {
	connections string // --max-connections of the service; empty: the default
	idle        int    // connections that say nothing, or nothing more
	idleRate    int    // of them opened in a second; a tenth of it once all were
	slow        int    // of each kind of slow sender, at any time
	huge        int    // of each kind of body of 100 MB
	mutants     int    // mutated and random requests
	mutantRate  int    // of them in a second
	calls       int    // of a play; plays follow one another until the siege is over
	memory      int    // bound of VmRSS in MiB
	sender      fake.SenderConfig
}

// sieges are the short form, for every run, and the long one. In the short one a good
// sender has patience, for a loaded machine is slow, not wrong.
var (
	shortSiege = siege{
		connections: "256", idle: 600, idleRate: 300, slow: 10, huge: 1, mutants: 2000, mutantRate: 500, calls: 60, memory: 700,
		sender: fake.SenderConfig{Timeout: legatotest.Patience, Attempts: 8},
	}
	longSiege = siege{
		idle: 10_000, idleRate: 1000, slow: 50, huge: 10, mutants: 100_000, mutantRate: 500, calls: 300, memory: 1024,
		sender: fake.SenderConfig{Timeout: fake.DefaultTimeout, Attempts: 1},
	}
)

// TestGoodWebhooksAreAnsweredWhileTheServiceIsBeset sends good webhooks at a steady
// rate while everything bad is tried that needs no key, and some that does.
func TestGoodWebhooksAreAnsweredWhileTheServiceIsBeset(t *testing.T) {
	legatotest.Slow(t)
	plan := shortSiege
	if *hostile {
		plan = longSiege
	} else {
		t.Parallel()
	}
	world := legatotest.NewTelnyx(t)
	// The requests below leave legs that never end; nobody shall ask about them.
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--sweep-after=3h")
	if plan.connections != "" {
		flags = append(flags, "--max-connections="+plan.connections)
	}
	s := legatotest.Serve(t, world.Env(), flags...)
	var ledgers []*fake.Ledger
	if *hostile { // for comparison: what this machine does with nobody in the way
		calm := newGoodSender()
		ledgers = append(ledgers, steadily(t, world, s, plan, 499, calm))
		calm.report(t, "before the siege")
	}
	memory := watchMemory(t, s.Cmd.Process.Pid)

	ctx, end := context.WithCancel(t.Context())
	defer end()
	b := &besieger{world: world, addr: s.Webhooks, plan: plan, tally: make(map[string]int)}
	began := time.Now()
	attack := b.attack(ctx)
	good := newGoodSender()
	ledgers = append(ledgers, b.playUntilOver(t, s, good)...)
	end()
	attack.Wait()
	took := time.Since(began)

	world.WantOnce(t, s.NATS, ledgers...)
	before, peak, after := memory()
	b.report(t, took)
	good.report(t, "during the siege")
	t.Logf("memory (VmRSS, MiB): %d before, %d at most, %d after", before, peak, after)
	if peak > plan.memory {
		t.Errorf("the service took %d MiB, want at most %d", peak, plan.memory)
	}
	for _, l := range ledgers {
		if totals := l.Totals(); totals.Failed > 0 || *hostile && totals.Retries > 0 {
			t.Errorf("good webhooks: %d not accepted, %d sent again", totals.Failed, totals.Retries)
		}
	}
	if worst := slices.Max(good.took); *hostile && worst > fake.DefaultTimeout {
		t.Errorf("a good webhook was answered after %v", worst)
	}
	if b.tally["idle connections"] < plan.idle {
		t.Errorf("only %d idle connections were opened", b.tally["idle connections"])
	}
	legatotest.StopsCleanly(t, s)
}

// goodSender measures good webhooks. Every other one comes on a connection of its
// own, for a sender that is new and one that is known are not treated alike.
type goodSender struct {
	mu       sync.Mutex
	took     []time.Duration
	statuses map[int]int
	lasting  http.Transport
	passing  http.Transport
}

func newGoodSender() *goodSender {
	return &goodSender{
		statuses: make(map[int]int),
		lasting:  http.Transport{MaxIdleConnsPerHost: 64}, passing: http.Transport{DisableKeepAlives: true},
	}
}

// RoundTrip implements http.RoundTripper.
func (g *goodSender) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	transport := &g.lasting
	if len(g.took)%2 == 0 {
		transport = &g.passing
	}
	began := time.Now()
	g.took = append(g.took, 0)
	i := len(g.took) - 1
	g.mu.Unlock()
	response, err := transport.RoundTrip(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.took[i] = time.Since(began)
	if err != nil {
		g.statuses[0]++
		return nil, err
	}
	g.statuses[response.StatusCode]++
	return response, nil
}

func (g *goodSender) report(t *testing.T, when string) {
	t.Helper()
	slices.Sort(g.took)
	at := func(share float64) time.Duration {
		return g.took[int(share*float64(len(g.took)-1))].Round(100 * time.Microsecond)
	}
	t.Logf("%d good webhooks %s, by status %v; answered within %v (half), %v (99 %%), %v (all)",
		len(g.took), when, g.statuses, at(.5), at(.99), at(1))
}

// steadily plays calls as the plan says.
func steadily(t *testing.T, w *legatotest.Telnyx, s *legatotest.Server, plan siege, seed uint64, good *goodSender) *fake.Ledger {
	t.Helper()
	player := w.Player(t, s.Target(), plan.calls, seed, func(c *fake.SenderConfig) {
		c.Transport, c.Timeout, c.Attempts = good, plan.sender.Timeout, plan.sender.Attempts
	})
	if err := player.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	good.lasting.CloseIdleConnections()
	return player.Ledger()
}

// besieger attacks the service.
type besieger struct {
	world *legatotest.Telnyx
	addr  string
	plan  siege

	limited sync.WaitGroup // those whose number is given

	mu    sync.Mutex
	tally map[string]int
	open  int // idle connections, now
}

func (b *besieger) count(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally[what]++
}

// playUntilOver plays calls, and again, until all that is limited was sent.
func (b *besieger) playUntilOver(t *testing.T, s *legatotest.Server, good *goodSender) []*fake.Ledger {
	t.Helper()
	over := make(chan struct{})
	go func() { b.limited.Wait(); close(over) }()
	var ledgers []*fake.Ledger
	for seed := uint64(500); ; seed++ {
		ledgers = append(ledgers, steadily(t, b.world, s, b.plan, seed, good))
		select {
		case <-over:
			return ledgers
		default:
		}
	}
}

func (b *besieger) report(t *testing.T, took time.Duration) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Logf("the siege took %v:", took.Round(time.Second))
	for _, what := range slices.Sorted(maps.Keys(b.tally)) {
		t.Logf("%9d %s", b.tally[what], what)
	}
}

// watchMemory samples what a process takes; the function that it returns ends that
// and tells MiB before, at most and now.
func watchMemory(t *testing.T, pid int) func() (before, peak, after int) {
	t.Helper()
	before := resident(t, pid)
	peak := before
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		held, last := time.Duration(0), time.Now()
		for {
			select {
			case <-tick.C:
				held, last = max(held, time.Since(last)), time.Now()
				peak = max(peak, resident(t, pid))
			case <-stop:
				// What this machine does to the sender counts as the service's slowness too.
				t.Logf("the test itself was held up for %v at most", held.Round(time.Millisecond))
				return
			}
		}
	}()
	var once sync.Once
	end := func() { once.Do(func() { close(stop); <-stopped }) }
	t.Cleanup(end)
	return func() (int, int, int) {
		end()
		return before, peak, resident(t, pid)
	}
}

// resident reads VmRSS in MiB, 0 where there is no /proc.
func resident(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Log("no memory to be read:", err)
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Errorf("VmRSS is %q", fields[0])
	}
	return kib >> 10
}

// dial opens a connection that leaves nothing behind when it is closed: 100,000
// that linger would use up the ports of this machine.
func (b *besieger) dial(ctx context.Context) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: legatotest.Patience}
	conn, err := dialer.DialContext(ctx, "tcp", b.addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	_ = tcp.SetLinger(0)
	return tcp, nil
}

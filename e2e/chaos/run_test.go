package chaos_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// speed is how much faster than in life calls are played.
const speed = 40

// chaos is one run.
type chaos struct {
	t     *testing.T
	setup setup
	seed  uint64
	tempo tempo
	// dir has the data and the logs; it is kept when the run fails.
	dir string

	world  *legatotest.Telnyx
	api    *statusAPI
	ledger *ledger
	// sender posts as Telnyx does, forger with a key of its own.
	sender, forger *fake.Sender
	extras         sync.WaitGroup
	// over is closed when the faults are; drawn counts them.
	over  chan struct{}
	drawn int

	nats, serves []*host
	js           jetstream.JetStream
	layout       natsd.Layout
	// targets are the applications, of which the first is killed; feed is the log.
	targets []*target
	feed    feed
	ops     operators
	// strayed are events that were parked, since nobody knew their call any more.
	strayed map[string]bool

	counting sync.Mutex // guards the faults of the result while they happen
	result   result
}

func newChaos(t *testing.T, s setup, seed uint64, pace tempo) *chaos {
	t.Helper()
	dir, err := os.MkdirTemp("", fmt.Sprintf("legato-chaos-%s-%d-", s.name, seed)) //nolint:usetesting // kept when the run fails
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{
		t: t, setup: s, seed: seed, tempo: pace, dir: dir, over: make(chan struct{}), api: newStatusAPI(seed),
		result: result{Seed: seed, Setup: s.name, Faults: make(map[string]int)},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, setup %s: logs, ledger and data are in %s", seed, s.name, dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if c.layout, err = natsd.NewLayout(natsd.DefaultPrefix); err != nil {
		t.Fatal(err)
	}
	c.feed.events = make(map[uint64]call.Entry)
	c.world = legatotest.NewTelnyx(t)
	server := httptest.NewServer(c.api)
	t.Cleanup(server.Close)
	c.world.URL = server.URL + "/v2"
	c.ledger = newLedger(c.file("ledger.jsonl"))
	t.Cleanup(c.ledger.transport.CloseIdleConnections)
	forger := legatotest.NewTelnyx(t)
	c.sender, c.forger = c.newSender(c.world.Sign), c.newSender(forger.Sign)
	c.hosts()
	return c
}

// file makes a file in the run's directory.
func (c *chaos) file(name string) *os.File {
	c.t.Helper()
	f, err := os.Create(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = f.Close() })
	return f
}

func (c *chaos) senderConfig(sign fake.SignFunc) fake.SenderConfig {
	// The ledger chooses the host.
	return fake.SenderConfig{Target: "http://legato.test/webhooks/telnyx", Sign: sign, Transport: c.ledger, Attempts: 8}
}

func (c *chaos) newSender(sign fake.SignFunc) *fake.Sender {
	c.t.Helper()
	sender, err := fake.NewSender(c.senderConfig(sign))
	if err != nil {
		c.t.Fatal(err)
	}
	return sender
}

// source is the chance of one part of the run: what one part draws changes nothing for another.
func (c *chaos) source(part, number uint64) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed<<8|part, number))
}

// run is the whole run.
func (c *chaos) run(results chan<- result) {
	c.t.Helper()
	begun := time.Now()
	c.up()
	stopFeed := c.applications()
	player := c.player()
	played := make(chan error, 1)
	go func() { played <- player.Run(c.t.Context()) }()
	narrowing, stop := context.WithCancel(c.t.Context())
	var narrower, beside sync.WaitGroup
	narrower.Go(func() { c.narrow(narrowing) })
	beside.Go(c.killApplications)
	if c.tempo.operators {
		beside.Go(c.operate)
	}
	undone := make(chan struct{})
	go func() { beside.Wait(); close(undone) }()

	c.faults(time.Now().Add(c.tempo.faults))
	c.result.Seconds = int(time.Since(begun).Seconds())
	c.await(3*legatotest.Patience, "operators have undone what they did", func() error {
		select {
		case <-undone:
			return nil
		default:
			return errors.New("they have not")
		}
	})
	c.await(3*legatotest.Patience, "every process is well again", c.well)
	c.await(3*legatotest.Patience, "the play is over", func() error {
		select {
		case err := <-played:
			played <- err
			return err
		default:
			return errors.New("it goes on")
		}
	})
	c.extras.Wait()
	stop()
	narrower.Wait()
	calm := time.Now()
	// What one replica alone was told of a leg's status, while the log had no room, another asks for until its window is over.
	c.await(14*time.Minute, "nothing is left to do", c.quiet)
	c.result.QuietAfter = int(time.Since(calm).Seconds())
	c.check()
	c.checkTargets(begun)
	stopFeed()
	c.down()
	results <- c.result
}

// up starts everything for the first time.
func (c *chaos) up() {
	c.t.Helper()
	for _, h := range c.nats {
		h.start(time.Now())
	}
	urls := make([]string, 0, 3)
	for _, h := range slices.Concat(c.nats, c.serves[:max(0, 1-len(c.nats))]) {
		urls = append(urls, h.url)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	if c.js, err = jetstream.New(nc); err != nil {
		c.t.Fatal(err)
	}
	if len(c.nats) > 0 {
		c.await(legatotest.Patience, "NATS is there", func() error {
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			defer cancel()
			_, err := c.js.AccountInfo(ctx)
			return err
		})
	}
	// From now on it is a supervisor's work: what fails to start is started again.
	for _, h := range c.serves {
		h.due = time.Time{}
	}
	c.await(3*legatotest.Patience, "every replica is ready", c.well)
}

// player plays the calls.
func (c *chaos) player() *fake.Player {
	c.t.Helper()
	p, err := fake.NewPlayer(fake.PlayerConfig{
		Generator: fake.Generator{Seed: c.seed},
		Disorder:  fake.Disorder{Duplicates: .2, Reorder: .2, Late: .05, Drop: .03},
		Sender:    c.senderConfig(c.world.Sign),
		Calls:     int(c.tempo.faults.Seconds() * c.tempo.rate), Rate: c.tempo.rate, Speed: speed,
		OnCall: c.know,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// know is told of every call before its first webhook.
func (c *chaos) know(played fake.Call) {
	rng := c.source(3, played.Number)
	c.world.Calls = append(c.world.Calls, played)
	c.ledger.call(played)
	for _, l := range played.Legs {
		truth := legatotest.StatusCall(l)
		// Right after a hangup the API may still say that the call is alive.
		truth.AliveFor = rng.IntN(2)
		// Of half of the legs the history has what was lost on the way.
		if rng.IntN(2) == 0 {
			truth.Events = legatotest.HistoryOf(played, l)
		}
		c.api.register(truth)
	}
	c.extra(played)
}

// await tends the hosts until a condition holds; if it does not in time, the run has failed.
func (c *chaos) await(patience time.Duration, what string, holds func() error) {
	c.t.Helper()
	deadline, tick := time.Now().Add(patience), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		c.tend(now)
		err := holds()
		if err == nil {
			return
		}
		if now.After(deadline) {
			c.find("wrong", "%s: not within %v: %v", what, patience, err)
			return
		}
	}
}

// well reports why not every process works.
func (c *chaos) well() error {
	for _, h := range slices.Concat(c.nats, c.serves) {
		if h.condition != hostUp {
			return fmt.Errorf("%s is not up", h.name)
		}
		if h.admin == "" {
			continue
		}
		response, err := c.get(h, "/readyz")
		if err != nil {
			return err
		}
		if response.status != http.StatusOK {
			return fmt.Errorf("%s: %s", h.name, strings.TrimSpace(response.body))
		}
	}
	return nil
}

type page struct {
	status int
	body   string
}

// get reads a page of a replica's admin listener.
func (c *chaos) get(h *host, path string) (page, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+path, nil)
	if err != nil {
		return page{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	var body strings.Builder
	_, err = bufio.NewReader(response.Body).WriteTo(&body)
	return page{response.StatusCode, body.String()}, err
}

// metrics reads the metrics of a replica, by name with labels.
func (c *chaos) metrics(h *host) (map[string]float64, error) {
	p, err := c.get(h, "/metrics")
	if err != nil {
		return nil, err
	}
	values := make(map[string]float64)
	for line := range strings.Lines(p.body) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil && !strings.HasPrefix(line, "#") {
			values[name] = value
		}
	}
	return values, nil
}

// quiet reports what is left to do: nothing is when the queue is empty and every
// replica has folded the whole log and forgotten every session, for it forgets
// none for which anything can still become due.
func (c *chaos) quiet() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	stream, err := c.js.Stream(ctx, "CALL_EVENTS")
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	if err := c.forwarded(ctx); err != nil {
		return err
	}
	for _, h := range c.serves {
		m, err := c.metrics(h)
		if err != nil {
			return err
		}
		if waiting, held := m["legato_queue_waiting"], m["legato_queue_held"]; waiting > 0 || held > 0 {
			return fmt.Errorf("in the queue %v wait and %v are held", waiting, held)
		}
		if at := m["legato_log_position"]; at < float64(last) {
			return fmt.Errorf("%s has read to %v of %d", h.name, at, last)
		}
		if n := m["legato_sessions"]; n > 0 {
			return fmt.Errorf("%s has %v sessions, %v open legs", h.name, n, m[`legato_legs{state="open"}`])
		}
	}
	return nil
}

// down stops everything, the replicas as an operator would.
func (c *chaos) down() {
	c.t.Helper()
	for _, h := range c.serves {
		begun := time.Now()
		_, err := h.Terminate()
		if took := time.Since(begun); err != nil || took > 20*time.Second {
			c.find("wrong", "%s stopped after %v with %v", h.name, took, err)
		}
		c.buried(h, h.bury(time.Now(), time.Hour))
	}
	for _, h := range c.nats {
		h.crash(time.Now(), time.Hour)
	}
}

// count counts a fault.
func (c *chaos) count(what string) {
	c.counting.Lock()
	defer c.counting.Unlock()
	c.result.Faults[what]++
	if strings.HasSuffix(what, " kill") {
		c.result.Kills++
	}
}

// findingsShown bounds what is printed of each kind.
const findingsShown = 15

// find counts a finding and fails the run.
func (c *chaos) find(kind, format string, args ...any) {
	c.t.Helper()
	n := map[string]*int{
		"lost": &c.result.Lost, "doubled": &c.result.Doubled, "phantom": &c.result.Phantom, "wrong": &c.result.Wrong,
	}[kind]
	*n++
	if *n <= findingsShown {
		c.t.Errorf(kind+": "+format, args...)
	} else {
		c.t.Fail()
	}
}

// Package chaos_test runs the real program under faults that come at random, and holds what was published against the
// truth.
package chaos_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
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
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

var (
	chaosFor   = flag.Duration("chaos", 0, "how long faults reign in each run of TestChaos; 0: the short form, every setup once")
	chaosSeed  = flag.Uint64("seed", 0, "seed of the first run of TestChaos; 0: drawn")
	chaosSeeds = flag.Int("seeds", 1, "how many runs TestChaos makes one after the other, each of the next seed")
	chaosRate  = flag.Float64("rate", 2, "calls that begin in a second in the long form: no more than the machine can bear")
	chaosSetup = flag.String("setup", "", "setup of every run of TestChaos: embedded, replicas or cluster; empty: drawn by the seed")
)

// setup is what a run of the chaos consists of.
type setup struct {
	name string
	// serves and nats count the processes; with no nats, serve embeds it.
	serves, nats int
	flags        []string
}

var setups = []setup{
	{name: "embedded", serves: 1},
	{name: "replicas", serves: 3, nats: 1},
	{name: "cluster", serves: 2, nats: 3, flags: []string{"--nats-replicas=3"}},
}

// tempo is how fast things go wrong.
type tempo struct {
	// faults is how long they do.
	faults time.Duration
	// every is the mean time between two faults of processes.
	every time.Duration
	// pause and frozen are the longest that a process is down or stopped;
	// in one case of five longFrozen, more than the queue waits for a task.
	pause, frozen, longFrozen time.Duration
	// rate is how many calls begin in a second.
	rate float64
	// amend is Legato's amend window: long enough for late events, short enough for calls to depart.
	amend time.Duration
	// operators intervene in NATS; rollBack is the pause between two returns of a lone server with an older disk, 0:
	// there are none.
	operators bool
	rollBack  time.Duration
}

func shortTempo() tempo {
	return tempo{
		faults: 12 * time.Second, every: 2500 * time.Millisecond, pause: 1500 * time.Millisecond,
		frozen: 2 * time.Second, longFrozen: 5 * time.Second, rate: 3, amend: 12 * time.Second,
	}
}

func longTempo(faults time.Duration) tempo {
	return tempo{
		faults: faults, every: 6 * time.Second, pause: 5 * time.Second,
		frozen: 6 * time.Second, longFrozen: 20 * time.Second, rate: *chaosRate, amend: 25 * time.Second,
		operators: true, rollBack: 40 * time.Second,
	}
}

// TestChaos runs the real program on real servers, lets everything go wrong that
// can, and holds what is published in the end against a ledger of the webhooks that
// were answered. The short form is part of the tests. The long form:
//
//	go test -race ./e2e/chaos -run 'TestChaos$' -v -timeout 0 -chaos 7m -seed 1 -seeds 3
//
// With -race the processes are built with the race detector as well.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	if *chaosFor > 0 {
		needed := time.Duration(*chaosSeeds) * (*chaosFor + 5*time.Minute)
		if deadline, ok := t.Deadline(); ok && time.Until(deadline) < needed {
			t.Fatalf("the run may take %v: give -timeout 0", needed)
		}
	}
	results := make(chan result, len(setups)+*chaosSeeds)
	t.Cleanup(func() {
		close(results)
		report(t, results)
	})
	if *chaosFor == 0 {
		for _, s := range setups {
			if *chaosSetup == "" || *chaosSetup == s.name {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					if s.name == "cluster" && *chaosSetup == "" {
						legatotest.Long(t)
					}
					newChaos(t, s, seed, shortTempo()).run(results)
				})
			}
		}
		return
	}
	for i := range uint64(*chaosSeeds) {
		s := setupOf(t, seed+i)
		t.Run(fmt.Sprintf("%s-%d", s.name, seed+i), func(t *testing.T) {
			newChaos(t, s, seed+i, longTempo(*chaosFor)).run(results)
		})
	}
}

// setupOf is the setup of a seed: one after the other, so that three seeds have all.
func setupOf(t *testing.T, seed uint64) setup {
	t.Helper()
	for i, s := range setups {
		if *chaosSetup == s.name || *chaosSetup == "" && seed%uint64(len(setups)) == uint64(i) {
			return s
		}
	}
	t.Fatalf("no setup %q", *chaosSetup)
	return setup{}
}

// result is one line of the report.
type result struct {
	Seed       uint64         `json:"seed"`
	Setup      string         `json:"setup"`
	Seconds    int            `json:"seconds"`
	Calls      int            `json:"calls"`
	Legs       int            `json:"legs"`
	Deliveries int            `json:"deliveries"`
	Answered   int            `json:"answered_200"`
	Refused    int            `json:"answered_503"`
	Unanswered int            `json:"unanswered"`
	Faults     map[string]int `json:"faults"`
	Kills      int            `json:"kills"`
	Exits      int            `json:"exits"`
	StatusAsks int            `json:"status_requests"`
	Completed  int            `json:"completed"`
	Amended    int            `json:"amended"`
	Parked     int            `json:"parked"`
	Orphans    int            `json:"orphans"`
	QuietAfter int            `json:"quiet_after_seconds"`
	// Forwarded events came to a target; ForwardedTwice counts second arrivals, ForwardedStale those that were not sent.
	Forwarded      int `json:"forwarded"`
	ForwardedTwice int `json:"forwarded_twice"`
	ForwardedStale int `json:"forwarded_stale"`

	// Again counts summaries that were published once more after the stream had lost them, RolledBack the events that
	// were lost with the end of a log and did not come again.
	Again      int `json:"again"`
	RolledBack int `json:"rolled_back"`

	Lost    int `json:"lost"`
	Doubled int `json:"doubled"`
	Phantom int `json:"phantom"`
	Wrong   int `json:"wrong"`
}

// report prints the table for people and a line of JSON a run for machines.
func report(t *testing.T, results <-chan result) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "seed\tsetup\tseconds\tcalls\tlegs\tdeliveries\t200s\t503s\tno answer\tkills\tcompleted\tamended\tparked\torphans\tagain\trolled back\tlost\tdoubled\tphantom\twrong\t")
	var lines strings.Builder
	for r := range results {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n",
			r.Seed, r.Setup, r.Seconds, r.Calls, r.Legs, r.Deliveries, r.Answered, r.Refused, r.Unanswered, r.Kills,
			r.Completed, r.Amended, r.Parked, r.Orphans, r.Again, r.RolledBack, r.Lost, r.Doubled, r.Phantom, r.Wrong)
		line, err := json.Marshal(r)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(&lines, "%s\n", line)
	}
	_ = w.Flush()
	t.Logf("chaos:\n%s\n%s", table.String(), lines.String())
	if *chaosFor > 0 {
		// At once and whole, also where -v was forgotten.
		fmt.Fprintf(os.Stderr, "%s\n%s", table.String(), lines.String())
	}
}

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

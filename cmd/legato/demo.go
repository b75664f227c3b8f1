package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	statusfake "github.com/legato-calls/legato/enrich/status/fake"
	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/call"
	"github.com/legato-calls/legato/ingest/telnyx/fake"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

type demoCmd struct {
	Calls int     `default:"20" help:"How many calls to play."`
	Rate  float64 `default:"4" help:"Calls that begin in a second."`
	JSON  bool    `help:"Print summaries as JSON."`
	disorderFlags
	logSettings
}

const (
	// demoSpeed: a call of 40 s is played in 2 s; its summary still says 40 s.
	demoSpeed = 20
	// demoPatience bounds the wait for the last summary after the last webhook:
	// settle times and status deadline together are some 20 s.
	demoPatience = 30 * time.Second
	// demoQuiet is how long no summary must come before all are counted: late
	// events are collected for 2 s and sessions settle in 5 s.
	demoQuiet = 7 * time.Second
)

// Run plays some calls against a service of its own and checks every summary.
func (cmd *demoCmd) Run(ctx context.Context, c *console) error {
	if cmd.LogLevel == "info" {
		cmd.LogLevel = "warn" // the summaries are what is to be seen
	}
	dir, err := os.MkdirTemp("", "legato-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	api := statusfake.New(statusfake.Config{})
	apiAddr, stopAPI, err := serveAPI(ctx, "127.0.0.1:0", api)
	if err != nil {
		return err
	}
	defer stopAPI()
	key := seededKey(cmd.Seed)
	set := demoSettings(dir, apiAddr, publicKey(key))
	s, err := start(ctx, set, cmd.logger(c.stderr))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "A service, its NATS and a fake Telnyx run in this process.\n"+
		"Webhooks go to %s, summaries to %s\n"+
		"Subscribe, if you like: nats sub --server %s 'calls.leg.completed.>'\n\n",
		s.webhookURL(), s.natsURL(), s.natsURL())

	served := make(chan error, 1)
	serveCtx, stopServe := context.WithCancel(ctx)
	go func() { served <- s.run(serveCtx) }()
	result := cmd.play(ctx, c, s, key, api)
	stopServe()
	return errors.Join(result, <-served)
}

// demoSettings are the defaults on free ports.
func demoSettings(dir, apiAddr, publicKey string) *settings {
	return &settings{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0", DataDir: dir,
		TelnyxPublicKey: publicKey, TelnyxAPIKey: "demo", TelnyxBaseURL: "http://" + apiAddr + "/v2", StatusRate: 100,
		MaxConnections: ingest.DefaultMaxConnections,
		natsSettings:   natsSettings{SubjectPrefix: "calls"}, NATSReplicas: 1, Streams: "manage",
		EventsMaxAge: 24 * time.Hour, EventsMaxBytes: 256 << 20, CallsMaxAge: 72 * time.Hour,
		Settle: time.Second, SessionSettle: 5 * time.Second, StatusDeadline: 10 * time.Second,
		StatusWindow: 10 * time.Minute, SweepAfter: 5 * time.Minute, AmendWindow: 15 * time.Minute,
		SignatureTolerance: 5 * time.Minute,
	}
}

// play sends the calls, prints what comes, and tells whether it is all there.
func (cmd *demoCmd) play(ctx context.Context, c *console, s *service, key []byte, api *statusfake.Server) error {
	watch := newWatch(c.stdout, cmd.JSON)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return follow(ctx, s.js, s.layout, jetstream.DeliverAllPolicy, watch.summary)
	})
	g.Go(func() error {
		defer stop()
		player, err := newPlayer(key, api, fake.Config{
			Generator: fake.Generator{Seed: cmd.Seed}, Disorder: cmd.disorder(), Calls: cmd.Calls, Rate: cmd.Rate,
			Speed: demoSpeed, Sender: fake.SenderConfig{Target: s.webhookURL()},
		})
		if err != nil {
			return err
		}
		return watch.until(ctx, player)
	})
	err := g.Wait()
	watch.clearProgress()
	if err != nil {
		return err
	}
	return watch.verdict(c.stdout)
}

// watch counts summaries and compares them with what was played.
type watch struct {
	mu       sync.Mutex
	out      io.Writer
	json     bool
	terminal bool
	progress bool // a progress line stands on the terminal

	completed map[string]int // key → how often
	amended   int
	last      time.Time

	totals fake.Totals
}

func newWatch(out io.Writer, asJSON bool) *watch {
	return &watch{out: out, json: asJSON, terminal: isTerminal(out), completed: make(map[string]int), last: time.Now()}
}

// summary takes one published message.
func (w *watch) summary(_ string, data []byte) error {
	var s struct {
		Kind     string         `json:"kind"`
		Revision int            `json:"revision"`
		Session  call.SessionID `json:"call_session_id"`
		Leg      call.LegID     `json:"call_leg_id"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("read a summary: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	if s.Revision == 1 {
		w.completed[demoKey(s.Session, s.Leg)]++
	} else {
		w.amended++
	}
	w.clear()
	if w.json {
		return printJSON(w.out, data)
	}
	return printSummary(w.out, data)
}

func demoKey(sid call.SessionID, leg call.LegID) string { return string(sid) + "/" + string(leg) }

// until plays all calls and waits for their summaries.
func (w *watch) until(ctx context.Context, player *fake.Player) error {
	played := make(chan error, 1)
	go func() { played <- player.Run(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var over time.Time
	for {
		w.show(player.Ledger().Totals(), !over.IsZero())
		if !over.IsZero() && w.settled(over) {
			return nil
		}
		select {
		case err := <-played:
			if err != nil {
				return err
			}
			over, played = time.Now(), nil
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settled reports whether everything is there and nothing more comes, or patience has run out.
func (w *watch) settled(over time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(over) > demoPatience {
		return true
	}
	all := len(w.completed) >= w.totals.Calls+w.totals.Legs
	return all && time.Since(over) > demoQuiet && time.Since(w.last) > demoQuiet/2
}

// show refreshes the progress line.
func (w *watch) show(t fake.Totals, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals = t
	if !w.terminal || w.json {
		return
	}
	w.clear()
	what := "calls under way"
	if over {
		what = "all calls over, waiting for late news"
	}
	fmt.Fprintf(w.out, "%d calls · %d webhooks · %d of %d summaries · %s",
		t.Calls, t.Posts, len(w.completed), t.Calls+t.Legs, what)
	w.progress = true
}

func (w *watch) clearProgress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear()
}

func (w *watch) clear() {
	if w.progress {
		fmt.Fprint(w.out, "\r\x1b[K")
		w.progress = false
	}
}

// verdict prints the counts and fails when a summary is missing or doubled.
func (w *watch) verdict(out io.Writer) error {
	legs, sessions, doubled := 0, 0, 0
	for key, n := range w.completed {
		if key[len(key)-1] == '/' {
			sessions++
		} else {
			legs++
		}
		if n > 1 {
			doubled++
		}
	}
	t := w.totals
	fmt.Fprintf(out, "\n%d calls with %d legs: %d events in %d webhooks, %d of them delivered again.\n",
		t.Calls, t.Legs, t.Events, t.Posts, t.Duplicates)
	fmt.Fprintf(out, "%d legs and %d sessions completed, each once; %d amended when late news came.\n", legs, sessions, w.amended)
	switch {
	case t.Failed > 0:
		return fmt.Errorf("%d webhooks were not accepted", t.Failed)
	case doubled > 0:
		return fmt.Errorf("%d summaries were published as completed more than once", doubled)
	case legs != t.Legs || sessions != t.Calls:
		return fmt.Errorf("%d of %d legs and %d of %d sessions have a summary", legs, t.Legs, sessions, t.Calls)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	pages "github.com/legato-calls/legato/internal/console"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/internal/story"
)

type demoCmd struct {
	Calls int     `default:"20" help:"How many calls to play."`
	Rate  float64 `default:"4" help:"Calls that begin in a second."`
	JSON  bool    `help:"Print summaries as JSON."`
	Keep  bool    `help:"Stay up until Ctrl-C when the calls are over."`

	Forward string `help:"Hand each webhook on to an application, as http://127.0.0.1:3000/webhooks." placeholder:"URL"`
	disorderFlags
	service.LogSettings
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
	// demoSweep and demoRepair are for a demo that loses webhooks.
	demoSweep, demoRepair = 5 * time.Second, 2 * time.Second
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
	api := fake.NewAPI(fake.APIConfig{})
	apiAddr, stopAPI, err := fake.Serve(ctx, "127.0.0.1:0", api)
	if err != nil {
		return err
	}
	defer stopAPI()
	key := fake.Key(cmd.Seed)
	set := demoSettings(dir, apiAddr, fake.PublicKey(key))
	if cmd.Drop > 0 {
		// What is lost is looked for while somebody watches.
		set.SweepAfter, set.GapRepairAfter = demoSweep, demoRepair
	}
	if cmd.Forward != "" {
		set.Forward = []string{cmd.Forward}
	}
	s, err := service.Start(ctx, set, cmd.Logger(c.stderr))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "A service, its NATS and a fake Telnyx run in this process.\n"+
		"Webhooks go to %s, summaries to %s\n"+
		"Subscribe, if you like: nats sub --server %s 'calls.leg.completed.>'\n\n",
		s.WebhookURL(), s.NATSURL(), s.NATSURL())
	fmt.Fprintf(c.stdout, "Look at the calls: %s\n\n", s.ConsoleURL())
	if cmd.Forward != "" {
		fmt.Fprintf(c.stdout, "Webhooks are handed on to %s; it checks them with TELNYX_PUBLIC_KEY=%s\n"+
			"Look at the attempts: legato forward list --nats-url %s\n\n", cmd.Forward, set.TelnyxPublicKey, s.NATSURL())
	}

	served := make(chan error, 1)
	serveCtx, stopServe := context.WithCancel(ctx)
	go func() { served <- s.Run(serveCtx, nil) }()
	result := cmd.play(ctx, c, s, key, api)
	if cmd.Keep && ctx.Err() == nil {
		if result != nil {
			fmt.Fprintf(c.stdout, "\n%v\n", result)
		}
		fmt.Fprintf(c.stdout, "\nIt stays up until Ctrl-C. Look at %s or try: legato tail --all --nats-url %s\n", s.ConsoleURL(), s.NATSURL())
		<-ctx.Done()
	}
	stopServe()
	return errors.Join(result, <-served)
}

// demoSettings are the defaults on free ports.
func demoSettings(dir, apiAddr, publicKey string) *service.Settings {
	set := service.Defaults()
	set.Listen, set.AdminListen, set.NATSListen, set.DataDir = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", dir
	set.ConsoleListen, set.ConsoleReveal = "127.0.0.1:0", []string{pages.LocalUser} // its calls are invented
	set.TelnyxPublicKey, set.TelnyxAPIKey, set.TelnyxBaseURL = publicKey, "demo", "http://"+apiAddr+"/v2"
	set.EventsMaxBytes = 256 << 20
	return set
}

// play sends the calls, prints what comes, and tells whether it is all there.
func (cmd *demoCmd) play(ctx context.Context, c *console, s *service.Service, key []byte, api *fake.API) error {
	watch := newWatch(c.stdout, cmd.JSON)
	watch.lossy = cmd.Drop > 0
	outer := ctx
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		all := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
		return follow(ctx, s.JetStream(), s.Layout(), all, cmd.Logger(c.stderr), watch.summary)
	})
	g.Go(func() error {
		defer stop()
		player, err := newPlayer(key, api, fake.PlayerConfig{
			Generator: fake.Generator{Seed: cmd.Seed}, Disorder: cmd.disorder(), Calls: cmd.Calls, Rate: cmd.Rate,
			Speed: demoSpeed, Sender: fake.SenderConfig{Target: s.WebhookURL()}, OnCall: watch.call,
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
	if err := watch.verdict(c.stdout); err != nil || cmd.JSON {
		return err
	}
	return showStory(outer, c, s, watch.longest.Session)
}

// showStory draws one of the calls, as explain does.
func showStory(ctx context.Context, c *console, s *service.Service, id call.SessionID) error {
	told, err := s.Story(ctx, story.Query{ID: string(id), Since: time.Now().Add(-time.Hour)})
	if err != nil {
		return fmt.Errorf("explain %s: %w", id, err)
	}
	told.Mask()
	fmt.Fprintf(c.stdout, "\nOne of them, as `legato explain %s` tells it:\n\n", id)
	_, err = io.WriteString(c.stdout, paintLadder(c.stdout, told.Ladder(width(c.stdout), time.Local)))
	return err
}

// watch counts summaries and compares them with what was played.
type watch struct {
	mu       sync.Mutex
	out      io.Writer
	json     bool
	terminal bool
	progress bool // a progress line stands on the terminal

	completed map[string]int  // key → how often
	holes     map[string]bool // legs whose newest summary lacks an event
	amended   int
	last      time.Time

	totals fake.Totals
	// lossy: webhooks are dropped.
	lossy bool
	// known counts the calls and legs of which at least one webhook is sent.
	known struct{ calls, legs int }
	// longest is the call with the most events.
	longest fake.Call
}

func newWatch(out io.Writer, asJSON bool) *watch {
	return &watch{out: out, json: asJSON, terminal: service.IsTerminal(out), completed: make(map[string]int), holes: make(map[string]bool), last: time.Now()}
}

// call takes a call that begins. One of which every webhook is dropped is not known to anybody.
func (w *watch) call(c fake.Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	legs := make(map[call.LegID]bool)
	for _, d := range c.Deliveries {
		if !d.Dropped {
			legs[d.LegID] = true
		}
	}
	w.known.legs += len(legs)
	if len(c.Deliveries) > len(w.longest.Deliveries) {
		w.longest = c
	}
	if len(legs) > 0 {
		w.known.calls++
	}
}

// summary takes one published message.
func (w *watch) summary(_ string, data []byte) error {
	var s struct {
		Kind     string         `json:"kind"`
		Revision int            `json:"revision"`
		Session  call.SessionID `json:"call_session_id"`
		Leg      call.LegID     `json:"call_leg_id"`
		Notes    []summary.Note `json:"notes"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%w: %w", errNoSummary, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	if s.Leg != "" {
		w.holes[demoKey(s.Session, s.Leg)] = slices.ContainsFunc(s.Notes, isHole)
	}
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

func isHole(n summary.Note) bool {
	return n == summary.NoteInitiatedMissing || n == summary.NoteAnsweredMissing || n == summary.NoteHangupMissing
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
	patience := demoPatience
	if w.lossy {
		patience *= 2 // a hangup that is lost is looked for first
	}
	if time.Since(over) > patience {
		return true
	}
	all := len(w.completed) >= w.known.calls+w.known.legs
	if w.lossy {
		all = all && w.incomplete() == 0
	}
	return all && time.Since(over) > demoQuiet && time.Since(w.last) > demoQuiet/2
}

// incomplete counts the legs that lack an event. The lock is held.
func (w *watch) incomplete() int {
	n := 0
	for _, hole := range w.holes {
		if hole {
			n++
		}
	}
	return n
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
		t.Calls, t.Posts, len(w.completed), w.known.calls+w.known.legs, what)
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
	if w.lossy {
		fmt.Fprintf(out, "%d events never arrived; legs that lacked one they must have had were completed from the history. "+
			"Of %d legs nothing arrived at all.\n", t.Dropped, t.Legs-w.known.legs)
	}
	if w.known.calls == 0 {
		w.known.calls, w.known.legs = t.Calls, t.Legs // to have heard of nothing is no success
	}
	fmt.Fprintf(out, "%d legs and %d sessions completed, each once; %d amended when late news came.\n", legs, sessions, w.amended)
	switch {
	case t.Failed > 0:
		return fmt.Errorf("%d webhooks were not accepted", t.Failed)
	case doubled > 0:
		return fmt.Errorf("%d summaries were published as completed more than once", doubled)
	case legs != w.known.legs || sessions != w.known.calls:
		return fmt.Errorf("%d of %d legs and %d of %d sessions have a summary", legs, w.known.legs, sessions, w.known.calls)
	case w.lossy && w.incomplete() > 0:
		return fmt.Errorf("%d of %d legs are not complete, though the history has their events", w.incomplete(), legs)
	}
	return nil
}

package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Calls is what forwarding asks about calls; the fold of this replica answers.
type Calls interface {
	// Session returns the session that a ref belongs to which names none, empty when it is not known.
	Session(ref call.Ref) call.SessionID
	// Over reports whether the leg that a ref names, or without one its session, is over in a view of the log that
	// has passed seq. It waits for that until ctx is done, and fails when it cannot tell.
	Over(ctx context.Context, ref call.Ref, seq uint64) (bool, error)
}

// Config says what is forwarded where. What may be left out says so.
type Config struct {
	// JetStream and Layout are those of the deployment; the stream of forwarding must be there.
	JetStream jetstream.JetStream
	Layout    natsd.Layout
	// Targets are the applications.
	Targets []Target
	// Timeout bounds one attempt.
	Timeout time.Duration
	// For and ReportsFor are how long after its receipt an event is worth trying: one that commands, and one that
	// only reports.
	For, ReportsFor time.Duration
	// Concurrency bounds the attempts under way to one target.
	Concurrency int
	// Backfill forwards also what was filled in from the provider's history.
	Backfill bool
	// Pauses are the growing pauses between attempts at an event that only reports. Empty: 10 s, 1 min, 5 min.
	Pauses []time.Duration
	// Calls answers about calls.
	Calls Calls
	// Logger takes a line for each event that was not delivered. Nil: nothing is logged.
	Logger *slog.Logger
	// Registerer takes the metrics. Nil: they are counted for nobody.
	Registerer prometheus.Registerer
}

// setup is a configuration that is complete, and the stream of events once it was looked up.
type setup struct {
	Config
	stream atomic.Pointer[jetstream.Stream]
}

// events returns the stream of events.
func (s *setup) events(ctx context.Context) (jetstream.Stream, error) {
	if known := s.stream.Load(); known != nil {
		return *known, nil
	}
	stream, err := s.JetStream.Stream(ctx, s.Layout.Events)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", s.Layout.Events, err)
	}
	s.stream.Store(&stream)
	return stream, nil
}

func (c *Config) complete() error {
	switch {
	case c.JetStream == nil || c.Calls == nil:
		return errors.New("forward: JetStream and Calls are required")
	case c.Timeout <= 0 || c.For <= 0 || c.ReportsFor <= 0 || c.Concurrency <= 0:
		return errors.New("forward: time limits and concurrency must be more than 0")
	}
	if len(c.Pauses) == 0 {
		c.Pauses = defaultPauses()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	return nil
}

// Forwarder forwards to all targets. Its life: New, Run.
type Forwarder struct {
	cfg     *setup
	runners []*runner
	proxies []*runner
}

// New checks the configuration, and makes sure of each target's place, so that nothing that is received from then
// on is missed. It fails when something required is missing, the metrics are registered already, or a place cannot
// be made.
func New(ctx context.Context, cfg Config) (*Forwarder, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	f := &Forwarder{cfg: &setup{Config: cfg}}
	m := newMetrics()
	for _, t := range cfg.Targets {
		r := newRunner(f.cfg, t, m.of(t.Name))
		if t.Mode == Proxy {
			f.proxies = append(f.proxies, r)
			continue
		}
		f.runners = append(f.runners, r)
		if _, err := r.open(ctx); err != nil {
			return nil, err
		}
	}
	// At the end, so that what fails for a while, as a place without its server, can be tried again.
	if err := m.register(cfg.Registerer); err != nil {
		return nil, err
	}
	return f, nil
}

// Run forwards until ctx ends. Attempts under way are let finish then, and what is not through is given back.
func (f *Forwarder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, r := range slices.Concat(f.runners, f.proxies) {
		wg.Go(func() { r.run(ctx) })
	}
	wg.Wait()
	return nil
}

// stopWithin bounds what is stored and told at the stop.
const stopWithin = 3 * time.Second

// run works the target until ctx ends. In proxy mode it makes the attempts alone that somebody asks for, and records what
// was answered.
func (r *runner) run(ctx context.Context) {
	var wg sync.WaitGroup
	if r.target.Mode != Proxy {
		wg.Go(func() { r.follow(ctx) })
		for i, pause := range r.cfg.Pauses {
			wg.Go(func() { r.bringBack(ctx, className(i), pause) })
		}
		wg.Go(func() { r.keepUp(ctx) })
	}
	wg.Go(func() { r.bringBack(ctx, handClass, 0) })
	wg.Go(func() { r.tick(ctx) })
	wg.Go(func() { r.heartbeat(ctx) })

	<-ctx.Done()
	r.stop()
	wg.Wait()
	r.wg.Wait()
	// ctx has ended; what is known is stored all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	r.record(ctx)
	r.giveUp(ctx)
	r.client.close()
}

// stop begins no more attempts, and lets go of what was set aside before.
func (r *runner) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	if r.prober != nil {
		r.prober.Stop()
	}
	for _, it := range r.held {
		if it.msg == nil && it.state != underWay {
			r.drop(it)
		}
	}
	for _, l := range r.lanes.byKey {
		l.wake()
	}
}

// sweepEvery is how often what does not wait for a dead target is looked for. A little often disturbs webhooks less than
// much at once.
const sweepEvery = 20 * time.Millisecond

// tick records what has happened, and looks after what waits for a dead target, until ctx ends.
func (r *runner) tick(ctx context.Context) {
	ticker := time.NewTicker(recordEvery)
	defer ticker.Stop()
	recorded, every := time.Now(), recordEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ledger.full:
			r.record(ctx)
			continue
		case <-ticker.C:
		}
		now := time.Now()
		want := recordEvery
		if r.sweep(ctx, now) {
			want = sweepEvery
		}
		if want != every {
			every = want
			ticker.Reset(every)
		}
		if now.Sub(recorded) >= recordEvery-sweepEvery {
			recorded = now
			r.record(ctx)
		}
	}
}

// heartbeat takes note that this process runs, until ctx ends. It waits for nobody else: what cannot be recorded for a while
// must not look like a process that was stopped.
func (r *runner) heartbeat(ctx context.Context) {
	ticker := time.NewTicker(recordEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.heartbeatAt(time.Now()) // the tick may be from before the process was stopped
		}
	}
}

// record stores the attempts that were made, and what was set aside.
func (r *runner) record(ctx context.Context) {
	r.mu.Lock()
	dead := r.breaker.open
	r.mu.Unlock()
	err := r.ledger.store(ctx, dead)
	if err = errors.Join(err, r.shelf.store(ctx, r.toShelf, r.onShelf)); err != nil && ctx.Err() == nil {
		r.unrecorded.Do(func() {
			r.log.Warn("attempts could not be recorded; they are kept for the next time", "error", err)
		})
	}
}

// toShelf returns the items that are still this replica's to set aside.
func (r *runner) toShelf(items []*item) []*item {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(items, func(it *item) bool { return it.state != aside })
}

// onShelf lets go of items that are set aside for good.
func (r *runner) onShelf(items []*item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range items {
		if it.state == aside { // else another replica has it by now: then it is tried twice
			r.forget(it)
		}
	}
}

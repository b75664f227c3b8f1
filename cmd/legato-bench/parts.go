package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

// portion is how many events are built at once for a large log: 80 MB.
const portion = 50_000

// start measures the time to readiness with an empty log.
func (b *benchRun) start(ctx context.Context) error {
	var times []float64
	for range max(b.Rounds, 3) {
		err := b.driven(ctx, targetPipeline, func(_ context.Context, d *drive) error {
			times = append(times, float64(d.startup)/float64(time.Millisecond))
			return nil
		})
		if err != nil {
			return err
		}
	}
	s := bench.SpreadOf(times)
	b.report.Start = &s
	return nil
}

// replay measures the time to readiness with a log, after an orderly stop and after a crash.
func (b *benchRun) replay(ctx context.Context) error {
	for _, t := range b.rows() {
		if t.Name != bench.Pipeline && t.Name != bench.Baseline {
			continue
		}
		r, err := b.replayOf(ctx, t.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", t.What, err)
		}
		b.report.Replays = append(b.report.Replays, r)
	}
	return nil
}

func (b *benchRun) replayOf(ctx context.Context, name string) (bench.Replay, error) {
	r := bench.Replay{Name: name}
	dir, err := os.MkdirTemp(b.dir, "replay-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	t, err := b.launchTarget(ctx, name, dir)
	if err != nil {
		return r, err
	}
	err = b.drive(ctx, t, func(ctx context.Context, d *drive) error {
		for r.Events < b.Replay {
			b.progress("%s: fill the log: %d of %d events", name, r.Events, b.Replay)
			result, _, err := d.flood(ctx, bench.Shape{Events: min(portion, b.Replay-r.Events)})
			if err != nil {
				return err
			}
			r.Events += result.Len()
		}
		return nil
	})
	if err != nil {
		return r, fmt.Errorf("fill the log: %w", err)
	}
	b.progress("%s: restart with %d events", name, r.Events)
	if t, err = b.launchTarget(ctx, name, dir); err != nil {
		return r, err
	}
	r.Seconds = t.startup.Seconds()
	if err := t.kill(); err != nil {
		return r, err
	}
	if t, err = b.launchTarget(ctx, name, dir); err != nil {
		return r, err
	}
	r.AfterKill = t.startup.Seconds()
	return r, t.stop()
}

// diskBusy measures the service beside the floor that writes to the disk as well, while another process does.
func (b *benchRun) diskBusy(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(b.dir, "busy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := b.launchTarget(ctx, targetWriter, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	began := time.Now()
	busy := &bench.Busy{Targets: slices.DeleteFunc(b.rows(), func(t bench.Target) bool { return t.Name != targetLocal && t.Name != targetPipeline })}
	if err := b.inTurn(ctx, busy.Targets, b.Rates[:min(1, len(b.Rates))]); err != nil {
		return err
	}
	did, err := w.ask(askWritten)
	busy.MegabytesPerSecond = float64(did.Written) / 1e6 / time.Since(began).Seconds()
	b.report.Busy = busy
	return err
}

// burstLegs are the hangups that come within a second.
const burstLegs = 20_000

// benchDeadline is after how long serve publishes without a status by default.
const benchDeadline = 10 * time.Second

// burst ends many legs within a second, and measures until the last of their summaries.
func (b *benchRun) burst(ctx context.Context) error {
	return b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		openings, hangups := d.build(bench.Shape{Events: 2 * burstLegs, PerLeg: 2}).Split()
		if _, _, err := d.send(ctx, openings, func(ctx context.Context) (*bench.Result, error) {
			return bench.Saturate(ctx, d.Listen, openings, connections)
		}); err != nil {
			return fmt.Errorf("open legs: %w", err)
		}
		b.progress("burst: %d hangups", hangups.Len())
		result, cost, err := d.send(ctx, hangups, func(ctx context.Context) (*bench.Result, error) {
			return bench.Hold(ctx, d.Listen, hangups, connections, float64(hangups.Len()))
		})
		if err != nil {
			return err
		}
		r := &bench.Burst{Legs: hangups.Len(), Answered: result.Elapsed.Seconds(), CPUMicros: cost.target}
		since := func(t time.Time) float64 { return t.Sub(result.Began).Seconds() }
		answered, last := result.Answered(), 0.0
		for i, leg := range hangups.Legs {
			asked, done := d.api.answered(leg.Ref.Control), d.watch.At(string(leg.Ref.Leg))
			waits := answered[i].Add(benchSettle)
			if asked.After(waits) {
				waits = asked
			}
			if deadline := answered[i].Add(benchDeadline); waits.After(deadline) {
				waits = deadline
			}
			r.Asked, r.LastLeg = max(r.Asked, since(asked)), max(r.LastLeg, since(done))
			r.Longest, last = max(r.Longest, done.Sub(waits).Seconds()), max(last, since(waits))
		}
		r.Over = r.LastLeg - last
		for _, id := range hangups.Sessions {
			r.LastSession = max(r.LastSession, since(d.watch.At(string(id))))
		}
		b.report.Burst = r
		return nil
	})
}

// openSteps is how many events an open leg has had: it rang and was answered.
const openSteps = 2

// open makes legs that stay open, at least so many.
func (d *drive) open(ctx context.Context, legs int) (int, error) {
	opened := 0
	for opened < legs {
		d.progress("open legs: %d of %d", opened, legs)
		shape := bench.Shape{Events: min(portion, (legs-opened+2)*openSteps), PerLeg: openSteps, Open: true}
		result, _, err := d.flood(ctx, shape)
		if err != nil {
			return opened, fmt.Errorf("open legs: %w", err)
		}
		opened += result.Len() / openSteps
	}
	return opened, nil
}

// heap measures the live heap that open legs take.
func (b *benchRun) heap(ctx context.Context) error {
	return b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		idle, err := d.ask(askHeap)
		if err != nil {
			return err
		}
		legs, err := d.open(ctx, b.OpenLegs)
		if err != nil {
			return err
		}
		least, err := d.leastHeap(ctx)
		if err != nil {
			return err
		}
		b.report.Heap = &bench.Heap{
			Legs: legs, IdleMiB: float64(idle.HeapBytes) / (1 << 20),
			BytesPerLeg: (float64(least) - float64(idle.HeapBytes)) / float64(legs),
		}
		return nil
	})
}

// leastHeap looks several times: NATS lets go of its block caches only after some seconds.
func (d *drive) leastHeap(ctx context.Context) (uint64, error) {
	const looks, apart = 8, 2 * time.Second
	var least uint64
	for range looks {
		select {
		case <-time.After(apart):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		reply, err := d.ask(askHeap)
		if err != nil {
			return 0, err
		}
		if least == 0 || reply.HeapBytes < least {
			least = reply.HeapBytes
		}
	}
	return least, nil
}

// growth measures CPU per event with few and many open sessions, and of short and long calls.
func (b *benchRun) growth(ctx context.Context) error {
	const few, short, long = 1000, 5, 500
	var byFew, byMany, byShort, byLong []float64
	for n := range b.Rounds {
		for _, m := range []struct {
			what   string
			open   int // sessions
			perLeg int
			into   *[]float64
		}{
			{"few open sessions", few, 0, &byFew},
			{"many open sessions", b.OpenLegs, 0, &byMany},
			{"short calls", 0, short, &byShort},
			{"long calls", 0, long, &byLong},
		} {
			b.progress("growth, round %d of %d: %s", n+1, b.Rounds, m.what)
			micros, err := b.costWith(ctx, m.open, m.perLeg)
			if err != nil {
				return fmt.Errorf("%s: %w", m.what, err)
			}
			*m.into = append(*m.into, micros)
		}
	}
	b.report.Sessions = bench.Compare(few, b.OpenLegs, byFew, byMany)
	b.report.Calls = bench.Compare(short, long, byShort, byLong)
	return nil
}

// costWith is the CPU time per event of legs of that many events beside that many open sessions.
func (b *benchRun) costWith(ctx context.Context, open, perLeg int) (micros float64, err error) {
	err = b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		// Three sessions have four legs.
		if _, err := d.open(ctx, (open*4+2)/3); err != nil {
			return err
		}
		if _, _, err := d.flood(ctx, warmUp); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		_, cost, err := d.flood(ctx, bench.Shape{Events: b.Events, PerLeg: perLeg})
		micros = cost.target
		if err == nil && micros <= 0 {
			err = errors.New("too few events to measure their CPU time")
		}
		return err
	})
	return micros, err
}

// steadyPart is how many seconds' worth of webhooks is built at once: their signatures stay valid for minutes.
const steadyPart = 30

// steady holds a rate for a long time and looks at the memory meanwhile.
func (b *benchRun) steady(ctx context.Context) error {
	return b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		s := &bench.Steady{Rate: b.Rates[0]}
		var p50, p99 []float64
		w := d.build(d.steadyShape(b.Steady))
		d.watch.Expect(w)
		for began := time.Now(); ; {
			d.api.register(w)
			// The next is built meanwhile, so that the rate is held without a pause.
			left := b.Steady - time.Since(began) - steadyPart*time.Second
			next := make(chan *bench.Workload, 1)
			go func() {
				if left <= 0 {
					next <- nil
					return
				}
				next <- d.build(d.steadyShape(left))
			}()
			result, err := bench.Hold(ctx, d.Listen, w, connections, s.Rate)
			w = <-next
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("%w%s", err, d.lastWords())
			}
			if err := d.unrefused(result); err != nil {
				return err
			}
			l := result.Latency()
			p50, p99 = append(p50, l.P50), append(p99, l.P99)
			s.Events, s.Over50 = s.Events+result.Len(), s.Over50+l.Over50
			s.Seconds = time.Since(began).Seconds()
			if err := d.sample(s, l); err != nil {
				return err
			}
			if w == nil {
				break
			}
			d.watch.ExpectToo(w)
		}
		s.P50, s.P99 = bench.SpreadOf(p50), bench.SpreadOf(p99)
		b.report.Steady = s
		return d.watch.Wait(ctx, summaryPatience)
	})
}

// steadyShape is of the webhooks of the next part, when so much time is left.
func (d *drive) steadyShape(left time.Duration) bench.Shape {
	return bench.Shape{Events: max(1, int(d.Rates[0]*min(left.Seconds(), steadyPart))), Calmly: true}
}

// sample adds what the memory is now, after a part of that latency.
func (d *drive) sample(s *bench.Steady, l bench.Latency) error {
	used, err := d.usage()
	if err != nil {
		return err
	}
	reply, err := d.ask(askLive)
	if err != nil {
		return err
	}
	m := bench.MemorySample{Seconds: s.Seconds, RSS: used.rss, Live: float64(reply.LiveBytes) / (1 << 20)}
	s.Samples = append(s.Samples, m)
	d.progress("after %4.0f s: RSS %.0f MiB, live heap %.0f MiB; p50 %.2f ms, p99 %.2f ms, greatest %.1f ms", m.Seconds, m.RSS, m.Live, l.P50, l.P99, l.Max)
	return nil
}

// statusLatency is how long the status API takes.
const statusLatency = 20 * time.Millisecond

// slowAPI is the fake status API with its latency, which knows how long it took for each leg.
type slowAPI struct {
	*fake.API
	addr string

	mu   sync.Mutex
	took map[call.ControlID]time.Duration
	last map[call.ControlID]time.Time
}

func serveSlowAPI(ctx context.Context) (*slowAPI, func(), error) {
	api := &slowAPI{API: fake.NewAPI(fake.APIConfig{}), took: map[call.ControlID]time.Duration{}, last: map[call.ControlID]time.Time{}}
	addr, stop, err := fake.Serve(ctx, "127.0.0.1:0", api)
	api.addr = addr
	return api, stop, err
}

// ServeHTTP answers after the latency.
func (a *slowAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	time.Sleep(statusLatency)
	a.API.ServeHTTP(w, r)
	id := call.ControlID(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took[id] += time.Since(began)
	a.last[id] = time.Now()
}

// register tells the API of the legs of a workload, as if nobody had asked for any yet.
func (a *slowAPI) register(w *bench.Workload) {
	a.mu.Lock()
	clear(a.took)
	clear(a.last)
	a.mu.Unlock()
	for _, leg := range w.Legs {
		a.Register(fake.APICall{
			Ref: leg.Ref, StartTime: leg.Start, EndTime: leg.End, Duration: int(leg.End.Sub(leg.Start) / time.Second),
		})
	}
}

// time returns how long it took over all requests for a leg.
func (a *slowAPI) time(id call.ControlID) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.took[id]
}

// answered returns when it last answered about a leg; zero: it was not asked.
func (a *slowAPI) answered(id call.ControlID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[id]
}

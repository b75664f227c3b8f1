package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/procfs"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
	"github.com/legato-calls/legato/internal/natsd"
)

// rows are what is measured, in the order in which they take turns.
func (b *benchRun) rows() []bench.Target {
	rows := []bench.Target{
		{Name: targetFloor, What: "floor A: Echo, read body, verify, 200"},
		{Name: targetOurs, What: "A with our verifier"},
		{Name: targetSynced, What: "A + one awaited publish, synced"},
		{Name: targetLocal, What: "floor W: A + a synced log (pebble), a copy to JetStream"},
		{Name: targetPipeline, What: "the service, its NATS embedded"},
		{Name: targetPipeline + bench.External, What: "the service and its NATS, not synced"},
	}
	if b.Baseline != "" {
		rows = append(rows, bench.Target{Name: bench.Baseline, What: "the baseline, its NATS embedded"},
			bench.Target{Name: bench.Baseline + bench.External, What: "the baseline and its NATS, not synced"})
	}
	return slices.DeleteFunc(rows, func(t bench.Target) bool { return len(b.Rows) > 0 && !slices.Contains(b.Rows, t.Name) })
}

// benchSettle is what serve waits after a hangup by default.
const benchSettle = time.Second

// warmUp are events that come before anything is measured: some calls that stay
// open, so that no summary of theirs falls into the measurement.
var warmUp = bench.Shape{Events: 500, PerLeg: 2, Open: true}

// load measures all targets, each in a new process, in every round.
func (b *benchRun) load(ctx context.Context) error {
	b.report.Targets = b.rows()
	return b.inTurn(ctx, b.report.Targets, b.Rates)
}

// inTurn measures targets in rounds, at saturation and at fixed rates.
func (b *benchRun) inTurn(ctx context.Context, targets []bench.Target, rates []float64) error {
	for n := range b.Rounds {
		for i := range targets {
			t := &targets[i]
			b.progress("round %d of %d: %s", n+1, b.Rounds, t.What)
			round, err := b.round(ctx, t.Name, n, rates)
			if err != nil {
				return fmt.Errorf("%s: %w", t.What, err)
			}
			t.Rounds = append(t.Rounds, round)
		}
	}
	return nil
}

// drive is a target under load, with what watches it.
type drive struct {
	*benchRun
	*target
	watch *summaryWatch // nil: a floor, which makes no summaries
}

// driven starts a target, with more flags of the service, hands it to do, and stops it.
func (b *benchRun) driven(ctx context.Context, name string, do func(context.Context, *drive) error, flags ...string) error {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t, err := b.launchTarget(ctx, name, dir, flags...)
	if err != nil {
		return err
	}
	return b.drive(ctx, t, do)
}

// drive hands a running target to do, and stops it.
func (b *benchRun) drive(ctx context.Context, t *target, do func(context.Context, *drive) error) (err error) {
	d := &drive{benchRun: b, target: t}
	defer func() { err = errors.Join(err, t.stop()) }()
	if t.NATS != "" {
		if d.watch, err = watchSummaries(ctx, t.NATS); err != nil {
			return err
		}
		defer d.watch.close()
	}
	return do(ctx, d)
}

func (b *benchRun) round(ctx context.Context, name string, n int, rates []float64) (bench.Round, error) {
	var r bench.Round
	err := b.driven(ctx, name, func(ctx context.Context, d *drive) error {
		idle, err := d.usage()
		if err != nil {
			return err
		}
		r.IdleRSS = idle.rss
		if r.Saturated, err = d.saturated(ctx, n); err != nil {
			return err
		}
		for _, rate := range rates {
			held, err := d.held(ctx, rate, n)
			if err != nil {
				return fmt.Errorf("at %g/s: %w", rate, err)
			}
			r.Held = append(r.Held, held)
		}
		after, err := d.usage()
		r.PeakRSS, r.AfterRSS = after.peak, after.rss
		return err
	})
	return r, err
}

// saturated measures a target that gets all that it can take.
func (d *drive) saturated(ctx context.Context, n int) (bench.Saturated, error) {
	var s bench.Saturated
	if _, _, err := d.flood(ctx, warmUp); err != nil {
		return s, fmt.Errorf("warm up: %w", err)
	}
	var result *bench.Result
	var cost cost
	err := d.profiled(fmt.Sprintf("%s-%d", d.name, n+1), func() (err error) {
		result, cost, err = d.flood(ctx, bench.Shape{Events: d.Events})
		return err
	})
	if err != nil {
		return s, err
	}
	s.Events, s.PerSecond, s.Latency = result.Len(), result.PerSecond(), result.Latency()
	s.CPUMicros, s.GeneratorMicros = cost.target, cost.generator
	return s, nil
}

// profiled does something, and profiles the target meanwhile if that is wanted.
func (d *drive) profiled(name string, do func() error) error {
	if d.Profile == "" {
		return do()
	}
	if _, err := d.ask(askProfile + " " + filepath.Join(d.Profile, name+".cpu.pprof")); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	_, err := d.ask(askProfiled)
	return err
}

// held measures a target at a fixed rate, in the n-th round.
func (d *drive) held(ctx context.Context, rate float64, n int) (bench.Held, error) {
	w := d.build(bench.Shape{Events: max(1, int(rate*d.Hold.Seconds()))})
	var result *bench.Result
	var cost cost
	err := d.profiled(fmt.Sprintf("%s-%d-at-%g", d.name, n+1, rate), func() (err error) {
		result, cost, err = d.send(ctx, w, func(ctx context.Context) (*bench.Result, error) {
			return bench.Hold(ctx, d.Listen, w, connections, rate)
		})
		return err
	})
	if err != nil {
		return bench.Held{}, err
	}
	held := bench.Held{Rate: rate, CPUMicros: cost.target, Latency: result.Latency(), Lag: result.Lag()}
	if d.watch != nil {
		held.Completed = d.completed(w, result)
	}
	return held, nil
}

// completed is how long summaries took after the hangup's answer, less what had to be waited for.
func (d *drive) completed(w *bench.Workload, r *bench.Result) *bench.Completed {
	answered := r.Answered()
	took := make([]float64, len(w.Legs))
	for i, leg := range w.Legs {
		waited := benchSettle + d.api.time(leg.Ref.Control)
		took[i] = float64(d.watch.At(string(leg.Ref.Leg)).Sub(answered[i])-waited) / float64(time.Millisecond)
	}
	slices.Sort(took)
	return &bench.Completed{P50: bench.Percentile(took, 0.5), P99: bench.Percentile(took, 0.99), Max: took[len(took)-1]}
}

// flood sends a workload as fast as it is taken.
func (d *drive) flood(ctx context.Context, shape bench.Shape) (*bench.Result, cost, error) {
	w := d.build(shape)
	return d.send(ctx, w, func(ctx context.Context) (*bench.Result, error) {
		return bench.Saturate(ctx, d.Listen, w, connections)
	})
}

// cost is CPU time in microseconds per event.
type cost struct{ target, generator float64 }

// send drives the target with a workload, waits for its summaries, and tells what that cost.
// It fails when a webhook was refused or a summary is missing.
func (d *drive) send(ctx context.Context, w *bench.Workload, drive func(context.Context) (*bench.Result, error)) (*bench.Result, cost, error) {
	if d.watch != nil {
		d.api.register(w)
		d.watch.Expect(w)
	}
	before, err := d.clocks()
	if err != nil {
		return nil, cost{}, err
	}
	result, err := drive(ctx)
	if ctx.Err() != nil {
		return nil, cost{}, ctx.Err()
	}
	if err != nil {
		return nil, cost{}, fmt.Errorf("%w%s", err, d.lastWords())
	}
	if err := d.unrefused(result); err != nil {
		return nil, cost{}, err
	}
	if d.watch != nil && w.Ends() {
		if err := d.watch.Wait(ctx, summaryPatience); err != nil {
			return nil, cost{}, err
		}
	}
	after, err := d.clocks()
	if err != nil {
		return nil, cost{}, err
	}
	events := float64(result.Len())
	return result, cost{target: (after.target - before.target) / events, generator: (after.generator - before.generator) / events}, nil
}

// unrefused fails when a webhook was refused.
func (d *drive) unrefused(r *bench.Result) error {
	if r.Refused > 0 {
		return fmt.Errorf("%d of %d webhooks were refused%s", r.Refused, r.Len(), d.lastWords())
	}
	return nil
}

// clocks are the CPU times of target and generator so far.
func (d *drive) clocks() (cost, error) {
	used, err := d.usage()
	if err != nil {
		return cost{}, err
	}
	self, err := procfs.Self()
	if err != nil {
		return cost{}, fmt.Errorf("read the generator's CPU time: %w", err)
	}
	stat, err := self.Stat()
	if err != nil {
		return cost{}, fmt.Errorf("read the generator's CPU time: %w", err)
	}
	return cost{target: float64(used.cpu) / float64(time.Microsecond), generator: stat.CPUTime() * 1e6}, nil
}

// summaryPatience bounds the wait for the last summaries after the last webhook: settle times and
// status deadline are some 20 s, and a machine may be slow.
const summaryPatience = 90 * time.Second

// summaryWatch follows the summaries of a target.
type summaryWatch struct {
	bench.Ledger
	layout natsd.Layout
	nc     *nats.Conn
	stop   func()
}

// watchSummaries follows the stream of summaries of a target, headers only: what arrives is stored.
func watchSummaries(ctx context.Context, url string) (*summaryWatch, error) {
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		return nil, err
	}
	w := &summaryWatch{layout: layout}
	if w.nc, err = nats.Connect(url); err != nil {
		return nil, fmt.Errorf("watch the summaries: %w", err)
	}
	w.stop, err = w.follow(ctx)
	if err != nil {
		w.nc.Close()
		return nil, fmt.Errorf("watch the summaries: %w", err)
	}
	return w, nil
}

func (w *summaryWatch) follow(ctx context.Context) (func(), error) {
	js, err := jetstream.New(w.nc)
	if err != nil {
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, w.layout.Calls, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, HeadersOnly: true,
	})
	if err != nil {
		return nil, err
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) { w.summary(m.Subject(), time.Now()) })
	if err != nil {
		return nil, err
	}
	return consuming.Stop, nil
}

func (w *summaryWatch) close() {
	w.stop()
	w.nc.Close()
}

// summary takes the subject of one summary: prefix, kind, word, connection,
// session, and for a leg's the leg.
func (w *summaryWatch) summary(subject string, at time.Time) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, w.layout.Prefix+"."), ".")
	if strings.HasPrefix(rest, "completed.") {
		w.Completed(subject[strings.LastIndexByte(subject, '.')+1:], at)
	}
}

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sync/errgroup"
)

// How far into a stop its stages may go on. What has not ended by then is left behind: no library is trusted to end
// with its context. stopWithin bounds the whole, below what Kubernetes and systemd give.
const (
	serveUntil   = 6 * time.Second
	consoleUntil = serveUntil + 500*time.Millisecond
	forwardUntil = 7 * time.Second
	workUntil    = 10 * time.Second
	followUntil  = 11 * time.Second
	stopWithin   = 14 * time.Second
	// lastMoment is for what ends together with the connection to NATS.
	lastMoment = 500 * time.Millisecond
)

// stage is a part of the service that runs until it is stopped.
type stage struct {
	name  string
	until time.Duration
	stop  func(context.Context) error
	ended chan struct{}
}

// Run works until ctx ends or something fails for good; then it stops in order:
// webhooks first, then forwarding, the queue's work, the fold, the appends, NATS last. It returns within the time
// that a stop may take, also where something does not end. Files of keys and certificates are read again when reload
// says so; it may be nil.
func (s *Service) Run(ctx context.Context, reload <-chan os.Signal) error {
	g, failed := errgroup.WithContext(ctx)
	var stages []*stage
	start := func(name string, until time.Duration, run func() error, stop func(context.Context) error) {
		st := &stage{name: name, until: until, stop: stop, ended: make(chan struct{})}
		stages = append(stages, st)
		g.Go(func() error { defer close(st.ended); return run() })
	}
	// Each of these ends only after the one before it has.
	background := func(name string, until time.Duration, run func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		start(name, until, func() error { return run(ctx) }, func(context.Context) error { cancel(); return nil })
	}
	start("webhooks", serveUntil, s.ingest.Serve, s.ingest.Shutdown)
	if s.console != nil {
		start("console", consoleUntil, s.console.Serve, s.console.Shutdown)
	}
	background("forwarding", forwardUntil, s.runForward)
	background("work", workUntil, s.worker.Run)
	background("fold", followUntil, s.follow)
	g.Go(func() error { return s.watchFiles(failed, reload) })
	for _, run := range []func(context.Context) error{s.heartbeat, s.shout, s.watchStreams, s.watchAcks} {
		g.Go(func() error { return run(failed) })
	}
	all := make(chan error, 1)
	go func() { all <- g.Wait() }()

	<-failed.Done()
	s.log.Info("stopping")
	s.unready(errors.New("stopping"))
	begun := time.Now()
	stopped := s.stopInOrder(ctx, stages, begun)
	select {
	case err := <-all:
		return errors.Join(err, stopped)
	case <-time.After(max(stopWithin-time.Since(begun), lastMoment)):
		// The process ends without it: its tasks are handed out again, its webhooks sent again.
		return errors.Join(stopped, fmt.Errorf("stop: %s did not end in time", strings.Join(running(stages), ", ")))
	}
}

// running names the stages that have not ended.
func running(stages []*stage) (names []string) {
	for _, st := range stages {
		select {
		case <-st.ended:
		default:
			names = append(names, st.name)
		}
	}
	return names
}

// stopInOrder stops one stage after the other, and then what was started before them.
func (s *Service) stopInOrder(ctx context.Context, stages []*stage, begun time.Time) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, st := range stages {
		ctx, cancel := context.WithDeadline(ctx, begun.Add(st.until))
		if err := bounded(ctx, st.stop); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", st.name, err))
		}
		select {
		case <-st.ended:
		case <-ctx.Done():
			s.log.Warn("a part of the service does not end", "part", st.name)
		}
		cancel()
	}
	ctx, cancel := context.WithDeadline(ctx, begun.Add(stopWithin))
	defer cancel()
	return errors.Join(append(errs, s.stop(ctx))...)
}

// ended maps the end of a context that was asked for to success.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// bounded does something that may not heed its context, and returns when that ends.
func bounded(ctx context.Context, do func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // it heeds it
		return err
	case <-time.After(lastMoment / 5):
		return ctx.Err()
	}
}

// stop tears down what was started, the last first.
func (s *Service) stop(ctx context.Context) error {
	var errs []error
	for _, t := range slices.Backward(s.teardown) {
		if err := bounded(ctx, t.stop); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", t.name, err))
		}
	}
	s.teardown = nil
	return errors.Join(errs...)
}

// version is set by the linker in releases: -ldflags "-X github.com/legato-calls/legato/internal/service.version=v1.2.3".
var version = "dev"

// Release is the version of this build, as a release or "dev".
func Release() string { return version }

// Commit is the revision that the binary was built from, as far as the build knew it.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return revision + dirty
}

const (
	// collectorRoom is how much is allocated, at least, between two garbage collections. While one runs it
	// takes all processors that would be idle, and on two of them Linux gives a thread that wakes from a sync to
	// disk its turn only after milliseconds: measured at 1,000 webhooks a second, nine of ten that took
	// longer than 6 ms fell into a collection. With Go's default there was one every two seconds, at 120 MiB alive.
	collectorRoom = 256 << 20
	// memoryShare of what its control group allows is the process's; the rest is for what Go does not count.
	memoryShare = 0.9
)

// TuneCollector bounds memory by the control group's limit, of which Go knows nothing, and within
// that leaves the garbage collector room. GOMEMLIMIT, AUTOMEMLIMIT and GOGC, where set, are obeyed.
func TuneCollector(log *slog.Logger) {
	_, err := memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithRatio(memoryShare))
	if err != nil && !errors.Is(err, memlimit.ErrNoCgroup) && !errors.Is(err, memlimit.ErrCgroupsNotSupported) {
		log.Warn("the control group's memory limit could not be read; set GOMEMLIMIT", "error", err)
	}
	if os.Getenv("GOGC") != "" {
		return
	}
	// The finalizer of an object that nothing holds runs after each collection.
	type collection struct{ _ *byte }
	var collected func(*collection)
	last := 100
	collected = func(c *collection) {
		if percent := collectorPercent(); percent != last {
			last = percent
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(c, collected)
	}
	collected(new(collection))
}

// collectorPercent is the GOGC that leaves collectorRoom after the last collection, and what Go leaves by
// default where that is more. It is a share of all that was scanned: heap, stacks and globals.
func collectorPercent() int {
	const least = 4 << 20 // Go's own smallest heap
	scanned := runtimeBytes("/gc/heap/live:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes")
	return int(max(100, collectorRoom*100/max(scanned, least)))
}

// LiveHeap is what the last collection found alive, in bytes; 0 before the first.
func LiveHeap() uint64 { return runtimeBytes("/gc/heap/live:bytes") }

// runtimeBytes adds up metrics of the runtime.
func runtimeBytes(names ...string) (sum uint64) {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return sum
}

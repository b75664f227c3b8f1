package service

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

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

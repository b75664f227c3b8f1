//go:build linux || darwin

package export_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish/export"
)

// BenchmarkExport writes 100,000 legs, a third of them revised once. Wall clock tells little on a
// machine that is shared, so the processor time of the whole process, server included, is reported beside it.
func BenchmarkExport(b *testing.B) {
	const legs = 100_000
	w := newWorld(b)
	w.publish(0, legs, 2)
	for _, name := range []string{"ndjson", "csv", "parquet", "nested parquet"} {
		format, nested := strings.CutPrefix(name, "nested ")
		b.Run(name, func(b *testing.B) {
			p := w.plan(summary.KindLeg, export.Format(format), "legs."+format)
			p.Nested = nested
			before := processorTime(b)
			for b.Loop() {
				result, err := export.Run(b.Context(), w.js, w.layout, p, nil)
				if err != nil || result.Rows != legs {
					b.Fatalf("%+v, %v", result, err)
				}
			}
			info, err := os.Stat(p.Output)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(info.Size())/1e6, "MB")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

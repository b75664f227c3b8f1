package bench

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution in milliseconds.
type Latency struct {
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
	// Over50 counts what took more than 50 ms.
	Over50 int `json:"over_50_ms"`
}

// outlier is what a webhook must not take.
const outlier = 50 * time.Millisecond

// Latency is the time from when events were due, or were sent where there was no schedule,
// to their answers.
func (r *Result) Latency() Latency {
	return r.distribution(func(i int) time.Duration {
		if r.interval == 0 {
			return r.answered[i] - r.sent[i]
		}
		return r.answered[i] - r.due(i)
	})
}

// Lag is how late events were sent, whether for want of a free connection or of a processor.
func (r *Result) Lag() Latency {
	return r.distribution(func(i int) time.Duration { return r.sent[i] - r.due(i) })
}

func (r *Result) distribution(of func(i int) time.Duration) Latency {
	// Microseconds up to a minute, to three digits.
	h := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	var l Latency
	for i := range r.answered {
		d := of(i)
		if d > outlier {
			l.Over50++
		}
		// What is longer than a minute counts as a minute.
		_ = h.RecordValue(min(d.Microseconds(), time.Minute.Microseconds()))
	}
	ms := func(micros int64) float64 { return float64(micros) / 1000 }
	l.P50, l.P99, l.P999 = ms(h.ValueAtPercentile(50)), ms(h.ValueAtPercentile(99)), ms(h.ValueAtPercentile(99.9))
	l.Max = ms(h.Max())
	return l
}

// Spread is a value over the rounds of a run.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the median, least and greatest of values; zero when there are none.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s := Spread{Median: sorted[middle], Min: sorted[0], Max: sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		s.Median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s
}

// Percentile returns the value below which that share of sorted values lies, from 0
// to 1; zero when there are none.
func Percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

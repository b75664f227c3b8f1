package main

import (
	"context"
	"fmt"
	"time"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

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

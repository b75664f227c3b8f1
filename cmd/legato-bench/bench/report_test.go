package bench_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

var update = flag.Bool("update", false, "rewrite the wanted report")

// round invents one of a target that takes so much CPU.
func round(perSecond, cpu, p99 float64, completed *bench.Completed) bench.Round {
	l := bench.Latency{P50: p99 / 3, P99: p99, P999: 2 * p99, Max: 3 * p99}
	return bench.Round{
		IdleRSS: 20, PeakRSS: 45.4, AfterRSS: 44.6,
		Saturated: bench.Saturated{Events: 40000, PerSecond: perSecond, CPUMicros: cpu, GeneratorMicros: 21, Latency: l},
		Held: []bench.Held{
			{Rate: 5000, CPUMicros: cpu * 1.5, Latency: l, Lag: bench.Latency{P99: 0.1}},
			{Rate: 1000, CPUMicros: cpu * 2, Latency: l, Lag: bench.Latency{P99: 0.06}, Completed: completed},
		},
	}
}

func invented() *bench.Report {
	return &bench.Report{
		Machine: bench.Machine{CPUs: 2, Go: "go1.26", Version: "legato dev", LoadBefore: 0.25, SyncP50: 0.21, SyncP99: 1.5},
		Targets: []bench.Target{
			// The machine was half as fast in the second round: ratios are of the same round.
			{Name: bench.Floor, What: "floor A", Rounds: []bench.Round{round(20000, 50, 0.6, nil), round(10000, 100, 1.2, nil), round(20000, 50, 0.6, nil)}},
			{Name: bench.Synced, What: "synced", Rounds: []bench.Round{round(4000, 200, 1.6, nil), round(2000, 400, 3, nil), round(4000, 200, 1.6, nil)}},
			{Name: bench.Local, What: "floor W", Rounds: []bench.Round{round(9000, 80, 1, nil), round(4500, 160, 2, nil), round(9000, 80, 1, nil)}},
			{Name: bench.Baseline, What: "baseline", Rounds: []bench.Round{round(2000, 600, 4, nil), round(1000, 1200, 8, nil), round(2000, 600, 4, nil)}},
			{Name: bench.Pipeline, What: "pipeline", Rounds: []bench.Round{
				round(14000, 60, 2, &bench.Completed{P50: 1.5, P99: 11}), round(7000, 120, 4, &bench.Completed{P50: 3, P99: 20}),
				round(14000, 60, 2, &bench.Completed{P50: 1.5, P99: 12}),
			}},
		},
		Start: &bench.Spread{Median: 110, Min: 100, Max: 130}, Replays: []bench.Replay{{Name: bench.Pipeline, Events: 100_000, Seconds: 1.234, AfterKill: 2}},
		Heap: &bench.Heap{Legs: 100_000, IdleMiB: 12.34, BytesPerLeg: 2812.4},
		Steady: &bench.Steady{
			Rate: 1000, Seconds: 3600, Events: 3_600_000, Over50: 2, P50: bench.Spread{Median: 0.4, Min: 0.4, Max: 0.5}, P99: bench.Spread{Median: 2, Min: 1, Max: 9},
			Samples: []bench.MemorySample{
				// What fills in the first third counts for nothing, nor does one sample beside many others.
				{Seconds: 30, RSS: 100, Live: 50},
				{Seconds: 1199, RSS: 400, Live: 200},
				{Seconds: 1300, RSS: 800, Live: 300},
				{Seconds: 1400, RSS: 800, Live: 310},
				{Seconds: 2399, RSS: 9000, Live: 320},
				{Seconds: 2401, RSS: 820, Live: 330},
				{Seconds: 3000, RSS: 830, Live: 330},
				{Seconds: 3600, RSS: 90, Live: 330},
			},
		},
		Busy: &bench.Busy{MegabytesPerSecond: 49.87, Targets: []bench.Target{
			{Name: bench.Local, What: "floor W", Rounds: []bench.Round{round(6000, 150, 2, nil)}},
			{Name: bench.Pipeline, What: "pipeline", Rounds: []bench.Round{round(4000, 200, 5, &bench.Completed{P50: 1, P99: 2})}},
		}},
		Burst:    &bench.Burst{Legs: 20_000, Answered: 2.5, Asked: 8.04, LastLeg: 9, LastSession: 14.1, Over: 0.25, Longest: 4.125},
		Sessions: bench.Compare(1000, 100_000, []float64{60, 70}, []float64{66, 77}),
		Calls:    bench.Compare(5, 500, []float64{60}, []float64{72}),
		Forward: &bench.Forward{
			Rate: 1000, Undelivered: 10_000, Plain: []float64{200, 210}, Restart: []float64{210, 240},
			Alone: []bench.ForwardRound{{CPUMicros: 200, P99: 2}, {CPUMicros: 400, P99: 2}},
			Live:  []bench.ForwardRound{{CPUMicros: 240, P99: 2.1, First50: 0.4, First99: 3}, {CPUMicros: 500, P99: 2.2, First50: 0.5, First99: 12}},
			Dead:  []bench.ForwardRound{{CPUMicros: 206, P99: 2}, {CPUMicros: 412, P99: 3}},
		},
		Console: &bench.Console{
			Rate: 1000, Readers: 5,
			Alone: []bench.ConsoleRound{{CPUMicros: 200, P99: 2}, {CPUMicros: 400, P99: 2}},
			Read:  []bench.ConsoleRound{{CPUMicros: 204, P99: 2.1, KiB: 900}, {CPUMicros: 408, P99: 2.6, KiB: 1000}},
			Pages: []bench.ConsolePage{
				{Events: bench.ConsoleShort, FirstByte: []float64{10, 31, 12}, Whole: []float64{90, 80, 300}},
				{Events: bench.ConsoleLong, FirstByte: []float64{100}, Whole: []float64{810}},
			},
		},
	}
}

func TestTheReportIsPrintedAsTables(t *testing.T) {
	t.Parallel()
	r := invented()
	r.Judge()
	var got strings.Builder
	if err := r.Print(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.md")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestGoalsAreJudgedByTheMedianOfRatiosOfTheSameRound(t *testing.T) {
	t.Parallel()
	verdicts := func(r *bench.Report) map[string]bench.Verdict {
		r.Judge()
		out := map[string]bench.Verdict{}
		for _, g := range r.Goals {
			out[g.Goal] = g.Verdict
		}
		return out
	}
	want := map[string]bench.Verdict{
		"1 events/s at saturation, of the baseline's":                                    bench.Reached, // 7
		"1 CPU per event at saturation, of the baseline's":                               bench.Reached, // 0.1
		"1 the same, of floor W's":                                                       bench.Reached, // 0.75
		"1 the same, of floor A's":                                                       bench.Reached, // 1.2
		"2 events/s with an external NATS, of the baseline's":                            bench.NotMeasured,
		"2 CPU per event of both, of the baseline's":                                     bench.NotMeasured,
		"3 p99 at 1,000/s, of the synced floor's":                                        bench.Reached,     // 1.25
		"3 CPU per event at 1,000/s, of the synced floor's":                              bench.Reached,     // 0.3
		"3 hangup's 200 to completed at 1,000/s, p99":                                    bench.NotReached,  // 12
		"4 p99 of the median half minute of an hour at 1,000/s":                          bench.Reached,     // 2
		"4 RSS in its last third":                                                        bench.NotReached,  // 820
		"5 restart with 1,000,000 events in the log, of the baseline's":                  bench.NotMeasured, // with 100,000 only
		"6 heap per open leg, of 100,000":                                                bench.NotReached,  // 2812
		"6 CPU per event with 100,000 open sessions, of that with 1,000":                 bench.Reached,
		"6 CPU per event of calls of 500 events, of that of 5":                           bench.NotReached, // 1.2
		"7 events/s on a busy disk, of floor W's":                                        bench.NotReached, // 0.67
		"7 p99 at 1,000/s on a busy disk, of floor W's":                                  bench.NotReached, // 2.5
		"7 the last summary after settle time and status, of 20,000 hangups in a second": bench.Reached,
		"8 webhook's 200 to the forwarded request at 1,000/s, p50":                       bench.Reached,
		"8 the same, p99": bench.Reached,
		"8 CPU per event with an application, of that without":                         bench.Reached,
		"8 the same with a dead one":                                                   bench.Reached,
		"8 p99 of webhooks with a dead application, of that without":                   bench.NotReached,
		"8 restart with 10,000 undelivered events, of that without an application":     bench.Reached,
		"9 CPU per event with five readers of the console at 1,000/s, of that without": bench.Reached,
		"9 p99 of webhooks, the same":                                                  bench.NotReached, // 1.175
		"9 first byte of the page of a call of 30 events, in Chromium":                 bench.Reached,    // by the median
		"9 the whole of it":                          bench.Reached,
		"9 the whole page of a call of 5,000 events": bench.NotReached,
	}
	if diff := cmp.Diff(want, verdicts(invented())); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	for goal := range want {
		want[goal] = bench.NotMeasured
	}
	if diff := cmp.Diff(want, verdicts(&bench.Report{})); diff != "" {
		t.Errorf("verdicts of an empty report (-want +got):\n%s", diff)
	}
}

func TestAnHourIsJudgedWhenItIsOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		seconds, rate, last float64
		want                bench.Verdict
	}{
		{3600, 1000, 400, bench.Reached},
		{3600, 1000, 401, bench.NotReached},
		{3599, 1000, 100, bench.NotMeasured},
		{3600, 999, 100, bench.NotMeasured},
	} {
		r := &bench.Report{Steady: &bench.Steady{Rate: c.rate, Seconds: c.seconds, Samples: []bench.MemorySample{
			{Seconds: 100, RSS: 50}, {Seconds: 1500, RSS: 100}, {Seconds: 3000, RSS: c.last},
		}}}
		r.Judge()
		i := slices.IndexFunc(r.Goals, func(g bench.Goal) bool { return g.Goal == "4 RSS in its last third" })
		if i < 0 || r.Goals[i].Verdict != c.want {
			t.Errorf("%+v: %+v", c, r.Goals)
		}
	}
}

func TestARestartIsJudgedBesideTheBaselines(t *testing.T) {
	t.Parallel()
	r := &bench.Report{Replays: []bench.Replay{
		{Name: bench.Pipeline, Events: 1_000_000, Seconds: 4}, {Name: bench.Baseline, Events: 1_000_000, Seconds: 13},
	}}
	r.Judge()
	i := slices.IndexFunc(r.Goals, func(g bench.Goal) bool { return strings.HasPrefix(g.Goal, "5 restart") })
	if i < 0 || r.Goals[i].Verdict != bench.NotReached || r.Goals[i].Found != "0.31×" {
		t.Errorf("%+v", r.Goals)
	}
}

func TestARoundTooShortForTheClockHasNoRatio(t *testing.T) {
	t.Parallel()
	r := &bench.Report{Targets: []bench.Target{
		{Name: bench.Baseline, Rounds: []bench.Round{round(1, 0, 1, nil)}}, {Name: bench.Pipeline, Rounds: []bench.Round{round(1, 0, 1, nil)}},
	}}
	r.Judge()
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if r.Goals[1].Verdict != bench.NotMeasured {
		t.Errorf("judged all the same: %+v", r.Goals[1])
	}
}

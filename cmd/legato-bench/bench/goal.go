package bench

import (
	"fmt"
	"math"
	"time"
)

// Verdict tells what became of a goal.
type Verdict string

// Verdicts.
const (
	Reached     Verdict = "reached"
	NotReached  Verdict = "not reached"
	NotMeasured Verdict = "not measured"
)

// Goal is a promise and what was found.
type Goal struct {
	Goal    string  `json:"goal"`
	Wanted  string  `json:"wanted"`
	Found   string  `json:"found,omitempty"`
	Verdict Verdict `json:"verdict"`
}

// Names of the targets that goals compare.
const (
	Floor    = "floor"
	Synced   = "publish-synced"
	Pipeline = "pipeline"
)

// The goals' numbers.
const (
	wantPerSecond    = 12_000
	wantIdleMiB      = 40
	wantBytesPerLeg  = 3 << 10
	wantFlat         = 1.05
	wantReplay       = 1_000_000
	wantReplaySecs   = 6
	wantStartMillis  = 200
	wantGrowth       = 1.15
	wantOpenSessions = 100_000
)

// Judge fills in the goals. A goal is judged by the median over the rounds.
func (r *Report) Judge() {
	p, floor, synced := r.target(Pipeline), r.target(Floor), r.target(Synced)
	r.Goals = nil
	r.judgeLoad(p, floor)
	r.judgeRates(p)
	r.judgeSize(p)
	r.judgeGrowth()
	var same []float64
	if p != nil && synced != nil {
		same = ratios(p.at(1000, heldCPU), synced.at(1000, heldCPU))
	}
	r.most("7 CPU per event at 1,000/s, of the synced floor's", same, 1, "×")
	r.judgeForward()
	r.judgeConsole()
}

func (r *Report) judgeLoad(p, floor *Target) {
	var ratio, rate []float64
	if p != nil {
		rate = p.each(perSecond)
	}
	if p != nil && floor != nil {
		ratio = ratios(p.each(cpu), floor.each(cpu))
	}
	r.most("1 CPU per event at saturation, of floor A's", ratio, 1, "×")
	r.most("1 the same, first milestone", ratio, 1.5, "×")
	g := Goal{Goal: "2 events/s at saturation, none refused", Wanted: "≥ 12,000", Verdict: NotMeasured}
	if len(rate) > 0 {
		s := SpreadOf(rate)
		g.Found, g.Verdict = show(s, 0), verdict(s.Median >= wantPerSecond)
	}
	r.Goals = append(r.Goals, g)
}

func (r *Report) judgeRates(p *Target) {
	var p99, p99Fast, over, c50, c99 []float64
	if p != nil {
		p99, p99Fast = p.at(1000, heldP99), p.at(5000, heldP99)
		for _, rate := range []float64{1000, 5000} {
			over = append(over, p.at(rate, func(h *Held) float64 { return float64(h.Latency.Over50) })...)
		}
		if h := p.Rounds[0].held(1000); h != nil && h.Completed != nil {
			c50 = p.at(1000, func(h *Held) float64 { return h.Completed.P50 })
			c99 = p.at(1000, func(h *Held) float64 { return h.Completed.P99 })
		}
	}
	r.most("2 p99 at 1,000/s", p99, 2.5, " ms")
	r.most("2 p99 at 5,000/s", p99Fast, 10, " ms")
	r.most("2 webhooks over 50 ms in a round at these rates (one class may be named)", over, 0, "")
	r.most("3 hangup's 200 to completed, p50 at 1,000/s", c50, 2, " ms")
	r.most("3 the same, p99", c99, 10, " ms")
}

func (r *Report) judgeSize(p *Target) {
	var idle, heap, flat, replay, start []float64
	if p != nil {
		idle = p.each(func(r *Round) float64 { return r.IdleRSS })
	}
	if r.Heap != nil && r.Heap.Legs >= wantOpenSessions {
		heap = []float64{r.Heap.BytesPerLeg}
	}
	if s := r.Steady; s != nil && s.Rate >= 1000 && math.Round(s.Seconds) >= time.Hour.Seconds() {
		// Finished sessions stay 15 minutes: memory fills in the first third.
		before, _ := s.third(1)
		after, _ := s.third(2)
		flat = ratios([]float64{after}, []float64{before})
	}
	if r.Replay != nil && r.Replay.Events >= wantReplay {
		replay = []float64{r.Replay.Seconds}
	}
	r.most("4 RSS idle", idle, wantIdleMiB, " MiB")
	r.most("4 heap per open leg, of 100,000", heap, wantBytesPerLeg, " B")
	r.most("4 RSS in the last third of an hour at 1,000/s, of that in the second", flat, wantFlat, "×")
	r.most("5 restart with 1,000,000 events in the log", replay, wantReplaySecs, " s")
	if r.Start != nil {
		start = []float64{r.Start.Median}
	}
	r.most("5 start with an empty log", start, wantStartMillis, " ms")
}

func (r *Report) judgeGrowth() {
	var sessions, calls []float64
	if r.Sessions != nil && r.Sessions.Large >= wantOpenSessions {
		sessions = []float64{r.Sessions.Ratio.Median}
	}
	if r.Calls != nil {
		calls = []float64{r.Calls.Ratio.Median}
	}
	r.most("6 CPU per event with 100,000 open sessions, of that with 1,000", sessions, wantGrowth, "×")
	r.most("6 CPU per event of calls of 500 events, of that of 5", calls, wantGrowth, "×")
}

// most adds a goal that a median is at most so much.
func (r *Report) most(goal string, values []float64, limit float64, unit string) {
	g := Goal{Goal: goal, Wanted: fmt.Sprintf("≤ %s%s", number(limit, 2), unit), Verdict: NotMeasured}
	if len(values) > 0 {
		s := SpreadOf(values)
		g.Found, g.Verdict = show(s, 2)+unit, verdict(s.Median <= limit)
	}
	r.Goals = append(r.Goals, g)
}

func verdict(reached bool) Verdict {
	if reached {
		return Reached
	}
	return NotReached
}

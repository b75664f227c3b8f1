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
	Ours     = "floor-ours"
	Synced   = "publish-synced"
	Local    = "floor-local"
	Pipeline = "pipeline"
	Baseline = "baseline"
	// External is added to the name of the service whose NATS is a process of its own.
	External = "-external"
)

// The sizes that goals are about.
const (
	wantReplay       = 1_000_000
	wantOpenSessions = 100_000
)

// Judge fills in the goals. A goal is judged by the median over the rounds.
func (r *Report) Judge() {
	r.Goals = nil
	r.judgeLoad()
	r.judgeRate()
	r.judgeSize()
	r.judgeGrowth()
	r.judgeHardship()
	r.judgeForward()
	r.judgeConsole()
}

func (r *Report) judgeLoad() {
	p, base := r.target(Pipeline), r.target(Baseline)
	r.least("1 events/s at saturation, of the baseline's", over(p, base, perSecond), 3, "×")
	r.most("1 CPU per event at saturation, of the baseline's", over(p, base, cpu), 0.33, "×")
	r.most("1 the same, of floor W's", over(p, r.target(Local), cpu), 1.4, "×")
	r.most("1 the same, of floor A's", over(p, r.target(Floor), cpu), 2, "×")
	p, base = r.target(Pipeline+External), r.target(Baseline+External)
	r.least("2 events/s with an external NATS, of the baseline's", over(p, base, perSecond), 2, "×")
	r.most("2 CPU per event of both, of the baseline's", over(p, base, cpu), 0.5, "×")
}

func (r *Report) judgeRate() {
	p, synced := r.target(Pipeline), r.target(Synced)
	var completed []float64
	if p != nil && p.Rounds[0].held(1000) != nil && p.Rounds[0].held(1000).Completed != nil {
		completed = p.at(1000, func(h *Held) float64 { return h.Completed.P99 })
	}
	r.most("3 p99 at 1,000/s, of the synced floor's", overAt(p, synced, heldP99), 1.5, "×")
	r.most("3 CPU per event at 1,000/s, of the synced floor's", overAt(p, synced, heldCPU), 1.3, "×")
	r.most("3 hangup's 200 to completed at 1,000/s, p99", completed, 5, " ms")
}

func (r *Report) judgeSize() {
	var p99, last, heap, restart []float64
	if s := r.Steady; s != nil && s.Rate >= 1000 && math.Round(s.Seconds) >= time.Hour.Seconds() {
		rss, _ := s.third(2)
		p99, last = []float64{s.P99.Median}, []float64{rss}
	}
	if r.Heap != nil && r.Heap.Legs >= wantOpenSessions {
		heap = []float64{r.Heap.BytesPerLeg}
	}
	took := map[string]float64{}
	for _, p := range r.Replays {
		if p.Events >= wantReplay {
			took[p.Name] = p.Seconds
		}
	}
	if took[Pipeline] > 0 && took[Baseline] > 0 {
		restart = []float64{took[Pipeline] / took[Baseline]}
	}
	r.most("4 p99 of the median half minute of an hour at 1,000/s", p99, 3, " ms")
	r.most("4 RSS in its last third", last, 400, " MiB")
	r.most("5 restart with 1,000,000 events in the log, of the baseline's", restart, 0.3, "×")
	r.most("6 heap per open leg, of 100,000", heap, 2458, " B")
}

// judgeHardship judges what happens beside other work on the disk, and when many calls end at once.
func (r *Report) judgeHardship() {
	var rate, p99, burst []float64
	if r.Busy != nil {
		busy := &Report{Targets: r.Busy.Targets}
		rate = over(busy.target(Pipeline), busy.target(Local), perSecond)
		p99 = overAt(busy.target(Pipeline), busy.target(Local), heldP99)
	}
	if r.Burst != nil {
		burst = []float64{r.Burst.Over}
	}
	r.least("7 events/s on a busy disk, of floor W's", rate, 0.7, "×")
	r.most("7 p99 at 1,000/s on a busy disk, of floor W's", p99, 2, "×")
	r.most("7 the last summary after settle time and status, of 20,000 hangups in a second", burst, 3, " s")
}

func (r *Report) judgeGrowth() {
	var sessions, calls []float64
	if r.Sessions != nil && r.Sessions.Large >= wantOpenSessions {
		sessions = []float64{r.Sessions.Ratio.Median}
	}
	if r.Calls != nil {
		calls = []float64{r.Calls.Ratio.Median}
	}
	r.most("6 CPU per event with 100,000 open sessions, of that with 1,000", sessions, 1.15, "×")
	r.most("6 CPU per event of calls of 500 events, of that of 5", calls, 1.15, "×")
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

// least adds a goal that a median is at least so much.
func (r *Report) least(goal string, values []float64, limit float64, unit string) {
	g := Goal{Goal: goal, Wanted: fmt.Sprintf("≥ %s%s", number(limit, 2), unit), Verdict: NotMeasured}
	if len(values) > 0 {
		s := SpreadOf(values)
		g.Found, g.Verdict = show(s, 2)+unit, verdict(s.Median >= limit)
	}
	r.Goals = append(r.Goals, g)
}

func verdict(reached bool) Verdict {
	if reached {
		return Reached
	}
	return NotReached
}

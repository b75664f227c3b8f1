package bench

// Report is what a run measured. What was left out of it is absent.
type Report struct {
	Machine Machine  `json:"machine"`
	Targets []Target `json:"targets,omitempty"`
	// Start is the time to readiness with an empty log, in milliseconds.
	Start *Spread `json:"start_ms,omitempty"`
	// Replays are of the service and, where there is one, of the baseline.
	Replays []Replay `json:"replays,omitempty"`
	Heap    *Heap    `json:"heap,omitempty"`
	Steady  *Steady  `json:"steady,omitempty"`
	// Sessions compares few open sessions with many, Calls short calls with long ones.
	Sessions *Growth `json:"growth_by_open_sessions,omitempty"`
	Calls    *Growth `json:"growth_by_call_length,omitempty"`
	Goals    []Goal  `json:"goals,omitempty"`
	// Forward is what an application costs, live and dead. Nil: not measured.
	Forward *Forward `json:"forward,omitempty"`
	// Console is what readers of the console cost. Nil: not measured.
	Console *Console `json:"console,omitempty"`
	Busy    *Busy    `json:"disk_busy,omitempty"`
	Burst   *Burst   `json:"burst,omitempty"`
}

// Busy is what targets did while another process wrote and synced on the same disk.
type Busy struct {
	MegabytesPerSecond float64  `json:"megabytes_per_second"`
	Targets            []Target `json:"targets"`
}

// Burst is what came of hangups that were sent within a second. Times are in seconds, from the first of them.
type Burst struct {
	Legs int `json:"legs"`
	// Answered is when the last hangup was answered, Asked when the status API had answered about the last leg.
	Answered float64 `json:"answered_seconds"`
	Asked    float64 `json:"asked_seconds"`
	// LastLeg and LastSession are when the last summary was there.
	LastLeg     float64 `json:"last_leg_seconds"`
	LastSession float64 `json:"last_session_seconds"`
	// Over is from the last of what summaries had to wait for to the last summary of a leg, Longest the greatest such time
	// of one leg. A leg waits for the settle time after its hangup's answer, and the status API's answer or the deadline.
	Over      float64 `json:"over_seconds"`
	Longest   float64 `json:"longest_seconds"`
	CPUMicros float64 `json:"cpu_micros_per_event"`
}

// Machine is where a run took place.
type Machine struct {
	CPUs    int    `json:"cpus"`
	Go      string `json:"go"`
	Version string `json:"version"`
	// LoadBefore is the load average of the last minute when the run began: what
	// else the machine did.
	LoadBefore float64 `json:"load_before"`
	// SyncP50 and SyncP99 are what one write of a webhook's size takes with its sync, in milliseconds.
	SyncP50 float64 `json:"sync_p50_ms"`
	SyncP99 float64 `json:"sync_p99_ms"`
}

// Target is one row of the table.
type Target struct {
	Name   string  `json:"name"`
	What   string  `json:"what"`
	Rounds []Round `json:"rounds"`
}

// Round is one process's life.
type Round struct {
	IdleRSS   float64   `json:"idle_rss_mib"` // when it was ready
	Saturated Saturated `json:"saturated"`
	Held      []Held    `json:"held"`
	PeakRSS   float64   `json:"peak_rss_mib"`
	AfterRSS  float64   `json:"after_rss_mib"`
}

// Saturated is what it did when it got all that it could take.
type Saturated struct {
	Events    int     `json:"events"`
	PerSecond float64 `json:"events_per_second"`
	// CPUMicros is its user and system time per event, until the last summary was out.
	CPUMicros float64 `json:"cpu_micros_per_event"`
	// GeneratorMicros is the same of the measuring process, status API included.
	GeneratorMicros float64 `json:"generator_micros_per_event"`
	Latency         Latency `json:"latency"`
}

// Held is what it did at a fixed rate.
type Held struct {
	Rate      float64 `json:"rate"`
	CPUMicros float64 `json:"cpu_micros_per_event"`
	Latency   Latency `json:"latency"`
	// Lag is how late the webhooks were sent; it is part of Latency.
	Lag Latency `json:"send_lag"`
	// Completed is from a hangup's 200 to its leg's summary, less settle time and
	// status API. Only the pipeline has it.
	Completed *Completed `json:"completed,omitempty"`
}

// Completed is a distribution in milliseconds.
type Completed struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// Replay is the time to readiness with a log, in seconds.
type Replay struct {
	Name    string  `json:"name"`
	Events  int     `json:"events"`
	Seconds float64 `json:"seconds"`
	// AfterKill is the same after kill -9.
	AfterKill float64 `json:"after_kill_seconds"`
}

// Heap is the live heap that open legs take.
type Heap struct {
	Legs        int     `json:"open_legs"`
	IdleMiB     float64 `json:"idle_mib"`
	BytesPerLeg float64 `json:"bytes_per_leg"`
}

// Steady is what a long time at a fixed rate does to memory.
type Steady struct {
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"`
	// Events were sent; Over50 of them took more than 50 ms.
	Events int `json:"events"`
	Over50 int `json:"over_50_ms"`
	// P50 and P99 are latencies in milliseconds, of each part of the time between two samples.
	P50     Spread         `json:"p50_ms"`
	P99     Spread         `json:"p99_ms"`
	Samples []MemorySample `json:"samples"`
}

// MemorySample is the memory of a process at a moment, in MiB.
type MemorySample struct {
	Seconds float64 `json:"seconds"` // since the beginning
	RSS     float64 `json:"rss_mib"`
	Live    float64 `json:"live_heap_mib"` // what the last collection found alive
}

// third returns the median memory of the first, second or last third of the time.
func (s *Steady) third(n int) (rss, live float64) {
	var all, alive []float64
	for _, m := range s.Samples {
		if min(int(3*m.Seconds/s.Seconds), 2) == n {
			all, alive = append(all, m.RSS), append(alive, m.Live)
		}
	}
	return SpreadOf(all).Median, SpreadOf(alive).Median
}

// Growth compares the CPU time per event of two sizes.
type Growth struct {
	Small int `json:"small"`
	Large int `json:"large"`
	// SmallMicros and LargeMicros are CPU per event; Ratio is of the same round.
	SmallMicros Spread `json:"small_cpu_micros"`
	LargeMicros Spread `json:"large_cpu_micros"`
	Ratio       Spread `json:"ratio"`
}

// Compare makes a Growth of the CPU times of rounds.
func Compare(small, large int, smallMicros, largeMicros []float64) *Growth {
	return &Growth{
		Small: small, Large: large, SmallMicros: SpreadOf(smallMicros), LargeMicros: SpreadOf(largeMicros),
		Ratio: SpreadOf(ratios(largeMicros, smallMicros)),
	}
}

// ratios divides round by round: the machine's speed drifts, so only figures of one round
// compare. A round in which the clock's 10 ms were too coarse for one of the two has none.
func ratios(of, to []float64) []float64 {
	var out []float64
	for i := range min(len(of), len(to)) {
		if of[i] > 0 && to[i] > 0 {
			out = append(out, of[i]/to[i])
		}
	}
	return out
}

// each collects a figure of all rounds.
func (t *Target) each(figure func(*Round) float64) []float64 {
	out := make([]float64, len(t.Rounds))
	for i := range t.Rounds {
		out[i] = figure(&t.Rounds[i])
	}
	return out
}

// target returns a row by its name, nil when it was not measured.
func (r *Report) target(name string) *Target {
	for i := range r.Targets {
		if r.Targets[i].Name == name && len(r.Targets[i].Rounds) > 0 {
			return &r.Targets[i]
		}
	}
	return nil
}

// held returns what a round measured at a rate, nil when it was not measured.
func (r *Round) held(rate float64) *Held {
	for i := range r.Held {
		if r.Held[i].Rate == rate {
			return &r.Held[i]
		}
	}
	return nil
}

// at collects a figure of a rate; empty when some round has not measured it.
func (t *Target) at(rate float64, figure func(*Held) float64) []float64 {
	var out []float64
	for i := range t.Rounds {
		h := t.Rounds[i].held(rate)
		if h == nil {
			return nil
		}
		out = append(out, figure(h))
	}
	return out
}

// over divides a figure of a target by that of another, round by round; empty when one was not measured.
func over(t, other *Target, figure func(*Round) float64) []float64 {
	if t == nil || other == nil {
		return nil
	}
	return ratios(t.each(figure), other.each(figure))
}

// overAt does so at 1,000 events a second.
func overAt(t, other *Target, figure func(*Held) float64) []float64 {
	if t == nil || other == nil {
		return nil
	}
	return ratios(t.at(1000, figure), other.at(1000, figure))
}

func perSecond(r *Round) float64 { return r.Saturated.PerSecond }
func cpu(r *Round) float64       { return r.Saturated.CPUMicros }
func heldCPU(h *Held) float64    { return h.CPUMicros }
func heldP99(h *Held) float64    { return h.Latency.P99 }

package bench

import (
	"fmt"
	"slices"
	"time"
)

// Console compares the service without and with readers of its console's live pages, at one rate.
type Console struct {
	Rate    float64 `json:"rate"`
	Readers int     `json:"readers"`
	// Alone are the rounds without a console, Read those with readers.
	Alone []ConsoleRound `json:"alone"`
	Read  []ConsoleRound `json:"read"`
	// Pages are pages of calls in Chromium. None: there is no Chromium.
	Pages []ConsolePage `json:"pages,omitempty"`
}

// The calls whose pages are measured.
const (
	ConsoleShort = 30
	ConsoleLong  = 4990 // a page shows 5,000 entries of the log, and the call has others than events
)

// ConsolePage is the page of a call, loaded some times.
type ConsolePage struct {
	Events int `json:"events"`
	// FirstByte and Whole are what Chromium measures from the request to the first byte, and to the end of loading, in ms.
	FirstByte []float64 `json:"first_byte_ms"`
	Whole     []float64 `json:"whole_ms"`
}

func (c *Console) page(events int) (p ConsolePage) {
	if c == nil {
		return p
	}
	for _, p := range c.Pages {
		if p.Events == events {
			return p
		}
	}
	return p
}

// ConsoleRound is one measurement.
type ConsoleRound struct {
	// CPUMicros is the CPU time of the service per event.
	CPUMicros float64 `json:"cpu_micros"`
	// P99 is the webhooks' answer, in ms.
	P99 float64 `json:"p99_ms"`
	// KiB is what the readers got. With readers only.
	KiB float64 `json:"kib,omitempty"`
}

func (c *Console) of(rounds []ConsoleRound, figure func(ConsoleRound) float64) []float64 {
	out := make([]float64, len(rounds))
	for i, r := range rounds {
		out[i] = figure(r)
	}
	return out
}

func consoleCPU(r ConsoleRound) float64 { return r.CPUMicros }
func consoleP99(r ConsoleRound) float64 { return r.P99 }
func consoleKiB(r ConsoleRound) float64 { return r.KiB }

// rows are the lines of the table of parts.
func (c *Console) rows() [][]string {
	if c == nil {
		return nil
	}
	alone, read := c.of(c.Alone, consoleCPU), c.of(c.Read, consoleCPU)
	rows := [][]string{
		{fmt.Sprintf("CPU µs per event at %s/s without a console", number(c.Rate, 0)), show(SpreadOf(alone), 0)},
		{fmt.Sprintf("the same with %d readers of its live pages", c.Readers), show(SpreadOf(read), 0) + ": × " + show(SpreadOf(ratios(read, alone)), 3)},
		{"p99 of webhooks without and with them, ms", show(SpreadOf(c.of(c.Alone, consoleP99)), 2) + " and " + show(SpreadOf(c.of(c.Read, consoleP99)), 2)},
		{"what the readers got, KiB", show(SpreadOf(c.of(c.Read, consoleKiB)), 0)},
	}
	for _, p := range c.Pages {
		rows = append(rows, []string{
			fmt.Sprintf("page of a call of %s events in Chromium: first byte and whole, ms", number(float64(p.Events), 0)),
			show(SpreadOf(p.FirstByte), 0) + " and " + show(SpreadOf(p.Whole), 0),
		})
	}
	return rows
}

// judgeConsole holds the console against its goals.
func (r *Report) judgeConsole() {
	var cpu, p99 []float64
	if c := r.Console; c != nil && c.Rate == 1000 {
		cpu = ratios(c.of(c.Read, consoleCPU), c.of(c.Alone, consoleCPU))
		p99 = ratios(c.of(c.Read, consoleP99), c.of(c.Alone, consoleP99))
	}
	r.most("9 CPU per event with five readers of the console at 1,000/s, of that without", cpu, 1.03, "×")
	r.most("9 p99 of webhooks, the same", p99, 1.1, "×")
	short, long := r.Console.page(ConsoleShort), r.Console.page(ConsoleLong)
	r.most("9 first byte of the page of a call of 30 events, in Chromium", short.FirstByte, 30, " ms")
	r.most("9 the whole of it", short.Whole, 150, " ms")
	r.most("9 the whole page of a call of 5,000 events", long.Whole, 800, " ms")
}

// Forward compares the service with and without an application to hand webhooks on to, at one rate.
type Forward struct {
	Rate float64 `json:"rate"`
	// Alone, Live and Dead are the rounds without an application, with one that answers at once, and with one that
	// is not there.
	Alone []ForwardRound `json:"alone"`
	Live  []ForwardRound `json:"live"`
	Dead  []ForwardRound `json:"dead"`
	// Undelivered are the events that waited at a restart, and Restart how long it took then, in ms; Plain is the same
	// without an application.
	Undelivered int       `json:"undelivered"`
	Plain       []float64 `json:"plain_restart_ms"`
	Restart     []float64 `json:"restart_ms"`
}

// ForwardRound is one measurement.
type ForwardRound struct {
	// CPUMicros is the CPU time of the service per event.
	CPUMicros float64 `json:"cpu_micros"`
	// P99 is the webhooks' answer, in ms.
	P99 float64 `json:"p99_ms"`
	// First50 and First99 are the time from a webhook's 200 to the head of the forwarded request, in ms. Live only.
	First50 float64 `json:"first_byte_p50_ms,omitempty"`
	First99 float64 `json:"first_byte_p99_ms,omitempty"`
}

// FirstByte fills in how long after a webhook's answer its forwarded request came. arrived has a time for each event.
func (f *ForwardRound) FirstByte(r *Result, arrived []time.Time) {
	took := make([]float64, len(arrived))
	for i, at := range arrived {
		took[i] = float64(at.Sub(r.AnsweredAt(i))) / float64(time.Millisecond)
	}
	slices.Sort(took)
	f.First50, f.First99 = Percentile(took, 0.5), Percentile(took, 0.99)
}

func figures(rounds []ForwardRound, figure func(ForwardRound) float64) []float64 {
	out := make([]float64, len(rounds))
	for i, r := range rounds {
		out[i] = figure(r)
	}
	return out
}

func forwardCPU(r ForwardRound) float64 { return r.CPUMicros }
func forwardP99(r ForwardRound) float64 { return r.P99 }
func first50(r ForwardRound) float64    { return r.First50 }
func first99(r ForwardRound) float64    { return r.First99 }

// rows are the lines of the table of parts.
func (f *Forward) rows() [][]string {
	if f == nil {
		return nil
	}
	of := func(rounds []ForwardRound, figure func(ForwardRound) float64, decimals int) string {
		return show(SpreadOf(figures(rounds, figure)), decimals)
	}
	alone := figures(f.Alone, forwardCPU)
	return [][]string{
		{fmt.Sprintf("with an application at %s/s: 200 to the forwarded request, p50 and p99, ms", number(f.Rate, 0)), of(f.Live, first50, 2) + " and " + of(f.Live, first99, 2)},
		{"CPU µs per event without an application", of(f.Alone, forwardCPU, 0)},
		{"the same with one that answers", of(f.Live, forwardCPU, 0) + ": × " + show(SpreadOf(ratios(figures(f.Live, forwardCPU), alone)), 2)},
		{"the same with one that is dead", of(f.Dead, forwardCPU, 0) + ": × " + show(SpreadOf(ratios(figures(f.Dead, forwardCPU), alone)), 2)},
		{"p99 of webhooks without, with a live and with a dead application, ms", of(f.Alone, forwardP99, 2) + ", " + of(f.Live, forwardP99, 2) + " and " + of(f.Dead, forwardP99, 2)},
		{fmt.Sprintf("restart with %s undelivered events, ms", number(float64(f.Undelivered), 0)), show(SpreadOf(f.Restart), 0) + ", without an application " + show(SpreadOf(f.Plain), 0)},
	}
}

// judgeForward holds forwarding against its goals.
func (r *Report) judgeForward() {
	var p50, p99, live, dead, slower, restart []float64
	if f := r.Forward; f != nil && f.Rate == 1000 {
		p50, p99 = figures(f.Live, first50), figures(f.Live, first99)
		alone := figures(f.Alone, forwardCPU)
		live, dead = ratios(figures(f.Live, forwardCPU), alone), ratios(figures(f.Dead, forwardCPU), alone)
		slower = ratios(figures(f.Dead, forwardP99), figures(f.Alone, forwardP99))
		restart = ratios(f.Restart, f.Plain)
	}
	r.most("8 webhook's 200 to the forwarded request at 1,000/s, p50", p50, 1.5, " ms")
	r.most("8 the same, p99", p99, 10, " ms")
	r.most("8 CPU per event with an application, of that without", live, 1.25, "×")
	r.most("8 the same with a dead one", dead, 1.05, "×")
	r.most("8 p99 of webhooks with a dead application, of that without", slower, 1.1, "×")
	r.most("8 restart with 10,000 undelivered events, of that without an application", restart, 1.1, "×")
}

package bench

import "fmt"

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

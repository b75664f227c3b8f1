package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Print writes the report for a person, its tables in Markdown.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%s, %d CPUs, Go %s, load before %s. A write with its sync: p50 %s ms, p99 %s ms.\n",
		m.Version, m.CPUs, strings.TrimPrefix(m.Go, "go"), number(m.LoadBefore, 1), number(m.SyncP50, 2), number(m.SyncP99, 2))
	b.WriteString("The service has its default settings, --status-rate auto among them; the status API takes 20 ms and allows any rate.\n")
	if len(r.Targets) > 0 {
		fmt.Fprintf(&b, "Rounds: %d; medians, with least and greatest in brackets. × is against the first row in the same round.\n", len(r.Targets[0].Rounds))
		loads(&b, "", r.Targets)
		r.ratios(&b)
	}
	if busy := r.Busy; busy != nil {
		loads(&b, fmt.Sprintf("beside %s MB/s written and synced, ", number(busy.MegabytesPerSecond, 1)), busy.Targets)
	}
	r.parts(&b)
	if len(r.Goals) > 0 {
		r.goals(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// loads writes what targets did, under a title that tells what they did it beside.
func loads(b *strings.Builder, title string, targets []Target) {
	saturation(b, title, targets)
	for _, rate := range rates(targets) {
		held(b, title, targets, rate)
	}
}

// ratios writes what each form of the service takes of the floors, and of the baseline.
func (r *Report) ratios(b *strings.Builder) {
	rows := [][]string{{"×", "events/s", "CPU", "p99 at 1,000/s", "CPU at 1,000/s"}}
	for _, form := range []string{"", External} {
		p := r.target(Pipeline + form)
		if p == nil {
			continue
		}
		for _, name := range []string{Floor, Ours, Synced, Local, Baseline + form} {
			other := r.target(name)
			if other == nil {
				continue
			}
			row := []string{p.What + ", of " + other.What}
			for _, values := range [][]float64{over(p, other, perSecond), over(p, other, cpu), overAt(p, other, heldP99), overAt(p, other, heldCPU)} {
				cell := ""
				if len(values) > 0 {
					cell = show(SpreadOf(values), 2)
				}
				row = append(row, cell)
			}
			rows = append(rows, row)
		}
	}
	if len(rows) > 1 {
		writeTable(b, rows)
	}
}

func saturation(b *strings.Builder, title string, targets []Target) {
	floor := &targets[0]
	rows := [][]string{{title + "at saturation", "events/s", "×", "CPU µs", "×", "p50 ms", "p99 ms", "RSS MiB idle", "peak", "after", "generator µs"}}
	for i := range targets {
		t := &targets[i]
		if len(t.Rounds) == 0 {
			continue
		}
		of := func(figure func(*Round) float64, decimals int) string {
			return show(SpreadOf(t.each(figure)), decimals)
		}
		faster, dearer := show(SpreadOf(over(t, floor, perSecond)), 2), show(SpreadOf(over(t, floor, cpu)), 2)
		rows = append(rows, []string{
			t.What, of(perSecond, 0), faster, of(cpu, 0), dearer,
			of(func(r *Round) float64 { return r.Saturated.Latency.P50 }, 1), of(func(r *Round) float64 { return r.Saturated.Latency.P99 }, 1),
			of(func(r *Round) float64 { return r.IdleRSS }, 0), of(func(r *Round) float64 { return r.PeakRSS }, 0),
			of(func(r *Round) float64 { return r.AfterRSS }, 0), of(func(r *Round) float64 { return r.Saturated.GeneratorMicros }, 0),
		})
	}
	writeTable(b, rows)
}

func held(b *strings.Builder, title string, targets []Target, rate float64) {
	floor := &targets[0]
	rows := [][]string{{title + "at " + number(rate, 0) + "/s", "p50 ms", "p99 ms", "p99.9 ms", "greatest ms", "over 50 ms", "CPU µs", "×", "sent late, p99 ms", "completed p50 ms", "p99 ms"}}
	for i := range targets {
		t := &targets[i]
		if len(t.at(rate, heldCPU)) == 0 {
			continue
		}
		of := func(figure func(*Held) float64, decimals int) string {
			return show(SpreadOf(t.at(rate, figure)), decimals)
		}
		dearer := show(SpreadOf(ratios(t.at(rate, heldCPU), floor.at(rate, heldCPU))), 2)
		row := []string{
			t.What, of(func(h *Held) float64 { return h.Latency.P50 }, 2), of(heldP99, 2), of(func(h *Held) float64 { return h.Latency.P999 }, 2),
			of(func(h *Held) float64 { return h.Latency.Max }, 1), of(func(h *Held) float64 { return float64(h.Latency.Over50) }, 0),
			of(heldCPU, 0), dearer, of(func(h *Held) float64 { return h.Lag.P99 }, 2), "", "",
		}
		if t.Rounds[0].held(rate).Completed != nil {
			row[9] = of(func(h *Held) float64 { return h.Completed.P50 }, 1)
			row[10] = of(func(h *Held) float64 { return h.Completed.P99 }, 1)
		}
		rows = append(rows, row)
	}
	writeTable(b, rows)
}

func (r *Report) parts(b *strings.Builder) {
	rows := [][]string{{"apart", "found"}}
	if r.Start != nil {
		rows = append(rows, []string{"start with an empty log, ms", show(*r.Start, 0)})
	}
	for _, p := range r.Replays {
		rows = append(rows, []string{
			fmt.Sprintf("%s: restart with %s events in the log, s", p.Name, number(float64(p.Events), 0)),
			fmt.Sprintf("%s; after a kill %s", number(p.Seconds, 2), number(p.AfterKill, 2)),
		})
	}
	if h := r.Heap; h != nil {
		rows = append(rows, []string{
			fmt.Sprintf("heap per open leg, of %s, B", number(float64(h.Legs), 0)),
			fmt.Sprintf("%s; idle %s MiB", number(h.BytesPerLeg, 0), number(h.IdleMiB, 1)),
		})
	}
	if u := r.Burst; u != nil {
		rows = append(rows, []string{
			fmt.Sprintf("%s hangups in a second: the last is answered, asked about, and has its summary, s", number(float64(u.Legs), 0)),
			fmt.Sprintf("%s, %s and %s; its session's %s", number(u.Answered, 1), number(u.Asked, 1), number(u.LastLeg, 1), number(u.LastSession, 1)),
		}, []string{"the last summary after the last settle time and status, s; one leg's own, greatest", number(u.Over, 2) + "; " + number(u.Longest, 2)})
	}
	if s := r.Steady; s != nil {
		rows = append(rows, []string{
			fmt.Sprintf("%s at %s/s: p50 and p99, ms", time.Duration(s.Seconds*float64(time.Second)).Round(time.Second), number(s.Rate, 0)),
			fmt.Sprintf("%s and %s; %s of %s events over 50 ms", show(s.P50, 2), show(s.P99, 2), number(float64(s.Over50), 0), number(float64(s.Events), 0)),
		})
		for n, name := range []string{"first", "second", "last"} {
			rss, live := s.third(n)
			if rss == 0 {
				continue // It was too short for a sample in each.
			}
			rows = append(rows, []string{name + " third of it, MiB", fmt.Sprintf("RSS %s, live heap %s", number(rss, 0), number(live, 0))})
		}
	}
	growth := func(what string, g *Growth) {
		if g != nil {
			rows = append(rows, []string{
				fmt.Sprintf("CPU µs per event, %s: %s and %s", what, number(float64(g.Small), 0), number(float64(g.Large), 0)),
				fmt.Sprintf("%s and %s: × %s", show(g.SmallMicros, 0), show(g.LargeMicros, 0), show(g.Ratio, 2)),
			})
		}
	}
	growth("open sessions", r.Sessions)
	growth("events a call", r.Calls)
	rows = append(rows, r.Forward.rows()...)
	rows = append(rows, r.Console.rows()...)
	if len(rows) > 1 {
		writeTable(b, rows)
	}
}

func (r *Report) goals(b *strings.Builder) {
	rows := [][]string{{"goal", "wanted", "found", ""}}
	for _, g := range r.Goals {
		rows = append(rows, []string{g.Goal, g.Wanted, g.Found, string(g.Verdict)})
	}
	writeTable(b, rows)
}

// rates are the fixed rates that were measured, in order.
func rates(targets []Target) []float64 {
	var rates []float64
	for _, t := range targets {
		for _, round := range t.Rounds {
			for _, h := range round.Held {
				rates = append(rates, h.Rate)
			}
		}
	}
	slices.Sort(rates)
	return slices.Compact(rates)
}

// writeTable writes Markdown whose columns also stand below each other as text.
// The first row is the header; all but the first column are numbers, on the right.
func writeTable(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	b.WriteByte('\n')
	for n, row := range rows {
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				fmt.Fprintf(b, "| %s%s ", cell, space)
			} else {
				fmt.Fprintf(b, "| %s%s ", space, cell)
			}
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if i == 0 {
				b.WriteString("|" + strings.Repeat("-", width+2))
			} else {
				b.WriteString("|" + strings.Repeat("-", width+1) + ":")
			}
		}
		b.WriteString("|\n")
	}
}

// show writes a median and, where rounds differ, the least and greatest.
func show(s Spread, decimals int) string {
	median, least, greatest := number(s.Median, decimals), number(s.Min, decimals), number(s.Max, decimals)
	if least == greatest {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, least, greatest)
}

// number writes a number with at most so many decimals and a comma between thousands.
func number(v float64, decimals int) string {
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction
}

package story

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/session"
)

const (
	// timeWidth is that of "15:04:05.000" and of the gap before it, with a space behind each.
	timeWidth = 13 + 8
	// minColumn is the least width of a leg's column: the longest usual thing in it, "● hangup normal_clearing 200",
	// fits.
	minColumn = 31
	minWidth  = timeWidth + minColumn
	rule      = "│ "
)

// Ladder draws the story for a terminal: one column a leg, time down, in lines of at most width characters (and never
// less than some 50), with times in a zone. Legs that do not fit beside each other are stacked. A check whose outcome
// is shown is left out, and things of one moment share a line.
func (s *Story) Ladder(width int, zone *time.Location) string {
	d := &drawing{s: s, width: max(width, minWidth), zone: zone, name: make(map[string]string)}
	for i, leg := range s.Legs {
		d.name[leg.CallLegID] = Name(i)
	}
	d.head()
	d.blocks()
	d.foot()
	return d.out.String()
}

// Name returns what the ladder calls the leg at a place among the story's legs: A to Z, then A1, B1, ….
func Name(i int) string {
	l := string(rune('A' + i%26))
	if i >= 26 {
		l += fmt.Sprint(i / 26)
	}
	return l
}

type drawing struct {
	s     *Story
	width int
	zone  *time.Location
	name  map[string]string // of a leg
	out   strings.Builder
}

// line writes one line, or more where it is too long.
func (d *drawing) line(text string) {
	for _, l := range wrap(text, d.width, "    ") {
		d.out.WriteString(l + "\n")
	}
}

func (d *drawing) head() {
	s := d.s
	text := "session " + s.CallSessionID
	if o := s.Session; o != nil {
		text += fmt.Sprintf("  %s · %s, %d answered · %s · status %s · revision %d",
			o.Outcome, Count(o.LegCount, "leg", "legs"), o.AnsweredLegs, Lasting(o.DurationSeconds), o.StatusState, o.Revision)
	} else {
		text += "  no summary yet"
	}
	d.line(text)
	day := s.AsOf
	if len(s.Timeline) > 0 {
		day = s.Timeline[0].At
	}
	d.line(fmt.Sprintf("%s (%s) · log: %s, %s · as of %s", day.In(d.zone).Format(time.DateOnly), day.In(d.zone).Format("MST"),
		s.Log.Coverage, Count(s.Log.Entries, "entry", "entries"), s.AsOf.In(d.zone).Format(time.DateTime)))
	for _, l := range s.Legs {
		text := fmt.Sprintf("%s  %s  %s  %s → %s", d.name[l.CallLegID], l.CallLegID, cmp.Or(l.Direction, "?"), cmp.Or(l.From, "?"), cmp.Or(l.To, "?"))
		text += optional(l.Revision > 0, "  %s · %s · %s", l.Outcome, Lasting(l.DurationSeconds), l.StatusState)
		text += optional(l.State != "hangup", " · %s", l.State)
		lacks := strings.ReplaceAll(strings.Join(l.Lacks, ", "), "call.", "")
		d.line(text + optional(len(l.Lacks) > 0, " · lacks %s", lacks))
	}
	if s.LegsOmitted > 0 {
		d.line(fmt.Sprintf("   and %s more", Count(s.LegsOmitted, "leg", "legs")))
	}
}

// blocks draws the ladder: as many legs beside each other as fit, the others below. What is about the session stands
// in the last.
func (d *drawing) blocks() {
	legs := d.s.Legs
	beside := max(1, min(len(legs), (d.width-timeWidth)/minColumn))
	for from := 0; ; from += beside {
		to := min(from+beside, len(legs))
		last := to >= len(legs)
		d.block(legs[from:to], last)
		if last {
			return
		}
	}
}

func (d *drawing) block(legs []Leg, sessionToo bool) {
	d.separate(legs)
	for _, r := range d.s.rows(legs, sessionToo) {
		d.row(&r, len(legs))
	}
	if n := d.s.TimelineOmitted; n > 0 {
		d.line(fmt.Sprintf("(%d left out of the middle)", n))
	}
}

// separate draws the names of the legs.
func (d *drawing) separate(legs []Leg) {
	w := d.column(max(len(legs), 1))
	d.out.WriteString(strings.Repeat("─", timeWidth))
	for _, l := range legs {
		name := "┬─ " + d.name[l.CallLegID] + " "
		d.out.WriteString(name + strings.Repeat("─", max(w-utf8.RuneCountInString(name), 0)))
	}
	d.out.WriteString("\n")
}

func (d *drawing) column(legs int) int { return (d.width - timeWidth) / legs }

// row writes a line, or as many as its longest cell needs.
func (d *drawing) row(r *Row, legs int) {
	w := d.column(max(legs, 1))
	cells := make([][]string, legs)
	height := 1
	if r.Session() {
		cells = [][]string{wrap(r.Cells[0].Text, d.width-timeWidth-2, "  ")}
		height = len(cells[0])
	} else {
		for _, c := range r.Cells {
			cells[c.Leg] = wrap(c.Text+optional(len(c.Items) > 1, " ×%d", len(c.Items)), w-3, "  ")
			height = max(height, len(cells[c.Leg]))
		}
	}
	for n := range height {
		text := strings.Repeat(" ", timeWidth)
		if n == 0 {
			text = pad(r.At.In(d.zone).Format("15:04:05.000"), 13) + pad(Gap(r.Gap), timeWidth-13)
		}
		for _, c := range cells {
			cell := ""
			if n < len(c) {
				cell = c[n]
			}
			text += rule + pad(cell, w-2)
		}
		d.out.WriteString(strings.TrimRight(text, " ") + "\n")
	}
}

func (d *drawing) foot() {
	d.out.WriteString(strings.Repeat("─", d.width) + "\n")
	for _, n := range d.s.Next {
		when := "in " + Lasted(n.At.Sub(d.s.AsOf))
		if !n.At.After(d.s.AsOf) {
			when = "due since " + Lasted(d.s.AsOf.Sub(n.At))
		}
		d.line(fmt.Sprintf("next: %s %s, %s (%s)", cmp.Or(d.name[n.CallLegID], "session"), n.Phrase(), when, n.At.In(d.zone).Format("15:04:05")))
	}
	for _, p := range d.s.Parked {
		d.line(fmt.Sprintf("parked: %s %s at %s, see legato parked show %d", p.Reason, p.Topic, p.At.In(d.zone).Format(time.DateTime), p.Seq))
	}
	if d.s.Log.Coverage == CoveragePartial {
		d.line("* not in the log (any more)")
	}
	for _, r := range d.s.Remarks {
		d.line("note: " + r)
	}
	if len(d.s.Next)+len(d.s.Parked)+len(d.s.Remarks) == 0 {
		d.line("nothing more is to come, unless Telnyx tells more")
	}
}

// together is how close things of different legs are to share a line.
const together = 50 * time.Millisecond

// Row is one line of the ladder: things of one moment, in different legs, or one thing of the session.
type Row struct {
	At time.Time
	// Gap is the time since the row before.
	Gap time.Duration
	// Cells are what happened, at most one a leg, in the order in which it was learned. There is at least one.
	Cells []Cell
}

// Cell is what happened in one leg. Alike events with nothing between them are one cell.
type Cell struct {
	// Leg is the leg's place among the legs that the rows are of; -1: it is about the session.
	Leg int
	// Text says it in as few words as possible, after a mark for its kind.
	Text string
	// Items are the one thing, or the alike events. There is at least one.
	Items []Item
}

// Session reports whether the row is about the session.
func (r *Row) Session() bool { return r.Cells[0].Leg < 0 }

// Rows returns the lines of the ladder of all legs.
func (s *Story) Rows() []Row { return s.rows(s.Legs, true) }

// rows returns the lines about some of the legs, and, if wanted, those about the session.
func (s *Story) rows(legs []Leg, sessionToo bool) []Row {
	columns := make(map[string]int, len(legs))
	for i, l := range legs {
		columns[l.CallLegID] = i
	}
	var rows []Row
	for _, item := range s.shown() {
		i, ok := columns[item.CallLegID]
		cell := Cell{Leg: i, Text: phrase(item, s.Log.Coverage == CoveragePartial), Items: []Item{item}}
		var last *Row
		if len(rows) > 0 {
			last = &rows[len(rows)-1]
		}
		switch {
		case item.CallLegID == "" && sessionToo:
			cell.Leg = -1
			rows = append(rows, Row{At: item.At, Cells: []Cell{cell}})
		case !ok:
		case last.repeats(&cell):
			last.Cells[0].Items = append(last.Cells[0].Items, item)
		case last.joins(&cell):
			last.Cells = append(last.Cells, cell)
		default:
			rows = append(rows, Row{At: item.At, Cells: []Cell{cell}})
		}
	}
	for i := range rows {
		if i > 0 {
			rows[i].Gap = rows[i].At.Sub(rows[i-1].At)
		}
	}
	return rows
}

// repeats reports whether an event is of the same words as the one before it, with nothing between: keys that were
// pressed, say, of which there can be dozens.
func (r *Row) repeats(c *Cell) bool {
	return r != nil && c.Items[0].Kind == KindEvent && len(r.Cells) == 1 && r.Cells[0].Leg == c.Leg && r.Cells[0].Text == c.Text
}

// joins reports whether a thing stands on the line of what came before it.
func (r *Row) joins(c *Cell) bool {
	if r == nil || r.Session() || len(r.Cells[0].Items) > 1 || c.Items[0].At.Sub(r.At) >= together {
		return false
	}
	for i := range r.Cells {
		if r.Cells[i].Leg == c.Leg {
			return false
		}
	}
	return true
}

// shown are the items without the checks whose outcome stands beside them.
func (s *Story) shown() []Item {
	type question struct {
		leg     string
		what    session.CheckKind
		attempt int
	}
	done := make(map[question]bool)
	for _, i := range s.Timeline {
		if i.Status != nil {
			done[question{i.CallLegID, session.CheckStatus, i.Status.Attempt}] = true
		}
		if i.Backfill != nil {
			done[question{i.CallLegID, session.CheckBackfill, i.Backfill.Attempt}] = true
		}
	}
	var shown []Item
	for _, i := range s.Timeline {
		if i.Check == nil || !done[question{i.CallLegID, i.Check.What, i.Check.Attempt}] {
			shown = append(shown, i)
		}
	}
	return shown
}

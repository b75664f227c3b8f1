package story

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
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
		d.name[leg.CallLegID] = letter(i)
	}
	d.head()
	d.blocks()
	d.foot()
	return d.out.String()
}

// letter names a leg: A to Z, then A1, B1, ….
func letter(i int) string {
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
			o.Outcome, count(o.LegCount, "leg", "legs"), o.AnsweredLegs, phraseSeconds(o.DurationSeconds), o.StatusState, o.Revision)
	} else {
		text += "  no summary yet"
	}
	d.line(text)
	day := s.AsOf
	if len(s.Timeline) > 0 {
		day = s.Timeline[0].At
	}
	d.line(fmt.Sprintf("%s (%s) · log: %s, %s · as of %s", day.In(d.zone).Format(time.DateOnly), day.In(d.zone).Format("MST"),
		s.Log.Coverage, count(s.Log.Entries, "entry", "entries"), s.AsOf.In(d.zone).Format(time.DateTime)))
	for _, l := range s.Legs {
		text := fmt.Sprintf("%s  %s  %s  %s → %s", d.name[l.CallLegID], l.CallLegID, cmp.Or(l.Direction, "?"), cmp.Or(l.From, "?"), cmp.Or(l.To, "?"))
		text += optional(l.Revision > 0, "  %s · %s · %s", l.Outcome, phraseSeconds(l.DurationSeconds), l.StatusState)
		text += optional(l.State != "hangup", " · %s", l.State)
		lacks := strings.ReplaceAll(strings.Join(l.Lacks, ", "), "call.", "")
		d.line(text + optional(len(l.Lacks) > 0, " · lacks %s", lacks))
	}
	if s.LegsOmitted > 0 {
		d.line(fmt.Sprintf("   and %s more", count(s.LegsOmitted, "leg", "legs")))
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
			text = pad(r.At.In(d.zone).Format("15:04:05.000"), 13) + pad(phraseGap(r.Gap), timeWidth-13)
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
		when := "in " + phraseDuration(n.At.Sub(d.s.AsOf))
		if !n.At.After(d.s.AsOf) {
			when = "due since " + phraseDuration(d.s.AsOf.Sub(n.At))
		}
		d.line(fmt.Sprintf("next: %s %s, %s (%s)", cmp.Or(d.name[n.CallLegID], "session"), phraseDue(n.Check), when, n.At.In(d.zone).Format("15:04:05")))
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

package story

import (
	"cmp"
	"fmt"
	"slices"
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
	// together is how close things of different legs are to share a line.
	together = 50 * time.Millisecond
	minWidth = timeWidth + minColumn
	rule     = "│ "
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

// row is one line of the ladder.
type row struct {
	at    time.Time
	gap   time.Duration
	cells []string // one a leg
	all   string   // across all columns, instead
	// times is how often in a row the one thing in it happened.
	times int
}

func (d *drawing) block(legs []Leg, sessionToo bool) {
	columns := make(map[string]int)
	for i, l := range legs {
		columns[l.CallLegID] = i
	}
	d.separate(legs)
	var rows []row
	for _, item := range d.shown() {
		i, ok := columns[item.CallLegID]
		text := phrase(item, d.s.Log.Coverage == CoveragePartial)
		switch {
		case item.CallLegID == "" && sessionToo:
			rows = append(rows, row{at: item.At, all: text})
		case !ok:
		case repeats(rows, item, i, text):
			rows[len(rows)-1].times++
		case joins(rows, item, i):
			rows[len(rows)-1].cells[i] = text
		default:
			r := row{at: item.At, cells: make([]string, len(legs)), times: 1}
			r.cells[i] = text
			rows = append(rows, r)
		}
	}
	for i := range rows {
		if i > 0 {
			rows[i].gap = rows[i].at.Sub(rows[i-1].at)
		}
		d.row(&rows[i], len(legs))
	}
	if n := d.s.TimelineOmitted; n > 0 {
		d.line(fmt.Sprintf("(%d left out of the middle)", n))
	}
}

// repeats reports whether an event is of the same words as the one before it, with nothing between: keys that were
// pressed, say, of which there can be dozens.
func repeats(rows []row, item Item, column int, text string) bool {
	if len(rows) == 0 || item.Kind != KindEvent {
		return false
	}
	last := &rows[len(rows)-1]
	alone := slices.IndexFunc(last.cells, func(c string) bool { return c != "" }) == column &&
		!slices.ContainsFunc(last.cells[column+1:], func(c string) bool { return c != "" })
	return alone && last.cells[column] == text
}

// joins reports whether an item stands on the line of what came before it.
func joins(rows []row, item Item, column int) bool {
	if len(rows) == 0 {
		return false
	}
	last := &rows[len(rows)-1]
	return last.all == "" && last.times == 1 && last.cells[column] == "" && item.At.Sub(last.at) < together
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
func (d *drawing) row(r *row, legs int) {
	w := d.column(max(legs, 1))
	cells := make([][]string, len(r.cells))
	height := 1
	if r.all != "" {
		cells = [][]string{wrap(r.all, d.width-timeWidth-2, "  ")}
		height = len(cells[0])
	}
	for i, c := range r.cells {
		if c != "" && r.times > 1 {
			c += fmt.Sprintf(" ×%d", r.times)
		}
		cells[i] = wrap(c, w-3, "  ")
		height = max(height, len(cells[i]))
	}
	for n := range height {
		text := strings.Repeat(" ", timeWidth)
		if n == 0 {
			text = pad(r.at.In(d.zone).Format("15:04:05.000"), 13) + pad(phraseGap(r.gap), timeWidth-13)
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

// shown are the items without the checks whose outcome stands beside them.
func (d *drawing) shown() []Item {
	type question struct {
		leg     string
		what    session.CheckKind
		attempt int
	}
	done := make(map[question]bool)
	for _, i := range d.s.Timeline {
		if i.Status != nil {
			done[question{i.CallLegID, session.CheckStatus, i.Status.Attempt}] = true
		}
		if i.Backfill != nil {
			done[question{i.CallLegID, session.CheckBackfill, i.Backfill.Attempt}] = true
		}
	}
	var shown []Item
	for _, i := range d.s.Timeline {
		if i.Check == nil || !done[question{i.CallLegID, i.Check.What, i.Check.Attempt}] {
			shown = append(shown, i)
		}
	}
	return shown
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

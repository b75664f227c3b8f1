package story

import (
	"time"

	"github.com/legato-calls/legato/enrich/session"
)

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

// Name returns what the ladder calls the leg at a place among the story's legs: A to Z, then A1, B1, ….
func Name(leg int) string { return letter(leg) }

// Phrase says what is to come.
func (d Due) Phrase() string { return phraseDue(d.Check) }

// DuePhrase says what is to come by a check of the schedule.
func DuePhrase(c session.Check) string { return phraseDue(Check{What: c.Kind, Attempt: c.Attempt}) }

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

package story

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
)

// phrase says an item in as few words as possible.
func phrase(i Item, marked bool) string {
	switch i.Kind {
	case KindEvent:
		return "● " + phraseEvent(i, marked)
	case KindRedelivery:
		return "○ " + phraseEvent(i, marked) + " once more"
	case KindMissing:
		return "✗ " + short(i.Event.Type) + " is missing"
	case KindStatus:
		return "? " + phraseStatus(i.Status)
	case KindBackfill:
		return "? " + phraseBackfill(i.Backfill)
	case KindCheck:
		return "… " + phraseCheck(*i.Check)
	case KindPublished:
		return "▶ " + phrasePublished(i.Published)
	}
	return string(i.Kind)
}

// short leaves out what all have.
func short(eventType string) string { return strings.TrimPrefix(eventType, "call.") }

// phraseEvent says an event; marked: what is not in the log has a star.
func phraseEvent(i Item, marked bool) string {
	e := i.Event
	return words(short(e.Type), e.Cause, e.SIPCode,
		optional(e.Backfill, "backfilled"),
		optional(e.Attempt > 1, "attempt %d", e.Attempt),
		optional(e.LateSeconds > 0, "late %s", Lasted(time.Duration(e.LateSeconds*float64(time.Second)))),
		optional(e.AfterRevision > 0, "after r%d", e.AfterRevision),
		optional(e.Unattached, "(unattached)"),
		phraseForwarded(e.Forwarded),
		optional(i.Seq == 0 && marked, "*"))
}

// optional is a text that is empty unless a condition holds.
func optional(holds bool, format string, args ...any) string {
	if !holds {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// words joins the texts that are not empty.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(w string) bool { return w == "" }), " ")
}

func phraseStatus(s *Status) string {
	text := fmt.Sprintf("status %d: ", s.Attempt)
	switch {
	case s.Result == "": // by a summary
		return fmt.Sprintf("status: %s, asked %d×", s.State, s.Attempt)
	case s.Confirms:
		return text + "ended, confirmed"
	case s.Result == status.Answered && s.IsAlive != nil && *s.IsAlive:
		return text + "alive"
	case s.Result == status.Answered:
		return text + "answered"
	}
	return text + phraseFailure(s.Result, s.Problem, s.HTTPStatus)
}

func phraseBackfill(r *Backfill) string {
	text := fmt.Sprintf("history %d: ", r.Attempt)
	if r.Result != status.Answered {
		return text + phraseFailure(r.Result, r.Problem, r.HTTPStatus)
	}
	return text + fmt.Sprintf("%d known, %d new", r.Rows-r.Added, r.Added) + optional(r.Whole, ", whole")
}

func phraseFailure(result status.Result, problem status.Problem, code int) string {
	return words(string(result), string(problem), optional(code != 0, "%d", code))
}

// phraseCheck says that something became due.
func phraseCheck(c Check) string {
	switch c.What {
	case session.CheckSettle:
		return "quiet since its legs are over"
	case session.CheckExpire:
		return "silent for longer than a leg lives"
	case session.CheckClose:
		return "the status window is over"
	case session.CheckStatus, session.CheckBackfill:
	}
	return c.Phrase() + ", no outcome"
}

// Phrase says what is to come by a check.
func (c Check) Phrase() string {
	switch c.What {
	case session.CheckStatus:
		return fmt.Sprintf("status attempt %d", c.Attempt)
	case session.CheckBackfill:
		return fmt.Sprintf("history attempt %d", c.Attempt)
	case session.CheckSettle:
		return "counts as over"
	case session.CheckExpire:
		return "closed as expired"
	case session.CheckClose:
		return "status final, asked or not"
	}
	return string(c.What)
}

// maxChanged is how many of the changed fields are named.
const maxChanged = 3

func phrasePublished(p *Published) string {
	text := optional(p.Level == summary.KindSession, "session ") + fmt.Sprintf("r%d ", p.Revision)
	if p.Revision == 1 {
		return text + fmt.Sprintf("%s, %s", p.Outcome, p.StatusState)
	}
	reasons := make([]string, len(p.Reasons))
	for i, r := range p.Reasons {
		reasons[i] = string(r)
	}
	return text + words(
		strings.Join(reasons, ", ")+optional(len(p.Changed) > 0, ":"),
		strings.Join(p.Changed[:min(len(p.Changed), maxChanged)], " "),
		optional(len(p.Changed) > maxChanged, "+%d", len(p.Changed)-maxChanged))
}

// Gap says the time since the line before, in at most seven characters; nothing where it is not worth saying.
func Gap(d time.Duration) string {
	return optional(d >= time.Millisecond, "+%s", Lasted(d))
}

// Lasted says a duration with as much as a reader wants to know of it.
func Lasted(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// Lasting says a duration of a summary; a dash where it is not known.
func Lasting(s *summary.Seconds) string {
	if s == nil {
		return "–"
	}
	return Lasted(time.Duration(float64(*s) * float64(time.Second)))
}

// Count says a number of something.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// pad fills a text up to a width in characters.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

// wrap breaks a text into lines of at most width characters, at spaces where there are any; those that follow begin
// with indent. There is at least one.
func wrap(text string, width int, indent string) []string {
	var lines []string
	for rest := []rune(text); ; {
		if len(rest) <= width {
			return append(lines, string(rest))
		}
		at := width
		for i := width; i > len(indent)+1; i-- {
			if rest[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(rest[:at]), " "))
		rest = []rune(indent + strings.TrimLeft(string(rest[at:]), " "))
	}
}

package summary

import (
	"slices"
	"time"
)

// Derive fills in the seconds that follow from the times and the outcome, and
// clears those that do not.
func (l *Leg) Derive() {
	start, answer, end := l.StartedAt.Known(), l.AnsweredAt.Known(), l.EndedAt.Known()
	l.DurationSeconds = Between(start, end)
	l.BridgedSeconds = Between(l.BridgedAt.Known(), end)
	l.RingSeconds, l.TalkSeconds = nil, nil
	switch {
	case !answer.IsZero():
		l.RingSeconds, l.TalkSeconds = Between(start, answer), Between(answer, end)
	case l.Outcome.NeverAnswered():
		l.RingSeconds, l.TalkSeconds = Between(start, end), Lasting(0)
	}
}

// NeverAnswered reports whether the outcome says that the leg was not answered.
// An unknown outcome does not.
func (o Outcome) NeverAnswered() bool {
	switch o {
	case OutcomeNoAnswer, OutcomeBusy, OutcomeRejected, OutcomeCanceled, OutcomeFailed:
		return true
	case OutcomeAnswered, OutcomeUnknown:
	}
	return false
}

// Hold adds up the time that a leg is on hold, told of in order of occurrence.
type Hold struct {
	since time.Time
	total time.Duration
}

// Begin begins a hold; within one it says nothing.
func (h *Hold) Begin(at time.Time) {
	if h.since.IsZero() {
		h.since = at
	}
}

// End ends a hold; one whose beginning was not seen says nothing of its length.
func (h *Hold) End(at time.Time) {
	if !h.since.IsZero() && at.After(h.since) {
		h.total += at.Sub(h.since)
	}
	h.since = time.Time{}
}

// Seconds is the time on hold; nil when no hold is known that lasted.
func (h *Hold) Seconds() *Seconds {
	if h.total == 0 {
		return nil
	}
	return Lasting(h.total)
}

// held is the time on hold by a timeline up to the end of the leg.
func held(events []Event, end *Time) *Seconds {
	var h Hold
	for _, e := range events {
		switch e.Type {
		case typeHold:
			h.Begin(e.OccurredAt.Known())
		case typeUnhold:
			h.End(e.OccurredAt.Known())
		}
	}
	h.End(end.Known())
	return h.Seconds()
}

// timelineEnd is how many events the timeline keeps at either end.
const timelineEnd = 250

// CutTimeline shortens a timeline to its first and last 250 events and returns
// how many were left out.
func CutTimeline(events []Event) ([]Event, int) {
	return Ends(events, maxEvents)
}

// Covered is the time in which at least one of the spans was running. Spans
// that end before they begin count as empty.
func Covered(spans [][2]time.Time) time.Duration {
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(a, b [2]time.Time) int { return a[0].Compare(b[0]) })
	var total time.Duration
	var until time.Time
	for _, s := range sorted {
		from := s[0]
		if from.Before(until) {
			from = until
		}
		if s[1].After(from) {
			total += s[1].Sub(from)
			until = s[1]
		}
	}
	return total
}

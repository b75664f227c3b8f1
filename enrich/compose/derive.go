package compose

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// derive fills in the seconds that follow from the times and the outcome, and
// clears those that do not.
func derive(l *summary.Leg) {
	start, answer, end := l.StartedAt.Known(), l.AnsweredAt.Known(), l.EndedAt.Known()
	l.DurationSeconds = summary.Between(start, end, summary.MaxLegSeconds)
	l.BridgedSeconds = summary.Between(l.BridgedAt.Known(), end, summary.MaxLegSeconds)
	l.RingSeconds, l.TalkSeconds = nil, nil
	switch {
	case !answer.IsZero():
		l.RingSeconds, l.TalkSeconds = summary.Between(start, answer, summary.MaxLegSeconds), summary.Between(answer, end, summary.MaxLegSeconds)
	case neverAnswered(l.Outcome):
		l.RingSeconds, l.TalkSeconds = summary.Between(start, end, summary.MaxLegSeconds), summary.Lasting(0)
	}
	// Added up of what is in range each, they may be out of it.
	l.HoldSeconds, l.QueueSeconds = bounded(l.HoldSeconds, summary.MaxLegSeconds), bounded(l.QueueSeconds, summary.MaxLegSeconds)
}

// neverAnswered reports whether the outcome says that the leg was not answered.
// An unknown outcome does not.
func neverAnswered(o summary.Outcome) bool {
	switch o {
	case summary.OutcomeNoAnswer, summary.OutcomeBusy, summary.OutcomeRejected, summary.OutcomeCanceled, summary.OutcomeFailed:
		return true
	case summary.OutcomeAnswered, summary.OutcomeUnknown:
	}
	return false
}

// held is the time on hold by a timeline, up to the end of the leg; nil when no hold is known that lasted.
// Within a hold another beginning says nothing; nor does an end of which the beginning was not seen.
func held(events []summary.Event, end *summary.Time) *summary.Seconds {
	var since time.Time
	var total time.Duration
	stop := func(at time.Time) {
		if !since.IsZero() && at.After(since) {
			total += at.Sub(since)
		}
		since = time.Time{}
	}
	for _, e := range events {
		switch {
		case e.Type == call.TypeHold && since.IsZero():
			since = e.OccurredAt.Known()
		case e.Type == call.TypeUnhold:
			stop(e.OccurredAt.Known())
		}
	}
	stop(end.Known())
	if total == 0 {
		return nil
	}
	return summary.Lasting(total)
}

// covered is the time in which at least one of the spans was running. Spans
// that end before they begin count as empty.
func covered(spans [][2]time.Time) time.Duration {
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

// Ranges of the numbers that Telnyx states. What lies outside cannot be true: it is left out, and stands in the log.
const (
	// maxCount bounds counts of packets: a day of 1,000 a second.
	maxCount = 1000 * summary.MaxLegSeconds
	// maxSamplingRate is in hertz.
	maxSamplingRate = 1_000_000
	// minMOS and maxMOS are the ends of the scale of opinion scores.
	minMOS, maxMOS = 1, 5
	// maxJitter bounds a variance of undocumented unit: that of a day in milliseconds.
	maxJitter = 1000 * summary.MaxLegSeconds
)

// within returns a number that lies from low to high, nil for any other.
func within[T int64 | float64](n *T, low, high T) *T {
	if n != nil && low <= *n && *n <= high { // what is not a number compares with nothing
		return n
	}
	return nil
}

// measured returns a measured number that lies from low to high; nil for any other.
func measured(n *float64, low, high float64) *summary.Number {
	return (*summary.Number)(within(n, low, high))
}

// lasted returns stated seconds of a leg; nil when they are none.
func lasted(stated *int64) *summary.Seconds {
	if within(stated, 0, summary.MaxLegSeconds) == nil {
		return nil
	}
	return new(summary.Seconds(*stated))
}

// bounded returns seconds that lie from 0 to a limit; nil for any other.
func bounded(s *summary.Seconds, limit summary.Seconds) *summary.Seconds {
	if s != nil && 0 <= *s && *s <= limit {
		return s
	}
	return nil
}

package compose

import (
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// outcomeRule is a row of the table by which a leg that nobody was seen to answer gets its outcome. An empty
// condition always holds.
type outcomeRule struct {
	// Causes are words of hangup_cause, in lower case: those of the specification, and names of the switch beneath
	// it that applications report.
	Causes []string
	// Source is hangup_source.
	Source string
	// Codes are values of sip_hangup_cause: SIP statuses, and Q.850 causes of two digits or one. "4xx" stands for
	// every status from 400 to 499.
	Codes []string
	// Outcome is what became of the leg.
	Outcome summary.Outcome
}

// outcomeRules are tried in order, and the first that holds decides: cause and source, then the code where the cause
// does not decide (normal_clearing, unspecified, none, unknown words). The calling side of a leg cannot be busy, nor
// refuse its own call: what reads so gave up.
var outcomeRules = []outcomeRule{
	{Causes: []string{"user_busy", "call_rejected"}, Source: "caller", Outcome: summary.OutcomeCanceled},
	{Causes: []string{"user_busy"}, Outcome: summary.OutcomeBusy},
	{Causes: []string{"call_rejected"}, Outcome: summary.OutcomeRejected},
	{Causes: []string{"originator_cancel"}, Outcome: summary.OutcomeCanceled},
	{Causes: []string{"timeout", "no_answer", "no_user_response"}, Outcome: summary.OutcomeNoAnswer},
	{Causes: []string{
		"not_found", "unallocated_number", "invalid_number_format", "destination_out_of_order", "network_out_of_order",
		"recovery_on_timer_expire", "normal_temporary_failure",
	}, Outcome: summary.OutcomeFailed},
	// Only a leg that was talking for hours runs into its time limit.
	{Causes: []string{"time_limit"}, Outcome: summary.OutcomeAnswered},
	// A 200 to the INVITE, or to the BYE that followed it, and Q.850's normal clearing: it had been answered.
	{Codes: []string{"200", "16"}, Outcome: summary.OutcomeAnswered},
	{Source: "caller", Codes: []string{"486", "600", "17", "403", "603", "607", "608", "21"}, Outcome: summary.OutcomeCanceled},
	{Codes: []string{"486", "600", "17"}, Outcome: summary.OutcomeBusy},
	{Codes: []string{"403", "603", "607", "608", "21"}, Outcome: summary.OutcomeRejected},
	{Codes: []string{"487"}, Outcome: summary.OutcomeCanceled},
	{Codes: []string{"408", "480", "18", "19", "20"}, Outcome: summary.OutcomeNoAnswer},
	{Codes: []string{
		"4xx", "5xx", "6xx", "1", "2", "3", "22", "27", "28", "34", "38", "41", "42", "44", "88", "102", "127",
	}, Outcome: summary.OutcomeFailed},
}

// outcome decides what became of a leg. answered: it was seen to be answered or bridged; cause, source and code are
// those of its hangup, empty when none was seen. What was not seen is unknown, never no_answer.
func outcome(answered bool, cause, source, code string) summary.Outcome {
	if answered {
		return summary.OutcomeAnswered
	}
	cause = strings.ToLower(cause)
	class := code
	if len(code) == 3 {
		class = code[:1] + "xx"
	}
	for _, r := range outcomeRules {
		if (r.Causes == nil || slices.Contains(r.Causes, cause)) && (r.Source == "" || r.Source == source) &&
			(r.Codes == nil || slices.Contains(r.Codes, code) || slices.Contains(r.Codes, class)) {
			return r.Outcome
		}
	}
	return summary.OutcomeUnknown
}

// answeredBy translates the result of a machine detection; empty when there was none.
func answeredBy(result string) summary.AnsweredBy {
	switch result {
	case "":
		return ""
	case "human", "human_residence", "human_business":
		return summary.AnsweredByHuman
	case "machine":
		return summary.AnsweredByMachine
	case "fax_detected":
		return summary.AnsweredByFax
	case "silence":
		return summary.AnsweredBySilence
	}
	return summary.AnsweredByUnknown
}

// party is who hung up, as seen from Telnyx's customer. hangup_source names
// the caller or the callee of the leg: on an incoming leg the caller is the other side, on
// an outgoing one it is ours.
func party(direction, source string) summary.Party {
	switch {
	case direction == "incoming" && source == "caller", direction == "outgoing" && source == "callee":
		return summary.PartyRemote
	case direction == "incoming" && source == "callee", direction == "outgoing" && source == "caller":
		return summary.PartyLocal
	}
	return summary.PartyUnknown
}

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

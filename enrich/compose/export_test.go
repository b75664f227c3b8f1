package compose

import "github.com/legato-calls/legato/enrich/summary"

// What the tests of this package look at from outside.
var (
	Outcome           = outcome
	OutcomeRules      = outcomeRules
	AnsweredBy        = answeredBy
	Verdict           = verdict
	Cost              = composeCost
	PartyOf           = party
	TruncateLeg       = func(l *summary.Leg) { truncateLeg(l, nil) }
	Derive            = derive
	Annotate          = annotate
	NeverAnswered     = neverAnswered
	CutTimeline       = func(events []summary.Event) ([]summary.Event, int) { return ends(events, maxEvents) }
	Covered           = covered
	WorstStatus       = worstOf
	CompareEvents     = compareEvents
	CompareRecordings = mark[summary.Recording](recordingMark).compare
	// FitTo is FitLeg to another size.
	FitTo = fit
)

// Truncations are the names of the steps, in order.
func Truncations() []string {
	var names []string
	for _, s := range truncations {
		names = append(names, s.what)
	}
	return names
}

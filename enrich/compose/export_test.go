package compose

import "github.com/legato-calls/legato/enrich/summary"

// What the tests of this package look at from outside.
var (
	Outcome           = outcome
	AnsweredBy        = answeredBy
	PartyOf           = party
	BoundLeg          = boundLeg
	Derive            = derive
	Judge             = judge
	NeverAnswered     = neverAnswered
	CutTimeline       = cutTimeline
	Covered           = covered
	WorstStatus       = worstOf
	CompareEvents     = compareEvents
	CompareRecordings = mark[summary.Recording](recordingMark).compare
	// FitTo is FitLeg to another size.
	FitTo = fit

	OutcomesByCause = outcomesByCause
	OutcomesBySIP   = outcomesBySIP
)

// Sheds are the names of the steps, in order.
func Sheds() []string {
	var names []string
	for _, s := range sheds {
		names = append(names, s.what)
	}
	return names
}

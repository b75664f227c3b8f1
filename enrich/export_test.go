package enrich

import "time"

// What the tests of this package look at from outside.
var (
	Outcome        = outcome
	AnsweredBy     = answeredBy
	PartyOf        = party
	DecideFirst    = decideFirst
	DecideAmend    = decideAmend
	DecideAsk      = decideAsk
	NewsSince      = newsSince
	LegReasons     = legReasons
	SessionReasons = sessionReasons
	ComposeLeg     = composeLeg
	ComposeSession = composeSession
	KeepPast       = keepPast

	OutcomesByCause = outcomesByCause
	OutcomesBySIP   = outcomesBySIP
)

// Reason returns the name of the decision.
func (v verdict) Reason() string { return string(v.reason) }

// Act returns whether to act now.
func (v verdict) Act() bool { return v.act }

// Until returns when to look again.
func (v verdict) Until() time.Time { return v.until }

// Jobs counts the sessions that the worker is busy with.
func (w *Worker) Jobs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.jobs)
}

// Remembered counts the summaries that the worker remembers to be stored.
func (w *Worker) Remembered() int { return w.stored.ItemCount() }

package enrich

import "time"

// What the tests of this package look at from outside.
var (
	DecideFirst  = decideFirst
	DecideAmend  = decideAmend
	DecideAsk    = decideAsk
	DecideRepair = decideRepair
	NewsSince    = newsSince
)

// Reason returns the name of the decision.
func (v verdict) Reason() string { return string(v.reason) }

// Act returns whether to act now.
func (v verdict) Act() bool { return v.act }

// Until returns when to look again.
func (v verdict) Until() time.Time { return v.until }

// Past is an event of a history or one that is known.
type Past struct {
	Type, ID string
	At       time.Time
	Exact    bool
}

// Missing returns which rows tell of events that are not known.
func Missing(rows, known []Past, sparse bool) []int {
	convert := func(from []Past) (to []past) {
		for _, p := range from {
			to = append(to, past{p.Type, p.ID, p.At, p.Exact})
		}
		return to
	}
	return missing(convert(rows), convert(known), sparse)
}

// Jobs counts the sessions that the worker is busy with.
func (w *Worker) Jobs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.jobs)
}

// Remembered counts the summaries that the worker remembers to be stored.
func (w *Worker) Remembered() int { return w.stored.ItemCount() }

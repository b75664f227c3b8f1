package enrich

import (
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// What the tests of this package look at from outside.
var (
	DecideFirst    = decideFirst
	DecideAmend    = decideAmend
	DecideAsk      = decideAsk
	DecideBackfill = decideBackfill
	NewsSince      = newsSince
)

// Reason returns the name of the decision.
func (v verdict) Reason() string { return string(v.reason) }

// Act returns whether to act now.
func (v verdict) Act() bool { return v.act }

// Until returns when to look again.
func (v verdict) Until() time.Time { return v.until }

// AwaitUnknown bounds how many calls that nobody knows are waited for.
func (w *Worker) AwaitUnknown(most int) { w.unknowns.most = most }

// BeginJoined reports whether the turn of an attempt is wanted that is asked for once more, as the next one, while it is
// found not to be wanted.
func BeginJoined() bool {
	r, what := newRequests(), request{}
	a, _ := r.join(what, nil, 1, status.Again, time.Time{})
	return r.begin(what, a, func(number int) bool {
		r.join(what, nil, 2, status.Again, time.Time{})
		return number == 2
	})
}

// Past is an event of a history or one that is known.
type Past struct {
	Type, ID string
	At       time.Time
	// Exact: the time is the event's own. Named: so is the id.
	Exact, Named bool
}

// Missing returns which rows are about events that are not known.
func Missing(rows, known []Past, sparse bool) (which []int) {
	convert := func(from []Past) (to []past) {
		for i, p := range from {
			to = append(to, past{typ: p.Type, id: p.ID, at: p.At, exact: p.Exact, named: p.Named, entry: call.Entry{Seq: uint64(i)}})
		}
		return to
	}
	for _, p := range missing(convert(rows), convert(known), sparse) {
		which = append(which, int(p.entry.Seq))
	}
	return which
}

// Jobs counts the sessions that the worker is busy with.
func (w *Worker) Jobs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.jobs)
}

// Remembered counts the summaries that the worker remembers to be stored.
func (w *Worker) Remembered() int { return w.stored.ItemCount() }

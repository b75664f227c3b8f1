package fake

import (
	"maps"
	"sync"
)

// Ledger is what became of the webhooks of a play. It can be read while the play
// runs, and is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	limit  int
	totals Totals
	fates  map[string]Fate
}

// Totals are the sums of a Ledger.
type Totals struct {
	// Calls and Legs count what was begun, Finished the calls whose deliveries are all over.
	Calls, Legs, Finished int
	// Events counts the distinct events of the calls begun, Accepted those of them that
	// were answered 2xx at least once.
	Events, Accepted int
	// Posts counts requests, Retries those of them that repeat a post without success.
	Posts, Retries int
	// Duplicates counts the deliveries that were accepted although their event had been accepted before.
	Duplicates int
	// Failed counts the deliveries that were given up: refused for good, or out of attempts.
	Failed int
	// Dropped counts the deliveries that were lost on purpose.
	Dropped int
	// Abandoned counts the deliveries that the end of the play cut off.
	Abandoned int
}

// Fate is what became of one event.
type Fate struct {
	// Type is the event's.
	Type string
	// Posts counts the requests, Accepted the deliveries that were answered 2xx.
	Posts, Accepted int
	// Failed, Dropped and Abandoned count deliveries, as in Totals.
	Failed, Dropped, Abandoned int
	// Status is that of the last answer. Zero: none.
	Status int
}

func newLedger(limit int) *Ledger { return &Ledger{limit: limit, fates: map[string]Fate{}} }

// Totals returns the sums so far.
func (l *Ledger) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals
}

// Fates returns what became of each event so far, by event id. A long play
// forgets the events of finished calls when there are too many (PlayerConfig.MaxEvents).
func (l *Ledger) Fates() map[string]Fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.fates)
}

func (l *Ledger) begin(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Calls++
	l.totals.Legs += len(c.Legs)
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			l.totals.Events++
			l.fates[d.EventID] = Fate{Type: d.Type}
		}
	}
}

func (l *Ledger) finish(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Finished++
	if len(l.fates) <= l.limit {
		return
	}
	for _, d := range c.Deliveries {
		delete(l.fates, d.EventID)
	}
}

// change records something about the fate of an event and in the totals.
func (l *Ledger) change(d Delivery, record func(*Fate, *Totals)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fate := l.fates[d.EventID]
	record(&fate, &l.totals)
	l.fates[d.EventID] = fate
}

func (l *Ledger) dropped(d Delivery) {
	l.change(d, func(f *Fate, t *Totals) { f.Dropped++; t.Dropped++ })
}

func (l *Ledger) abandoned(d Delivery) {
	l.change(d, func(f *Fate, t *Totals) { f.Abandoned++; t.Abandoned++ })
}

func (l *Ledger) sent(d Delivery, o Outcome, cutOff bool) {
	l.change(d, func(f *Fate, t *Totals) {
		f.Posts += o.Posts
		t.Posts += o.Posts
		t.Retries += max(0, o.Posts-1)
		if o.Status != 0 {
			f.Status = o.Status
		}
		switch {
		case o.Accepted && f.Accepted > 0:
			f.Accepted++
			t.Duplicates++
		case o.Accepted:
			f.Accepted++
			t.Accepted++
		case cutOff:
			f.Abandoned++
			t.Abandoned++
		default:
			f.Failed++
			t.Failed++
		}
	})
}

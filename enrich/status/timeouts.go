package status

import (
	"sync/atomic"
	"time"
)

// missedInARow is how many answers have to stay away, with none between, for all to be awaited longer.
const missedInARow = 3

// timeouts is how long answers are awaited: not long as a rule, since a request that is lost is better made again; as
// long as is bearable while no answer comes within that, since an API that is slow answers nobody who does not wait.
type timeouts struct {
	usual, most time.Duration
	missed      atomic.Int32
}

// of returns how long to await an answer, after an earlier one about the same leg was awaited in vain or not.
func (t *timeouts) of(patient bool) time.Duration {
	if patient || t.missed.Load() >= missedInARow {
		return t.most
	}
	return t.usual
}

// note takes note of how a request ended, and after how long.
func (t *timeouts) note(a *Answer, took time.Duration) {
	switch {
	case a.Problem == ProblemTimeout:
		t.missed.Add(1)
	case took <= t.usual:
		t.missed.Store(0)
	}
}

package status

import (
	"cmp"
	"container/heap"
	"time"
)

// Class is how urgent a request is: of those that wait, a lower class comes first.
type Class int

// Classes.
const (
	// First: a leg is over, and Telnyx has not said anything about it yet.
	First Class = iota
	// Again: it has, and it was not the last word.
	Again
	// Sweep: a leg that is believed to be alive.
	Sweep
	// Late: the time is over in which the status API knows the leg.
	Late
	// History: the history of a leg, which Telnyx keeps for long.
	History
)

var classes = [...]string{"first", "again", "sweep", "late", "history"}

// Place is where a request stands in line: before those of a higher class, within its class by Since, the oldest first.
type Place struct {
	Class Class
	// Since is when it began to be due, such as the end of the leg that it is about.
	Since time.Time
	// Until is when it becomes Late. Zero: never.
	Until time.Time
}

// waiter is who stands in line.
type waiter struct {
	place Place
	// arrived breaks ties: who came first goes first. index is its place in the heap, -1 once it has left.
	arrived uint64
	index   int
	// begin is called when its turn has come, false: it does not want it any more. grant gives it the turn, and the
	// slot, which it gives back. Neither may block.
	begin func() bool
	grant func()
}

func (w *waiter) before(other *waiter) bool {
	a, b := &w.place, &other.place
	return cmp.Or(cmp.Compare(a.Class, b.Class), a.Since.Compare(b.Since), cmp.Compare(w.arrived, other.arrived)) < 0
}

// line is a heap of those who wait: the next one is at its top.
type line []*waiter

func (l line) Len() int           { return len(l) }
func (l line) Less(i, j int) bool { return l[i].before(l[j]) }
func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push implements heap.Interface.
func (l *line) Push(x any) {
	w := x.(*waiter)
	w.index = len(*l)
	*l = append(*l, w)
}

// Pop implements heap.Interface.
func (l *line) Pop() any {
	last := len(*l) - 1
	w := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	w.index = -1
	return w
}

// fallBehind makes those at the top late whose time is over, so that they do not stand before those whose is not.
func (l *line) fallBehind(now time.Time, moved func(from, to Class)) {
	for len(*l) > 0 {
		p := &(*l)[0].place
		if p.Class >= Late || p.Until.IsZero() || now.Before(p.Until) {
			return
		}
		moved(p.Class, Late)
		p.Class = Late
		heap.Fix(l, 0)
	}
}

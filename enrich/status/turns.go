package status

import (
	"cmp"
	"container/heap"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// turns hands out turns to make a request: at a bounded rate, to so many at once, to none during a pause, and always to
// the first in line. Nobody is turned away: whoever waits keeps its place, and while anybody waits no turn is left out.
type turns struct {
	metrics *metrics

	mu      sync.Mutex // guards all that follows
	line    line
	arrived uint64
	// slots are those that are free, of all.
	slots, all int
	limiter    *rate.Limiter
	pace       pace
	// paused is until when nobody gets a turn.
	paused time.Time
	// timer hands out the next turn when its time comes; nil: there was none to wait for yet.
	timer  *time.Timer
	closed bool
}

// newTurns returns turns at a rate, to so many at once. A rate of 0 is to be found out.
func newTurns(perSecond float64, burst, slots int, m *metrics) *turns {
	t := &turns{metrics: m, slots: slots, all: slots, pace: newPace(perSecond, burst, time.Now())}
	perSecond = t.pace.now
	t.limiter = rate.NewLimiter(t.pace.limit(perSecond), t.pace.burst(perSecond))
	m.rate.Set(perSecond)
	return t
}

// enter puts somebody in line.
func (t *turns) enter(place Place, begin func() bool, grant func()) *waiter {
	t.mu.Lock()
	t.arrived++
	w := &waiter{place: place, arrived: t.arrived, begin: begin, grant: grant}
	heap.Push(&t.line, w)
	t.metrics.wait(place.Class, 1)
	t.mu.Unlock()
	t.handOut()
	return w
}

// await stands in line until its turn has come, which release ends; or returns the error of ctx.
func (t *turns) await(ctx context.Context, place Place) error {
	var decided atomic.Bool // by whichever comes first, the turn or the end of ctx
	granted := make(chan struct{})
	w := t.enter(place, func() bool { return ctx.Err() == nil }, func() {
		if decided.Swap(true) {
			t.release()
			return
		}
		close(granted)
	})
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	if decided.Swap(true) {
		t.release()
		return ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&t.line, w.index)
		t.metrics.wait(w.place.Class, -1)
	}
	return ctx.Err()
}

// handOut gives turns to the first in line, for as long as there are any to be had.
func (t *turns) handOut() {
	for {
		w, giveBack := t.next()
		switch {
		case w == nil:
			return
		case w.begin():
			w.grant()
		default:
			giveBack()
		}
	}
}

// next takes a turn for the first in line, which can give it back at once; nil: there is none to be had now, or nobody
// wants one.
func (t *turns) next() (w *waiter, giveBack func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.line.fallBehind(now, func(from, to Class) {
		t.metrics.wait(from, -1)
		t.metrics.wait(to, 1)
	})
	if len(t.line) == 0 || t.slots == 0 || t.closed {
		return nil, nil
	}
	if wait := t.paused.Sub(now); wait > 0 {
		t.later(wait)
		return nil, nil
	}
	t.follow(now)
	turn := t.limiter.ReserveN(now, 1)
	if wait := turn.DelayFrom(now); wait > 0 {
		turn.CancelAt(now)
		t.pace.held = true
		t.later(t.pace.window.renewal(now, wait))
		return nil, nil
	}
	t.slots--
	w = heap.Pop(&t.line).(*waiter)
	t.metrics.wait(w.place.Class, -1)
	return w, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		turn.CancelAt(now)
		t.slots++
	}
}

// later hands out turns after a time. The lock is held.
func (t *turns) later(wait time.Duration) {
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.handOut)
		return
	}
	t.timer.Reset(wait)
}

// release gives back the slot of a request that is over.
func (t *turns) release() {
	t.mu.Lock()
	t.slots++
	t.mu.Unlock()
	t.handOut()
}

// close keeps everybody from having a turn.
func (t *turns) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// pause keeps everybody waiting for d from now; a longer pause that is running stands.
func (t *turns) pause(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pauseLocked(time.Now(), d)
}

func (t *turns) pauseLocked(now time.Time, d time.Duration) {
	until := now.Add(d)
	if !until.After(t.paused) {
		return
	}
	if !t.paused.After(now) {
		t.metrics.pauses.Inc() // of requests under way at once each can be told so: it is one pause
	}
	t.paused = until
}

// refused takes note of a 429 to a request that was sent at a time: nobody asks for d, and then everybody more slowly.
func (t *turns) refused(sent time.Time, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.pauseLocked(now, d)
	t.pace.slow(sent, now)
	t.follow(now)
}

// accepted takes note of any other answer, and of what it says of the rate limit. good: nothing is wrong there.
func (t *turns) accepted(header http.Header, good bool) {
	quota, stated := ReadQuota(header)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if stated && t.pace.found() {
		t.pace.window.note(quota, now, t.all-t.slots)
	}
	if good {
		t.pace.grow(now)
	}
	t.follow(now)
}

// follow makes the limiter follow the pace. What it has saved up is not given out at once.
func (t *turns) follow(now time.Time) {
	perSecond := t.pace.perSecond(now, t.all-t.slots)
	limit, burst := t.pace.limit(perSecond), t.pace.burst(perSecond)
	if limit != t.limiter.Limit() {
		t.limiter.SetLimitAt(now, limit)
		t.metrics.rate.Set(perSecond)
	}
	if burst != t.limiter.Burst() {
		t.limiter.SetBurstAt(now, burst)
	}
}

// backlog is how long the leg has waited that is to be asked about next, if it is one that is over and was not asked
// about yet, and at what rate.
func (t *turns) backlog() (age time.Duration, perSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.line) > 0 && t.line[0].place.Class == First {
		age = max(0, now.Sub(t.line[0].place.Since))
	}
	return age, t.pace.perSecond(now, t.all-t.slots)
}

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

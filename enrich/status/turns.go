package status

import (
	"container/heap"
	"context"
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
	// slots are those that are free.
	slots   int
	limiter *rate.Limiter
	pace    pace
	// paused is until when nobody gets a turn.
	paused time.Time
	// timer hands out the next turn when its time comes; nil: there was none to wait for yet.
	timer  *time.Timer
	closed bool
}

func newTurns(perSecond float64, burst, slots int, m *metrics) *turns {
	p := newPace(perSecond, burst)
	m.rate.Set(perSecond)
	return &turns{metrics: m, slots: slots, pace: p, limiter: rate.NewLimiter(p.limit(), p.burst())}
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
	turn := t.limiter.ReserveN(now, 1)
	if wait := turn.DelayFrom(now); wait > 0 {
		turn.CancelAt(now)
		t.later(wait)
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
	if until := now.Add(d); until.After(t.paused) {
		t.paused = until
		t.metrics.pauses.Inc()
	}
}

// refused takes note of a 429 to a request that was sent at a time: nobody asks for d, and then everybody more slowly.
func (t *turns) refused(sent time.Time, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.pauseLocked(now, d)
	if t.pace.slow(sent, now) {
		t.setPace(now)
	}
}

// accepted takes note of any other answer.
func (t *turns) accepted() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); t.pace.recover(now) {
		t.setPace(now)
	}
}

// setPace makes the limiter follow the pace. What it has saved up is not given out at once.
func (t *turns) setPace(now time.Time) {
	t.limiter.SetLimitAt(now, t.pace.limit())
	t.limiter.SetBurstAt(now, t.pace.burst())
	t.metrics.rate.Set(float64(t.pace.limit()))
}

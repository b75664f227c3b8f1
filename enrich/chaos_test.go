package enrich_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

var chaosSeeds = flag.Int("chaos", 8, "how many runs of the test in chaos, each of another seed")

// chaos is a stretch of time in which everything goes wrong that can.
type chaos struct {
	*world

	mu  sync.Mutex
	rng *rand.Rand
	// over tells that everybody is well again.
	over atomic.Bool
	// living counts the replicas.
	living atomic.Int32
}

// up returns a number from 0 up to n.
func (c *chaos) up(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// within returns a time up to d.
func (c *chaos) within(d time.Duration) time.Duration {
	return time.Duration(c.up(int(d/time.Microsecond))) * time.Microsecond
}

// Whatever happens meanwhile: when all is well again, what is published is what
// the log says, each leg and session completed once.
func TestNothingIsLostOrDoubledInChaos(t *testing.T) {
	for seed := range *chaosSeeds {
		synctest.Test(t, func(t *testing.T) {
			c := &chaos{world: newWorld(t), rng: rand.New(rand.NewPCG(7, uint64(seed)))}
			defer c.end()
			c.log.untrimmed = true
			c.stagger = 100 * time.Millisecond
			c.break_()
			for range 3 {
				c.another()
			}
			c.calls(20)
			c.over.Store(true)
			for _, r := range c.replicas {
				r.letFold()
			}
			c.another()
			after(20 * time.Minute)
			c.settled()
			c.whole()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

// whole looks for legs that lack an event: the history has them all.
func (c *chaos) whole() {
	c.t.Helper()
	newest := make(map[summary.Key]summary.Leg)
	for _, m := range c.sink.all() {
		var l summary.Leg
		if m.Key.Kind == summary.KindLeg && json.Unmarshal(m.Body, &l) == nil {
			newest[m.Key] = l
		}
	}
	for k, l := range newest {
		for _, n := range []summary.Note{summary.NoteInitiatedMissing, summary.NoteAnsweredMissing, summary.NoteHangupMissing} {
			if slices.Contains(l.Notes, n) {
				c.t.Errorf("leg %s: %s, though the history has it; it was asked %d times", k.Leg, n, len(c.past.of(call.LegID(k.Leg))))
			}
		}
		seen := make(map[string]int)
		for _, e := range l.Events {
			if seen[e.Type+e.OccurredAt.String()]++; seen[e.Type+e.OccurredAt.String()] > 1 {
				c.t.Errorf("leg %s has %s twice", k.Leg, e.Type)
			}
		}
	}
}

// one reports true once in n times, as long as chaos reigns.
func (c *chaos) one(n int) bool { return !c.over.Load() && c.up(n) == 0 }

// another starts one more replica, slow at reading the log.
func (c *chaos) another() {
	c.living.Add(1)
	c.startWith(func(r *replica) { r.slow = time.Duration(1+c.up(100)) * time.Millisecond })
}

// break_ makes every server unreliable.
func (c *chaos) break_() {
	c.sink.fault = func(_ *replica, _ summary.Draft, _ int) fault {
		switch {
		case c.one(8):
			return notStored
		case c.one(8):
			return ackLost
		case c.dies(30):
			return diesAfter
		case c.dies(30):
			return diesBefore
		}
		return noFault
	}
	c.sink.failLast = func(*replica, summary.Key) error {
		if c.one(8) {
			return errDown
		}
		return nil
	}
	c.log.refuse = func(*replica, call.Entry) error {
		if c.one(10) {
			return errDown
		}
		return nil
	}
	c.status.latency = func(call.Ref, int) time.Duration {
		if c.one(10) {
			return c.within(40 * time.Second)
		}
		return c.within(400 * time.Millisecond)
	}
	turn := func(call.Ref) time.Duration {
		if c.one(6) {
			return c.within(5 * time.Minute)
		}
		return 0
	}
	c.past.turn, c.status.turn = turn, turn
	c.past.answer = func(_ call.Ref, _ int, there status.Past) status.Past {
		switch {
		case c.one(4):
			return status.Past{Answer: unreachable()}
		case c.one(4):
			there.Rows = there.Rows[:c.up(len(there.Rows)+1)] // it lags
		}
		return there
	}
	c.status.answer = func(call.Ref, int) status.Answer {
		switch {
		case c.one(4):
			return alive()
		case c.one(4):
			return unreachable()
		case c.one(8):
			return notFound()
		}
		return ended()
	}
}

// dies reports whether the time has come for a replica to end, the last one excepted.
func (c *chaos) dies(n int) bool {
	if !c.one(n) {
		return false
	}
	if c.living.Add(-1) > 0 {
		return true
	}
	c.living.Add(1)
	return false
}

// calls lets so many calls take place while things happen to the replicas.
func (c *chaos) calls(n int) {
	type delivery struct {
		at   time.Duration
		body []byte
	}
	var deliveries []delivery
	say := func(at time.Duration, body []byte) {
		deliveries = append(deliveries, delivery{at, body})
		if c.one(4) {
			deliveries = append(deliveries, delivery{at + c.within(4*time.Minute), body})
		}
	}
	for i := range n {
		from := c.within(2 * time.Minute)
		for j := range 1 + c.up(3) {
			l := newLeg(fmt.Sprintf("s%d", i), j+1)
			jitter := func() time.Duration { return from + c.within(3*time.Second) }
			c.past.has(call.LegID(l.id), l.initiated(), l.answered(), l.hangup())
			if !c.one(10) {
				say(jitter(), l.initiated())
			}
			say(jitter(), l.answered())
			if !c.one(10) {
				say(jitter(), l.hangup())
			}
			for k := range c.up(3) {
				say(jitter()+time.Duration(c.up(60))*time.Second, l.recording(k))
			}
			if c.one(2) {
				say(jitter()+time.Duration(c.up(30))*time.Second, l.cost("0.0100"))
			}
			from += c.within(15 * time.Second)
		}
	}
	slices.SortStableFunc(deliveries, func(a, b delivery) int { return int(a.at - b.at) })
	begun := time.Now()
	for _, d := range deliveries {
		for time.Until(begun.Add(d.at)) > time.Second {
			c.mishap()
			pass(time.Second)
		}
		pass(time.Until(begun.Add(d.at)))
		c.deliver(d.body)
	}
}

// mishap is something that may happen in a second.
func (c *chaos) mishap() {
	synctest.Wait()
	r := c.replicas[c.up(len(c.replicas))]
	switch {
	case r.dead.Load():
		if c.living.Load() < 3 {
			c.another()
		}
	case c.dies(40):
		r.kill()
	case c.dies(40):
		r.stop()
		r.dead.Store(true) // nothing more is to happen to it
	case c.one(30):
		r.replay()
	case c.one(20):
		r.holdFold()
		go func() {
			pass(c.within(20 * time.Second))
			r.letFold()
		}()
	}
}

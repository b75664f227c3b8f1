package enrich_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
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

var (
	permutations = flag.Int("permutations", 3, "how many random permutations of each flow are run")
	permuteSeed  = flag.Uint64("permute-seed", 1, "the seed of the first permutation")
)

// shuffled returns the deliveries in a random order, some of them again: at
// once, later, or when the log does not know them any more.
func (f *flow) shuffled(rng *rand.Rand) []delivery {
	all := f.permuted(func(moving []delivery) {
		rng.Shuffle(len(moving), func(i, j int) { moving[i], moving[j] = moving[j], moving[i] })
	})
	for _, d := range slices.Clone(all) {
		for rng.IntN(4) == 0 {
			again := d
			again.body = bytes.Replace(d.body, []byte(`"attempt": 1`), fmt.Appendf(nil, `"attempt": %d`, 2+rng.IntN(3)), 1)
			again.at += time.Duration(rng.Int64N(int64(2 * duplicateWindow)))
			all = append(all, again)
		}
	}
	slices.SortStableFunc(all, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
	return all
}

// wantAnyOrder runs a flow in random orders, each with its work split at random
// over two replicas, and holds the newest summaries against the ones wanted.
func (f *flow) wantAnyOrder(t *testing.T, n int) {
	want := maps.Clone(f.want)
	delete(want, "want/messages")
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				i := next.Add(1)
				if i > uint64(n) {
					return
				}
				seed := *permuteSeed + i - 1
				f.wantOrder(t, seed, want)
			}
		})
	}
	wg.Wait()
}

func (f *flow) wantOrder(t *testing.T, seed uint64, want map[string]string) {
	rng := rand.New(rand.NewPCG(23, seed))
	split := rng.Uint64()
	got := f.runOn(t, 2, f.shuffled(rng), func(w *world) {
		w.queue.route = func(e call.Entry) *replica {
			// A hash of its place, so that a task that comes again goes to the same one.
			return w.replicas[(split*(e.Seq+1)*0x9e3779b97f4a7c15)>>63]
		}
	})
	delete(got, "want/messages")
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("permutation of seed %d: -want +got:\n%s", seed, diff)
	}
}

func TestAnyOrderRepetitionAndSplitOfAFlowGivesTheSameSummaries(t *testing.T) {
	for name, f := range flows(t) {
		t.Run(name, func(t *testing.T) { f.wantAnyOrder(t, *permutations) })
	}
}

// The same of calls that were not thought out for this: those of the generator.
func TestAnyOrderRepetitionAndSplitOfGeneratedCallsGivesTheSameSummaries(t *testing.T) {
	for i, scenario := range fake.Scenarios() {
		t.Run(string(scenario), func(t *testing.T) {
			for n := range uint64(max(1, *permutations/100)) {
				f := generated(t, scenario, *permuteSeed*1000+uint64(i)*100+n)
				f.want = f.run(t, 1, f.deliveries)
				f.wantAnyOrder(t, min(*permutations, 100))
			}
		})
	}
}

// generated is a call of the fake Telnyx as a flow: all that it says, and what its
// status API would answer.
func generated(t *testing.T, scenario fake.Scenario, number uint64) *flow {
	t.Helper()
	c := fake.Generator{Seed: 7}.Of(scenario, number, callStart)
	f := &flow{answers: make(map[call.LegID][]answerFrom)}
	for _, d := range c.Deliveries {
		body := fmt.Appendf(nil, `{"data": %s, "meta": {"attempt": 1}}`, d.Data)
		f.deliveries = append(f.deliveries, delivery{at: d.Offset, body: body})
	}
	for _, l := range c.Legs {
		f.answers[l.Ref.Leg] = []answerFrom{{0, alive()}, {l.End.Sub(callStart), status.Answer{
			Result: status.Answered, HTTPStatus: 200, RecordType: "call",
			IsAlive: new(false), StartTime: l.Start, EndTime: l.End,
		}}}
	}
	return f
}

// Whatever single event is lost, the leg is summarised, and says so where that matters.
func TestLosingAnyOneEventNeverPreventsASummary(t *testing.T) {
	notes := map[string]string{call.TypeInitiated: "initiated_missing", call.TypeAnswered: "answered_missing", call.TypeHangup: "hangup_missing"}
	for name, f := range flows(t) {
		t.Run(name, func(t *testing.T) {
			for i, lost := range f.deliveries {
				rest := slices.Delete(slices.Clone(f.deliveries), i, i+1)
				env, err := telnyx.ParseEnvelope(lost.body)
				if err != nil {
					continue // no event, and parked: nobody misses it
				}
				// Of a leg of which nothing else tells, nothing can be summarised.
				due := make(map[call.LegID]bool)
				var again bool // another event of the leg and type: nothing is missing
				for _, d := range rest {
					other, err := telnyx.ParseEnvelope(d.body)
					if err == nil && other.Ref.Leg != "" && other.Ref.Session != "" {
						due[other.Ref.Leg] = true
					}
					again = again || err == nil && other.Ref.Leg == env.Ref.Leg && other.Type == env.Type
				}
				wait := 15 * time.Minute
				if env.Type == call.TypeHangup {
					wait = 5 * time.Hour // no leg lives longer
				}
				got := f.runFor(t, 1, rest, nil, wait)
				for leg := range due {
					body, ok := got["want/leg "+string(leg)]
					if !ok {
						t.Errorf("without %s of %s there is no summary of leg %s", env.Type, env.Ref.Leg, leg)
						continue
					}
					note := notes[env.Type]
					// What Telnyx's history has is missing no more.
					if leg != env.Ref.Leg || again || note == "" || len(f.history[leg]) > 0 {
						continue
					}
					var s struct {
						Outcome string
						Notes   []string
					}
					if err := json.Unmarshal([]byte(body), &s); err != nil {
						t.Fatal(err)
					}
					// Nothing tells that a leg was answered when only its answer was lost.
					if env.Type == call.TypeAnswered && s.Outcome != "answered" {
						continue
					}
					if !slices.Contains(s.Notes, note) {
						t.Errorf("without %s the notes of leg %s are %v", env.Type, leg, s.Notes)
					}
				}
				for id := range got {
					if strings.HasPrefix(id, "want/session ") {
						continue
					}
					if leg, ok := strings.CutPrefix(id, "want/leg "); ok && !due[call.LegID(leg)] {
						t.Errorf("a summary of leg %s, of which nothing was told", leg)
					}
				}
			}
		})
	}
}

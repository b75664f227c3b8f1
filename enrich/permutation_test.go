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
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

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

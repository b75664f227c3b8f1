// Package chaos_test runs the real program under faults that come at random, and holds what was published against the
// truth.
package chaos_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

var (
	chaosFor   = flag.Duration("chaos", 0, "how long faults reign in each run of TestChaos; 0: the short form, every setup once")
	chaosSeed  = flag.Uint64("seed", 0, "seed of the first run of TestChaos; 0: drawn")
	chaosSeeds = flag.Int("seeds", 1, "how many runs TestChaos makes one after the other, each of the next seed")
	chaosRate  = flag.Float64("rate", 2, "calls that begin in a second in the long form: no more than the machine can bear")
	chaosSetup = flag.String("setup", "", "setup of every run of TestChaos: embedded, replicas or cluster; empty: drawn by the seed")
)

// setup is what a run of the chaos consists of.
type setup struct {
	name string
	// serves and nats count the processes; with no nats, serve embeds it.
	serves, nats int
	flags        []string
}

var setups = []setup{
	{name: "embedded", serves: 1},
	{name: "replicas", serves: 3, nats: 1},
	{name: "cluster", serves: 2, nats: 3, flags: []string{"--nats-replicas=3"}},
}

// tempo is how fast things go wrong.
type tempo struct {
	// faults is how long they do.
	faults time.Duration
	// every is the mean time between two faults of processes.
	every time.Duration
	// pause and frozen are the longest that a process is down or stopped;
	// in one case of five longFrozen, more than the queue waits for a task.
	pause, frozen, longFrozen time.Duration
	// rate is how many calls begin in a second.
	rate float64
	// amend is Legato's amend window: long enough for late events, short enough for calls to depart.
	amend time.Duration
	// operators intervene in NATS; rollBack is the pause between two returns of a lone server with an older disk, 0:
	// there are none.
	operators bool
	rollBack  time.Duration
}

func shortTempo() tempo {
	return tempo{
		faults: 12 * time.Second, every: 2500 * time.Millisecond, pause: 1500 * time.Millisecond,
		frozen: 2 * time.Second, longFrozen: 5 * time.Second, rate: 3, amend: 12 * time.Second,
	}
}

func longTempo(faults time.Duration) tempo {
	return tempo{
		faults: faults, every: 6 * time.Second, pause: 5 * time.Second,
		frozen: 6 * time.Second, longFrozen: 20 * time.Second, rate: *chaosRate, amend: 25 * time.Second,
		operators: true, rollBack: 40 * time.Second,
	}
}

// TestChaos runs the real program on real servers, lets everything go wrong that
// can, and holds what is published in the end against a ledger of the webhooks that
// were answered. The short form is part of the tests. The long form:
//
//	go test -race ./e2e/chaos -run 'TestChaos$' -v -timeout 0 -chaos 7m -seed 1 -seeds 3
//
// With -race the processes are built with the race detector as well.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	if *chaosFor > 0 {
		needed := time.Duration(*chaosSeeds) * (*chaosFor + 5*time.Minute)
		if deadline, ok := t.Deadline(); ok && time.Until(deadline) < needed {
			t.Fatalf("the run may take %v: give -timeout 0", needed)
		}
	}
	results := make(chan result, len(setups)+*chaosSeeds)
	t.Cleanup(func() {
		close(results)
		report(t, results)
	})
	if *chaosFor == 0 {
		for _, s := range setups {
			if *chaosSetup == "" || *chaosSetup == s.name {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					newChaos(t, s, seed, shortTempo()).run(results)
				})
			}
		}
		return
	}
	for i := range uint64(*chaosSeeds) {
		s := setupOf(t, seed+i)
		t.Run(fmt.Sprintf("%s-%d", s.name, seed+i), func(t *testing.T) {
			newChaos(t, s, seed+i, longTempo(*chaosFor)).run(results)
		})
	}
}

// setupOf is the setup of a seed: one after the other, so that three seeds have all.
func setupOf(t *testing.T, seed uint64) setup {
	t.Helper()
	for i, s := range setups {
		if *chaosSetup == s.name || *chaosSetup == "" && seed%uint64(len(setups)) == uint64(i) {
			return s
		}
	}
	t.Fatalf("no setup %q", *chaosSetup)
	return setup{}
}

// result is one line of the report.
type result struct {
	Seed       uint64         `json:"seed"`
	Setup      string         `json:"setup"`
	Seconds    int            `json:"seconds"`
	Calls      int            `json:"calls"`
	Legs       int            `json:"legs"`
	Deliveries int            `json:"deliveries"`
	Answered   int            `json:"answered_200"`
	Refused    int            `json:"answered_503"`
	Unanswered int            `json:"unanswered"`
	Faults     map[string]int `json:"faults"`
	Kills      int            `json:"kills"`
	Exits      int            `json:"exits"`
	StatusAsks int            `json:"status_requests"`
	Completed  int            `json:"completed"`
	Amended    int            `json:"amended"`
	Parked     int            `json:"parked"`
	Orphans    int            `json:"orphans"`
	QuietAfter int            `json:"quiet_after_seconds"`
	// Forwarded events came to a target; ForwardedTwice counts second arrivals, ForwardedStale those that were not sent.
	Forwarded      int `json:"forwarded"`
	ForwardedTwice int `json:"forwarded_twice"`
	ForwardedStale int `json:"forwarded_stale"`

	// Again counts summaries that were published once more after the stream had lost them, RolledBack the events that
	// were lost with the end of a log and did not come again.
	Again      int `json:"again"`
	RolledBack int `json:"rolled_back"`

	Lost    int `json:"lost"`
	Doubled int `json:"doubled"`
	Phantom int `json:"phantom"`
	Wrong   int `json:"wrong"`
}

// report prints the table for people and a line of JSON a run for machines.
func report(t *testing.T, results <-chan result) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "seed\tsetup\tseconds\tcalls\tlegs\tdeliveries\t200s\t503s\tno answer\tkills\tcompleted\tamended\tparked\torphans\tagain\trolled back\tlost\tdoubled\tphantom\twrong\t")
	var lines strings.Builder
	for r := range results {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n",
			r.Seed, r.Setup, r.Seconds, r.Calls, r.Legs, r.Deliveries, r.Answered, r.Refused, r.Unanswered, r.Kills,
			r.Completed, r.Amended, r.Parked, r.Orphans, r.Again, r.RolledBack, r.Lost, r.Doubled, r.Phantom, r.Wrong)
		line, err := json.Marshal(r)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(&lines, "%s\n", line)
	}
	_ = w.Flush()
	t.Logf("chaos:\n%s\n%s", table.String(), lines.String())
	if *chaosFor > 0 {
		// At once and whole, also where -v was forgotten.
		fmt.Fprintf(os.Stderr, "%s\n%s", table.String(), lines.String())
	}
}

// Command legato-bench measures the service beside floors that do less, and prints a table of ratios.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/procfs"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
	"github.com/legato-calls/legato/ingest"
	telnyxfake "github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/service"
)

// console is where a command writes.
type console struct {
	stdout, stderr io.Writer
}

// command is one of the two that this program has.
type command interface {
	Run(ctx context.Context, c *console) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	var cmd command = new(benchCmd)
	args := os.Args[1:]
	// What is measured runs in processes of its own, which this program starts with this word.
	if len(args) > 0 && args[0] == targetWord {
		cmd, args = new(targetCmd), args[1:]
	}
	parser := kong.Must(cmd, kong.Name("legato-bench"),
		kong.Description("Measures Legato beside floors that do less: events a second, CPU, latency, memory and restart."))
	_, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	if err := cmd.Run(ctx, &console{stdout: os.Stdout, stderr: os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "legato-bench:", err)
		os.Exit(1)
	}
}

type benchCmd struct {
	Quick    bool          `help:"Under a minute: one round, fewer events, only the parts load and start."`
	JSON     bool          `help:"Print the report as JSON."`
	Goals    bool          `help:"Hold the figures against the project's own goals."`
	Only     []string      `enum:"load,start,replay,heap,growth,forward,console,disk-busy,burst,steady" help:"Parts to run, separated by commas: load (the floors and the service), start (empty log), replay (restart with a log), heap (open legs), growth (cost by open sessions and by events a call), forward (with an application, live and dead), console (with readers of its live pages, and pages of calls in Chromium), disk-busy (beside other work on the disk), burst (20,000 hangups in a second), steady (memory over a long time). Default: all but steady."`
	Rounds   int           `default:"3" help:"How often everything is measured, in turn."`
	Events   int           `default:"40000" help:"Events at saturation."`
	Hold     time.Duration `default:"10s" help:"How long each fixed rate is held."`
	Rates    []float64     `default:"1000,5000" help:"Fixed rates, events a second."`
	Steady   time.Duration `default:"1h" help:"How long the part steady holds the first of the fixed rates."`
	Replay   int           `default:"100000" help:"Events in the log of the restart."`
	OpenLegs int           `default:"100000" help:"Open legs or sessions of the parts heap and growth." name:"open-legs"`
	Rows     []string      `help:"Rows of the part load to measure, by the names that --json has." placeholder:"NAME"`
	Baseline string        `help:"Another build to measure beside, in the parts load and replay: the words that make its bench a target, as '/old/legato-bench bench-target'." placeholder:"WORDS"`
	Dir      string        `default:"." help:"Where the logs are written: on the disk that is to be measured, not on one in memory." type:"path"`
	Profile  string        `help:"Directory for CPU and allocation profiles of each target, at saturation and at each fixed rate. They cost some CPU." placeholder:"DIR" type:"path"`
}

// The parts of a run.
const (
	partLoad    = "load"
	partStart   = "start"
	partReplay  = "replay"
	partHeap    = "heap"
	partGrowth  = "growth"
	partForward = "forward"
	partConsole = "console"
	partBusy    = "disk-busy"
	partBurst   = "burst"
	partSteady  = "steady"
)

// connections is how many webhooks are under way at once.
const connections = 64

// benchRun is one run of bench.
type benchRun struct {
	*benchCmd
	console *console
	key     ed25519.PrivateKey
	api     *slowAPI
	dir     string // of this run, removed at its end
	report  bench.Report
	tag     uint32 // of the last workload
}

// Run measures, prints the report, and fails when anything was refused or missing.
func (cmd *benchCmd) Run(ctx context.Context, c *console) error {
	if err := cmd.complete(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(cmd.Dir, "legato-bench-")
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	defer os.RemoveAll(dir)
	api, stop, err := serveSlowAPI(ctx)
	if err != nil {
		return err
	}
	defer stop()
	b := &benchRun{benchCmd: cmd, console: c, key: telnyxfake.Key(1), api: api, dir: dir}
	if b.report.Machine, err = machine(dir); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{partLoad, b.load},
		{partStart, b.start},
		{partReplay, b.replay},
		{partHeap, b.heap},
		{partGrowth, b.growth},
		{partForward, b.forward},
		{partConsole, b.consolePart},
		{partBusy, b.diskBusy},
		{partBurst, b.burst},
		{partSteady, b.steady},
	} {
		if !slices.Contains(cmd.Only, part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("the run does not count: %s: %w", part.name, err)
		}
	}
	if cmd.Goals {
		b.report.Judge()
	}
	if cmd.JSON {
		out := json.NewEncoder(c.stdout)
		out.SetIndent("", "  ")
		return out.Encode(&b.report)
	}
	return b.report.Print(c.stdout)
}

// complete applies --quick and refuses what cannot be measured.
func (cmd *benchCmd) complete() error {
	if len(cmd.Only) == 0 {
		cmd.Only = []string{partLoad, partStart, partReplay, partHeap, partGrowth, partForward, partConsole, partBusy, partBurst}
		if cmd.Quick {
			cmd.Only = cmd.Only[:2]
		}
	}
	if cmd.Quick {
		cmd.Rounds, cmd.Events, cmd.Hold = min(cmd.Rounds, 1), min(cmd.Events, 8000), min(cmd.Hold, 2*time.Second)
	}
	if cmd.Rounds < 1 || cmd.Events < 1 || cmd.Replay < 1 || cmd.OpenLegs < 1 || cmd.Hold <= 0 || cmd.Steady <= 0 {
		return errors.New("--rounds, --events, --hold, --replay, --open-legs and --steady must be more than 0")
	}
	if slices.Contains(cmd.Only, partSteady) && len(cmd.Rates) == 0 {
		return errors.New("--only=steady holds the first of --rates, and there is none")
	}
	for _, rate := range cmd.Rates {
		if rate <= 0 {
			return errors.New("--rates must be more than 0")
		}
	}
	if cmd.Profile != "" {
		if err := os.MkdirAll(cmd.Profile, 0o750); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	return nil
}

// progress tells what is being done, where the report does not go.
func (b *benchRun) progress(format string, args ...any) {
	fmt.Fprintf(b.console.stderr, format+"\n", args...)
}

// build makes the next workload; its ids are those of no other of this run.
func (b *benchRun) build(shape bench.Shape) *bench.Workload {
	b.tag++
	shape.Tag = b.tag
	return bench.Build(shape, b.key, ingest.Path)
}

// machine describes where the run takes place.
func machine(dir string) (bench.Machine, error) {
	m := bench.Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Version: "legato " + service.Release() + " " + service.Commit()}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return m, fmt.Errorf("bench reads CPU and memory from /proc, which Linux has: %w", err)
	}
	load, err := fs.LoadAvg()
	if err != nil {
		return m, fmt.Errorf("read the load average: %w", err)
	}
	m.LoadBefore = load.Load1
	m.SyncP50, m.SyncP99, err = syncTimes(filepath.Join(dir, "sync"))
	return m, err
}

// syncTimes writes and syncs a file some times, and returns the median and the 99th percentile in milliseconds.
func syncTimes(path string) (p50, p99 float64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, fmt.Errorf("measure the disk: %w", err)
	}
	defer f.Close()
	block := []byte(strings.Repeat("x", 1500))
	times := make([]float64, 200)
	for i := range times {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, 0, fmt.Errorf("measure the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, 0, fmt.Errorf("measure the disk: %w", err)
		}
		times[i] = float64(time.Since(began)) / float64(time.Millisecond)
	}
	slices.Sort(times)
	return bench.Percentile(times, 0.5), bench.Percentile(times, 0.99), nil
}

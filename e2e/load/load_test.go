// Package load_test loads a warehouse with the real program while it, and the warehouse, are killed.
package load_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/load/postgres/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

var (
	legs  = flag.Int("load.legs", 3000, "legs to load while loaders and warehouse are killed; the long form has 100000")
	kills = flag.Int("load.kills", 4, "how often a loader is killed; the long form does it 20 times")
)

// world is a NATS server of its own process with the streams of a deployment.
type world struct {
	t      *testing.T
	url    string
	nc     *nats.Conn
	js     jetstream.JetStream
	stream string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: legatotest.ExternalNATS(t)}
	var err error
	if w.nc, err = nats.Connect(w.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	w.stream = layout.Calls
	if _, err := natsd.Manage(t.Context(), w.js, layout, natsd.Limits{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// loader runs legato load into a target.
func (w *world) loader(target string, flags ...string) *legatotest.Process {
	w.t.Helper()
	return legatotest.Launch(w.t, []string{"NATS_URL=" + w.url}, legatotest.Program(), append([]string{"load", target, "--log-format=json"}, flags...)...)
}

// left is how many messages the loaders of a name have still to load, and how many of them were delivered to one of them.
func (w *world) left(name string) (pending, delivered int, err error) {
	consumer, err := w.js.Consumer(w.t.Context(), w.stream, name)
	if err != nil {
		return 0, 0, err
	}
	info := consumer.CachedInfo()
	return int(info.NumPending), info.NumAckPending, nil
}

// settled waits until everything that is published is loaded and acknowledged.
func (w *world) settled(name string) {
	w.t.Helper()
	if err := loadtest.Settled(w.t.Context(), w.js, w.stream, name, 5*legatotest.Patience); err != nil {
		w.t.Fatal(err)
	}
}

func TestTablesEqualAFoldOfTheStreamWhateverIsKilled(t *testing.T) {
	legatotest.Slow(t)
	pg := postgrestest.Run(t, "fsync=off")
	w := newWorld(t)
	feed := loadtest.Plan{Legs: *legs, Disorder: true, Seed: 16}.Feed(t, w.nc)
	const name = "warehouse"
	target := pg.Admin()
	loaders := []*legatotest.Process{w.loader(target), w.loader(target)}
	// Each leg has three messages, less what the last piece takes.
	piece := *legs * 3 / (*kills + 1)
	for i := range *kills {
		published := feed.Publish(piece)
		legatotest.Eventually(t, "half of what was published is delivered", func() error {
			pending, _, err := w.left(name)
			if err == nil && pending > published/2 {
				err = fmt.Errorf("%d messages are not delivered", pending)
			}
			return err
		})
		loaders[i%2].Kill()
		if i == *kills/3 || i == *kills*2/3 {
			pg.Crash()
			pg.Start()
		}
		loaders[i%2] = w.loader(target)
	}
	feed.Publish(*legs * 10)
	w.settled(name)
	fold := loadtest.Fold(t.Context(), t, w.js, w.stream)
	if len(fold["leg"]) != *legs {
		t.Fatalf("the stream has %d legs", len(fold["leg"]))
	}
	postgrestest.Compare(t.Context(), t, pg.Connect(target), fold)
	for _, l := range loaders {
		if took, err := l.Terminate(); err != nil {
			t.Errorf("a loader ended after %v with %v", took, err)
		}
	}
}

func TestALoaderSaysWhetherItIsReadyAndHowFarItIs(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	w := newWorld(t)
	loadtest.Plan{Legs: 20}.Publish(t, w.nc)
	l := w.loader(pg.Admin(), "--admin-listen=127.0.0.1:0", "--name=bi")
	health := l.Logged("watch")["health"].(string)
	ready := func() error {
		response, err := http.Get(health)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %d", response.StatusCode)
		}
		return nil
	}
	legatotest.Eventually(t, "the loader is ready", ready)
	if said := l.Logged("caught up"); said["messages"] != 63.0 || said["rows"] != 30.0 {
		t.Errorf("it says %v", said)
	}
	pg.Crash()
	loadtest.Plan{Legs: 2, Seed: 2}.Publish(t, w.nc)
	legatotest.Eventually(t, "the loader is not ready without its warehouse", func() error {
		if ready() == nil {
			return fmt.Errorf("it is ready")
		}
		return nil
	})
	pg.Start()
	legatotest.Eventually(t, "the loader is ready again", ready)
	w.settled("bi")
	postgrestest.Compare(t.Context(), t, pg.Connect(pg.Admin()), loadtest.Fold(t.Context(), t, w.js, w.stream))
}

var speed = flag.Int("load.speed", 0, "measure how fast so many legs are loaded; the figures of docs/warehouse.md have 100000. 0: do not")

// TestHowFastAWarehouseIsLoaded measures, and asserts nothing but that everything is there: a machine is shared.
func TestHowFastAWarehouseIsLoaded(t *testing.T) {
	if *speed == 0 {
		t.Skip("-load.speed does not say how many legs to measure with")
	}
	pg := postgrestest.Run(t)
	w := newWorld(t)
	messages := loadtest.Plan{Legs: *speed}.Publish(t, w.nc)
	before := pg.CPU()
	began := time.Now()
	l := w.loader(pg.Admin())
	if err := loadtest.Settled(t.Context(), w.js, w.stream, "warehouse", time.Hour); err != nil {
		// The consumer is made by the loader: until then there is none.
		t.Fatal(err)
	}
	took := time.Since(began)
	server, peak := pg.CPU()-before, peakMemory(t, l)
	if _, err := l.Terminate(); err != nil {
		t.Fatal(err)
	}
	usage := l.Cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	conn := pg.Connect(pg.Admin())
	var rows int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM legato.legs").Scan(&rows); err != nil || rows != *speed {
		t.Fatalf("%d legs, %v", rows, err)
	}
	fmt.Printf("PostgreSQL: %d legs, %d messages in %v: %.0f legs/s, %.0f messages/s; CPU: the loader %v, PostgreSQL %v; memory of the loader %s at most\n",
		rows, messages, took.Round(time.Millisecond), float64(rows)/took.Seconds(), float64(messages)/took.Seconds(), cpu.Round(time.Millisecond), server, peak)
	copied(t, pg, conn)
}

// TestHowFastADatasetIsWritten measures, and asserts that every message is a row.
func TestHowFastADatasetIsWritten(t *testing.T) {
	if *speed == 0 {
		t.Skip("-load.speed does not say how many legs to measure with")
	}
	w := newWorld(t)
	messages := loadtest.Plan{Legs: *speed}.Publish(t, w.nc)
	dir := t.TempDir()
	began := time.Now()
	l := w.loader(dir)
	if err := loadtest.Settled(t.Context(), w.js, w.stream, "warehouse", time.Hour); err != nil {
		t.Fatal(err)
	}
	took, peak := time.Since(began), peakMemory(t, l)
	if _, err := l.Terminate(); err != nil {
		t.Fatal(err)
	}
	usage := l.Cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	m := readManifest(t, dir)
	var rows, size int64
	for _, f := range m.Files {
		rows, size = rows+f.Rows, size+f.Bytes
	}
	if rows != int64(messages) {
		t.Fatalf("%d rows of %d messages", rows, messages)
	}
	fmt.Printf("dataset: %d legs, %d messages in %v: %.0f legs/s, %.0f messages/s; CPU of the loader %v; memory %s at most; %d files with %.1f MB\n",
		*speed, messages, took.Round(time.Millisecond), float64(*speed)/took.Seconds(), float64(messages)/took.Seconds(), cpu.Round(time.Millisecond), peak,
		len(m.Files), float64(size)/1e6)
}

// copied measures what psql needs to copy the same rows from files into empty tables.
func copied(t *testing.T, pg *postgrestest.Server, conn *pgx.Conn) {
	t.Helper()
	tables := []string{"legs", "sessions", "events", "recordings", "cost_parts", "transfers", "bridges"}
	dir := t.TempDir()
	psql := func(statement string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "psql", "--quiet", "--no-psqlrc", pg.Admin(), "-c", statement)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("psql: %v\n%s", err, out)
		}
	}
	for _, table := range tables {
		psql(`\copy legato.` + table + ` TO '` + filepath.Join(dir, table) + `'`)
	}
	for _, table := range tables {
		if _, err := conn.Exec(t.Context(), "TRUNCATE legato."+table); err != nil {
			t.Fatal(err)
		}
	}
	before, began := pg.CPU(), time.Now()
	for _, table := range tables {
		psql(`\copy legato.` + table + ` FROM '` + filepath.Join(dir, table) + `'`)
	}
	fmt.Printf("psql \\copy of the same rows: %v; CPU of PostgreSQL %v\n", time.Since(began).Round(time.Millisecond), pg.CPU()-before)
}

// peakMemory is the most that a process has had resident.
func peakMemory(t *testing.T, p *legatotest.Process) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown"
}

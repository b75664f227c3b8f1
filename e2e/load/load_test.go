// Package load_test loads a warehouse with the real program while it, and the warehouse, are killed.
package load_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
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
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/load/dataset"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/load/postgres/postgrestest"
	"github.com/legato-calls/legato/publish/parquetfile"
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
	if w.js, err = jetstream.New(w.nc, jetstream.WithDefaultTimeout(legatotest.Patience)); err != nil {
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
	t.Parallel()
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
	t.Parallel()
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

func TestALoaderThatWaitsForAnotherOneIsReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "calls")
	// said is what it answers at a path of its admin listener, once that has something in it.
	said := func(l *legatotest.Process, path, what string) {
		t.Helper()
		health := l.Logged("watch")["health"].(string)
		legatotest.Eventually(t, what, func() error {
			response, err := http.Get(strings.TrimSuffix(health, "/readyz") + path)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err == nil && (response.StatusCode != http.StatusOK || !strings.Contains(string(body), what)) {
				err = fmt.Errorf("it answers %d, %.200s", response.StatusCode, body)
			}
			return err
		})
	}
	first := w.loader(dir, "--admin-listen=127.0.0.1:0")
	said(first, "/readyz", "ready\n")
	loadtest.Plan{Legs: 20}.Publish(t, w.nc)
	second := w.loader(dir, "--admin-listen=127.0.0.1:0")
	said(second, "/readyz", "ready, but: open the warehouse: another loader writes into "+dir+"; this one takes over when that one ends\n")
	for _, metric := range []string{"\nlegato_ready 1\n", "\nlegato_load_failures_total 0\n", "\nlegato_load_lag_seconds 0\n"} {
		said(second, "/metrics", metric)
	}
	if _, err := first.Terminate(); err != nil {
		t.Error(err)
	}
	said(second, "/readyz", "ready\n")
	w.settled("warehouse")
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

// manifest is what a reader needs to know of a dataset.
type manifest struct {
	Commit int64
	Files  []struct {
		Kind        string
		Rows, Bytes int64
	}
	Streams []struct{ Sequences [][2]uint64 }
}

func readManifest(t *testing.T, dir string) (m manifest) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// duck is DuckDB in a process of its own, which answers a line of statements with a line of the last one's rows.
type duck struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

// duckScript runs lines of statements in DuckDB, each a JSON text, and answers each with a line: the rows of the last statement,
// or the error.
const duckScript = `import { createInterface } from "node:readline";
import { DuckDBInstance } from "@duckdb/node-api";

const connection = await (await DuckDBInstance.create(":memory:")).connect();
await connection.run("SET TimeZone = 'UTC'");
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const reader = await connection.runAndReadAll(JSON.parse(line));
    console.log(JSON.stringify({ rows: reader.getRowObjectsJson() }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
`

func newDuck(t *testing.T) *duck {
	t.Helper()
	dir := t.TempDir()
	legatotest.InstallNode(t, dir, "@duckdb/node-api@1.5.6-r.1")
	if err := os.WriteFile(filepath.Join(dir, "duckdb.mjs"), []byte(duckScript), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "duckdb.mjs")
	cmd.Dir = dir
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends by itself then
		if err := cmd.Wait(); err != nil || complaints.Len() > 0 {
			t.Logf("DuckDB: %v\n%s", err, complaints.Bytes())
		}
	})
	d := &duck{t: t, in: in, out: bufio.NewScanner(out)}
	d.out.Buffer(nil, 64<<20)
	return d
}

// query returns the rows of the last of some statements.
func (d *duck) query(sql string) []map[string]any {
	d.t.Helper()
	rows, failure := d.try(sql)
	if failure != "" {
		d.t.Fatalf("%s\n%s", failure, sql)
	}
	return rows
}

func (d *duck) try(sql string) (rows []map[string]any, failure string) {
	d.t.Helper()
	line, err := json.Marshal(sql)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		d.t.Fatal(err)
	}
	if !d.out.Scan() {
		d.t.Fatalf("DuckDB ended: %v", d.out.Err())
	}
	var answer struct {
		Rows  []map[string]any
		Error string
	}
	if err := json.Unmarshal(d.out.Bytes(), &answer); err != nil {
		d.t.Fatalf("%v: %s", err, d.out.Bytes())
	}
	return answer.Rows, answer.Error
}

// look reads the dataset as a user does, and reports how many messages it saw whole; 0 when there was nothing to see yet, or when
// the manifest was replaced while it was read.
func (d *duck) look(dir, views string) (messages uint64) {
	d.t.Helper()
	before, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return 0 // no loader has begun
	}
	if _, failure := d.try(views); failure != "" {
		// A view of no files cannot be made; everything else is wrong.
		var m manifest
		if err := json.Unmarshal(before, &m); err != nil {
			d.t.Fatal(err)
		}
		if len(m.Files) > 0 {
			d.t.Fatalf("the views cannot be made: %s", failure)
		}
		return 0
	}
	after, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	got := d.query(`SELECT (SELECT count(*) FROM leg_revisions)::DOUBLE AS legs, (SELECT count(*) FROM session_revisions)::DOUBLE AS sessions,
		(SELECT count(*) - count(DISTINCT call_leg_id) FROM legs)::DOUBLE AS doubled`)[0]
	if got["doubled"] != 0.0 {
		d.t.Errorf("the newest legs have %v rows too many", got["doubled"])
	}
	if !bytes.Equal(before, after) {
		return 0
	}
	var m manifest
	if err := json.Unmarshal(before, &m); err != nil {
		d.t.Fatal(err)
	}
	for _, s := range m.Streams {
		for _, span := range s.Sequences {
			messages += span[1] - span[0] + 1
		}
	}
	if rows := got["legs"].(float64) + got["sessions"].(float64); rows != float64(messages) {
		d.t.Errorf("%v rows were seen of %d messages", rows, messages)
	}
	return messages
}

func TestADatasetIsWholeWhateverIsKilled(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	d := newDuck(t)
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "calls")
	views, err := dataset.Statements(dir)
	if err != nil {
		t.Fatal(err)
	}
	feed := loadtest.Plan{Legs: *legs, Disorder: true, Seed: 16}.Feed(t, w.nc)
	loaders := []*legatotest.Process{w.loader(dir), w.loader(dir)}
	piece := *legs * 3 / (*kills + 1)
	looks := 0
	look := func() {
		if d.look(dir, views) > 0 {
			looks++
		}
	}
	commit := func() int64 {
		if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
			return 0
		}
		return readManifest(t, dir).Commit
	}
	for i := range *kills {
		before := commit()
		published := feed.Publish(piece)
		// A loader is killed with messages in hand, and the next one after it has committed some.
		legatotest.Eventually(t, "half of what was published is delivered, and some of it in", func() error {
			look()
			pending, _, err := w.left("warehouse")
			switch {
			case err != nil:
			case pending > published/2:
				err = fmt.Errorf("%d messages are not delivered", pending)
			case i%2 == 1 && commit() == before:
				err = fmt.Errorf("the manifest is still %d", before)
			}
			return err
		})
		loaders[i%2].Kill()
		look()
		loaders[i%2] = w.loader(dir)
	}
	feed.Publish(*legs * 10)
	legatotest.Eventually(t, "everything is delivered", func() error {
		look()
		pending, _, err := w.left("warehouse")
		if err == nil && pending > 0 {
			err = fmt.Errorf("%d messages are not delivered", pending)
		}
		return err
	})
	w.settled("warehouse")
	look()
	if looks == 0 {
		t.Error("nobody looked while it was written")
	}
	w.compareDataset(d, views)
	for _, l := range loaders {
		if took, err := l.Terminate(); err != nil {
			t.Errorf("a loader ended after %v with %v", took, err)
		}
	}
	t.Logf("looked %d times", looks)
}

// compareDataset holds the newest revisions against a fold of the stream, column by column.
func (w *world) compareDataset(d *duck, views string) {
	w.t.Helper()
	fold := loadtest.Fold(w.t.Context(), w.t, w.js, w.stream)
	for level, id := range map[string]string{"leg": "call_leg_id", "session": "call_session_id"} {
		got := d.query(views + fmt.Sprintf("SELECT %s AS id, revision::DOUBLE AS revision FROM %ss", id, level))
		if len(got) != len(fold[level]) {
			w.t.Errorf("%d %ss, want %d", len(got), level, len(fold[level]))
		}
		for _, row := range got {
			if want := fold[level][row["id"].(string)].Revision; row["revision"] != float64(want) {
				w.t.Errorf("%s %v has revision %v, want %d", level, row["id"], row["revision"], want)
			}
		}
		file := filepath.Join(w.t.TempDir(), level+".parquet")
		writeFold(w.t, file, level, fold[level])
		columns := d.query(fmt.Sprintf("SELECT column_name AS name FROM (DESCRIBE SELECT * FROM '%s')", file))
		differ := make([]string, len(columns))
		for i, c := range columns {
			differ[i] = fmt.Sprintf("count(*) FILTER (WHERE ours.%[1]q IS DISTINCT FROM theirs.%[1]q)::DOUBLE AS %[1]q", c["name"])
		}
		diff := d.query(fmt.Sprintf("SELECT %s FROM %ss AS ours FULL JOIN '%s' AS theirs USING (%s)", strings.Join(differ, ", "), level, file, id))
		for name, n := range diff[0] {
			if n != 0.0 {
				w.t.Errorf("%v %ss differ in %s", n, level, name)
			}
		}
	}
}

// writeFold writes the newest revisions of a kind into a file.
func writeFold(t *testing.T, path, kind string, newest map[string]loadtest.Newest) {
	t.Helper()
	table, err := flat.Of(kind)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := parquetfile.New(f, table, true)
	row := make([]flat.Value, len(table.Columns()))
	for _, of := range newest {
		if err := table.Row(string(of.Body), row); err != nil {
			t.Fatal(err)
		}
		if err := out.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

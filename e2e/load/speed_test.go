package load_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/load/postgres/postgrestest"
)

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

// copied measures what psql needs to copy the same rows from files into empty tables.
func copied(t *testing.T, pg *postgrestest.Server, conn *pgx.Conn) {
	t.Helper()
	tables := []string{"legs", "sessions", "events", "recordings", "cost_parts", "bridges"}
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

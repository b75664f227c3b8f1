// Package postgrestest runs a PostgreSQL of a test's own: a new cluster in a temporary
// directory, reached by a socket in it, run by an unprivileged user.
package postgrestest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/procfs"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/loadtest"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = time.Minute

// Server is a PostgreSQL that can be stopped and come back where it was.
type Server struct {
	tb      testing.TB
	bin     string
	dir     string
	options []string
	cmd     *exec.Cmd
	log     bytes.Buffer
	ended   chan struct{}
}

// Run makes a cluster and starts it; it is stopped when the test ends. Without the programs of PostgreSQL the test is
// skipped and says so. Options are settings, as "fsync=off".
func Run(tb testing.TB, options ...string) *Server {
	tb.Helper()
	bin, err := programs()
	if err != nil {
		tb.Skipf("PostgreSQL is not at hand (Debian: apt-get install postgresql): %v", err)
	}
	// The path of a socket may have a hundred characters: the test's own directory may have more.
	dir, err := os.MkdirTemp("", "legato-pg-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{tb: tb, bin: bin, dir: dir, options: options}
	tb.Cleanup(func() {
		s.Crash()
		if tb.Failed() {
			tb.Logf("log of PostgreSQL:\n%s", s.log.String())
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	if err := giveAway(dir); err != nil {
		tb.Skipf("PostgreSQL does not run as root, and nobody else is at hand: %v", err)
	}
	initdb := exec.CommandContext(tb.Context(), filepath.Join(bin, "initdb"), "--pgdata="+s.data(), "--username=legato", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	asNobody(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Start()
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// programs returns the directory of initdb and postgres: PG_BIN, the newest of Debian's, or that on the path.
func programs() (string, error) {
	if dir := os.Getenv("PG_BIN"); dir != "" {
		return dir, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int {
			if len(a) != len(b) { // 9 comes before 15
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// URL is the connection string of a user and a database.
func (s *Server) URL(user, database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {s.dir}, "user": {user}, "sslmode": {"disable"}}.Encode()}
	return u.String()
}

// Admin is the connection string of the superuser and the database that every cluster has.
func (s *Server) Admin() string { return s.URL("legato", "postgres") }

// Connect connects until the end of the test.
func (s *Server) Connect(url string) *pgx.Conn {
	s.tb.Helper()
	conn, err := pgx.Connect(s.tb.Context(), url)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = conn.Close(ctx) // the server may be gone
	})
	return conn
}

// Start starts the server on the cluster and waits until it takes connections.
func (s *Server) Start() {
	s.tb.Helper()
	args := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses="}
	for _, o := range s.options {
		args = append(args, "-c", o)
	}
	// It outlives the test's context: the cleanup stops it.
	s.cmd = exec.CommandContext(context.WithoutCancel(s.tb.Context()), filepath.Join(s.bin, "postgres"), args...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	asNobody(s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		_ = cmd.Wait()
	}(s.cmd)
	ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.Admin())
		if err == nil {
			err = conn.Close(ctx)
		}
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			s.tb.Fatalf("PostgreSQL ended:\n%s", s.log.String())
		case <-ctx.Done():
			s.tb.Fatalf("PostgreSQL does not take connections: %v", err)
		}
	}
}

// CPU is the processor time that the server and its processes have used.
func (s *Server) CPU() time.Duration {
	s.tb.Helper()
	all, err := procfs.AllProcs()
	if err != nil {
		s.tb.Fatal(err)
	}
	var used time.Duration
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil {
			continue // it has ended
		}
		if stat.PID != s.cmd.Process.Pid && stat.PPID != s.cmd.Process.Pid {
			continue
		}
		const tick = 10 * time.Millisecond
		used += time.Duration(stat.UTime+stat.STime) * tick
		if stat.PID == s.cmd.Process.Pid {
			used += time.Duration(stat.CUTime+stat.CSTime) * tick
		}
	}
	return used
}

// Crash ends the server at once, as an immediate shutdown does: the next start recovers.
func (s *Server) Crash() {
	if s.cmd == nil {
		return
	}
	if err := s.stop(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.tb.Error(fmt.Errorf("stop PostgreSQL: %w", err))
	}
	<-s.ended
	s.cmd = nil
}

// maxDifferences is after how many a comparison says no more.
const maxDifferences = 5

// Compare holds the tables against a fold of the stream, row by row and column by column. What a row must say is read from
// the JSON by encoding/json: it shares the names of the columns with what is tested, and nothing else.
func Compare(ctx context.Context, tb testing.TB, conn *pgx.Conn, fold map[string]map[string]loadtest.Newest) {
	tb.Helper()
	if _, err := conn.Exec(ctx, "SET timezone = 'UTC'; SET extra_float_digits = 1"); err != nil {
		tb.Fatal(err)
	}
	lists := make(map[string][]map[string]any)
	for kind, in := range map[string]struct{ table, id string }{
		summary.KindLeg: {"legs", "call_leg_id"}, summary.KindSession: {"sessions", "call_session_id"},
	} {
		rest := maps.Clone(fold[kind])
		differences := 0
		each(ctx, tb, conn, "SELECT to_jsonb(t) FROM legato."+in.table+" t", func(got map[string]any) {
			id := fmt.Sprint(got[in.id])
			of, ok := rest[id]
			delete(rest, id)
			if !ok {
				tb.Errorf("a row of %s is in no message, or twice: %s", in.table, id)
				return
			}
			want := wantRow(tb, kind, of, lists)
			if diff := cmp.Diff(want, got); diff != "" && differences < maxDifferences {
				differences++
				tb.Errorf("%s %s (-want +got):\n%s", kind, id, diff)
			}
		})
		if len(rest) > 0 {
			tb.Errorf("%d of %d rows of %s are missing, as %v", len(rest), len(fold[kind]), in.table, slices.Sorted(maps.Keys(rest))[0])
		}
	}
	for _, table := range []string{"recordings", "events", "cost_parts", "transfers", "bridges"} {
		var got []map[string]any
		each(ctx, tb, conn, "SELECT to_jsonb(t) FROM legato."+table+" t", func(row map[string]any) { got = append(got, row) })
		want := lists[table]
		sortRows(want)
		sortRows(got)
		if len(want) != len(got) {
			tb.Errorf("%s has %d rows, want %d", table, len(got), len(want))
		}
		differences := 0
		for i := range min(len(want), len(got)) {
			if diff := cmp.Diff(want[i], got[i]); diff != "" && differences < maxDifferences {
				differences++
				tb.Errorf("%s, row %d (-want +got):\n%s", table, i, diff)
			}
		}
	}
}

func sortRows(rows []map[string]any) {
	key := func(r map[string]any) string {
		return fmt.Sprintf("%v %v %6v", r["kind"], r["parent_id"], r["position"])
	}
	slices.SortFunc(rows, func(a, b map[string]any) int { return bytes.Compare([]byte(key(a)), []byte(key(b))) })
}

// each decodes the one column of each row, less its nulls.
func each(ctx context.Context, tb testing.TB, conn *pgx.Conn, sql string, do func(map[string]any)) {
	tb.Helper()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		tb.Fatal(err)
	}
	var text []byte
	if _, err := pgx.ForEachRow(rows, []any{&text}, func() error {
		row := decode(tb, text)
		maps.DeleteFunc(row, func(_ string, v any) bool { return v == nil })
		do(row)
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
}

func decode(tb testing.TB, text []byte) (row map[string]any) {
	tb.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		tb.Fatal(err)
	}
	return row
}

// wantRow is the row that a body makes. The rows of its lists are added to lists.
func wantRow(tb testing.TB, kind string, of loadtest.Newest, lists map[string][]map[string]any) map[string]any {
	tb.Helper()
	body := decode(tb, of.Body)
	table, err := flat.Of(kind)
	if err != nil {
		tb.Fatal(err)
	}
	want := columns(table, body)
	want["body"] = body
	children, err := load.Children(kind)
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range children {
		parent := body["call_session_id"]
		if kind == summary.KindLeg {
			parent = body["call_leg_id"]
		}
		elements, _ := want[table.Columns()[c.Column].Name].([]any)
		for i, e := range elements {
			row := columns(c.Elements, e.(map[string]any))
			row["kind"], row["parent_id"], row["position"] = kind, parent, json.Number(fmt.Sprint(i+1))
			row["call_session_id"] = body["call_session_id"]
			if kind == summary.KindLeg {
				row["call_leg_id"] = body["call_leg_id"]
			}
			lists[c.Table] = append(lists[c.Table], row)
		}
	}
	return want
}

// columns are the known values of a table in an object, as PostgreSQL shows them in JSON.
func columns(table *flat.Table, object map[string]any) map[string]any {
	row := make(map[string]any)
	for _, c := range table.Columns() {
		var v any = object
		for _, name := range c.Path {
			at, _ := v.(map[string]any)
			v = at[name]
		}
		if field := c.Path[len(c.Path)-1]; field == "totals" && c.Name != "cost_totals" {
			totals, _ := v.([]any)
			v = nil
			if len(totals) == 1 {
				v = totals[0].(map[string]any)[c.Name[len("cost_"):]]
			}
		}
		if v == nil {
			continue
		}
		switch c.Type {
		case flat.Timestamp:
			if at, err := time.Parse(time.RFC3339Nano, v.(string)); err == nil {
				v = at.Format("2006-01-02T15:04:05.999999+00:00")
			}
		case flat.Decimal:
			v = json.Number(v.(string))
		case flat.Number: // a double precision loses the decimal of a whole one
			if n, err := v.(json.Number).Float64(); err == nil {
				v = json.Number(strconv.FormatFloat(n, 'f', -1, 64))
			}
		case flat.Text, flat.Integer, flat.Boolean, flat.JSON:
		}
		row[c.Name] = v
	}
	return row
}

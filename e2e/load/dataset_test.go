package load_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load/dataset"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/parquetfile"
)

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

func newDuck(t *testing.T) *duck {
	t.Helper()
	dir := t.TempDir()
	legatotest.InstallNode(t, dir, "@duckdb/node-api@1.5.6-r.1")
	script, err := os.ReadFile(filepath.Join("testdata", "duckdb.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "duckdb.mjs"), script, 0o600); err != nil {
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

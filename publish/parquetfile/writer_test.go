package parquetfile_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"golang.org/x/tools/txtar"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/parquetfile"
)

// bodies are the summaries of a kind that the flows of testdata end in, and some that a generator makes.
func bodies(t *testing.T, kind string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "flows", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no flows: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range archive.Files {
			if strings.HasPrefix(part.Name, "want/"+kind+" ") {
				all = append(all, string(part.Data))
			}
		}
	}
	if err := (loadtest.Plan{Legs: 300}).Each(func(m loadtest.Message) error {
		if strings.Contains(m.Subject, "."+kind+".") {
			all = append(all, string(m.Body))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func tableOf(t *testing.T, kind string) *flat.Table {
	t.Helper()
	table, err := flat.Of(kind)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// expected is what a nested file says of a row: only what is known.
func expected(t *testing.T, columns []flat.Column, row []flat.Value) map[string]any {
	t.Helper()
	all := make(map[string]any)
	for i, c := range columns {
		v := row[i]
		if !v.Known {
			continue
		}
		if elements, ok := c.Elements(); ok {
			list := []any{}
			scratch := make([]flat.Value, len(elements.Columns()))
			if err := elements.Each(v.Text, scratch, func(int) error {
				list = append(list, expected(t, elements.Columns(), slices.Clone(scratch)))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			all[c.Name] = list
			continue
		}
		switch c.Type {
		case flat.Integer, flat.Timestamp:
			all[c.Name] = v.Int
		case flat.Number:
			all[c.Name] = v.Number
		case flat.Boolean:
			all[c.Name] = v.Int == 1
		case flat.Decimal:
			if n, ok := flat.Millionths(v.Text); ok {
				all[c.Name] = float64(n) / 1e6 // as the reader gives it
			}
		case flat.JSON:
			all[c.Name] = v.Text
			if c.Texts() {
				var texts []any
				if err := json.Unmarshal([]byte(v.Text), &texts); err != nil {
					t.Fatal(err)
				}
				all[c.Name] = texts
			}
		case flat.Text:
			all[c.Name] = v.Text
		}
	}
	return all
}

// known is a value as it was read, less what is null, with lists as lists.
func known(v any) any {
	switch v := v.(type) {
	case map[string]any:
		// LIST is a group of a group in the file.
		if inner, ok := v["list"]; ok && len(v) == 1 {
			list := []any{}
			for _, e := range inner.([]any) {
				list = append(list, known(e.(map[string]any)["element"]))
			}
			return list
		}
		all := make(map[string]any)
		for name, field := range v {
			if field != nil {
				all[name] = known(field)
			}
		}
		return all
	case []any:
		list := []any{}
		for _, e := range v {
			list = append(list, known(e))
		}
		return list
	case []byte:
		return string(v)
	}
	return v
}

func TestANestedFileSaysWhatTheSummariesSay(t *testing.T) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		t.Run(kind, func(t *testing.T) {
			table := tableOf(t, kind)
			var out bytes.Buffer
			w := parquetfile.New(&out, table, true)
			var want []map[string]any
			for _, body := range bodies(t, kind) {
				row := make([]flat.Value, len(table.Columns()))
				if err := table.Row(body, row); err != nil {
					t.Fatal(err)
				}
				if err := w.Write(row); err != nil {
					t.Fatal(err)
				}
				want = append(want, expected(t, table.Columns(), row))
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got := read(t, out.Bytes())
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%.4000s", diff)
			}
		})
	}
}

// read reads the rows of a file.
func read(t *testing.T, file []byte) (rows []map[string]any) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	reader := parquet.NewGenericReader[any](f, f.Schema())
	defer reader.Close()
	all := make([]any, f.NumRows())
	n, err := reader.Read(all)
	if n != len(all) {
		t.Fatalf("%d rows of %d: %v", n, len(all), err)
	}
	for _, row := range all {
		rows = append(rows, known(row).(map[string]any))
	}
	return rows
}

func TestARowThatIsRefusedLeavesNothingBehind(t *testing.T) {
	table := tableOf(t, summary.KindLeg)
	var out bytes.Buffer
	w := parquetfile.New(&out, table, true)
	body := func(i int, events string) string {
		return fmt.Sprintf(`{"kind":"leg","call_leg_id":"l%d","tags":["a","b"],"recordings":[{"id":"r"},{"id":"s"}],"events":%s}`, i, events)
	}
	good := []struct{ events, want string }{
		{`[{"id":"a","type":"x"},{"id":"b","type":"y"}]`, "[map[id:a type:x] map[id:b type:y]]"},
		{`[]`, "[]"},
		{`null`, "<nil>"},
		{`[{},{"received_at":"2026-03-14T15:09:26Z"}]`, "[map[] map[received_at:1773500966000000]]"},
	}
	refusedEvents := []string{
		`[{"id":"a","type":"x"},{"id":"b","occurred_at":"a secret name"}]`,
		`[{"occurred_at":"a secret name"}]`,
		`[{"attempt":1},{},{"type":"x","received_at":"2026-03-14T15:09:26Z","occurred_at":"a secret name"}]`,
	}
	var want []string
	for i := range 200 {
		bad := i%3 == 1
		events := refusedEvents[i/3%len(refusedEvents)]
		if !bad {
			of := good[i/5%len(good)]
			events = of.events
			want = append(want, fmt.Sprintf("l%d %s", i, of.want))
		}
		row := make([]flat.Value, len(table.Columns()))
		if err := table.Row(body(i, events), row); err != nil {
			t.Fatal(err)
		}
		err := w.Write(row)
		refused, ok := errors.AsType[*parquetfile.RowError](err)
		if ok != bad || err != nil && !ok {
			t.Fatalf("row %d: %v", i, err)
		}
		if bad && refused.Error() != "events: occurred_at: is not of type timestamp" {
			t.Fatalf("row %d: %v", i, refused)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range read(t, out.Bytes()) {
		got = append(got, fmt.Sprint(row["call_leg_id"], " ", row["events"]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// BenchmarkRow reads and writes summaries one by one; a file has 2,000 of them.
func BenchmarkRow(b *testing.B) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		table, err := flat.Of(kind)
		if err != nil {
			b.Fatal(err)
		}
		var bodies []string
		if err := (loadtest.Plan{Legs: 2000}).Each(func(m loadtest.Message) error {
			if strings.Contains(m.Subject, "."+kind+".") {
				bodies = append(bodies, string(m.Body))
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		row := make([]flat.Value, len(table.Columns()))
		b.Run("read "+kind, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := table.Row(bodies[i%len(bodies)], row); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, nested := range []string{"flat", "nested"} {
			b.Run("read and write "+nested+" "+kind, func(b *testing.B) {
				w := parquetfile.New(io.Discard, table, nested == "nested")
				for i := 0; b.Loop(); i++ {
					if i%2000 == 1999 {
						if err := w.Close(); err != nil {
							b.Fatal(err)
						}
						w.Reset(io.Discard)
					}
					if err := table.Row(bodies[i%len(bodies)], row); err != nil {
						b.Fatal(err)
					}
					if err := w.Write(row); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

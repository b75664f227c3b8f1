package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/parquet-go/parquet-go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/export"
)

// newest reads the stream by itself and returns the last body of each leg or session, in order.
func (w *world) newest(level string) []string {
	w.tb.Helper()
	stream, err := w.js.Stream(w.tb.Context(), w.layout.Calls)
	if err != nil {
		w.tb.Fatal(err)
	}
	last := make(map[string]uint64)
	bodies := make(map[uint64]string)
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(w.tb.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			w.tb.Fatal(err)
		}
		tokens := strings.Split(m.Subject, ".")
		if tokens[1] == level {
			last[strings.Join(tokens[4:], ".")] = seq
			bodies[seq] = string(m.Data)
		}
	}
	var want []string
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		for _, l := range last {
			if l == seq {
				want = append(want, bodies[seq])
			}
		}
	}
	return want
}

func TestTheNewestRevisionOfEachStandsInTheFile(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 20, 3)
	for _, level := range []string{summary.KindLeg, summary.KindSession} {
		want := w.newest(level)
		if len(want) != 20 {
			t.Fatalf("the stream has %d of level %s", len(want), level)
		}
		data, result := w.export(w.plan(level, export.NDJSON, level+".ndjson"))
		if diff := cmp.Diff(strings.Join(want, "\n")+"\n", string(data)); diff != "" {
			t.Errorf("%s as NDJSON (-want +got):\n%s", level, diff)
		}
		if diff := cmp.Diff(export.Result{Rows: 20}, result); diff != "" {
			t.Errorf("result (-want +got):\n%s", diff)
		}
		table, err := flat.Of(level)
		if err != nil {
			t.Fatal(err)
		}
		data, _ = w.export(w.plan(level, export.CSV, level+".csv"))
		wantCSV(t, table, want, data)
		data, _ = w.export(w.plan(level, export.Parquet, level+".parquet"))
		wantParquet(t, table, want, data)
	}
	if diff := cmp.Diff([]string{"leg.csv", "leg.ndjson", "leg.parquet", "session.csv", "session.ndjson", "session.parquet"}, w.beside()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	info, err := os.Stat(w.plan("", "", "leg.csv").Output)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the file: %v, %v", info.Mode(), err)
	}
}

func rowOf(t *testing.T, table *flat.Table, body string) []flat.Value {
	t.Helper()
	row := make([]flat.Value, len(table.Columns()))
	if err := table.Row(body, row); err != nil {
		t.Fatal(err)
	}
	return row
}

func wantCSV(t *testing.T, table *flat.Table, bodies []string, data []byte) {
	t.Helper()
	got, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{nil}
	for _, c := range table.Columns() {
		want[0] = append(want[0], c.Name)
	}
	for _, body := range bodies {
		var record []string
		for _, v := range rowOf(t, table, body) {
			record = append(record, v.Text)
		}
		want = append(want, record)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
}

// parquetTypes is what the schema of a file must say of each type.
var parquetTypes = map[flat.Type]string{
	flat.Text: "optional binary %s (STRING)", flat.JSON: "optional binary %s (STRING)", flat.Integer: "optional int64 %s",
	flat.Number: "optional double %s", flat.Boolean: "optional boolean %s",
	flat.Timestamp: "optional int64 %s (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS))",
	flat.Decimal:   "optional int64 %s (DECIMAL(18,6))",
}

func wantParquet(t *testing.T, table *flat.Table, bodies []string, data []byte) {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for line := range strings.SplitSeq(file.Schema().String(), "\n") {
		// The library marks 64-bit integers and texts in its own words.
		line = strings.ReplaceAll(strings.TrimSuffix(strings.TrimSpace(line), ";"), " (INT(64,true))", "")
		if strings.HasPrefix(line, "optional ") {
			types = append(types, line)
		}
	}
	var wantTypes []string
	for _, c := range table.Columns() {
		wantTypes = append(wantTypes, fmt.Sprintf(parquetTypes[c.Type], c.Name))
	}
	if diff := cmp.Diff(wantTypes, types); diff != "" {
		t.Errorf("types of Parquet (-want +got):\n%s", diff)
	}
	if file.NumRows() != int64(len(bodies)) {
		t.Fatalf("Parquet has %d rows, want %d", file.NumRows(), len(bodies))
	}
	reader := parquet.NewReader(file)
	defer reader.Close()
	rows := make([]parquet.Row, 1)
	for i, body := range bodies {
		if n, err := reader.ReadRows(rows); n != 1 || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("row %d: %v", i, err)
		}
		var got, want []string
		for c, v := range rowOf(t, table, body) {
			want = append(want, cellText(table.Columns()[c], v))
			p := rows[0][c]
			if p.IsNull() {
				got = append(got, "null")
				continue
			}
			got = append(got, p.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("row %d (-want +got):\n%s", i, diff)
		}
	}
}

func cellText(c flat.Column, v flat.Value) string {
	switch {
	case !v.Known:
		return "null"
	case c.Type == flat.Integer || c.Type == flat.Timestamp:
		return fmt.Sprint(v.Int)
	case c.Type == flat.Number:
		return fmt.Sprint(v.Number)
	case c.Type == flat.Decimal:
		n, ok := flat.Millionths(v.Text)
		if !ok {
			return "null"
		}
		return fmt.Sprint(n)
	}
	return v.Text
}

func TestOnlyWhatWasPublishedInTheTimeIsExported(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 3, 1)
	middle := w.lastAt()
	w.publish(10, 13, 1)
	tests := []struct {
		name         string
		since, until time.Time
		want         []int
	}{
		{name: "everything", want: []int{0, 1, 2, 10, 11, 12}},
		{name: "since an instant", since: middle.Add(time.Nanosecond), want: []int{10, 11, 12}},
		{name: "before an instant", until: middle.Add(time.Nanosecond), want: []int{0, 1, 2}},
		{name: "until an instant that is left out", until: middle, want: []int{0, 1}},
		{name: "since an instant that is included", since: middle, want: []int{2, 10, 11, 12}},
		{name: "a time in which nothing was published", since: middle.Add(-time.Hour), until: middle.Add(-time.Minute)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := w.plan(summary.KindLeg, export.NDJSON, "legs")
			p.Since.At, p.Until.At = tt.since, tt.until
			data, _ := w.export(p)
			if diff := cmp.Diff(len(tt.want), bytes.Count(data, []byte("\n"))); diff != "" {
				t.Fatalf("rows (-want +got):\n%s", diff)
			}
			for _, i := range tt.want {
				// Publications race within a batch: which came last is known by its time only.
				if len(tt.want)%3 == 0 && !bytes.Contains(data, []byte(leg(i, 1).CallLegID)) {
					t.Errorf("leg %d is missing", i)
				}
			}
		})
	}
}

// lastAt is when the newest leg was stored.
func (w *world) lastAt() time.Time {
	w.tb.Helper()
	stream, err := w.js.Stream(w.tb.Context(), w.layout.Calls)
	if err != nil {
		w.tb.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(w.tb.Context(), "calls.leg.>")
	if err != nil {
		w.tb.Fatal(err)
	}
	return m.Time
}

func TestNothingToExportGivesAFileWithoutRows(t *testing.T) {
	w := newWorld(t)
	for _, format := range []export.Format{export.NDJSON, export.CSV, export.Parquet} {
		data, result := w.export(w.plan(summary.KindLeg, format, "none."+string(format)))
		if result != (export.Result{}) {
			t.Errorf("%s: %+v", format, result)
		}
		table, err := flat.Of(summary.KindLeg)
		if err != nil {
			t.Fatal(err)
		}
		switch format {
		case export.NDJSON:
			if len(data) != 0 {
				t.Errorf("got %q", data)
			}
		case export.CSV:
			wantCSV(t, table, nil, data)
		case export.Parquet:
			wantParquet(t, table, nil, data)
		}
	}
}

func TestALineOfTheFileIsABodyWhateverItsForm(t *testing.T) {
	w := newWorld(t)
	key := summary.Key{Kind: summary.KindLeg, Session: "7a1c", Leg: "7a1d"}
	if _, err := w.publisher.Publish(t.Context(), draft(key, 1, []byte("{\n \"kind\": \"leg\",\n \"revision\": 1,\n \"call_session_id\": \"7a1c\",\n \"call_leg_id\": \"7a1d\"\n}")), summary.Stored{}); err != nil {
		t.Fatal(err)
	}
	data, _ := w.export(w.plan(summary.KindLeg, export.NDJSON, "legs"))
	if string(data) != `{"kind":"leg","revision":1,"call_session_id":"7a1c","call_leg_id":"7a1d"}`+"\n" {
		t.Errorf("got %q", data)
	}
	// What somebody else has put there is passed over, and supersedes nothing.
	for _, subject := range []string{"calls.leg.completed._.7a1c.7a1e", "calls.leg.amended._.7a1c.7a1d"} {
		if _, err := w.js.Publish(t.Context(), subject, []byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	if again, _ := w.export(w.plan(summary.KindLeg, export.NDJSON, "again")); string(again) != string(data) {
		t.Errorf("got %q", again)
	}
}

func TestFormatOfAFile(t *testing.T) {
	for file, want := range map[string]export.Format{
		"a.ndjson": export.NDJSON, "a.jsonl": export.NDJSON, "b/a.CSV": export.CSV, "a.b.parquet": export.Parquet, "a.txt": "", "csv": "",
	} {
		got, err := export.FormatOf(file)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
}

// decoded is FILE.state, as far as tests look at it.
type decoded struct {
	Last, Seq   uint64
	Rows, Bytes int64
	Fetched     bool
}

func readState(t *testing.T, p export.Plan) (s decoded) {
	t.Helper()
	data, err := os.ReadFile(p.Output + ".state")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// named stores a leg whose caller has a name.
func (w *world) named(i int, name string) {
	w.tb.Helper()
	l := leg(i, 1)
	l.CallerName = name
	body, err := summary.Encode(l)
	if err != nil {
		w.tb.Fatal(err)
	}
	if _, err := w.publisher.Publish(w.tb.Context(), summary.Draft{
		Key:        summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID},
		Connection: l.ConnectionID, Revision: 1, Position: summary.Position{Log: "test", Seq: 1}, PublishedAt: l.PublishedAt.Time, Body: body,
	}, summary.Stored{}); err != nil {
		w.tb.Fatal(err)
	}
}

// What an earlier release stored can have it; a database that meets it refuses the whole file.
func TestU0000StandsInNoFile(t *testing.T) {
	w := newWorld(t)
	w.named(0, "Ada\x00Example")
	for _, format := range []export.Format{export.NDJSON, export.CSV, export.Parquet} {
		data, _ := w.export(w.plan(summary.KindLeg, format, "legs."+string(format)))
		if bytes.Contains(data, []byte(`\u0000`)) || format != export.Parquet && bytes.IndexByte(data, 0) >= 0 || bytes.Contains(data, []byte("Ada\x00")) {
			t.Errorf("%s has it", format)
		}
		if format != export.Parquet && !bytes.Contains(data, []byte("Ada\uFFFDExample")) {
			t.Errorf("%s has no replacement for it", format)
		}
	}
}

func TestCellsThatBeginAFormulaAreQuotedWhereThatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.named(0, `=HYPERLINK("https://example.com")`)
	cells := func(quote bool) []string {
		p := w.plan(summary.KindLeg, export.CSV, "legs.csv")
		p.QuoteFormulas = quote
		data, _ := w.export(p)
		rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("%d rows: %v", len(rows), err)
		}
		return rows[1]
	}
	plain, quoted := cells(false), cells(true)
	for i, cell := range plain {
		want := cell
		if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
			want = "'" + cell
		}
		if quoted[i] != want {
			t.Errorf("%q is written as %q", cell, quoted[i])
		}
	}
	if !slices.Contains(quoted, `'=HYPERLINK("https://example.com")`) || !slices.Contains(quoted, "'+12025550000") || !slices.Contains(plain, "+12025550000") {
		t.Errorf("got %q", quoted)
	}
}

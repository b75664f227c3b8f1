package export_test

import (
	"bytes"
	"context"
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

// stop runs a plan and ends it at the first report of a step beyond the first of it.
func (w *world) stop(p export.Plan, at export.Step) {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(w.tb.Context())
	defer cancel()
	_, err := export.Run(ctx, w.js, w.layout, p, func(step export.Step, done, _ int64) {
		if step == at && done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		w.tb.Fatalf("stopped while %s: %v", at, err)
	}
	if _, err := os.Stat(p.Output); err == nil {
		w.tb.Fatalf("the file is there while it is not whole")
	}
}

func TestAnInterruptedExportGoesOnAndGivesTheSameFile(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 2500, 2)
	formats := []export.Format{export.NDJSON, export.CSV, export.Parquet}
	want := make(map[export.Format][]byte)
	for _, format := range formats {
		want[format], _ = w.export(w.plan(summary.KindLeg, format, "undisturbed."+string(format)))
	}
	for _, step := range []export.Step{export.Survey, export.Fetch, export.Write} {
		for _, format := range formats {
			if step == export.Write && format == export.NDJSON {
				continue // which is written when it is fetched
			}
			w.stop(w.plan(summary.KindLeg, format, string(step)+"."+string(format)), step)
		}
	}
	// None of what comes now may stand in the files: new legs, and revisions of old ones.
	w.publish(3000, 3100, 1)
	if _, err := w.revise(t.Context(), 1, 2, mustLast(t, w, 1)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []export.Step{export.Survey, export.Fetch, export.Write} {
		for _, format := range formats {
			if step == export.Write && format == export.NDJSON {
				continue
			}
			t.Run(string(step)+" "+string(format), func(t *testing.T) {
				p := w.plan(summary.KindLeg, format, string(step)+"."+string(format))
				before := readState(t, p)
				if (before.Rows > 0) != (step != export.Survey) || before.Fetched != (step == export.Write) {
					t.Errorf("it came to %+v", before)
				}
				// What came after the last note on disk: a crash leaves it, cut anywhere. Here it
				// is more than what is still to come.
				garbage(t, p.Output+".part", strings.Repeat(`{"kind":"leg","call_le`, 400_000))
				got, result := w.export(p)
				if !bytes.Equal(want[format], got) {
					t.Errorf("%d bytes differ from the undisturbed %d", len(got), len(want[format]))
				}
				if diff := cmp.Diff(export.Result{Rows: 2500, Resumed: before.Rows}, result); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			})
		}
	}
	for _, name := range w.beside() {
		if strings.HasSuffix(name, ".state") || strings.HasSuffix(name, ".part") || strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s was left", name)
		}
	}
}

func mustLast(t *testing.T, w *world, i int) summary.Stored {
	t.Helper()
	l := leg(i, 1)
	stored, found, err := w.publisher.Last(t.Context(), summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID})
	if err != nil || !found {
		t.Fatalf("leg %d: %v, %v", i, found, err)
	}
	return stored
}

func garbage(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAPartThatWasLostIsFetchedAgain(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 1100, 1)
	want, _ := w.export(w.plan(summary.KindLeg, export.CSV, "undisturbed.csv"))
	p := w.plan(summary.KindLeg, export.CSV, "legs.csv")
	w.stop(p, export.Fetch)
	if err := os.Truncate(p.Output+".part", 10); err != nil {
		t.Fatal(err)
	}
	if got, result := w.export(p); !bytes.Equal(want, got) || result.Resumed != 0 {
		t.Errorf("%d bytes differ from %d: %+v", len(got), len(want), result)
	}
}

func TestWhatLeftTheStreamIsCounted(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 1500, 1)
	p := w.plan(summary.KindLeg, export.NDJSON, "legs")
	w.stop(p, export.Fetch)
	before := readState(t, p)
	stream, err := w.js.Stream(t.Context(), w.layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	// A survey sees only what is still there; what ages out between survey and fetch is counted.
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(before.Seq+201)); err != nil {
		t.Fatal(err)
	}
	data, result := w.export(p)
	if rows := int64(bytes.Count(data, []byte("\n"))); rows != result.Rows || rows >= 1500 || rows < before.Rows {
		t.Errorf("%d rows, %+v", rows, result)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err = export.Run(ctx, w.js, w.layout, w.plan(summary.KindLeg, export.NDJSON, "aged"), func(step export.Step, done, all int64) {
		if step == export.Fetch && done == 0 && all > 0 {
			if err := stream.Purge(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || result.Rows != 0 || result.Gone == 0 {
		t.Errorf("after everything aged out: %+v, %v", result, err)
	}
}

func TestAnExportIsRefusedWhereAnotherLies(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 1100, 1)
	unfinished := w.plan(summary.KindLeg, export.CSV, "legs.csv")
	unfinished.Since = export.Bound{Text: "24h", At: time.Now().Add(-24 * time.Hour)}
	w.stop(unfinished, export.Fetch)
	tests := []struct {
		name   string
		change func(*export.Plan)
		want   string
	}{
		{name: "another level", change: func(p *export.Plan) { p.Level = summary.KindSession }, want: "with other arguments (level leg, format csv"},
		{name: "another format", change: func(p *export.Plan) { p.Format = export.Parquet }, want: "with other arguments"},
		{name: "another time", change: func(p *export.Plan) { p.Since.Text = "48h" }, want: "with other arguments"},
		{name: "an end", change: func(p *export.Plan) { p.Until = export.Bound{Text: "1h", At: time.Now()} }, want: "with other arguments"},
		{name: "no level", change: func(p *export.Plan) { p.Level = "call" }, want: "no summary is a"},
		{name: "no format", change: func(p *export.Plan) { p.Format = "xlsx" }, want: "no format is named"},
		{name: "no file", change: func(p *export.Plan) { p.Output = "" }, want: "no file"},
		{name: "a time that runs backwards", change: func(p *export.Plan) { p.Until.At = p.Since.At }, want: "end before it begins"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := unfinished
			tt.change(&p)
			if _, err := export.Run(t.Context(), w.js, w.layout, p, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	// Meanwhile "24h" means another instant, and still the same export.
	later := unfinished
	later.Since.At = time.Now().Add(-time.Second)
	// While it runs, nobody else makes this file.
	var err error
	data := make(chan int64, 1)
	result, runErr := export.Run(t.Context(), w.js, w.layout, later, func(step export.Step, _, _ int64) {
		if step == export.Write && len(data) == 0 {
			data <- 1
			_, err = export.Run(t.Context(), w.js, w.layout, later, nil)
		}
	})
	if runErr != nil || result.Rows != 1100 {
		t.Errorf("it did not go on: %+v, %v", result, runErr)
	}
	if !errors.Is(err, export.ErrInUse) {
		t.Errorf("a second export of the file: %v", err)
	}

	w.stop(unfinished2(w), export.Fetch)
	if err := w.js.DeleteStream(t.Context(), w.layout.Calls); err != nil {
		t.Fatal(err)
	}
	w.streams()
	w.publish(0, 2, 1)
	if _, err := export.Run(t.Context(), w.js, w.layout, unfinished2(w), nil); err == nil || !strings.Contains(err.Error(), "was made anew since") {
		t.Errorf("an export of another stream: %v", err)
	}
}

func unfinished2(w *world) export.Plan { return w.plan(summary.KindLeg, export.NDJSON, "anew") }

package export_test

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish/export"
)

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

package consumers_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/export"
)

// results are the rows of each statement that a script ran.
func results(t *testing.T, out []byte) (all [][]map[string]any) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		var rows []map[string]any
		if err := json.Unmarshal([]byte(line), &rows); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, rows)
	}
	return all
}

// script writes statements into a file of dir.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDuckDBOpensTheExports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "@duckdb/node-api@1.5.6-r.1")
	s := published(t)
	exported(t, s, dir)
	place(t, filepath.Join("testdata", "duckdb.mjs"), dir)
	types := map[flat.Type]string{
		flat.Text: "VARCHAR", flat.JSON: "VARCHAR", flat.Integer: "BIGINT", flat.Number: "DOUBLE",
		flat.Boolean: "BOOLEAN", flat.Timestamp: "TIMESTAMP WITH TIME ZONE", flat.Decimal: "DECIMAL(18,6)",
	}
	got := results(t, node(t, dir, "duckdb.mjs", script(t, dir, "types.sql", `
DESCRIBE SELECT * FROM 'legs.parquet';
DESCRIBE SELECT * FROM 'sessions.parquet';
SELECT count(*)::INTEGER AS n, min(started_at) AS first, sum(duration_seconds) AS seconds, count(cost_amount)::INTEGER AS costed,
  bool_and(status_final) AS final, max(sampling_rate)::INTEGER AS rate, max(quality_inbound_mos) AS mos FROM 'legs.parquet';
`)))
	for i, kind := range []string{summary.KindLeg, summary.KindSession} {
		table, err := flat.Of(kind)
		if err != nil {
			t.Fatal(err)
		}
		var want, have [][2]string
		for _, c := range table.Columns() {
			want = append(want, [2]string{c.Name, types[c.Type]})
		}
		for _, row := range got[i] {
			have = append(have, [2]string{row["column_name"].(string), row["column_type"].(string)})
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("columns of a %s (-want +got):\n%s", kind, diff)
		}
	}
	wantFirst := []map[string]any{{
		"n": 3.0, "first": "2026-03-14 15:09:26.535897+00", "seconds": 180.09, "costed": 1.0, "final": true, "rate": 8000.0, "mos": 4.5,
	}}
	if diff := cmp.Diff(wantFirst, got[2]); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}

	nested := export.Plan{Level: summary.KindLeg, Format: export.Parquet, Nested: true, Output: filepath.Join(dir, "nested.parquet")}
	if _, err := export.Run(t.Context(), s.JS, s.Layout, nested, nil); err != nil {
		t.Fatal(err)
	}
	got = results(t, node(t, dir, "duckdb.mjs", script(t, dir, "nested.sql", `
SELECT call_leg_id, e.type, e.occurred_at FROM 'nested.parquet', unnest(events) AS t(e) ORDER BY ALL LIMIT 2;
SELECT sum(list_sum(list_transform(cost_totals, lambda c: c.amount)))::VARCHAR AS cost, typeof(any_value(cost_totals)) AS type FROM 'nested.parquet';
`)))
	wantNested := [][]map[string]any{
		{
			{"call_leg_id": "leg-0", "type": "call.hangup", "occurred_at": "2026-03-14 15:10:26.535897+00"},
			{"call_leg_id": "leg-0", "type": "call.initiated", "occurred_at": "2026-03-14 15:09:26.535897+00"},
		},
		{{"cost": "0.007000", "type": "STRUCT(currency VARCHAR, amount DECIMAL(18,6))[]"}},
	}
	if diff := cmp.Diff(wantNested, got); diff != "" {
		t.Errorf("nested lists (-want +got):\n%s", diff)
	}

	// The file that people copy from: its tables take CSV and Parquet, here both of the
	// same legs, so that every leg is there twice. An older revision that comes last loses.
	sql, err := os.ReadFile("duckdb.sql")
	if err != nil {
		t.Fatal(err)
	}
	got = results(t, node(t, dir, "duckdb.mjs", script(t, dir, "copied.sql", string(sql)+`
INSERT INTO legs BY NAME SELECT * REPLACE (1 AS revision, 'busy' AS outcome) FROM 'legs.parquet' WHERE call_leg_id = 'leg-0';
SELECT count(*)::INTEGER AS n FROM legs;
SELECT call_leg_id, revision::INTEGER AS revision, outcome, "from", caller_name, started_at FROM newest_legs ORDER BY ALL;
SELECT count(*)::INTEGER AS n FROM newest_sessions;
COPY sessions FROM 'sessions.csv' (HEADER, NULLSTR '');
SELECT count(*)::INTEGER AS n, sum(leg_count)::INTEGER AS legs FROM newest_sessions;
`)))
	if want := []any{7.0, 0.0, 3.0}; !cmp.Equal(want, []any{got[len(got)-5][0]["n"], got[len(got)-3][0]["n"], got[len(got)-1][0]["n"]}) {
		t.Errorf("counts: %v", got[len(got)-5:])
	}
	wantLegs(t, got[len(got)-4], " ", "+00")
	wantQueries(t, got[len(got)-9:len(got)-6])
}

// A reader that guesses types from the first lines of a file takes seconds for what they are, though fractions begin
// long after its sample.
func TestDuckDBAddsUpSecondsThatAreWholeForTheFirstTwentyFiveThousandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "@duckdb/node-api@1.5.6-r.1")
	place(t, filepath.Join("testdata", "duckdb.mjs"), dir)
	const whole, fractions = 25_000, 1_000
	var lines strings.Builder
	for i := range whole + fractions {
		l := leg(0, 1)
		l.DurationSeconds, l.Quality.Inbound.MOS = summary.Lasting(24*time.Second), new(summary.Number(4))
		if i >= whole {
			l.DurationSeconds, l.Quality.Inbound.MOS = summary.Lasting(24600*time.Millisecond), new(summary.Number(4.3))
		}
		body, err := summary.Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(body)
		lines.WriteByte('\n')
	}
	script(t, dir, "legs.ndjson", lines.String())
	got := results(t, node(t, dir, "duckdb.mjs", script(t, dir, "sum.sql", `
SELECT count(*)::INTEGER AS n, round(sum(duration_seconds), 1) AS seconds, round(max(quality.inbound.mos), 1) AS mos FROM read_json('legs.ndjson');
`)))
	want := []map[string]any{{"n": float64(whole + fractions), "seconds": 24.0*whole + 24.6*fractions, "mos": 4.3}}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("added up (-want +got):\n%s", diff)
	}
}

// wantLegs checks the newest revision of each leg.
func wantLegs(t *testing.T, got []map[string]any, between, zone string) {
	t.Helper()
	var want []map[string]any
	for i, at := range []string{"2026-03-14 15:09:26.535897", "2026-03-14 16:09:26.535897", "2026-03-14 17:09:26.535897"} {
		l := leg(i, 1)
		if i == 0 {
			l.Revision = 2
		}
		want = append(want, map[string]any{
			"call_leg_id": l.CallLegID, "revision": float64(l.Revision), "outcome": "answered", "from": l.From, "caller_name": l.CallerName,
			"started_at": strings.Replace(at, " ", between, 1) + zone,
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("newest legs (-want +got):\n%s", diff)
	}
}

// wantQueries checks the three queries that the SQL files end with, before an older
// revision came: how calls end, what they cost, their timelines.
func wantQueries(t *testing.T, got [][]map[string]any) {
	t.Helper()
	if len(got[0]) != 3 || got[0][0]["outcome"] != "answered" || got[0][0]["talk_seconds"] != 56.0 {
		t.Errorf("how calls end: %v", got[0])
	}
	if len(got[1]) != 1 || got[1][0]["cost_currency"] != "USD" || !strings.HasPrefix(text(got[1][0]["cost"]), "0.007") {
		t.Errorf("what they cost: %v", got[1])
	}
	if len(got[2]) != 6 || got[2][1]["type"] != "call.hangup" || !strings.HasPrefix(text(got[2][1]["occurred_at"]), "2026-03-14 15:10:26.535897") {
		t.Errorf("timelines: %v", got[2])
	}
}

// text is a value as JSON, less its quotes.
func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.Trim(string(data), `"`)
}

// TestClickHouseOpensTheExports needs chDB, which is half a gigabyte: it is not
// installed for the occasion.
func TestClickHouseOpensTheExports(t *testing.T) {
	t.Parallel()
	modules := os.Getenv("CHDB_DIR")
	if modules == "" {
		t.Skip("CHDB_DIR does not name a directory in which npm has installed chdb")
	}
	dir := t.TempDir()
	exported(t, published(t), dir)
	script(t, dir, "clickhouse.mjs", strings.Replace(mustRead(t, filepath.Join("testdata", "clickhouse.mjs")), "process.cwd()", `"`+modules+`"`, 1))
	// chDB reads files by their whole name.
	sql := strings.ReplaceAll(strings.ReplaceAll(mustRead(t, "clickhouse.sql"), "'legs.parquet'", "'"+dir+"/legs.parquet'"), "'sessions.csv'", "'"+dir+"/sessions.csv'")
	got := results(t, node(t, dir, "clickhouse.mjs", script(t, dir, "copied.sql", `CREATE DATABASE legato ENGINE = Atomic;
USE legato;
`+sql+`
INSERT INTO legs SELECT * REPLACE (1 AS revision, 'busy' AS outcome) FROM file('`+dir+`/legs.parquet', 'Parquet') WHERE call_leg_id = 'leg-0';
SELECT toInt32(count()) AS n FROM sessions FINAL;
SELECT call_leg_id, toInt32(revision) AS revision, outcome, "from", caller_name, started_at FROM legs FINAL ORDER BY call_leg_id;
`), filepath.Join(dir, "store")))
	if n := got[len(got)-2][0]["n"]; n != 3.0 {
		t.Errorf("%v sessions", n)
	}
	wantLegs(t, got[len(got)-1], " ", "")
	wantQueries(t, got[len(got)-6:len(got)-3])
}

func mustRead(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

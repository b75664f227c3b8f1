package consumers_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/ClickHouse/clickhouse-go/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/clickhouse"
	"github.com/legato-calls/legato/publish/load/clickhouse/clickhousetest"
	"github.com/legato-calls/legato/publish/load/dataset"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/load/postgres"
	"github.com/legato-calls/legato/publish/load/postgres/postgrestest"
)

// day is a day of calls, and then some: its last ones end after midnight.
var day = loadtest.Plan{Legs: 1000, Every: 90 * time.Second, Disorder: true, Seed: 7}

// report is a table of one of the files in reports: what its rows say, by column, as numbers where they are.
type report []map[string]any

// reports are the statements of a file, by name, in order.
func reports(t *testing.T, file string) (names []string, sql map[string]string) {
	t.Helper()
	sql = make(map[string]string)
	for _, part := range strings.Split(mustRead(t, filepath.Join("reports", file)), "-- report: ")[1:] {
		name, statement, _ := strings.Cut(part, "\n")
		names, sql[name] = append(names, name), strings.TrimSpace(statement)
	}
	return names, sql
}

// number is a value as a number where it is one, to the microunit; ids remain texts.
func number(column string, v any) any {
	text := fmt.Sprint(v)
	if f, ok := v.(float64); ok {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if column == "cost" {
		return decimal.RequireFromString(text).String() // cents are compared as they are
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.HasSuffix(column, "_id") {
		return text
	}
	return n
}

// legsOf are the newest revisions of the legs of a stream.
func legsOf(t *testing.T, s *natsdtest.Server) (legs []summary.Leg) {
	t.Helper()
	for _, of := range loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls)[summary.KindLeg] {
		var l summary.Leg
		if err := json.Unmarshal(of.Body, &l); err != nil {
			t.Fatal(err)
		}
		legs = append(legs, l)
	}
	return legs
}

func dateOf(at time.Time) string { return at.UTC().Format(time.DateOnly) }

// tally is what legs of one group add up to.
type tally struct {
	legs, answered, short, costed int
	talk                          float64
	cost                          decimal.Decimal
}

// computed are the reports, worked out in Go.
func computed(legs []summary.Leg) map[string]report {
	all := make(map[string]report)
	byConnection, byCurrency := map[[2]string]*tally{}, map[[3]string]*tally{}
	parties, hours, notes, delays := map[[2]string]int{}, map[string]map[int]int{}, map[string]int{}, map[string][]float64{}
	for _, l := range legs {
		date := dateOf(l.StartedAt.Time)
		c := at(byConnection, [2]string{date, l.ConnectionID})
		c.legs++
		if l.Outcome == summary.OutcomeAnswered {
			c.answered++
			c.talk += float64(*l.TalkSeconds)
			if *l.TalkSeconds < 10 {
				c.short++
			}
			parties[[2]string{date, string(l.Hangup.Party)}]++
		}
		if l.Cost != nil {
			c := at(byCurrency, [3]string{date, l.ConnectionID, l.Cost.Totals[0].Currency})
			c.costed++
			c.cost = c.cost.Add(decimal.RequireFromString(l.Cost.Totals[0].Amount))
		}
		if hours[date] == nil {
			hours[date] = map[int]int{}
		}
		hours[date][l.StartedAt.Hour()]++
		for _, n := range l.Notes {
			notes[string(n)]++
		}
		received := dateOf(l.Times.HangupReceivedAt.Time)
		delays[received] = append(delays[received], l.Times.EnrichedAt.Sub(l.Times.HangupReceivedAt.Time).Seconds())
	}
	for k, c := range byConnection {
		all["traffic"] = append(all["traffic"], map[string]any{
			"day": k[0], "connection_id": k[1], "legs": float64(c.legs), "answered": float64(c.answered),
			"asr": float64(c.answered) / float64(c.legs), "acd_seconds": c.talk / float64(c.answered), "minutes": c.talk / 60,
		})
		all["short_calls"] = append(all["short_calls"], map[string]any{"day": k[0], "connection_id": k[1], "short": float64(c.short), "share": float64(c.short) / float64(c.answered)})
	}
	for k, c := range byCurrency {
		all["cost"] = append(all["cost"], map[string]any{"day": k[0], "connection_id": k[1], "currency": k[2], "legs": float64(c.costed), "cost": c.cost.String()})
	}
	for date, of := range hours {
		best := 0
		for hour := range 24 {
			if of[hour] > of[best] {
				best = hour
			}
		}
		all["busiest_hour"] = append(all["busiest_hour"], map[string]any{"day": date, "hour": float64(best), "legs": float64(of[best])})
	}
	for k, n := range parties {
		all["hung_up"] = append(all["hung_up"], map[string]any{"day": k[0], "party": k[1], "legs": float64(n)})
	}
	for note, n := range notes {
		all["doubts"] = append(all["doubts"], map[string]any{"note": note, "legs": float64(n), "share": float64(n) / float64(len(legs))})
	}
	for date, of := range delays {
		slices.Sort(of)
		rank := func(p float64) float64 { return of[int(math.Ceil(p*float64(len(of))))-1] }
		all["delay"] = append(all["delay"], map[string]any{
			"day": date, "legs": float64(len(of)), "median_seconds": rank(0.5), "p95_seconds": rank(0.95), "max_seconds": of[len(of)-1],
		})
	}
	all["concurrency"] = concurrency(legs)
	return all
}

func at[K comparable](m map[K]*tally, k K) *tally {
	if m[k] == nil {
		m[k] = new(tally)
	}
	return m[k]
}

// concurrency counts, at each start of a leg, those that had started and not ended.
func concurrency(legs []summary.Leg) (rows report) {
	most := map[string]int{}
	for _, l := range legs {
		at := l.StartedAt.Time
		up := 0
		for _, m := range legs {
			if !m.StartedAt.After(at) && m.EndedAt.After(at) {
				up++
			}
		}
		most[dateOf(at)] = max(most[dateOf(at)], up)
	}
	for date, n := range most {
		rows = append(rows, map[string]any{"day": date, "legs": float64(n)})
	}
	return rows
}

// sameReports holds reports against those worked out in Go.
func sameReports(t *testing.T, names []string, want map[string]report, got func(name string) report) {
	t.Helper()
	if len(names) != len(want) {
		t.Errorf("the file has the reports %v", names)
	}
	key := func(row map[string]any) string {
		return fmt.Sprint(row["day"], row["connection_id"], row["currency"], row["party"], row["note"])
	}
	sorted := func(r report) report {
		slices.SortFunc(r, func(a, b map[string]any) int { return cmp.Compare(key(a), key(b)) })
		return r
	}
	// Rounded to two places at least.
	near := gocmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 0.0051 })
	for _, name := range names {
		rows := got(name)
		if len(rows) == 0 {
			t.Errorf("%s has no rows", name)
		}
		if diff := gocmp.Diff(sorted(want[name]), sorted(rows), near); diff != "" {
			t.Errorf("%s (-want +got):\n%.3000s", name, diff)
		}
	}
}

// loaded loads the day into a target.
func loaded(t *testing.T, s *natsdtest.Server, target load.Target) {
	t.Helper()
	l, err := load.New(load.Config{JetStream: s.JS, Stream: s.Layout.Calls, Name: "reports", Target: target, Linger: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	err = loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "reports", patience)
	cancel()
	if failed := <-done; err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if err := target.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestReportsInPostgresAreWhatGoWorksOut(t *testing.T) {
	t.Parallel()
	pg := postgrestest.Run(t, "fsync=off", "timezone=Asia/Kolkata")
	s := natsdtest.Run(t)
	day.Publish(t, s.Conn)
	target, err := postgres.New(pg.Admin())
	if err != nil {
		t.Fatal(err)
	}
	loaded(t, s, target)
	conn := pg.Connect(pg.Admin())
	names, sql := reports(t, "postgres.sql")
	sameReports(t, names, computed(legsOf(t, s)), func(name string) (rows report) {
		found, err := conn.Query(t.Context(), "SELECT to_jsonb(r) FROM ("+strings.TrimSuffix(sql[name], ";")+"\n) AS r")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var row map[string]any
		if _, err := pgx.ForEachRow(found, []any{&row}, func() error {
			rows = append(rows, numbers(row))
			row = nil
			return nil
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return rows
	})
}

// numbers is a row whose numbers are numbers.
func numbers(row map[string]any) map[string]any {
	for column, v := range row {
		row[column] = number(column, v)
	}
	return row
}

func TestReportsInClickHouseAreWhatGoWorksOut(t *testing.T) {
	t.Parallel()
	url := clickhousetest.Run(t)
	s := natsdtest.Run(t)
	day.Publish(t, s.Conn)
	target, err := clickhouse.New(url)
	if err != nil {
		t.Fatal(err)
	}
	loaded(t, s, target)
	options, err := client.ParseDSN(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	names, sql := reports(t, "clickhouse.sql")
	sameReports(t, names, computed(legsOf(t, s)), func(name string) (rows report) {
		found, err := conn.Query(t.Context(), strings.TrimSuffix(sql[name], ";"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer found.Close()
		for found.Next() {
			var cells []any
			for _, c := range found.ColumnTypes() {
				cells = append(cells, reflect.New(c.ScanType()).Interface())
			}
			if err := found.Scan(cells...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			row := make(map[string]any)
			for i, c := range found.Columns() {
				cell := reflect.ValueOf(cells[i])
				for cell.Kind() == reflect.Pointer {
					cell = cell.Elem()
				}
				row[c] = cell.Interface()
				if day, ok := row[c].(time.Time); ok {
					row[c] = dateOf(day)
				}
			}
			rows = append(rows, numbers(row))
		}
		if err := found.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return rows
	})
}

func TestReportsInDuckDBAreWhatGoWorksOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "@duckdb/node-api@1.5.6-r.1")
	place(t, filepath.Join("testdata", "duckdb.mjs"), dir)
	s := natsdtest.Run(t)
	day.Publish(t, s.Conn)
	calls := filepath.Join(dir, "calls")
	target, err := dataset.New(calls, nil)
	if err != nil {
		t.Fatal(err)
	}
	loaded(t, s, target)
	views, err := dataset.Statements(calls)
	if err != nil {
		t.Fatal(err)
	}
	names, sql := reports(t, "duckdb.sql")
	text := views + "SET TimeZone = 'Asia/Kolkata';\n"
	for _, name := range names {
		text += sql[name] + "\n"
	}
	all := results(t, node(t, dir, "duckdb.mjs", script(t, dir, "reports.sql", text)))
	all = all[len(all)-len(names):]
	sameReports(t, names, computed(legsOf(t, s)), func(name string) (rows report) {
		for _, row := range all[slices.Index(names, name)] {
			rows = append(rows, numbers(row))
		}
		return rows
	})
}

package clickhouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	client "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/clickhouse"
	"github.com/legato-calls/legato/publish/load/clickhouse/clickhousetest"
	"github.com/legato-calls/legato/publish/load/loadtest"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = 2 * time.Minute

// loader runs a loader until the test ends.
func loader(t *testing.T, s *natsdtest.Server, url string) *load.Loader {
	t.Helper()
	target, err := clickhouse.New(url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := load.New(load.Config{JetStream: s.JS, Stream: s.Layout.Calls, Name: "warehouse", Target: target, Linger: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, target.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return l
}

func connect(t *testing.T, url string) driver.Conn {
	t.Helper()
	options, err := client.ParseDSN(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// texts are the rows of a query of one text.
func texts(t *testing.T, conn driver.Conn, sql string) (all []string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func settled(t *testing.T, s *natsdtest.Server) {
	t.Helper()
	if err := loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "warehouse", patience); err != nil {
		t.Fatal(err)
	}
}

// told is what a leg says, in some columns of each type, as the query of the test below has it.
func told(l *summary.Leg) string {
	text := func(v any) string { return fmt.Sprint(v) }
	cost, ids, notes := "null", []string{}, []string{}
	if l.Cost != nil {
		cost = strings.TrimRight(strings.TrimRight(l.Cost.Totals[0].Amount, "0"), ".")
	}
	for _, e := range l.Events {
		ids = append(ids, e.ID+"@"+text(e.OccurredAt.UnixMicro()))
	}
	for _, n := range l.Notes {
		notes = append(notes, string(n))
	}
	validated := l.STIRShaken.Validated != nil && *l.STIRShaken.Validated
	answered := "null"
	if l.AnsweredAt != nil {
		answered = text(l.AnsweredAt.UnixMicro())
	}
	return strings.Join([]string{
		l.CallLegID, text(l.Revision), l.CallerName, string(l.Outcome), text(validated), answered, text(float64(*l.TalkSeconds)), text(*l.SamplingRate), cost,
		strings.Join(ids, ","), strings.Join(notes, ","),
	}, "|")
}

const tell = `SELECT arrayStringConcat([call_leg_id, toString(revision), ifNull(caller_name, ''), outcome, toString(ifNull(stir_shaken_validated, false)),
	ifNull(toString(toUnixTimestamp64Micro(answered_at)), 'null'), ifNull(toString(talk_seconds), 'null'), toString(ifNull(sampling_rate, 0)), ifNull(toString(cost_amount), 'null'),
	arrayStringConcat(arrayMap((id, at) -> concat(ifNull(id, ''), '@', toString(toUnixTimestamp64Micro(assumeNotNull(at)))), events.id, events.occurred_at), ','),
	arrayStringConcat(notes, ',')], '|') FROM legato.legs ORDER BY call_leg_id`

func TestTablesEqualAFoldOfTheStream(t *testing.T) {
	url := clickhousetest.Run(t)
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 400, Disorder: true, Seed: 1}.Publish(t, s.Conn)
	loader(t, s, url)
	settled(t, s)
	conn := connect(t, url)
	fold := loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls)
	want, wantBodies := make(map[string]string), make(map[string]string)
	for id, of := range fold[summary.KindLeg] {
		var l summary.Leg
		if err := json.Unmarshal(of.Body, &l); err != nil {
			t.Fatal(err)
		}
		want[id], wantBodies[string(of.Body)] = told(&l), id
	}
	got := make(map[string]string)
	for _, row := range texts(t, conn, tell) {
		id, _, _ := strings.Cut(row, "|")
		if got[id] != "" {
			t.Errorf("%s is there twice", id)
		}
		got[id] = row
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%.3000s", diff)
	}
	for _, body := range texts(t, conn, "SELECT body FROM legato.legs") {
		if wantBodies[body] == "" {
			t.Fatalf("a body is none of the newest: %.200s", body)
		}
	}
	for _, body := range texts(t, conn, "SELECT body FROM legato.sessions") {
		var session summary.Session
		if err := json.Unmarshal([]byte(body), &session); err != nil {
			t.Fatal(err)
		}
		if of := fold[summary.KindSession][session.CallSessionID]; string(of.Body) != body {
			t.Errorf("session %s is not the newest", session.CallSessionID)
		}
		delete(fold[summary.KindSession], session.CallSessionID)
	}
	if n := len(fold[summary.KindSession]); n > 0 {
		t.Errorf("%d sessions are missing", n)
	}
}

func TestABadRowNeverStopsThoseBehindIt(t *testing.T) {
	url := clickhousetest.Run(t)
	s := natsdtest.Run(t)
	bad := map[string]string{
		"calls.leg.completed.17.s.half": `{"kind":"leg","caller_name":"a secret name"`,
		"calls.leg.completed.17.s.list": `{"kind":"leg","schema":1,"revision":1,"call_session_id":"s","call_leg_id":"list","events":[{"id":"e","occurred_at":"a secret name"}]}`,
	}
	for subject, body := range bad {
		if _, err := s.JS.PublishMsg(t.Context(), loadtest.Message{Subject: subject, Body: []byte(body)}.Msg()); err != nil {
			t.Fatal(err)
		}
	}
	loadtest.Plan{Legs: 10}.Publish(t, s.Conn)
	l := loader(t, s, url)
	settled(t, s)
	conn := connect(t, url)
	if n := len(texts(t, conn, "SELECT call_leg_id FROM legato.legs")); n != 10 {
		t.Errorf("%d legs", n)
	}
	for _, row := range texts(t, conn, "SELECT concat(subject, ' ', body) FROM legato.rejected FINAL") {
		subject, body, _ := strings.Cut(row, " ")
		if bad[subject] != body {
			t.Errorf("%s was kept as %q", subject, body)
		}
		delete(bad, subject)
	}
	if len(bad) > 0 || l.Progress().Rejected != 2 {
		t.Errorf("%v are not kept; the loader says %+v", bad, l.Progress())
	}
}

// What NATS has lost with its power is published again, by a log that may know more by then.
func TestOfTheSameRevisionWhatCameLastStands(t *testing.T) {
	url := clickhousetest.Run(t)
	s := natsdtest.Run(t)
	loader(t, s, url)
	conn := connect(t, url)
	for _, caller := range []string{"first", "second"} {
		body := fmt.Sprintf(`{"kind":"leg","schema":1,"revision":1,"call_session_id":"s","call_leg_id":"l","caller_name":%q}`, caller)
		if _, err := s.JS.PublishMsg(t.Context(), loadtest.Message{Subject: "calls.leg.completed.17.s.l", Body: []byte(body)}.Msg()); err != nil {
			t.Fatal(err)
		}
		settled(t, s)
		if got := texts(t, conn, "SELECT assumeNotNull(caller_name) FROM legato.legs"); len(got) != 1 || got[0] != caller {
			t.Errorf("after %s: %v", caller, got)
		}
	}
}

func TestTablesAreOnlyAddedTo(t *testing.T) {
	url := clickhousetest.Run(t)
	open := func() (string, error) {
		target, err := clickhouse.New(url)
		if err != nil {
			t.Fatal(err)
		}
		id, err := target.Open(t.Context())
		return id, errors.Join(err, target.Close(t.Context()))
	}
	first, err := open()
	if err != nil || first == "" {
		t.Fatalf("%q, %v", first, err)
	}
	conn := connect(t, url)
	const shape = "SELECT concat(table, '.', name, ' ', type) FROM system.columns WHERE database = 'legato' AND name <> 'mine' ORDER BY table, name"
	want := texts(t, conn, shape)
	for _, statement := range []string{
		"ALTER TABLE legato.leg_revisions DROP COLUMN codec", "ALTER TABLE legato.leg_revisions DROP COLUMN `events.type`",
		"ALTER TABLE legato.leg_revisions ADD COLUMN mine String", "DROP VIEW legato.sessions", "DROP TABLE legato.rejected",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if again, err := open(); err != nil || again != first {
		t.Errorf("%q is %q now, %v", first, again, err)
	}
	if diff := cmp.Diff(want, texts(t, conn, shape)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// An upgrade that ended between the column and the view that was to show it.
	for _, statement := range []string{
		"ALTER TABLE legato.leg_revisions DROP COLUMN codec",
		"CREATE OR REPLACE VIEW legato.legs AS SELECT * FROM legato.leg_revisions FINAL",
		"ALTER TABLE legato.leg_revisions ADD COLUMN codec Nullable(String)",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if _, err := open(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, texts(t, conn, shape)); diff != "" {
		t.Errorf("after an upgrade that was interrupted: -want +got:\n%s", diff)
	}
	if err := conn.Exec(t.Context(), "ALTER TABLE legato.leg_revisions MODIFY COLUMN codec Nullable(FixedString(8))"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); !errors.Is(err, load.ErrConfig) || !strings.Contains(err.Error(), "legato.leg_revisions.codec is of type Nullable(FixedString(8)) instead of Nullable(String)") {
		t.Errorf("another type: %v", err)
	}
}

func TestThePrintedSchemaIsWhatALoaderMakes(t *testing.T) {
	url := clickhousetest.Run(t)
	conn := connect(t, url)
	sql, err := clickhouse.Statements()
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(strings.TrimSuffix(sql, ";\n"), ";\n") {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 4}.Publish(t, s.Conn)
	loader(t, s, url)
	settled(t, s)
	if n := len(texts(t, conn, "SELECT call_leg_id FROM legato.legs")); n != 4 {
		t.Errorf("%d legs", n)
	}
}

func TestAConnectionStringThatIsNoneIsNotShown(t *testing.T) {
	if _, err := clickhouse.New("clickhouse://user:a secret@host:port"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

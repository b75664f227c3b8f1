package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/load/postgres"
	"github.com/legato-calls/legato/publish/load/postgres/postgrestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func publish(t *testing.T, js jetstream.JetStream, subject, body string) {
	t.Helper()
	if _, err := js.PublishMsg(t.Context(), loadtest.Message{Subject: subject, Body: []byte(body)}.Msg()); err != nil {
		t.Fatal(err)
	}
}

// text is what a query says: its only value, as text.
func text(t *testing.T, conn *pgx.Conn, sql string, args ...any) (s string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// until waits until a query says true.
func until(t *testing.T, conn *pgx.Conn, what, sql string) {
	t.Helper()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for text(t, conn, sql) != "true" {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestABadRowNeverStopsThoseBehindIt(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 10}.Publish(t, s.Conn)
	body := func(leg, rest string) string {
		return fmt.Sprintf(`{"kind":"leg","schema":1,"revision":1,"call_session_id":"s","call_leg_id":%q,"caller_name":"a secret name"%s}`, leg, rest)
	}
	bad := map[string]string{
		// The first two can be told before they are handed over; the others are what PostgreSQL does not take.
		"calls.leg.completed.17.s.half":   `{"kind":"leg","caller_name":"a secret name"`,
		"calls.leg.completed.17.s.future": `{"kind":"leg","schema":2}`,
		"calls.leg.completed.17.s.range":  body("range", `,"duration_seconds":1e999`),
		"calls.leg.completed.17.s.number": body("number", `,"transcript":{"pieces":[{"confidence":1e200000}]}`),
		"calls.leg.completed.17.s.list":   body("list", `,"events":[{"id":"e","type":"t","occurred_at":"a secret name"}]`),
	}
	for subject, b := range bad {
		publish(t, s.JS, subject, b)
	}
	publish(t, s.JS, "calls.leg.completed.17.s.good", body("good", `,"tags":["U+0000 \u0000, \\ \" { }",""],"cost":{"totals":[{"amount":"1.10","currency":"EUR"}],"parts":[{"amount":"as agreed"}]}`))
	l, _ := loader(t, s, pg.Admin(), "warehouse")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	conn := pg.Connect(pg.Admin())
	if got := text(t, conn, "SELECT format('%s %s', (SELECT count(*) FROM legato.legs), (SELECT count(*) FROM legato.rejected))"); got != fmt.Sprint("11 ", len(bad)) {
		t.Errorf("rows and rejected ones: %s", got)
	}
	if got := text(t, conn, "SELECT array_to_string(tags, '|') || cost_amount || cost_currency FROM legato.legs WHERE call_leg_id = 'good'"); got != "U+0000 \uFFFD, \\ \" { }|1.10EUR" {
		t.Errorf("the good row reads %q", got)
	}
	if got := text(t, conn, "SELECT coalesce(amount::text, 'null') FROM legato.cost_parts WHERE parent_id = 'good'"); got != "null" {
		t.Errorf("an amount that is none is %s", got)
	}
	rows, err := conn.Query(t.Context(), "SELECT subject, reason, convert_from(body, 'UTF8') FROM legato.rejected")
	if err != nil {
		t.Fatal(err)
	}
	var subject, reason, kept string
	if _, err := pgx.ForEachRow(rows, []any{&subject, &reason, &kept}, func() error {
		if bad[subject] != kept || reason == "" || strings.Contains(reason, "secret") {
			t.Errorf("%s was kept as %q for %q", subject, kept, reason)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if p := l.Progress(); p.Rejected != int64(len(bad)) || p.Pending != 0 || p.Failure != nil {
		t.Errorf("the loader says %+v", p)
	}
}

func TestAnOlderRevisionNeverReplacesANewerOne(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	at := 0
	body := func(revision int, events string) string {
		return fmt.Sprintf(`{"kind":"leg","schema":1,"revision":%d,"call_session_id":"s","call_leg_id":"l","published_at":"2026-03-02T09:00:%02d.000000Z","events":[%s]}`,
			revision, at, events)
	}
	later := func(body func(int, string) string, revision int, events string) string {
		at++
		return body(revision, events)
	}
	loader(t, s, pg.Admin(), "warehouse")
	conn := pg.Connect(pg.Admin())
	for i, step := range []struct {
		body, want string
	}{
		{body(2, `{"id":"a"},{"id":"b"},{"id":"c"}`), "2 a,b,c"},
		{body(1, `{"id":"a"}`), "2 a,b,c"},
		{body(2, `{"id":"other"}`), "2 a,b,c"},
		{body(3, `{"id":"d"}`), "3 d"},
		{later(body, 3, `{"id":"e"}`), "3 e"}, // as after a power cut
		{body(4, ``), "4 "},
	} {
		verb := "amended"
		if strings.Contains(step.body, `"revision":1,`) {
			verb = "completed"
		}
		publish(t, s.JS, "calls.leg."+verb+".17.s.l", step.body)
		settled(t, s.JS, s.Layout.Calls, "warehouse")
		got := text(t, conn, `SELECT revision || ' ' || coalesce((SELECT string_agg(id, ',' ORDER BY position) FROM legato.events), '') FROM legato.legs`)
		if got != step.want {
			t.Errorf("after message %d: %q, want %q", i+1, got, step.want)
		}
	}
}

func TestALegWhoseRowWasRemovedIsLoadedAgain(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	_, stop := loader(t, s, pg.Admin(), "warehouse")
	for _, leg := range []string{"kept", "removed"} {
		publish(t, s.JS, "calls.leg.completed.17.s."+leg,
			fmt.Sprintf(`{"kind":"leg","schema":1,"revision":1,"call_session_id":"s","call_leg_id":%q,"events":[{"id":"a"},{"id":"b"}]}`, leg))
	}
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	stop()
	conn := pg.Connect(pg.Admin())
	exec(t, conn, "DELETE FROM legato.legs WHERE call_leg_id = 'removed'")
	loader(t, s, pg.Admin(), "anew")
	settled(t, s.JS, s.Layout.Calls, "anew")
	got := text(t, conn, `SELECT (SELECT string_agg(call_leg_id, ',' ORDER BY call_leg_id) FROM legato.legs) || ' ' ||
		(SELECT string_agg(parent_id || '/' || id, ',' ORDER BY parent_id, position) FROM legato.events) || ' ' || (SELECT count(*) FROM legato.rejected)`)
	if want := "kept,removed kept/a,kept/b,removed/a,removed/b 0"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAConsumerIsOneWarehousesOnly(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 2}.Publish(t, s.Conn)
	_, stop := loader(t, s, pg.Admin(), "warehouse")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	stop()
	admin := pg.Connect(pg.Admin())
	exec(t, admin, "CREATE DATABASE other")
	if _, err := s.JS.CreateConsumer(t.Context(), s.Layout.Calls, jetstream.ConsumerConfig{Durable: "theirs"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, name, want string }{
		{pg.URL("legato", "other"), "warehouse", "loads another warehouse"},
		{pg.Admin(), "theirs", "was not made by legato load"},
		{pg.URL("legato", "missing"), "new", `database "missing" does not exist`},
		{pg.Admin(), "a.b", "must have 1 to 64 letters"},
	} {
		target, err := postgres.New(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		l, err := load.New(load.Config{JetStream: s.JS, Stream: s.Layout.Calls, Name: tt.name, Target: target})
		if err == nil {
			err = l.Run(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s into %s: %v", tt.name, tt.url, err)
		}
		if err := target.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// open opens a target once.
func open(t *testing.T, url string) error {
	t.Helper()
	target, err := postgres.New(url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Open(t.Context())
	return errors.Join(err, target.Close(t.Context()))
}

func TestMigrationsOnlyAdd(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	// Two that start at once on an empty database.
	done := make(chan error)
	for range 2 {
		go func() { done <- open(t, pg.Admin()) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	conn := pg.Connect(pg.Admin())
	const shape = `SELECT string_agg(table_name || '.' || column_name || ' ' || data_type, E'\n' ORDER BY table_name, column_name) FROM information_schema.columns c
		WHERE table_schema = 'legato' AND column_name <> 'mine'`
	want := text(t, conn, shape)
	exec(t, conn, "ALTER TABLE legato.legs DROP COLUMN codec, DROP COLUMN tags, ADD COLUMN mine text DEFAULT 'x'; DROP TABLE legato.bridges; INSERT INTO legato.legs (call_leg_id, revision, body) VALUES ('l', 1, '{}')")
	if err := open(t, pg.Admin()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, text(t, conn, shape)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := text(t, conn, "SELECT mine FROM legato.legs"); got != "x" {
		t.Errorf("a column that is not Legato's reads %q", got)
	}
	exec(t, conn, "ALTER TABLE legato.legs ALTER COLUMN codec TYPE varchar(20)")
	if err := open(t, pg.Admin()); !errors.Is(err, load.ErrConfig) || !strings.Contains(err.Error(), "legato.legs.codec is of type character varying(20) instead of text") {
		t.Errorf("another type: %v", err)
	}
}

func TestTransfersThatWereLoadedBeforeTheirTableStandInIt(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 60}.Publish(t, s.Conn)
	loader(t, s, pg.Admin(), "warehouse")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	conn := pg.Connect(pg.Admin())
	if got := text(t, conn, "SELECT (count(*) > 5)::text FROM legato.transfers"); got != "true" {
		t.Fatalf("there are transfers: %s", got)
	}
	exec(t, conn, "DROP TABLE legato.transfers")
	if err := open(t, pg.Admin()); err != nil {
		t.Fatal(err)
	}
	postgrestest.Compare(t.Context(), t, conn, loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls))
}

func TestTablesAreCompletedHoweverLongThatTakes(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	if err := open(t, pg.Admin()); err != nil {
		t.Fatal(err)
	}
	conn, locker := pg.Connect(pg.Admin()), pg.Connect(pg.Admin())
	exec(t, conn, "DROP TABLE legato.transfers")
	exec(t, locker, "BEGIN; LOCK TABLE legato.legs IN ACCESS EXCLUSIVE MODE")
	done := make(chan error, 1)
	go func() { done <- open(t, pg.Admin()+"&connect_timeout=1") }()
	// The new table is filled from the legs, which takes longer than a connection may.
	until(t, conn, "the new table waits for the legs", `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'legato load'
		AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > interval '1500 ms')::text`)
	exec(t, locker, "COMMIT")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := text(t, conn, "SELECT count(*)::text FROM legato.transfers"); got != "0" {
		t.Errorf("of no legs there are %s transfers", got)
	}
}

func TestThePrintedSchemaIsWhatALoaderMakes(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	conn := pg.Connect(pg.Admin())
	sql, err := postgres.Statements()
	if err != nil {
		t.Fatal(err)
	}
	exec(t, conn, sql)
	// A role that may write the rows and nothing else is enough then.
	exec(t, conn, `CREATE ROLE loader LOGIN; GRANT USAGE ON SCHEMA legato TO loader; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA legato TO loader`)
	exec(t, conn, `CREATE ROLE reader LOGIN`)
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 20, Disorder: true}.Publish(t, s.Conn)
	loader(t, s, pg.URL("loader", "postgres"), "warehouse")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	postgrestest.Compare(t.Context(), t, conn, loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls))
	if err := open(t, pg.URL("reader", "postgres")); !errors.Is(err, load.ErrConfig) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a role that may not write: %v", err)
	}

	// What a newer version adds is for the owner, whom the error tells what to run.
	exec(t, conn, "ALTER TABLE legato.legs DROP COLUMN codec; ALTER TABLE legato.sessions DROP COLUMN direction")
	err = open(t, pg.URL("loader", "postgres"))
	if !errors.Is(err, load.ErrConfig) {
		t.Fatalf("a role that may not complete the tables: %v", err)
	}
	_, statements, _ := strings.Cut(err.Error(), "somebody who may can run ")
	exec(t, conn, statements)
	if err := open(t, pg.URL("loader", "postgres")); err != nil {
		t.Errorf("after %q: %v", statements, err)
	}
	exec(t, conn, "DROP SCHEMA legato CASCADE")
	if err := open(t, pg.URL("loader", "postgres")); !errors.Is(err, load.ErrConfig) || !strings.Contains(err.Error(), "--print-schema") {
		t.Errorf("a role that may not make the schema: %v", err)
	}
}

// Legs and sessions have a transaction each: what is stored of one kind while the other one fails comes again, and changes nothing.
func TestAMessageIsAcknowledgedWhenLegsAndSessionsAreStored(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	if err := open(t, pg.Admin()); err != nil {
		t.Fatal(err)
	}
	conn := pg.Connect(pg.Admin())
	locker := pg.Connect(pg.Admin())
	exec(t, locker, "BEGIN; LOCK TABLE legato.sessions IN EXCLUSIVE MODE")
	s := natsdtest.Run(t)
	const legs = 20
	loadtest.Plan{Legs: legs}.Publish(t, s.Conn)
	l, _ := loader(t, s, pg.Admin(), "warehouse")
	for _, again := range []bool{false, true} {
		until(t, conn, "legs are there while sessions wait", `SELECT ((SELECT count(*) FROM legato.legs) = 20
			AND EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'legato load' AND wait_event_type = 'Lock'))::text`)
		consumer, err := s.JS.Consumer(t.Context(), s.Layout.Calls, "warehouse")
		if err != nil {
			t.Fatal(err)
		}
		if info := consumer.CachedInfo(); info.AckFloor.Stream != 0 || l.Progress().Loaded != 0 {
			t.Errorf("while sessions wait %+v are acknowledged, and the loader says %+v", info.AckFloor, l.Progress())
		}
		if again {
			break
		}
		exec(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'legato load' AND wait_event_type = 'Lock'")
		until(t, conn, "the connection that waited is gone", "SELECT (NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted))::text")
	}
	exec(t, locker, "COMMIT")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	postgrestest.Compare(t.Context(), t, conn, loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls))
}

func TestALoaderWaitsForAWarehouseThatIsAway(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	pg.Crash()
	l, _ := loader(t, s, pg.Admin(), "warehouse")
	loadtest.Plan{Legs: 100}.Publish(t, s.Conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for l.Progress().Failure == nil || l.Progress().Failure.Error() == "starting" {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the loader does not tell that the warehouse is away")
		}
	}
	pg.Start()
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	postgrestest.Compare(t.Context(), t, pg.Connect(pg.Admin()), loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls))
	if p := l.Progress(); p.Failure != nil || p.CaughtUp.IsZero() {
		t.Errorf("the loader says %+v", p)
	}
}

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = time.Minute

// loader runs a loader of a name until the test ends, or the function that is returned is called.
func loader(t *testing.T, s *natsdtest.Server, url, name string) (l *load.Loader, stop func()) {
	t.Helper()
	target, err := postgres.New(url)
	if err != nil {
		t.Fatal(err)
	}
	_, js := s.Dial()
	l, err = load.New(load.Config{JetStream: js, Stream: s.Layout.Calls, Name: name, Target: target, Linger: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the loader failed: %v", err)
			}
		case <-time.After(patience):
			t.Error("the loader does not stop")
		}
		if err := target.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l, stop
}

// settled waits until everything that is published is loaded and acknowledged.
func settled(t *testing.T, js jetstream.JetStream, stream, name string) {
	t.Helper()
	if err := loadtest.Settled(t.Context(), js, stream, name, patience); err != nil {
		t.Fatal(err)
	}
}

func TestTablesEqualAFoldOfTheStream(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 400, Disorder: true, Seed: 1}.Publish(t, s.Conn)
	loader(t, s, pg.Admin(), "warehouse")
	loader(t, s, pg.Admin(), "warehouse")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	fold := loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls)
	conn := pg.Connect(pg.Admin())
	postgrestest.Compare(t.Context(), t, conn, fold)
}

// Package clickhouse keeps a warehouse in ClickHouse current.
//
// In go the batches of package load; out come rows of the tables leg_revisions and session_revisions of the database legato,
// which are ReplacingMergeTree: of several revisions of a leg or session the highest remains, and of the same one what came
// last. The views legs and sessions show that one only, also before ClickHouse has merged.
//
// What it guarantees:
//   - The effect of a revision does not depend on how often or in which order it is inserted. Only what NATS has lost with
//     its power comes with the same revision and another content, and then later.
//   - Tables are only added to; columns that are not Legato's are left alone. A column of another type is refused.
//   - Money is Decimal(18, 6), exact or null; lists of objects are Nested, lists of texts Array(String).
//   - No error shows what is in a row.
//
// Legs and sessions of a batch are two inserts: a leg can be seen before its session.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	client "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/legato-calls/legato/publish/load"
)

const (
	// connectWithin and writeWithin bound a connection attempt and a batch.
	connectWithin, writeWithin = 10 * time.Second, 5 * time.Minute
	// An insert is a part on disk that has to be merged: few large ones are what ClickHouse wants.
	batchMessages, batchBytes = 4000, 12 << 20
	linger                    = time.Second
)

// Target is a warehouse in ClickHouse.
type Target struct {
	options *client.Options
	tables  []table
	conn    driver.Conn
	now     func() time.Time
}

// New returns a target for a connection string: clickhouse://user@host:9000, or http://… and https://… for the same by HTTP. User and password
// that it leaves out are those of CLICKHOUSE_USER and CLICKHOUSE_PASSWORD. It fails when the text is no connection string; the error does not
// show it.
func New(connection string) (*Target, error) {
	options, err := client.ParseDSN(connection)
	if err != nil {
		return nil, errors.New("not a connection string of ClickHouse: clickhouse://user@host:9000")
	}
	if options.Auth.Username == "" {
		options.Auth.Username = os.Getenv("CLICKHOUSE_USER")
	}
	if options.Auth.Password == "" {
		options.Auth.Password = os.Getenv("CLICKHOUSE_PASSWORD")
	}
	options.DialTimeout = connectWithin
	options.MaxOpenConns, options.MaxIdleConns = 1, 1
	all, err := tables()
	if err != nil {
		return nil, err
	}
	return &Target{options: options, tables: all, now: time.Now}, nil
}

// Batches implements load.Batching.
func (t *Target) Batches() load.Batches {
	return load.Batches{Messages: batchMessages, Bytes: batchBytes, Linger: linger}
}

// Open connects and completes the tables. It implements load.Target.
func (t *Target) Open(ctx context.Context) (identity string, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	if t.conn == nil {
		conn, err := client.Open(t.options)
		if err != nil {
			return "", err
		}
		t.conn = conn
	}
	if err := t.migrate(ctx); err != nil {
		return "", plain(err)
	}
	// A database that was made anew has another.
	if err := t.conn.QueryRow(ctx, "SELECT toString(uuid) FROM system.databases WHERE name = '"+Database+"'").Scan(&identity); err != nil {
		return "", plain(err)
	}
	return identity, nil
}

// migrate adds what is missing. Each statement does nothing where another loader was first.
func (t *Target) migrate(ctx context.Context) error {
	have, err := t.columns(ctx)
	if err != nil {
		return err
	}
	if len(have) == 0 {
		if err := t.conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Database); err != nil {
			return err
		}
	}
	for _, of := range t.tables {
		var missing []string
		if have[of.name] == nil {
			missing = append(missing, of.create())
		} else {
			for _, c := range of.columns {
				switch typ, ok := have[of.name][c.name]; {
				case !ok:
					missing = append(missing, of.add(c))
				case typ != c.typ:
					return fmt.Errorf("%s.%s.%s is of type %s instead of %s: %w", Database, of.name, c.name, typ, c.typ, load.ErrConfig)
				}
			}
		}
		// One that lacks a column which the table has is of an upgrade that did not come to its end.
		if of.view != "" && (len(missing) > 0 || slices.ContainsFunc(of.columns, func(c column) bool { return have[of.view][c.name] == "" })) {
			missing = append(missing, of.show())
		}
		for _, statement := range missing {
			if err := t.conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
	}
	return nil
}

// columns returns the types of the columns that there are, by table.
func (t *Target) columns(ctx context.Context) (have map[string]map[string]string, err error) {
	rows, err := t.conn.Query(ctx, "SELECT table, name, type FROM system.columns WHERE database = '"+Database+"'")
	if err != nil {
		return nil, err
	}
	have = make(map[string]map[string]string)
	for rows.Next() {
		var of, name, typ string
		if err := rows.Scan(&of, &name, &typ); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		if have[of] == nil {
			have[of] = make(map[string]string)
		}
		have[of][name] = typ
	}
	return have, errors.Join(rows.Err(), rows.Close())
}

// Load implements load.Target. What was inserted counts as applied: ClickHouse compares revisions later.
func (t *Target) Load(ctx context.Context, rows []load.Row) (applied int, err error) {
	if t.conn == nil {
		return 0, errors.New("not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	var blocks []*block
	for i := range t.tables {
		of := &t.tables[i]
		b := newBlock(of)
		for _, r := range rows {
			if r.Key.Kind != of.kind {
				continue
			}
			if err := b.add(r); err != nil {
				return 0, err
			}
		}
		if b.rows > 0 {
			blocks = append(blocks, b)
		}
	}
	for _, b := range blocks {
		if err := t.insert(ctx, b.table, b.put); err != nil {
			return 0, plain(err)
		}
		applied += b.rows
	}
	return applied, nil
}

// insert sends one block of rows to a table.
func (t *Target) insert(ctx context.Context, of *table, put func(driver.Batch) error) error {
	batch, err := t.conn.PrepareBatch(ctx, fmt.Sprintf("INSERT INTO %s.%s (%s)", Database, of.name, quoted(of.names())))
	if err != nil {
		return fmt.Errorf("write %s: %w", of.name, err)
	}
	if err := put(batch); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", of.name, err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write %s: %w", of.name, err)
	}
	return nil
}

// Reject implements load.Target.
func (t *Target) Reject(ctx context.Context, messages []load.Rejected) error {
	if t.conn == nil {
		return errors.New("not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	err := t.insert(ctx, &t.tables[len(t.tables)-1], func(batch driver.Batch) error {
		for _, m := range messages {
			if err := batch.Append(m.Stream, m.Created.UTC(), m.Seq, m.Subject, m.Reason, t.now().UTC(), string(m.Body)); err != nil {
				return err
			}
		}
		return nil
	})
	return plain(err)
}

// Close implements load.Target.
func (t *Target) Close(context.Context) error {
	if t.conn == nil {
		return nil
	}
	err := t.conn.Close()
	t.conn = nil
	return err
}

// config are the codes of errors that only people can put right, with what they say.
var config = map[int32]string{
	16: "a column is missing", 36: "a statement is not understood", 48: "something is not supported", 60: "a table is missing", 62: "a statement is not understood",
	81: "the database is missing", 192: "the user is not known", 193: "the password is wrong", 497: "the user may not do this", 516: "the user or the password is wrong",
}

// plain returns an error of ClickHouse without what it says about values.
func plain(err error) error {
	if err == nil || errors.Is(err, load.ErrConfig) {
		return err
	}
	exception, ok := errors.AsType[*client.Exception](err)
	if !ok {
		return err
	}
	step, _, _ := strings.Cut(err.Error(), ":")
	if !strings.HasPrefix(step, "write ") {
		step = "ClickHouse"
	}
	if what, ok := config[exception.Code]; ok {
		return fmt.Errorf("%s: %s (code %d, %s): %w", step, what, exception.Code, exception.Name, load.ErrConfig)
	}
	return fmt.Errorf("%s: code %d, %s", step, exception.Code, exception.Name)
}

// Package postgres is the warehouse in a PostgreSQL database: the schema legato.
//
// In go rows; out come the tables legs and sessions with the columns of docs/export.md and the whole
// summary in body, a table for each list that is often asked about, and rejected.
//
// What it guarantees:
//   - The legs of a batch are one transaction and its sessions another. The rows of a list change in the transaction of the row
//     that they belong to.
//   - A row gives way only to a higher revision, also when several loaders write at once, or to the same one that was
//     published later: what NATS loses with the power is published again, by a log that may know more by then.
//   - Migrations only add, under an advisory lock, and only where something is missing: a role that may
//     write the rows and nothing else is enough once the tables are there.
//   - What PostgreSQL says about the content of a row is not repeated; its SQLSTATE is.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/publish/load"
)

const (
	// connectWithin bounds a connection attempt whose connect_timeout nobody has set, and writeWithin a batch.
	connectWithin, writeWithin = 10 * time.Second, 5 * time.Minute
	closeWithin                = 2 * time.Second
	// probeEvery and probes bound how long a server that answers nothing is waited for, however long a statement may take: it is given up
	// after five times probeEvery. What it has not acknowledged the system sends again for longer, a quarter of an hour on Linux.
	probeEvery, probes = 15 * time.Second, 4
)

// Target is a warehouse in PostgreSQL. Legs and sessions have a connection each: a process of the server works on either of them.
type Target struct {
	config *pgx.ConnConfig
	model  *model
	// conns are those of the parents of the model; nil when there are none.
	conns []*pgx.Conn
	// identity is that of the warehouse that they are of.
	identity string
	// upserts are the statements of the parents.
	upserts []string
}

// New returns a target for a connection string, as postgres://user@host/database?sslmode=verify-full. What it leaves out
// the environment says (PGPASSWORD, PGPASSFILE, …). It fails when the text is no connection string; the error does not show the password.
func New(connection string) (*Target, error) {
	config, err := pgx.ParseConfig(connection)
	if err != nil {
		return nil, err
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "legato load"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectWithin
	}
	config.DialFunc = (&net.Dialer{
		Timeout:         config.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeEvery, Interval: probeEvery, Count: probes},
	}).DialContext
	m, err := newModel()
	if err != nil {
		return nil, err
	}
	t := &Target{config: config, model: m}
	for _, p := range m.parents {
		t.upserts = append(t.upserts, p.upsert())
	}
	return t, nil
}

// Open connects and completes the tables, unless the connection still stands. It implements load.Target. Only connecting is bounded, and
// the silence of the network: a table that is new in a warehouse with many rows is filled from them, and waits for whoever has locked them.
func (t *Target) Open(ctx context.Context) (identity string, err error) {
	if t.stand(ctx) {
		return t.identity, nil
	}
	t.drop(ctx)
	for range t.model.parents {
		conn, err := pgx.ConnectConfig(ctx, t.config)
		if err != nil {
			t.drop(ctx)
			return "", plain(err)
		}
		t.conns = append(t.conns, conn)
	}
	if t.identity, err = t.migrate(ctx, t.conns[0]); err == nil {
		err = t.stage(ctx)
	}
	if err != nil {
		t.drop(ctx)
		return "", err
	}
	return t.identity, nil
}

// stand reports whether the connections do.
func (t *Target) stand(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, t.config.ConnectTimeout)
	defer cancel()
	for _, conn := range t.conns {
		if conn.Ping(ctx) != nil {
			return false
		}
	}
	return t.conns != nil
}

// drop closes connections that are of no more use.
func (t *Target) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	for _, conn := range t.conns {
		_ = conn.Close(ctx) // it may be broken
	}
	t.conns = nil
}

// Close implements load.Target.
func (t *Target) Close(ctx context.Context) error {
	t.drop(ctx)
	return nil
}

// stage makes the tables that rows are copied into before they meet those that are there. They are the session's own.
func (t *Target) stage(ctx context.Context) error {
	for i, p := range t.model.parents {
		// Rows are there for a moment only: none is compressed or moved out of its page unless it has to be.
		_, err := t.conns[i].Exec(ctx, fmt.Sprintf(
			"CREATE TEMPORARY TABLE %s WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS AS SELECT %s FROM %s.%s LIMIT 0",
			p.staged(), quoted(p.names()), Schema, p.name))
		if err != nil {
			return fmt.Errorf("make the staging tables: %w", plain(err))
		}
	}
	return nil
}

func (p parent) staged() string { return "legato_stage_" + p.name }

// upsert moves what is staged. It returns the ids of the rows that were new or gave way, and which of them were new.
func (p parent) upsert() string {
	var set strings.Builder
	for i, c := range p.columns {
		if i > 0 {
			set.WriteString(", ")
		}
		fmt.Fprintf(&set, "%q = excluded.%q", c.name, c.name)
	}
	return fmt.Sprintf(`INSERT INTO %[1]s.%[2]s AS old (%[3]s) SELECT %[3]s FROM %[4]s
ON CONFLICT (%[5]q) DO UPDATE SET %[6]s
WHERE excluded.revision > old.revision OR excluded.revision = old.revision AND excluded.published_at > old.published_at
RETURNING %[5]q, xmax = 0`, Schema, p.name, quoted(p.names()), p.staged(), p.id, set.String())
}

// Load implements load.Target. When it fails the rows of one kind may be stored all the same: to store them again changes nothing.
func (t *Target) Load(ctx context.Context, rows []load.Row) (applied int, err error) {
	if t.conns == nil {
		return 0, errors.New("not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	// Neither is given up because the other one failed: a statement that is interrupted takes its connection with it.
	var group errgroup.Group
	loaded := make([]int, len(t.model.parents))
	for i, p := range t.model.parents {
		var of []load.Row
		for _, r := range rows {
			if r.Key.Kind == p.kind {
				of = append(of, r)
			}
		}
		if len(of) == 0 {
			continue
		}
		store := func(afresh bool) error {
			// Each statement sees what others have committed: a row that another loader has just replaced is compared as it is then.
			var n int
			err := pgx.BeginTxFunc(ctx, t.conns[i], pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
				n, err = t.loadKind(ctx, tx, p, t.upserts[i], of, afresh)
				return err
			})
			if err == nil {
				loaded[i] = n
			}
			return err
		}
		group.Go(func() error {
			err := store(false)
			if from, ok := errors.AsType[*pgconn.PgError](err); ok && from.Code == uniqueViolation {
				// Somebody has removed a leg or session and left the rows of its lists.
				err = store(true)
			}
			return err
		})
	}
	err = group.Wait()
	for _, n := range loaded {
		applied += n
	}
	if err != nil {
		return applied, t.failed(ctx, err)
	}
	return applied, nil
}

// failed gives up the connections unless it is the content that was refused: the next Open looks at everything anew.
func (t *Target) failed(ctx context.Context, err error) error {
	err = plain(err)
	if _, refused := errors.AsType[*load.Refusal](err); !refused {
		t.drop(ctx)
	}
	return err
}

// loadKind loads the rows of one kind, and the lists of those that were applied. afresh: lists of rows that are new can
// stand there as well.
func (t *Target) loadKind(ctx context.Context, tx pgx.Tx, p parent, upsert string, rows []load.Row, afresh bool) (applied int, err error) {
	next := 0
	staged := &lines{fill: func(to []byte) ([]byte, bool) {
		if next == len(rows) {
			return to, false
		}
		for i, v := range rows[next].Cells {
			to = append(appendCell(to, p.cells[i], v), '\t')
		}
		to = append(appendText(to, rows[next].Body), '\n')
		next++
		return to, true
	}}
	if _, err := tx.Conn().PgConn().CopyFrom(ctx, staged, fmt.Sprintf("COPY %s (%s) FROM STDIN", p.staged(), quoted(p.names()))); err != nil {
		return 0, fmt.Errorf("stage %s: %w", p.name, err)
	}
	changed := make(map[string]bool, len(rows))
	var replaced []string
	var id string
	var isNew bool
	found, err := tx.Query(ctx, upsert)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", p.name, err)
	}
	if _, err := pgx.ForEachRow(found, []any{&id, &isNew}, func() error {
		changed[id] = true
		if !isNew || afresh {
			replaced = append(replaced, id)
		}
		return nil
	}); err != nil {
		return 0, fmt.Errorf("write %s: %w", p.name, err)
	}
	for _, l := range p.lists {
		if err := p.replace(ctx, tx, l, rows, changed, replaced); err != nil {
			return 0, fmt.Errorf("write %s: %w", l.name, err)
		}
	}
	return len(changed), nil
}

// replace puts the elements of a list in the place of those of the revision before. The lock on the row that they belong to keeps others away.
func (p parent) replace(ctx context.Context, tx pgx.Tx, l list, rows []load.Row, changed map[string]bool, replaced []string) error {
	if len(replaced) > 0 {
		if _, err := tx.Exec(ctx, fmt.Sprintf("DELETE FROM %s.%s WHERE kind = $1 AND parent_id = ANY ($2)", Schema, l.name), p.kind, replaced); err != nil {
			return err
		}
	}
	next, empty := 0, true
	scratch := l.scratch()
	var bad error
	elements := &lines{fill: func(to []byte) ([]byte, bool) {
		for len(to) == 0 && next < len(rows) && bad == nil {
			if r := rows[next]; changed[r.ID()] && r.Cells[l.Column].Known {
				to, bad = l.append(to, r, scratch)
			}
			next++
		}
		return to, len(to) > 0 && bad == nil
	}}
	for _, r := range rows {
		if v := r.Cells[l.Column]; v.Known && v.Text != "[]" && changed[r.ID()] {
			empty = false
			break
		}
	}
	if empty {
		return nil
	}
	_, err := tx.Conn().PgConn().CopyFrom(ctx, elements, fmt.Sprintf("COPY %s.%s (%s) FROM STDIN", Schema, l.name, quoted(l.names())))
	if bad != nil {
		return bad
	}
	return err
}

// Reject implements load.Target.
func (t *Target) Reject(ctx context.Context, messages []load.Rejected) error {
	if t.conns == nil {
		return errors.New("not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	var batch pgx.Batch
	for _, m := range messages {
		batch.Queue(`INSERT INTO legato.rejected (stream, stream_created, seq, subject, reason, body) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING`, m.Stream, m.Created, int64(m.Seq), storable(m.Subject), storable(m.Reason), m.Body)
	}
	if err := t.conns[0].SendBatch(ctx, &batch).Close(); err != nil {
		return t.failed(ctx, err)
	}
	return nil
}

// storable is a text that PostgreSQL takes: a subject may be any bytes.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// Classes of SQLSTATE: what a value is guilty of, and what only people can put right.
const (
	classData       = "22" // data exception
	classConstraint = "23" // integrity constraint violation
	classLimit      = "54" // program limit exceeded: a row that is too large
	classLogin      = "28" // invalid authorization
	classCatalog    = "3D" // the database does not exist
	classAccess     = "42" // syntax error or access rule violation
)

// uniqueViolation is the SQLSTATE of a key that stands there already.
const uniqueViolation = "23505"

// plain returns an error of PostgreSQL without what it says about values: its detail, its context, and for errors of
// content its message, too.
func plain(err error) error {
	var from *pgconn.PgError
	if !errors.As(err, &from) {
		return err
	}
	at := ""
	for _, part := range []string{from.TableName, from.ColumnName, from.ConstraintName} {
		if part != "" {
			at += " " + part
		}
	}
	if at != "" {
		at = " at" + at
	}
	switch class := from.Code[:min(2, len(from.Code))]; class {
	case classData, classConstraint, classLimit:
		return &load.Refusal{Reason: "PostgreSQL does not take it" + at + " (SQLSTATE " + from.Code + ")"}
	case classLogin, classCatalog, classAccess:
		return fmt.Errorf("%s%s (SQLSTATE %s): %w", from.Message, at, from.Code, load.ErrConfig)
	}
	return fmt.Errorf("%s (SQLSTATE %s)", strings.TrimSpace(from.Message), from.Code)
}

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load"
)

// Schema is the name of the schema.
const Schema = "legato"

// column is a column of a table.
type column struct {
	name, typ string
	// rest follows the type where the table is made: NOT NULL.
	rest string
}

// table is a table of the schema.
type table struct {
	name    string
	columns []column
	// key are the columns of the primary key.
	key []string
	// indexes are the columns of further indexes, one list each.
	indexes [][]string
	// comment says what a row is.
	comment string
}

// parent is the table of a kind of summary.
type parent struct {
	table
	kind string
	// id is the name of the column that identifies a row.
	id string
	// cells are the types of the columns as package flat has them; body follows them.
	cells []flat.Column
	lists []list
}

// list is a table of the elements of a list.
type list struct {
	table
	load.Child
}

// Columns that the tables of lists have before those of their elements.
const (
	columnKind     = "kind"
	columnParent   = "parent_id"
	columnPosition = "position"
)

// model is the whole schema.
type model struct {
	parents []parent
	// tables are all of them, in the order in which they are made.
	tables []table
}

func newModel() (*model, error) {
	m := &model{}
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		p, err := newParent(kind)
		if err != nil {
			return nil, err
		}
		m.parents = append(m.parents, p)
		m.tables = append(m.tables, p.table)
	}
	for _, p := range m.parents {
		for _, l := range p.lists {
			// Legs and sessions have lists of the same elements, which share a table.
			if !slices.ContainsFunc(m.tables, func(t table) bool { return t.name == l.name }) {
				m.tables = append(m.tables, l.table)
			}
		}
	}
	m.tables = append(m.tables, rejected, target)
	return m, nil
}

func newParent(kind string) (parent, error) {
	of, err := flat.Of(kind)
	if err != nil {
		return parent{}, err
	}
	p := parent{kind: kind, cells: of.Columns(), id: "call_leg_id"}
	p.table = table{
		name: "legs", comment: "The newest revision of each leg of a call.",
		indexes: [][]string{{"call_session_id"}, {"started_at"}, {"published_at"}},
	}
	if kind == summary.KindSession {
		p.id = "call_session_id"
		p.table = table{
			name: "sessions", comment: "The newest revision of each session: a call with all its legs.",
			indexes: [][]string{{"started_at"}, {"published_at"}},
		}
	}
	p.key = []string{p.id}
	for _, c := range p.cells {
		col := column{name: c.Name, typ: typeOf(c)}
		if c.Name == p.id || c.Name == "revision" {
			col.rest = " NOT NULL"
		}
		p.columns = append(p.columns, col)
	}
	p.columns = append(p.columns, column{name: "body", typ: "jsonb", rest: " NOT NULL"})
	lists, err := load.Children(kind)
	if err != nil {
		return parent{}, err
	}
	for _, c := range lists {
		p.lists = append(p.lists, newList(c))
	}
	return p, nil
}

func newList(c load.Child) list {
	l := list{Child: c, table: table{name: c.Table, key: []string{columnParent, columnKind, columnPosition}}}
	l.comment = "The " + strings.ReplaceAll(c.Table, "_", " ") + " of legs and sessions. parent_id is the id of the row that " +
		"they belong to, kind tells of which table, position counts from 1."
	l.columns = []column{
		{name: columnKind, typ: "text", rest: " NOT NULL"},
		{name: columnParent, typ: "text", rest: " NOT NULL"},
		{name: columnPosition, typ: "integer", rest: " NOT NULL"},
		{name: "call_session_id", typ: "text", rest: " NOT NULL"},
		{name: "call_leg_id", typ: "text"},
	}
	for _, e := range c.Elements.Columns() {
		l.columns = append(l.columns, column{name: e.Name, typ: typeOf(e)})
	}
	return l
}

// rejected keeps what could not be loaded.
var rejected = table{
	name: "rejected", comment: "Messages that could not be loaded, byte for byte, with the reason.",
	columns: []column{
		{name: "stream", typ: "text", rest: " NOT NULL"},
		{name: "stream_created", typ: "timestamp with time zone", rest: " NOT NULL"},
		{name: "seq", typ: "bigint", rest: " NOT NULL"},
		{name: "subject", typ: "text", rest: " NOT NULL"},
		{name: "reason", typ: "text", rest: " NOT NULL"},
		{name: "rejected_at", typ: "timestamp with time zone", rest: " NOT NULL DEFAULT now()"},
		{name: "body", typ: "bytea", rest: " NOT NULL"},
	},
	key: []string{"stream", "stream_created", "seq"},
}

// target has one row, with the identity of the warehouse.
var target = table{
	name: "target", comment: "The identity of this warehouse. A loader of another warehouse refuses to go on here.",
	columns: []column{
		{name: "one", typ: "boolean", rest: " NOT NULL DEFAULT true CHECK (one)"},
		{name: "id", typ: "text", rest: " NOT NULL"},
	},
	key: []string{"one"},
}

// typeOf returns the type of a column, by the name that PostgreSQL gives it.
func typeOf(c flat.Column) string {
	switch c.Type {
	case flat.Text:
		return "text"
	case flat.Integer:
		return "bigint"
	case flat.Number:
		return "double precision"
	case flat.Boolean:
		return "boolean"
	case flat.Timestamp:
		return "timestamp with time zone"
	case flat.Decimal:
		return "numeric"
	case flat.JSON:
		if c.Texts() {
			return "text[]"
		}
	}
	return "jsonb"
}

// quoted returns names as identifiers, separated by commas: "from" and "to" are words of SQL.
func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

func (t table) names() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// fill returns the statements that give a table of lists, which is new in a warehouse that has rows, the elements that legs and
// sessions have in their columns. None: it has columns of other types than text and time, whose values are not always those of the JSON.
func (m *model) fill(t table) (all []string) {
	for _, p := range m.parents {
		for _, l := range p.lists {
			if l.name != t.name {
				continue
			}
			leg, values := "p.call_leg_id", make([]string, 0, len(l.columns))
			if p.kind == summary.KindSession {
				leg = "NULL"
			}
			values = append(values, "'"+p.kind+"'", "p."+p.id, "e.position", "p.call_session_id", leg)
			for _, c := range l.Elements.Columns() {
				if c.Type != flat.Text && c.Type != flat.Timestamp {
					return nil
				}
				values = append(values, fmt.Sprintf("(e.element #>> '{%s}')::%s", strings.Join(c.Path, ","), typeOf(c)))
			}
			all = append(all, fmt.Sprintf(`INSERT INTO %s.%s (%s)
SELECT %s
FROM %s.%s p, jsonb_array_elements(p.%q) WITH ORDINALITY AS e (element, position)
ON CONFLICT DO NOTHING`, Schema, t.name, quoted(t.names()), strings.Join(values, ", "), Schema, p.name, p.cells[l.Column].Name))
		}
	}
	return all
}

// create returns the statements that make the table.
func (t table) create() []string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s (\n", Schema, t.name)
	for _, c := range t.columns {
		fmt.Fprintf(&b, "  %q %s%s,\n", c.name, c.typ, c.rest)
	}
	fmt.Fprintf(&b, "  PRIMARY KEY (%s)\n)", quoted(t.key))
	all := []string{b.String(), fmt.Sprintf("COMMENT ON TABLE %s.%s IS '%s'", Schema, t.name, strings.ReplaceAll(t.comment, "'", "''"))}
	for _, of := range t.indexes {
		all = append(all, fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s_%s ON %s.%s (%s)", t.name, strings.Join(of, "_"), Schema, t.name, quoted(of)))
	}
	return all
}

// add returns the statement that adds a column. One that is added to rows that are there cannot be NOT NULL.
func (t table) add(c column) string {
	return fmt.Sprintf("ALTER TABLE %s.%s ADD COLUMN IF NOT EXISTS %q %s", Schema, t.name, c.name, c.typ)
}

// statements make everything, on a database that has nothing of it.
func (m *model) statements() []string {
	all := []string{"CREATE SCHEMA IF NOT EXISTS " + Schema}
	for _, t := range m.tables {
		all = append(all, t.create()...)
	}
	return all
}

// Statements returns the SQL that makes the schema, for a person who runs it.
func Statements() (string, error) {
	m, err := newModel()
	if err != nil {
		return "", err
	}
	return strings.Join(m.statements(), ";\n") + ";\n", nil
}

// migrationLock is the key of the advisory lock: of several loaders that start at once, one migrates.
const migrationLock = 0x4c656761746f // "Legato"

// migrate adds what is missing and returns the identity of the warehouse.
func (t *Target) migrate(ctx context.Context, conn *pgx.Conn) (identity string, err error) {
	missing, err := t.missing(ctx, conn)
	if err != nil {
		return "", err
	}
	if len(missing) > 0 {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
				return err
			}
			// Another loader may have added it meanwhile.
			if missing, err = t.missing(ctx, tx); err != nil {
				return err
			}
			for _, statement := range missing {
				if _, err := tx.Exec(ctx, statement); err != nil {
					return err
				}
			}
			return nil
		})
		if from, ok := errors.AsType[*pgconn.PgError](err); ok && from.Code == insufficientPrivilege {
			return "", fmt.Errorf("complete the tables: %w; somebody who may can run %s", plain(err), onOneLine(missing))
		}
		if err != nil {
			return "", fmt.Errorf("complete the tables: %w", plain(err))
		}
	}
	return identify(ctx, conn)
}

// insufficientPrivilege is the SQLSTATE of what the role may not do.
const insufficientPrivilege = "42501"

// onOneLine returns statements for the line of an error, and of all of them where they are to be had.
func onOneLine(statements []string) string {
	all := strings.Join(statements, "; ")
	if strings.HasPrefix(all, "CREATE SCHEMA") {
		return "what --print-schema prints"
	}
	return strings.ReplaceAll(all, "\n", " ")
}

// identify returns the identity of the warehouse, which it is given when it has none.
func identify(ctx context.Context, conn *pgx.Conn) (identity string, err error) {
	const read = "SELECT id FROM legato.target"
	err = conn.QueryRow(ctx, read).Scan(&identity)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err = conn.Exec(ctx, "INSERT INTO legato.target (id) VALUES ($1) ON CONFLICT DO NOTHING", rand.Text()); err == nil {
			err = conn.QueryRow(ctx, read).Scan(&identity)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read the identity of the warehouse: %w", plain(err))
	}
	return identity, nil
}

// querier is a connection, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// missing returns the statements that complete the schema: none when it is whole. It fails with load.ErrConfig when a
// column is there with another type.
func (t *Target) missing(ctx context.Context, conn querier) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped`, Schema)
	if err != nil {
		return nil, plain(err)
	}
	have := make(map[string]map[string]string)
	var name, attribute, typ string
	if _, err := pgx.ForEachRow(rows, []any{&name, &attribute, &typ}, func() error {
		if have[name] == nil {
			have[name] = make(map[string]string)
		}
		have[name][attribute] = typ
		return nil
	}); err != nil {
		return nil, plain(err)
	}
	var statements []string
	if len(have) == 0 {
		return t.model.statements(), nil
	}
	for _, table := range t.model.tables {
		if have[table.name] == nil {
			statements = append(append(statements, table.create()...), t.model.fill(table)...)
			continue
		}
		for _, c := range table.columns {
			switch is := have[table.name][c.name]; is {
			case c.typ:
			case "":
				statements = append(statements, table.add(c))
			default:
				return nil, fmt.Errorf("column %s.%s.%s is of type %s instead of %s: %w", Schema, table.name, c.name, is, c.typ, load.ErrConfig)
			}
		}
	}
	return statements, nil
}

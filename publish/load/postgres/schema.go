package postgres

import (
	"fmt"
	"slices"
	"strings"

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

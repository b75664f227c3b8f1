package clickhouse

import (
	"fmt"
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

// Database is the name of the database.
const Database = "legato"

// column is a column of a table.
type column struct{ name, typ string }

// table is a table of rows that replace each other.
type table struct {
	name    string
	columns []column
	// order is what identifies a row, version what tells which one remains; empty: none does.
	order   []string
	version string
	// view shows the rows that remain; empty: there is no view.
	view string
	// fields are what columns are made of, of the table of a kind of summary. The body follows them.
	fields []field
	kind   string
}

// field is a column of package flat. A list of objects is a column for each of theirs.
type field struct {
	column   flat.Column
	elements *flat.Table
}

const columnBody = "body"

// tables are those of the database, in the order in which they are made.
func tables() ([]table, error) {
	var all []table
	for _, of := range []struct{ kind, id string }{{summary.KindLeg, "call_leg_id"}, {summary.KindSession, "call_session_id"}} {
		rows, err := flat.Of(of.kind)
		if err != nil {
			return nil, err
		}
		t := table{name: of.kind + "_revisions", view: of.kind + "s", kind: of.kind, order: []string{of.id}, version: "revision"}
		for _, c := range rows.Columns() {
			f := field{column: c}
			if elements, ok := c.Elements(); ok {
				f.elements = elements
				for _, e := range elements.Columns() {
					t.columns = append(t.columns, column{c.Name + "." + e.Name, "Array(Nullable(" + scalar(e) + "))"})
				}
			} else {
				t.columns = append(t.columns, column{c.Name, typeOf(c)})
			}
			t.fields = append(t.fields, f)
		}
		t.columns = append(t.columns, column{columnBody, "String"})
		all = append(all, t)
	}
	return append(all, table{
		name: "rejected", order: []string{"stream", "stream_created", "seq"},
		columns: []column{
			{"stream", "String"},
			{"stream_created", "DateTime64(6, 'UTC')"},
			{"seq", "UInt64"},
			{"subject", "String"},
			{"reason", "String"},
			{"rejected_at", "DateTime64(6, 'UTC')"},
			{"body", "String"},
		},
	}), nil
}

// scalar returns the type of a column that is no list, as it is without null.
func scalar(c flat.Column) string {
	switch c.Type {
	case flat.Integer:
		return "Int64"
	case flat.Number:
		return "Float64"
	case flat.Boolean:
		return "Bool"
	case flat.Timestamp:
		return "DateTime64(6, 'UTC')"
	case flat.Decimal:
		return "Decimal(18, 6)"
	case flat.Text, flat.JSON:
	}
	return "String"
}

func typeOf(c flat.Column) string {
	switch {
	case c.Texts():
		return "Array(String)"
	case c.Always && c.Type != flat.JSON:
		return scalar(c)
	}
	return "Nullable(" + scalar(c) + ")"
}

func quoted(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

func (t table) names() (names []string) {
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return names
}

// create returns the statement that makes the table.
func (t table) create() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s (\n", Database, t.name)
	for i, c := range t.columns {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  `%s` %s", c.name, c.typ)
	}
	fmt.Fprintf(&b, "\n) ENGINE = ReplacingMergeTree(%s) ORDER BY (%s)", t.version, quoted(t.order))
	return b.String()
}

// show returns the statement that makes the view. A view keeps the columns that there were when it was made.
func (t table) show() string {
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s.%s AS SELECT * FROM %s.%s FINAL", Database, t.view, Database, t.name)
}

// add returns the statement that adds a column.
func (t table) add(c column) string {
	return fmt.Sprintf("ALTER TABLE %s.%s ADD COLUMN IF NOT EXISTS `%s` %s", Database, t.name, c.name, c.typ)
}

// Statements returns the SQL that makes the database, for a person who runs it.
func Statements() (string, error) {
	all, err := tables()
	if err != nil {
		return "", err
	}
	statements := []string{"CREATE DATABASE IF NOT EXISTS " + Database}
	for _, t := range all {
		statements = append(statements, t.create())
		if t.view != "" {
			statements = append(statements, t.show())
		}
	}
	return strings.Join(statements, ";\n") + ";\n", nil
}

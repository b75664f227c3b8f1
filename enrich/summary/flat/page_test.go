package flat_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/enrich/summary/schema"
)

var update = flag.Bool("update", false, "write the columns into docs/export.md and the SQL beside docs/consumers")

// dialect is how a database names the types, in the order of flat.Type.
type dialect struct {
	file  string
	types map[flat.Type]string
	// nullable is the form of a column that may be null, always that of one that never is.
	nullable, always string
}

var dialects = []dialect{
	{
		file: "consumers/duckdb.sql", nullable: "%s", always: "%s NOT NULL",
		types: map[flat.Type]string{
			flat.Text: "VARCHAR", flat.Integer: "BIGINT", flat.Number: "DOUBLE", flat.Boolean: "BOOLEAN",
			flat.Timestamp: "TIMESTAMPTZ", flat.Decimal: "DECIMAL(18,6)", flat.JSON: "VARCHAR",
		},
	},
	{
		file: "consumers/clickhouse.sql", nullable: "Nullable(%s)", always: "%s",
		types: map[flat.Type]string{
			flat.Text: "String", flat.Integer: "Int64", flat.Number: "Float64", flat.Boolean: "Bool",
			flat.Timestamp: "DateTime64(6, 'UTC')", flat.Decimal: "Decimal(18, 6)", flat.JSON: "String",
		},
	},
}

// TestColumnsAreDocumentedAsTheyAre holds the documents against the types.
func TestColumnsAreDocumentedAsTheyAre(t *testing.T) {
	for _, kind := range schema.Kinds() {
		columns := tableOf(t, kind).Columns()
		current(t, "export.md", "<!-- columns of a "+kind+" -->\n", "<!-- end of columns -->\n", "\n"+page(t, kind, columns)+"\n")
		for _, d := range dialects {
			current(t, d.file, "-- columns of a "+kind+"\n", "-- end of columns\n", d.columns(columns))
		}
	}
}

// current checks, or with -update writes, what stands between two marks of a document.
func current(t *testing.T, file, from, to, want string) {
	t.Helper()
	path := filepath.Join("..", "..", "..", "docs", filepath.FromSlash(file))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), from)
	got, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("docs/%s has no place between %q and %q", file, from, to)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+from+want+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("docs/%s is not current; go test ./enrich/summary/flat -update writes it (-want +committed):\n%s", file, diff)
	}
}

func (d dialect) columns(columns []flat.Column) string {
	var b strings.Builder
	for i, c := range columns {
		form, comma := d.nullable, ","
		if c.Always {
			form = d.always
		}
		if i == len(columns)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, "  %q %s%s\n", c.Name, fmt.Sprintf(form, d.types[c.Type]), comma)
	}
	return b.String()
}

// page lists the columns, with the words of the schema.
func page(t *testing.T, kind string, columns []flat.Column) string {
	t.Helper()
	data, err := schema.Of(kind)
	if err != nil {
		t.Fatal(err)
	}
	var root node
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| column | type | meaning |\n|---|---|---|\n")
	for _, c := range columns {
		meaning := bare(root.meaning(c.Path), c.Path[len(c.Path)-1])
		switch {
		case c.Name == "cost_amount":
			meaning = "`amount` of `cost_totals` when there is just one."
		case c.Name == "cost_currency":
			meaning = "`currency` of `cost_totals` when there is just one."
		case meaning == "":
			t.Errorf("no schema explains the column %s of a %s", c.Name, kind)
		}
		if !c.Always { // it is in its object, which may be absent
			meaning = strings.TrimSuffix(meaning, " Always.")
		}
		if c.Always && !strings.Contains(strings.ToLower(meaning), "always") {
			meaning += " Always."
		}
		meaning = strings.ReplaceAll(strings.ReplaceAll(meaning, "\n", " "), "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %v | %s |\n", c.Name, c.Type, strings.ReplaceAll(meaning, "Always.", "*Always.*"))
	}
	return b.String()
}

// bare is a meaning without the name of its field at its head.
func bare(meaning, field string) string {
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(meaning, field+verb); ok {
			if word, _, _ := strings.Cut(rest, " "); strings.ContainsAny(word, "_") {
				return rest // the name of a field of Telnyx's
			}
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return meaning
}

// node is a part of a JSON Schema.
type node struct {
	Ref         string          `json:"$ref"`
	Description string          `json:"description"`
	Properties  map[string]node `json:"properties"`
	Defs        map[string]node `json:"$defs"`
}

// meaning is the description of the field at a path, or that of its type.
func (n node) meaning(path []string) string {
	at, text := n, ""
	for _, name := range path {
		at = at.Properties[name]
		text = at.Description
		if at.Ref != "" {
			at = n.Defs[strings.TrimPrefix(at.Ref, "#/$defs/")]
			if text == "" {
				text, _, _ = strings.Cut(at.Description, "\n")
			}
		}
	}
	return text
}

package schema_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
)

// page explains the fields to people, in the words of the schema, below what is written by hand.
var page = filepath.Join("..", "..", "..", "docs", "messages.md")

const pageMark = "<!-- written by go test ./enrich/summary/schema -update, from the comments of package summary -->\n"

func TestFieldsAreExplainedAsTheSchemaSaysThem(t *testing.T) {
	now, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	byHand, _, ok := strings.Cut(string(now), pageMark)
	if !ok {
		t.Fatalf("docs/messages.md has no %q", pageMark)
	}
	p := &pages{source: readSource(t, "..")}
	want := byHand + pageMark + p.fields()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(now), "\n")); diff != "" {
		t.Errorf("docs/messages.md is not current; go test ./enrich/summary/schema -update writes it (-want +committed):\n%s", diff)
	}
}

// pages writes what the comments of package summary say as Markdown.
type pages struct {
	source *source
	// types are the structs and word types that were named, in order.
	types []reflect.Type
}

func (p *pages) fields() string {
	var b strings.Builder
	for _, root := range []struct {
		title string
		typ   reflect.Type
	}{{"A leg", reflect.TypeFor[summary.Leg]()}, {"A session", reflect.TypeFor[summary.Session]()}} {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s", root.title, prose(p.source.types[root.typ.Name()], root.typ), p.table(root.typ))
	}
	for i := 0; i < len(p.types); i++ { // a table may name more
		typ := p.types[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", title(typ), prose(p.source.types[typ.Name()], typ))
		if typ.Kind() == reflect.Struct {
			fmt.Fprintf(&b, "\n%s", p.table(typ))
			continue
		}
		if words := p.source.words[typ.Name()]; len(words) > 0 {
			b.WriteString("\n| word | means |\n|---|---|\n")
			for _, w := range words {
				fmt.Fprintf(&b, "| `%s` | %s |\n", w.value, cell(w.doc))
			}
		}
	}
	return b.String()
}

// table explains the fields of a struct, those that share a comment in one row.
func (p *pages) table(typ reflect.Type) string {
	var b strings.Builder
	b.WriteString("| field | is | meaning |\n|---|---|---|\n")
	var names, forms []string
	var doc string
	flush := func() {
		if len(names) > 0 {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(names, ", "), strings.Join(dedup(forms), "; "), meaning(doc, typ, names))
		}
		names, forms = nil, nil
	}
	for _, f := range reflect.VisibleFields(typ) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		owner := typ
		if len(f.Index) > 1 {
			owner = typ.Field(f.Index[0]).Type
		}
		of := p.source.fields[owner.Name()][f.Name]
		text := of.doc
		if text == "" && typ == reflect.TypeFor[summary.SessionLeg]() {
			of = p.source.fields["Leg"][f.Name]
			text = named(reflect.TypeFor[summary.Leg](), of.doc)
		}
		if text == "" {
			text = prose(p.source.types[element(f.Type).Name()], element(f.Type))
		}
		if text != doc {
			flush()
			doc = text
		}
		names = append(names, "`"+name+"`")
		forms = append(forms, p.form(f.Type))
	}
	flush()
	return b.String()
}

// form says in words what a field holds.
func (p *pages) form(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Pointer:
		return p.form(typ.Elem())
	case reflect.Slice:
		return "list of " + p.form(typ.Elem())
	case reflect.Map:
		return p.form(typ.Elem()) + " by name"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "whole number"
	default:
	}
	switch {
	case typ == reflect.TypeFor[summary.Time]():
		return "time"
	case typ == reflect.TypeFor[summary.Seconds]():
		return "seconds"
	case typ.Kind() == reflect.Float64:
		return "number"
	case typ.PkgPath() == "":
		return "text"
	}
	known := false
	for _, t := range p.types {
		known = known || t == typ
	}
	if !known {
		p.types = append(p.types, typ)
	}
	return fmt.Sprintf("[%s](#%s)", title(typ), anchor(typ))
}

func element(typ reflect.Type) reflect.Type {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	return typ
}

func dedup(values []string) []string {
	var kept []string
	for _, v := range values {
		if len(kept) == 0 || kept[len(kept)-1] != v {
			kept = append(kept, v)
		}
	}
	return kept
}

var wordStart = regexp.MustCompile(`([a-z])([A-Z])|([A-Z])([A-Z][a-z])`)

// title is a type's name in words: "machine detection", "AI gather".
func title(typ reflect.Type) string {
	words := strings.Fields(wordStart.ReplaceAllString(typ.Name(), "$1$3 $2$4"))
	for i, w := range words {
		if w != strings.ToUpper(w) {
			words[i] = strings.ToLower(w)
		}
	}
	return strings.Join(words, " ")
}

// anchor is where a heading of that title is found.
func anchor(typ reflect.Type) string {
	return strings.ToLower(strings.ReplaceAll(title(typ), " ", "-"))
}

// prose is the comment of a type without the Go name at its head.
func prose(doc string, typ reflect.Type) string {
	doc = named(typ, doc)
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(doc, typ.Name()+verb); ok {
			return capital(rest)
		}
	}
	return doc
}

// meaning is the comment of the fields of a row: without its beginning where that
// only names them all ("ID and Type are").
func meaning(doc string, typ reflect.Type, names []string) string {
	text := named(typ, doc)
	head := strings.Join(names, ", ")
	if n := len(names); n > 1 {
		head = strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(text, head+verb); ok {
			text = capital(rest)
		}
	}
	return cell(text)
}

// field names of Telnyx's and event types, where a comment names them.
var identifier = regexp.MustCompile("(^|[ (])([a-z]+(?:[._][a-z0-9_]+)+)([,.;:)]* |[,.;:)]*$)")

// named marks in a comment what is named as it is in JSON.
func named(typ reflect.Type, text string) string {
	if typ.Kind() == reflect.Struct {
		for _, f := range reflect.VisibleFields(typ) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, "`"+name+"`")
			}
		}
	}
	for range 2 { // neighbours share a space
		text = identifier.ReplaceAllString(text, "$1`$2`$3")
	}
	return text
}

// cell is a text as it stands in a cell of a table.
func cell(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "|", `\|`)
	return strings.ReplaceAll(text, "Always.", "*Always.*")
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

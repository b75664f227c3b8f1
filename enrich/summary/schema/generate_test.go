package schema_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish"
)

// additions is said in every schema, for who validates with it.
const additions = "Fields and words may be added within this version: pass over those that you do not know. " +
	"None is renamed, retyped or removed; null is never written."

// generate returns the schema of a kind of summary, as it is to be committed.
func generate(t *testing.T, kind string, body any) []byte {
	t.Helper()
	g := &generator{t: t, source: readSource(t, "..")}
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, AllowAdditionalProperties: true,
		Mapper: g.mapped, LookupComment: g.comment,
	}
	s := r.Reflect(body)
	s.ID = jsonschema.ID(publish.SchemaURI(kind))
	s.Title = "Summary of a " + kind
	s.Comments = additions
	for _, word := range g.words {
		s.Definitions[word.Name()] = g.enum(word)
	}
	if g.hasTime {
		s.Definitions["Time"] = &jsonschema.Schema{
			Type: "string", Format: "date-time", Pattern: `T[0-9:]{8}\.[0-9]{6}Z$`,
			Description: g.source.types["Time"],
		}
	}
	if g.hasSeconds {
		s.Definitions["Seconds"] = &jsonschema.Schema{Type: "number", Description: g.source.types["Seconds"]}
	}
	property(t, s, "kind").Const = kind
	property(t, s, "schema").Const = summary.Schema
	property(t, s, "revision").Minimum = "1"
	g.require(s, reflect.TypeOf(body))

	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func property(t *testing.T, s *jsonschema.Schema, name string) *jsonschema.Schema {
	t.Helper()
	p, ok := s.Properties.Get(name)
	if !ok {
		t.Fatalf("no property %s", name)
	}
	return p
}

// generator answers what the reflector asks about the types of package summary.
type generator struct {
	t      *testing.T
	source *source

	words               []reflect.Type
	hasTime, hasSeconds bool
}

// mapped returns the schema of the types that are no structs: a reference, so
// that what they mean is said once.
func (g *generator) mapped(typ reflect.Type) *jsonschema.Schema {
	switch {
	case typ == reflect.TypeFor[summary.Number]():
		return &jsonschema.Schema{Type: "number"}
	case typ == reflect.TypeFor[summary.Time]():
		g.hasTime = true
	case typ == reflect.TypeFor[summary.Seconds]():
		g.hasSeconds = true
	case typ.Kind() == reflect.String && g.source.words[typ.Name()] != nil && typ.PkgPath() == reflect.TypeFor[summary.Time]().PkgPath():
		g.words = append(g.words, typ)
	default:
		return nil
	}
	return &jsonschema.Schema{Ref: "#/$defs/" + typ.Name()}
}

// enum is the schema of a type of words, with what each one means.
func (g *generator) enum(typ reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string", Description: g.source.types[typ.Name()]}
	for _, w := range g.source.words[typ.Name()] {
		s.Enum = append(s.Enum, w.value)
		if w.doc != "" {
			s.Description += "\n" + w.value + ": " + w.doc
		}
	}
	return s
}

// comment is the comment of a type, or of a field when it is named.
func (g *generator) comment(typ reflect.Type, field string) string {
	if field == "" {
		return g.source.types[typ.Name()]
	}
	text := g.source.fields[typ.Name()][field].doc
	if text == "" && typ == reflect.TypeFor[summary.SessionLeg]() {
		text = g.source.fields["Leg"][field].doc // whose fields it repeats
		typ = reflect.TypeFor[summary.Leg]()
	}
	return wireNames(typ, text)
}

// require fails when what a comment marks "always" is not what is always
// encoded: required is true of both.
func (g *generator) require(s *jsonschema.Schema, root reflect.Type) {
	named := map[*jsonschema.Schema]reflect.Type{s: root}
	walkStructs(root, func(typ reflect.Type) {
		if def := s.Definitions[typ.Name()]; def != nil {
			named[def] = typ
		}
	})
	for def, typ := range named {
		encoded := make(map[string]bool)
		for _, name := range def.Required {
			encoded[name] = true
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
			marked := g.source.fields[owner.Name()][f.Name].always
			if owner == reflect.TypeFor[summary.SessionLeg]() {
				marked = marked || g.source.fields["Leg"][f.Name].always
			}
			switch {
			case encoded[name] && !marked:
				g.t.Errorf("%s.%s is always encoded; its comment must say so (Always.), or its tag omitempty", owner.Name(), f.Name)
			case !encoded[name] && marked:
				g.t.Errorf("%s.%s is marked as always present and is omitempty", owner.Name(), f.Name)
			}
		}
	}
}

// walkStructs calls f for every struct of package summary that a type holds.
func walkStructs(typ reflect.Type, f func(reflect.Type)) {
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ.PkgPath() != reflect.TypeFor[summary.Time]().PkgPath() {
			return
		}
		seen[typ] = true
		f(typ)
		for field := range typ.Fields() {
			walk(field.Type)
		}
	}
	walk(typ)
}

// source is what the comments of package summary say, and the words of its
// word types: reflection sees neither.
type source struct {
	types  map[string]string
	fields map[string]map[string]field
	words  map[string][]word
}

// field is what the comment of a field says.
type field struct {
	doc string
	// always tells that the comment marks the field as always present.
	always bool
}

// word is a constant of a word type.
type word struct{ value, doc string }

// readSource reads the files of a package, less its tests.
func readSource(t *testing.T, dir string) *source {
	t.Helper()
	s := &source{types: make(map[string]string), fields: make(map[string]map[string]field), words: make(map[string][]word)}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok {
				for _, spec := range d.Specs {
					s.read(t, d, spec)
				}
			}
		}
	}
	return s
}

func (s *source) read(t *testing.T, d *ast.GenDecl, spec ast.Spec) {
	t.Helper()
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		doc := spec.Doc
		if doc == nil {
			doc = d.Doc
		}
		s.types[spec.Name.Name] = flow(doc)
		if st, ok := spec.Type.(*ast.StructType); ok {
			s.fields[spec.Name.Name] = readFields(st)
		}
	case *ast.ValueSpec:
		typ, ok := spec.Type.(*ast.Ident)
		if d.Tok != token.CONST || !ok || len(spec.Values) != 1 || !spec.Names[0].IsExported() {
			return
		}
		value, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || value.Kind != token.STRING {
			return
		}
		text, err := strconv.Unquote(value.Value)
		if err != nil {
			t.Fatal(err)
		}
		doc := strings.TrimPrefix(flow(spec.Doc), spec.Names[0].Name+": ")
		s.words[typ.Name] = append(s.words[typ.Name], word{value: text, doc: doc})
	}
}

// readFields gives each field its comment. One that has none shares the last
// comment that names it: "From and To are the parties".
func readFields(st *ast.StructType) map[string]field {
	fields := make(map[string]field)
	doc := ""
	for _, f := range st.Fields.List {
		if f.Doc != nil {
			doc = flow(f.Doc)
		}
		for _, name := range f.Names {
			named := regexp.MustCompile(`\b` + name.Name + `\b`)
			if f.Doc == nil && !named.MatchString(doc) {
				continue
			}
			one := regexp.MustCompile(`\b` + name.Name + ` \(always\)`)
			fields[name.Name] = field{
				doc:    doc,
				always: one.MatchString(doc) || strings.Contains(doc, "Always."),
			}
		}
	}
	return fields
}

// flow is a comment with its paragraphs on one line each.
func flow(doc *ast.CommentGroup) string {
	paragraphs := strings.Split(strings.TrimSpace(doc.Text()), "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(p), " ")
	}
	return strings.Join(paragraphs, "\n")
}

// wireNames writes the fields that a comment names as they are named in JSON.
func wireNames(typ reflect.Type, text string) string {
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, name)
		}
	}
	return text
}

// unexplained are the fields at any depth that no comment covers. A leg in its
// session repeats a leg's fields; a field of a documented struct may be
// explained by that.
func unexplained(s *source, body any) []string {
	var missing []string
	walkStructs(reflect.TypeOf(body), func(typ reflect.Type) {
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || s.fields[typ.Name()][f.Name].doc != "" {
				continue
			}
			if typ == reflect.TypeFor[summary.SessionLeg]() && s.fields["Leg"][f.Name].doc != "" {
				continue
			}
			of := f.Type
			for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
				of = of.Elem()
			}
			if of.Kind() == reflect.Struct && s.types[of.Name()] != "" && of.Name() != "Time" {
				continue
			}
			missing = append(missing, typ.Name()+"."+f.Name)
		}
	})
	return missing
}

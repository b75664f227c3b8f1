package schema_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/legato-calls/legato/enrich/summary"
)

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

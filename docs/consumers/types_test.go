package consumers_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"golang.org/x/tools/txtar"

	"github.com/legato-calls/legato/enrich/summary/schema"
)

var update = flag.Bool("update", false, "write the types of TypeScript and Python anew")

// contract is what the schemas of both kinds say.
type contract struct {
	// roots are Leg and Session, by the name of their type.
	roots map[string]*jsonschema.Schema
	defs  map[string]*jsonschema.Schema
}

func readContract(t *testing.T) contract {
	t.Helper()
	c := contract{roots: make(map[string]*jsonschema.Schema), defs: make(map[string]*jsonschema.Schema)}
	for _, kind := range schema.Kinds() {
		data, err := schema.Of(kind)
		if err != nil {
			t.Fatal(err)
		}
		s := new(jsonschema.Schema)
		if err := json.Unmarshal(data, s); err != nil {
			t.Fatal(err)
		}
		maps.Copy(c.defs, s.Definitions)
		c.roots[strings.ToUpper(kind[:1])+kind[1:]] = s
	}
	return c
}

// language is how types are written.
type language struct {
	file                           string
	head, tail                     string
	text, number, boolean, integer string
	list, dictionary               string
	// constant is the type of one value only.
	constant func(value string) string
	// words is a type of texts, alias another name of a type, object one with fields.
	words  func(doc []string, name string, values []string) string
	alias  func(doc []string, name, typ string) string
	object func(doc []string, name string, fields []field) string
}

type field struct {
	doc       []string
	name, typ string
	always    bool
}

// write returns the file. A type stands behind those that it is made of.
func (l language) write(t *testing.T, c contract) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(l.head)
	done := make(map[string]bool)
	var define func(name string, s *jsonschema.Schema)
	var typeOf func(s *jsonschema.Schema) string
	typeOf = func(s *jsonschema.Schema) string {
		switch {
		case s.Ref != "":
			name := strings.TrimPrefix(s.Ref, "#/$defs/")
			define(name, c.defs[name])
			return name
		case s.Const != nil:
			value, err := json.Marshal(s.Const)
			if err != nil {
				t.Fatal(err)
			}
			return l.constant(string(value))
		case s.Type == "array":
			return fmt.Sprintf(l.list, typeOf(s.Items))
		case s.Type == "object" && s.AdditionalProperties != nil:
			return fmt.Sprintf(l.dictionary, typeOf(s.AdditionalProperties))
		}
		typ := map[string]string{"string": l.text, "number": l.number, "integer": l.integer, "boolean": l.boolean}[s.Type]
		if typ == "" {
			t.Fatalf("no type for %+v", s)
		}
		return typ
	}
	define = func(name string, s *jsonschema.Schema) {
		if done[name] {
			return
		}
		done[name] = true
		doc := strings.Split(s.Description, "\n")
		switch {
		case len(s.Enum) > 0:
			var values []string
			for _, v := range s.Enum {
				values = append(values, fmt.Sprintf("%q", v))
			}
			out.WriteString(l.words(doc, name, values))
		case s.Properties == nil || s.Properties.Len() == 0:
			out.WriteString(l.alias(doc, name, typeOf(s)))
		default:
			var fields []field
			for p := s.Properties.Oldest(); p != nil; p = p.Next() {
				fields = append(fields, field{
					doc: strings.Split(p.Value.Description, "\n"), name: p.Key, typ: typeOf(p.Value), always: slices.Contains(s.Required, p.Key),
				})
			}
			out.WriteString(l.object(doc, name, fields))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.roots)) {
		define(name, c.roots[name])
	}
	out.WriteString(l.tail)
	return out.String()
}

// wrapped are comment lines of at most 116 columns, each behind a prefix.
func wrapped(prefix string, doc []string) string {
	var b strings.Builder
	for _, paragraph := range doc {
		line := prefix
		for word := range strings.FieldsSeq(paragraph) {
			if len(line)+1+len(word) > 116 && line != prefix {
				b.WriteString(line + "\n")
				line = prefix
			}
			line += " " + word
		}
		if line != prefix {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

const generated = "made from the JSON Schemas in enrich/summary/schema: go test ./docs/consumers -run Types -update"

var typeScript = language{
	file: "legato.ts",
	head: "// The summaries of legs and sessions that Legato publishes,\n// " + generated + "\n//\n// An absent field is not known; null is never written. " +
		"Fields and words may be added:\n// pass over those that you do not know.\n",
	tail: `
/** Summary is what a message on calls.leg.> and calls.session.> holds. */
export type Summary = Leg | Session;

/** key is what a summary is stored under: of two with one key the higher revision stands. */
export const key = (s: Summary): string => (s.kind === "leg" ? "leg/" + s.call_leg_id : "session/" + s.call_session_id);
`,
	text: "string", number: "number", boolean: "boolean", integer: "number", list: "%s[]", dictionary: "Record<string, %s>",
	constant: func(value string) string { return value },
	words: func(doc []string, name string, values []string) string {
		return "\n" + comment("", doc) + "export type " + name + " =\n  | " + strings.Join(values, "\n  | ") + ";\n"
	},
	alias: func(doc []string, name, typ string) string {
		return "\n" + comment("", doc) + "export type " + name + " = " + typ + ";\n"
	},
	object: func(doc []string, name string, fields []field) string {
		text := "\n" + comment("", doc) + "export interface " + name + " {\n"
		for _, f := range fields {
			mark := "?"
			if f.always {
				mark = ""
			}
			text += comment("  ", f.doc) + "  " + f.name + mark + ": " + f.typ + ";\n"
		}
		return text + "}\n"
	},
}

// comment is a doc comment of TypeScript; nothing is none.
func comment(indent string, doc []string) string {
	lines := wrapped(indent+" *", doc)
	if lines == "" {
		return ""
	}
	return indent + "/**\n" + lines + indent + " */\n"
}

var python = language{
	file: "legato.py",
	head: "# The summaries of legs and sessions that Legato publishes,\n# " + generated + "\n#\n# An absent field is not known; null is never written. " +
		"Fields and words may be added:\n# pass over those that you do not know. Python 3.11 or later.\n" +
		"import json\nfrom typing import Literal, NotRequired, TypedDict\n",
	tail: `
# Summary is what a message on calls.leg.> and calls.session.> holds.
Summary = Leg | Session


def key(summary: Summary) -> tuple[str, str]:
    """What a summary is stored under: of two with one key the higher revision stands."""
    if summary["kind"] == "leg":
        return "leg", summary["call_leg_id"]
    return "session", summary["call_session_id"]


def parse(body: bytes | str, newest: dict[tuple[str, str], Summary]) -> Summary | None:
    """Reads a message and keeps it in newest, unless a revision stands there that is as high.

    Returns the summary if it was kept. Raises ValueError for what is no summary of schema 1.
    """
    summary = json.loads(body)
    if not isinstance(summary, dict) or summary.get("kind") not in ("leg", "session") or summary.get("schema") != 1:
        raise ValueError("no summary of schema 1")
    held = newest.get(key(summary))
    if held is not None and held["revision"] >= summary["revision"]:
        return None
    newest[key(summary)] = summary
    return summary
`,
	text: "str", number: "float", boolean: "bool", integer: "int", list: "list[%s]", dictionary: "dict[str, %s]",
	constant: func(value string) string { return "Literal[" + value + "]" },
	words: func(doc []string, name string, values []string) string {
		return "\n" + wrapped("#", doc) + name + " = Literal[\n    " + strings.Join(values, ",\n    ") + ",\n]\n"
	},
	alias: func(doc []string, name, typ string) string {
		return "\n" + wrapped("#", doc) + name + " = " + typ + "\n"
	},
	object: func(doc []string, name string, fields []field) string {
		// Not a class: "from" cannot be the name of an attribute.
		text := "\n" + wrapped("#", doc) + name + " = TypedDict(\n    \"" + name + "\",\n    {\n"
		for _, f := range fields {
			typ := f.typ
			if !f.always {
				typ = "NotRequired[" + typ + "]"
			}
			text += wrapped("        #", f.doc) + "        \"" + f.name + "\": " + typ + ",\n"
		}
		return text + "    },\n)\n"
	},
}

func TestTypesAreThoseOfTheSchemas(t *testing.T) {
	for _, l := range []language{typeScript, python} {
		want := l.write(t, readContract(t))
		path := filepath.Join("types", l.file)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(want, mustRead(t, path)); diff != "" {
			t.Errorf("%s is not current; go test ./docs/consumers -run Types -update writes it (-want +committed):\n%s", path, diff)
		}
		// A field that is planted must be missed.
		c := readContract(t)
		c.defs["Cost"].Properties.Set("planted", &jsonschema.Schema{Type: "string", Description: "planted grows."})
		if planted := l.write(t, c); planted == want || !strings.Contains(planted, "planted") {
			t.Errorf("%s would not have a field that is added", l.file)
		}
	}
}

// complete puts in what flows leave out because it depends on when they run.
func complete(body map[string]any) {
	const at = "2026-03-14T15:09:26.535897Z"
	body["revision"], body["first_received_at"], body["published_at"] = 1, at, at
	for list, add := range map[string]func(map[string]any){
		"events": func(e map[string]any) { e["received_at"] = at },
		"legs":   func(l map[string]any) { l["revision"] = 1 },
	} {
		elements, _ := body[list].([]any)
		for _, e := range elements {
			add(e.(map[string]any))
		}
	}
}

// flows are the bodies that the flows of testdata end in, a line each.
func flows(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "flows", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no flows: %v", err)
	}
	var lines []string
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range archive.Files {
			if !strings.HasPrefix(part.Name, "want/leg ") && !strings.HasPrefix(part.Name, "want/session ") {
				continue
			}
			var body map[string]any
			if err := json.Unmarshal(part.Data, &body); err != nil {
				t.Fatal(err)
			}
			complete(body)
			line, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestTypeScriptTakesItsTypesStrictly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "typescript@5.9.3")
	place(t, filepath.Join("types", "legato.ts"), dir)
	place(t, filepath.Join("testdata", "use.ts"), dir)
	// The bodies of the flows must be assignable as they are.
	var bodies strings.Builder
	bodies.WriteString("import type { Summary } from \"./legato.js\";\nexport const all: Summary[] = [\n")
	for line := range strings.Lines(flows(t)) {
		bodies.WriteString(strings.TrimSuffix(line, "\n") + ",\n")
	}
	script(t, dir, "bodies.ts", bodies.String()+"];\n")
	node(t, dir, filepath.Join("node_modules", "typescript", "bin", "tsc"), "--strict", "--noEmit", "--exactOptionalPropertyTypes", "--module", "nodenext", "legato.ts", "use.ts", "bodies.ts")
}

func TestPythonReadsEverySummaryAndKeepsTheHighestRevision(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("python3 is not at hand: %v", err)
	}
	dir := t.TempDir()
	place(t, filepath.Join("types", "legato.py"), dir)
	place(t, filepath.Join("testdata", "use.py"), dir)
	script(t, dir, "bodies.ndjson", flows(t))
	cmd := exec.CommandContext(t.Context(), program, "use.py", "bodies.ndjson")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("python3: %v\n%s", err, out)
	}
}

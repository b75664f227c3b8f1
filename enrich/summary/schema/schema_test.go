package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
)

var update = flag.Bool("update", false, "write the schemas anew")

var bodies = map[string]any{summary.KindLeg: summary.Leg{}, summary.KindSession: summary.Session{}}

func TestSchemasAreCurrent(t *testing.T) {
	for _, kind := range schema.Kinds() {
		t.Run(kind, func(t *testing.T) {
			want := generate(t, kind, bodies[kind])
			if *update {
				if err := os.WriteFile(schema.Name(kind), want, 0o644); err != nil {
					t.Fatal(err)
				}
				return // what is embedded is still the old one
			}
			got, err := schema.Of(kind)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
				t.Errorf("%s is not current; go test ./enrich/summary/schema -update writes it (-want +committed):\n%s", schema.Name(kind), diff)
			}
			if bytes.Contains(got, []byte(`"null"`)) || bytes.Contains(got, []byte("nullable")) {
				t.Errorf("%s allows null", schema.Name(kind))
			}
			if n := bytes.Count(got, []byte(`"description": ""`)); n > 0 {
				t.Errorf("%s has %d empty descriptions", schema.Name(kind), n)
			}
		})
	}
}

func TestEveryFieldIsExplained(t *testing.T) {
	source := readSource(t, "..")
	for kind, body := range bodies {
		for _, name := range unexplained(source, body) {
			t.Errorf("%s: no comment explains %s", kind, name)
		}
	}
}

func TestThereIsNoSchemaOfAnythingElse(t *testing.T) {
	if _, err := schema.Of("call"); err == nil {
		t.Error("there is one of a call")
	}
}

const (
	leg = `"kind":"leg","schema":1,"revision":1,"call_session_id":"s","call_leg_id":"l","outcome":"busy",` +
		`"first_received_at":"2026-03-02T09:00:00.000000Z","published_at":"2026-03-02T09:00:00.000000Z",` +
		`"ended_by":"hangup","status":{"state":"pending","final":false},"events":[]`
	session = `"kind":"session","schema":1,"revision":2,"call_session_id":"s","outcome":"busy",` +
		`"first_received_at":"2026-03-02T09:00:00.000000Z","published_at":"2026-03-02T09:00:00.000000Z",` +
		`"leg_count":0,"answered_legs":0,"status_state":"pending","legs":[]`
)

func TestTestsRefuseWhatTheSchemaDoesNotSay(t *testing.T) {
	for name, c := range map[string]struct {
		kind, body string
		valid      bool
	}{
		"a leg":                            {"leg", `{` + leg + `}`, true},
		"a session":                        {"session", `{` + session + `}`, true},
		"a leg with more":                  {"leg", `{` + leg + `,"from":"+12025550100","duration_seconds":4.031,"sources":{"ended_at":"webhook"}}`, true},
		"seconds with four decimals":       {"leg", `{` + leg + `,"duration_seconds":4.0312}`, false},
		"a field that is not documented":   {"leg", `{` + leg + `,"mood":"good"}`, false},
		"one in an object":                 {"leg", `{` + leg + `,"hangup":{"mood":"good"}}`, false},
		"one in an object of a list":       {"leg", `{` + leg + `,"recordings":[{"id":"r","mood":"good"}]}`, false},
		"null":                             {"leg", `{` + leg + `,"from":null}`, false},
		"a word that is not documented":    {"leg", `{` + leg + `,"answered_by":"dog"}`, false},
		"one in a map":                     {"leg", `{` + leg + `,"sources":{"ended_at":"dream"}}`, false},
		"a time in another form":           {"leg", `{` + leg + `,"started_at":"2026-03-02T09:00:00Z"}`, false},
		"a time that is none":              {"leg", `{` + leg + `,"started_at":"2026-13-02T09:00:00.000000Z"}`, false},
		"no outcome":                       {"leg", strings.Replace(`{`+leg+`}`, `"outcome":"busy",`, "", 1), false},
		"a session in place of a leg":      {"leg", `{` + session + `}`, false},
		"revision 0":                       {"session", strings.Replace(`{`+session+`}`, `"revision":2`, `"revision":0`, 1), false},
		"another version":                  {"session", strings.Replace(`{`+session+`}`, `"schema":1`, `"schema":2`, 1), false},
		"something that is not JSON":       {"leg", `{`, false},
		"a kind that is none":              {"call", `{}`, false},
		"a leg of a session without an id": {"session", strings.Replace(`{`+session+`}`, `"legs":[]`, `"legs":[{"outcome":"busy"}]`, 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := schematest.Validate(c.kind, []byte(c.body)); (err == nil) != c.valid {
				t.Errorf("valid: got %v, want %v (%v)", err == nil, c.valid, err)
			}
		})
	}
}

// What consumers have built on stays: within a version fields and words are only added. testdata/published holds the
// schemas that have been given out.
func TestASchemaOnlyAddsToWhatWasPublished(t *testing.T) {
	for _, kind := range schema.Kinds() {
		published, err := os.ReadFile(filepath.Join("testdata", "published", schema.Name(kind)))
		if err != nil {
			t.Fatal(err)
		}
		current, err := schema.Of(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, broken := range incompatible(t, published, current) {
			t.Errorf("%s: %s", kind, broken)
		}
	}
}

func TestWhatIsNotAnAdditionIsFound(t *testing.T) {
	const before = `{"$defs":{"W":{"type":"string","enum":["a","b"]}},"type":"object","properties":{"x":{"type":"string"},"w":{"$ref":"#/$defs/W"}},"required":["x"]}`
	for name, c := range map[string]struct {
		after string
		found int
	}{
		"the same":       {before, 0},
		"a field more":   {`{"$defs":{"W":{"type":"string","enum":["a","b","c"]}},"type":"object","properties":{"x":{"type":"string"},"w":{"$ref":"#/$defs/W"},"y":{"type":"string"}},"required":["x"]}`, 0},
		"a field less":   {`{"$defs":{"W":{"type":"string","enum":["a","b"]}},"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}`, 1},
		"another type":   {`{"$defs":{"W":{"type":"string","enum":["a","b"]}},"type":"object","properties":{"x":{"type":"number"},"w":{"$ref":"#/$defs/W"}},"required":["x"]}`, 1},
		"a word less":    {`{"$defs":{"W":{"type":"string","enum":["a"]}},"type":"object","properties":{"x":{"type":"string"},"w":{"$ref":"#/$defs/W"}},"required":["x"]}`, 1},
		"not always":     {`{"$defs":{"W":{"type":"string","enum":["a","b"]}},"type":"object","properties":{"x":{"type":"string"},"w":{"$ref":"#/$defs/W"}}}`, 1},
		"another object": {`{"$defs":{"W":{"type":"string","enum":["a","b"]},"V":{"type":"string"}},"type":"object","properties":{"x":{"type":"string"},"w":{"$ref":"#/$defs/V"}},"required":["x"]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if found := incompatible(t, []byte(before), []byte(c.after)); len(found) != c.found {
				t.Errorf("found %v", found)
			}
		})
	}
}

// incompatible are the changes between two schemas that are no additions.
func incompatible(t *testing.T, before, after []byte) (broken []string) {
	t.Helper()
	var a, b map[string]any
	for _, side := range []struct {
		data []byte
		into *map[string]any
	}{{before, &a}, {after, &b}} {
		if err := json.Unmarshal(side.data, side.into); err != nil {
			t.Fatal(err)
		}
	}
	var compare func(at string, a, b any)
	compare = func(at string, a, b any) {
		switch a := a.(type) {
		case map[string]any:
			b, ok := b.(map[string]any)
			if !ok {
				broken = append(broken, at+" is gone")
				return
			}
			for name, value := range a {
				if name != "description" && name != "$comment" && name != "title" {
					compare(at+"/"+name, value, b[name])
				}
			}
		case []any: // words, and names of fields that are always there
			list, _ := b.([]any)
			for _, word := range a {
				if !slices.Contains(list, word) {
					broken = append(broken, fmt.Sprintf("%s has no %v", at, word))
				}
			}
		default:
			if !reflect.DeepEqual(a, b) {
				broken = append(broken, fmt.Sprintf("%s is %v and was %v", at, b, a))
			}
		}
	}
	compare("", a, b)
	return broken
}

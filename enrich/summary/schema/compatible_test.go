package schema_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/legato-calls/legato/enrich/summary/schema"
)

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

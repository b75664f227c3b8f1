// Package schematest holds messages against the schemas in tests, and is
// stricter there than consumers may be: a field that the schema does not name,
// a time that is none and a second with too many decimals fail.
package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/legato-calls/legato/enrich/summary/schema"
)

// Check fails the test when a published body is not what the schema of its kind says.
func Check(tb testing.TB, kind string, body []byte) {
	tb.Helper()
	if err := Validate(kind, body); err != nil {
		tb.Errorf("%v\n%s", err, body)
	}
}

// Validate returns how a published body deviates from the schema of its kind, or
// why that could not be found out.
func Validate(kind string, body []byte) error {
	all, err := strict()
	if err != nil {
		return err
	}
	s, ok := all[kind]
	if !ok {
		return fmt.Errorf("no schema of kind %q", kind)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body of a %s is not JSON: %w", kind, err)
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("the body of a %s is not as its schema says: %w", kind, err)
	}
	return nil
}

// strict are the schemas by kind, compiled once.
var strict = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	all := make(map[string]*jsonschema.Schema)
	for _, kind := range schema.Kinds() {
		file, err := schema.Of(kind)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
		if err != nil {
			return nil, fmt.Errorf("the schema of a %s: %w", kind, err)
		}
		tighten(doc)
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(schema.Name(kind), doc); err != nil {
			return nil, fmt.Errorf("the schema of a %s: %w", kind, err)
		}
		if all[kind], err = c.Compile(schema.Name(kind)); err != nil {
			return nil, fmt.Errorf("the schema of a %s: %w", kind, err)
		}
	}
	return all, nil
})

// tighten forbids in a schema what consumers must bear, or what their
// validators could not decide: seconds have three decimals, which a validator that
// divides binary fractions gets wrong.
func tighten(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, ok := node["properties"].(map[string]any); ok && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		if defs, ok := node["$defs"].(map[string]any); ok {
			if seconds, ok := defs["Seconds"].(map[string]any); ok {
				seconds["multipleOf"] = thousandth
			}
		}
		for _, child := range node {
			tighten(child)
		}
	case []any:
		for _, child := range node {
			tighten(child)
		}
	}
}

const thousandth = json.Number("0.001")

package summary

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Encode returns the JSON of a Leg or a Session as it is published. HTML
// characters stay as they are: the readers are programs. It fails with ErrInvalid.
func Encode(v any) ([]byte, error) {
	switch s := v.(type) { // what is always present is never null
	case Leg:
		if s.Events == nil {
			s.Events = []Event{}
		}
		v = s
	case Session:
		if s.Legs == nil {
			s.Legs = []SessionLeg{}
		}
		v = s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: encode it: %w", ErrInvalid, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

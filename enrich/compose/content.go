package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// LegContent is the JSON of what a leg's summary says about the call, without the
// bookkeeping of its publication: two summaries of equal content are the same
// news. Bookkeeping is revision, changed, reasons, published_at, times, and in
// status the attempts, http_status and fetched_at.
func LegContent(l summary.Leg) ([]byte, error) {
	l.Revision, l.Changed, l.Reasons, l.PublishedAt, l.Times = 0, nil, nil, summary.Time{}, nil
	l.Status.Attempts, l.Status.HTTPStatus, l.Status.FetchedAt = 0, 0, nil
	return encode(l)
}

// SessionContent is the JSON of what a session's summary says about the call, without
// revision, changed, reasons and published_at. The revisions of its legs belong to it: a session
// is revised when a leg of it is.
func SessionContent(s summary.Session) ([]byte, error) {
	s.Revision, s.Changed, s.Reasons, s.PublishedAt = 0, nil, nil, summary.Time{}
	return encode(s)
}

// encode returns the JSON of a summary without U+0000, which stops readers. What is read of webhooks has none; status
// answers and what an earlier release stored can.
func encode(v any) ([]byte, error) {
	body, err := summary.Encode(v)
	if bytes.Contains(body, []byte(`\u0000`)) {
		body = []byte(call.PrintableJSON(string(body)))
	}
	return body, err
}

// Changed returns JSON Pointers (RFC 6901) to what differs between two contents,
// in order; objects are descended into, arrays and scalars stand as a whole.
func Changed(before, after []byte) ([]string, error) {
	var a, b map[string]any
	for _, side := range []struct {
		content []byte
		into    *map[string]any
	}{{before, &a}, {after, &b}} {
		d := json.NewDecoder(bytes.NewReader(side.content))
		d.UseNumber() // 4.030 and 4.03 must not become equal by a float's grace, nor 1e20 different
		if err := d.Decode(side.into); err != nil {
			return nil, fmt.Errorf("%w: compare two summaries: %w", summary.ErrInvalid, err)
		}
	}
	var changed []string
	diff("", a, b, &changed)
	return changed, nil
}

func diff(at string, a, b map[string]any, changed *[]string) {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		pointer := at + "/" + pointerEscaper.Replace(name)
		x, inA := a[name]
		y, inB := b[name]
		ox, isObjectX := x.(map[string]any)
		oy, isObjectY := y.(map[string]any)
		switch {
		case isObjectX && isObjectY:
			diff(pointer, ox, oy, changed)
		case inA != inB || !reflect.DeepEqual(x, y):
			*changed = append(*changed, pointer)
		}
	}
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

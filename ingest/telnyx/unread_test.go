package telnyx_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// Whatever field of whatever event comes in another form: what is lost by that is named.
func TestNothingThatIsStatedIsLostWithoutATrace(t *testing.T) {
	facts := `"from":"a","to":"b","from_sip_uri":"c","to_sip_uri":"d","calling_party_type":"sip","client_state":"eA==","tags":["t"],` +
		`"occurred_at":"2026-03-01T12:00:00Z","start_time":"2026-03-01T12:00:00Z","call_leg_id":"leg-1","connection_id":"17"`
	lost := 0
	for _, row := range detailRows {
		var good map[string]any
		if err := json.Unmarshal([]byte("{"+facts+","+row.fields+"}"), &good); err != nil {
			t.Fatalf("%s: %v", row.eventType, err)
		}
		decode := func(payload any) call.Event {
			t.Helper()
			data, err := json.Marshal(payload)
			if err != nil {
				t.Fatal(err)
			}
			event, err := telnyx.Decode([]byte(`{"data":{"event_type":"`+row.eventType+`","id":"e","payload":`+string(data)+`}}`), telnyx.Digits)
			if err != nil {
				t.Fatalf("%s with %s: %v", row.eventType, data, err)
			}
			return event
		}
		whole := decode(good)
		if whole.Facts.Unread != nil {
			t.Errorf("%s: %v of what is documented was not read", row.eventType, whole.Facts.Unread)
		}
		for _, path := range pathsOf(good) {
			absent := decode(replaced(good, path, nil))
			for form, other := range map[string]any{"an object": map[string]any{"x": "y"}, "a list": []any{true}, "a truth": true, "words": "some words", "a number": 1.5} {
				event := decode(replaced(good, path, other))
				named := slices.ContainsFunc(event.Facts.Unread, func(name string) bool {
					return name == strings.Join(path, ".") || strings.HasPrefix(name, path[0])
				})
				unread := event.Facts.Unread
				event.Facts.Unread = nil
				if isLost := cmp.Equal(event, absent) && !cmp.Equal(absent, whole); isLost && !named && !isFree(path) {
					t.Errorf("%s: %v as %s is lost, and named are %v", row.eventType, path, form, unread)
				} else if isLost {
					lost++
				}
			}
		}
	}
	if lost < 500 {
		t.Errorf("only %d values were lost at all", lost)
	}
}

// isFree reports whether a field is left out for what it says, not for its form: what is no code or file name can be a
// secret.
func isFree(path []string) bool {
	return slices.Contains([]string{"charge_id", "pay_error_code", "payment_error", "payment_confirmation_code", "connector_error", "error_type", "media_url", "is_final"}, path[len(path)-1]) ||
		path[0] == "connector_error"
}

// pathsOf are the ways to every field of an object, those of objects in lists included.
func pathsOf(object map[string]any) (paths [][]string) {
	for name, value := range object {
		if name == "call_leg_id" || name == "connection_id" {
			continue // an event of another call is none of this one
		}
		paths = append(paths, []string{name})
		inner, _ := value.(map[string]any)
		if list, ok := value.([]any); ok && len(list) > 0 {
			inner, _ = list[0].(map[string]any)
		}
		for _, rest := range pathsOf(inner) {
			paths = append(paths, append([]string{name}, rest...))
		}
	}
	return paths
}

// replaced returns an object with another value of one field, in all objects of a list.
func replaced(object map[string]any, path []string, value any) map[string]any {
	changed := make(map[string]any, len(object))
	for name, v := range object {
		if name != path[0] {
			changed[name] = v
			continue
		}
		switch v := v.(type) {
		case map[string]any:
			if len(path) > 1 {
				changed[name] = replaced(v, path[1:], value)
				continue
			}
		case []any:
			if len(path) > 1 {
				var list []any
				for _, each := range v {
					list = append(list, replaced(each.(map[string]any), path[1:], value))
				}
				changed[name] = list
				continue
			}
		}
		changed[name] = value
	}
	return changed
}

func TestFieldsThatCannotBeReadAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		eventType, fields string
		want              []string
	}{
		"all is well":                           {call.TypeHangup, `"hangup_cause":"normal_clearing","telnyx_error":null`, nil},
		"a field that nobody knows":             {call.TypeHangup, `"hangup_mood":{"a":1}`, nil},
		"a screening as a list":                 {call.TypeInitiated, `"call_screening_result":["spam_likely"]`, []string{"call_screening_result"}},
		"a screening of another form inside":    {call.TypeInitiated, `"call_screening_result":{"action":{"a":1}}`, []string{"call_screening_result"}},
		"one name, however often":               {call.TypeCost, `"cost_parts":[{"cost":"x"},{"cost":"y"},{"cost":"1"}]`, []string{"cost_parts.cost"}},
		"names from the event are not repeated": {call.TypeRecordingSaved, `"recording_urls":{"+12025550100":7,"mp3":"u"}`, []string{"recording_urls"}},
		"a time that is none":                   {call.TypeHangup, `"end_time":"Mon, 02 Mar 2026 09:00:00 +0000","start_time":1772366400`, []string{"end_time", "start_time"}},
		"a result of another type's form":       {call.TypeAIGatherEnded, `"result":{"age":7},"status":7`, []string{"status"}},
		"a type of tomorrow":                    {"call.teleported", `"result":{"a":1},"from":{"b":2}`, []string{"from"}},
		"an error with other names":             {call.TypeHangup, `"telnyx_error":{"number":"D17"}`, []string{"telnyx_error"}},
		"an error that states nothing":          {call.TypeHangup, `"telnyx_error":{"number":null}`, nil},
		"an id that is no id":                   {call.TypeHold, `"connection_id":{"a":1},"call_control_id":1.5e3`, []string{"call_control_id", "connection_id"}},
		"an id that is a number is read":        {call.TypeHold, `"connection_id":1700000000000000042`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			raw := body(c.eventType, ","+c.fields)
			outcomeOf(t, raw)
			event, err := telnyx.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, event.Facts.Unread); diff != "" {
				t.Errorf("unread (-want +got):\n%s", diff)
			}
		})
	}
	event, err := telnyx.Decode([]byte(`{"data":{"event_type":"call.hold","id":{"x":1},"occurred_at":"noon","payload":{"call_leg_id":"l"}},"meta":{"attempt":"often"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"id", "meta.attempt", "occurred_at"}, event.Facts.Unread); diff != "" {
		t.Errorf("around the payload (-want +got):\n%s", diff)
	}
}

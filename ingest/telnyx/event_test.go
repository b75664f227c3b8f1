package telnyx_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// hangupBody is a hangup with every field that Legato reads, and some that it does not.
const hangupBody = `{"data":{"event_type":"call.hangup","id":"11111111-2222-4333-8444-555555555555","occurred_at":"2026-03-01T12:01:30.250000Z",` +
	`"payload":{"call_control_id":"v3:abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",` +
	`"call_leg_id":"aaaaaaaa-1111-11f0-8000-000000000001","call_quality_stats":{"inbound":{"jitter_max_variance":"12.5","jitter_packet_count":"3",` +
	`"mos":"4.20","packet_count":"4500","skip_packet_count":"2"},"outbound":{"packet_count":"4499","skip_packet_count":"0"}},` +
	`"call_session_id":"aaaaaaaa-1111-11f0-8000-000000000000","calling_party_type":"pstn","client_state":"c3RhdGU=","connection_id":"1234567890123456789",` +
	`"end_time":"2026-03-01T12:01:30.249999Z","from":"+12025550100","hangup_cause":"normal_clearing","hangup_source":"callee",` +
	`"sip_hangup_cause":"200","start_time":"2026-03-01T12:00:00.000001Z","tags":["blue","night"],"to":"+12025550199"},"record_type":"event"},` +
	`"meta":{"attempt":1,"delivered_to":"https://hooks.test/webhooks/telnyx"}}`

// ref is the call that the short bodies below name.
var ref = call.Ref{Leg: "leg-1"}

// body returns a webhook of that type; fields follow the leg's id in the payload.
func body(eventType, fields string) []byte {
	return []byte(`{"data":{"event_type":"` + eventType + `","id":"ev-1","occurred_at":"2026-03-01T12:00:00.5Z",` +
		`"payload":{"call_leg_id":"leg-1"` + fields + `}}}`)
}

// noon is the second at which the short bodies occur.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func event(eventType string, facts call.Facts, detail call.Detail) call.Event {
	return call.Event{
		ID: "ev-1", Type: eventType, OccurredAt: noon.Add(500 * time.Millisecond), Ref: ref, Facts: facts, Detail: detail,
	}
}

func TestDecodeHangup(t *testing.T) {
	got, err := telnyx.Decode([]byte(hangupBody))
	if err != nil {
		t.Fatal(err)
	}
	want := call.Event{
		ID:         "11111111-2222-4333-8444-555555555555",
		Type:       call.TypeHangup,
		OccurredAt: time.Date(2026, 3, 1, 12, 1, 30, 250_000_000, time.UTC),
		Ref: call.Ref{
			Session: "aaaaaaaa-1111-11f0-8000-000000000000", Leg: "aaaaaaaa-1111-11f0-8000-000000000001",
			Control: "v3:abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ", Connection: "1234567890123456789",
		},
		Attempt: 1,
		Facts: call.Facts{
			CallingParty: "pstn",
			From:         "+12025550100", To: "+12025550199", StartTime: noon.Add(time.Microsecond),
			ClientState: "c3RhdGU=", Tags: []string{"blue", "night"},
		},
		Detail: &call.Hangup{
			Cause: "normal_clearing", Source: "callee", SIPCode: "200",
			EndTime: time.Date(2026, 3, 1, 12, 1, 30, 249_999_000, time.UTC),
			Quality: &call.Quality{
				Inbound: &call.Stream{
					MOS: new(4.2), JitterMaxVariance: new(12.5),
					JitterPackets: new(int64(3)), Packets: new(int64(4500)), SkippedPackets: new(int64(2)),
				},
				Outbound: &call.Stream{Packets: new(int64(4499)), SkippedPackets: new(int64(0))},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestDecodeDetails(t *testing.T) {
	tests := map[string]struct {
		body []byte
		want call.Event
	}{
		"an incoming call": {
			body(call.TypeInitiated, `,"direction":"incoming","caller_id_name":"ADA","from":"ada@pbx.test","start_time":"2026-03-01T12:00:00.123Z"`),
			event(call.TypeInitiated, call.Facts{From: "ada@pbx.test", StartTime: noon.Add(123 * time.Millisecond)},
				&call.Initiated{Direction: "incoming", CallerName: "ADA"}),
		},
		"an answer states the leg's start": {
			body(call.TypeAnswered, `,"start_time":"2026-03-01T13:00:00+01:00","client_state":null,"tags":null`),
			event(call.TypeAnswered, call.Facts{StartTime: noon}, &call.Answered{}),
		},
		"a bridge states the leg's start": {
			body(call.TypeBridged, `,"start_time":"2026-03-01T12:00:00Z"`),
			event(call.TypeBridged, call.Facts{StartTime: noon}, nil),
		},
		"a hangup that states little": {
			body(call.TypeHangup, `,"call_quality_stats":null,"sip_hangup_cause":486,"telnyx_error":null`),
			event(call.TypeHangup, call.Facts{}, &call.Hangup{SIPCode: "486"}),
		},
		"a hangup with half a quality": {
			body(call.TypeHangup, `,"call_quality_stats":{"inbound":{"mos":3.5,"packet_count":"many"},"outbound":{}}`),
			event(call.TypeHangup, call.Facts{Unread: []string{"call_quality_stats.inbound.packet_count"}}, &call.Hangup{Quality: &call.Quality{Inbound: &call.Stream{MOS: new(3.5)}}}),
		},
		"a hangup with an empty quality": {
			body(call.TypeHangup, `,"call_quality_stats":{"inbound":{"mos":"NaN","jitter_max_variance":"Inf","packet_count":"-1"},"outbound":[]}`),
			event(call.TypeHangup, call.Facts{Unread: []string{
				"call_quality_stats.inbound.jitter_max_variance", "call_quality_stats.inbound.mos", "call_quality_stats.inbound.packet_count",
				"call_quality_stats.outbound",
			}}, &call.Hangup{}),
		},
		"a recording's times are not the leg's": {
			body(call.TypeRecordingSaved, `,"recording_id":"rec-1","channels":"dual","format":"mp3","start_time":"2026-03-01T12:00:00Z","end_time":"2026-03-01T12:01:00Z",`+
				`"recording_urls":{"mp3":"https://files.test/a.mp3","wav":null},"public_recording_urls":{}`),
			event(call.TypeRecordingSaved, call.Facts{}, &call.Recording{
				ID: "rec-1", Channels: "dual", Format: "mp3", StartedAt: noon, EndedAt: noon.Add(time.Minute),
				URLs: map[string]string{"mp3": "https://files.test/a.mp3"},
			}),
		},
		"a recording's own times come first": {
			body(call.TypeRecordingSaved, `,"recording_started_at":"2026-03-01T12:00:00Z","recording_ended_at":"2026-03-01T12:01:00Z",`+
				`"start_time":"2020-01-01T00:00:00Z","end_time":"2020-01-01T00:00:00Z","public_recording_urls":{"wav":"https://files.test/a.wav"}`),
			event(call.TypeRecordingSaved, call.Facts{}, &call.Recording{
				StartedAt: noon, EndedAt: noon.Add(time.Minute), PublicURLs: map[string]string{"wav": "https://files.test/a.wav"},
			}),
		},
		"a conference's recording states no start either": {
			body("conference.recording.saved", `,"start_time":"2026-03-01T12:00:00Z"`),
			event("conference.recording.saved", call.Facts{}, &call.Recording{StartedAt: noon}),
		},
		"a cost": {
			body(call.TypeCost, `,"status":"success","total_cost":"0.0100","billed_duration_secs":60,"cost_parts":[`+
				`{"call_part":"sip-trunking","cost":"0.0070","currency":"USD","rate":"0.00700","billed_duration_secs":60},`+
				`{"call_part":"call-control","cost":0.0030,"currency":"USD","rate":2e-03,"billed_duration_secs":"60.0"},null]`),
			event(call.TypeCost, call.Facts{}, &call.Cost{
				Status: "success", Total: "0.0100", BilledSeconds: new(int64(60)),
				Parts: []call.CostPart{
					{Part: "sip-trunking", Amount: "0.0070", Currency: "USD", Rate: "0.00700", BilledSeconds: new(int64(60))},
					{Part: "call-control", Amount: "0.0030", Currency: "USD", Rate: "0.002", BilledSeconds: new(int64(60))},
				},
			}),
		},
		"a cost that could not be told": {
			body(call.TypeCost, `,"status":"error","total_cost":null,"billed_duration_secs":null,"cost_parts":[]`),
			event(call.TypeCost, call.Facts{}, &call.Cost{Status: "error"}),
		},
		"amounts that nobody can add up": {
			body(call.TypeCost, `,"total_cost":"1e999999999","billed_duration_secs":1e400,"cost_parts":[{"cost":"a lot","rate":true,"currency":"USD"}]`),
			event(call.TypeCost, call.Facts{Unread: []string{"billed_duration_secs", "cost_parts.cost", "cost_parts.rate", "total_cost"}},
				&call.Cost{Parts: []call.CostPart{{Currency: "USD"}}}),
		},
		"a machine":               {body(call.TypeMachineDetection, `,"result":"machine"`), event(call.TypeMachineDetection, call.Facts{}, &call.Machine{Result: "machine"})},
		"a greeting":              {body(call.TypeMachineGreeting, `,"result":"ended"`), event(call.TypeMachineGreeting, call.Facts{}, &call.Machine{Result: "ended"})},
		"a premium detection":     {body(call.TypeMachinePremium, `,"result":"silence"`), event(call.TypeMachinePremium, call.Facts{}, &call.Machine{Result: "silence"})},
		"a premium greeting":      {body(call.TypeMachinePremiumGreet, `,"result":"beep_detected"`), event(call.TypeMachinePremiumGreet, call.Facts{}, &call.Machine{Result: "beep_detected"})},
		"a call put into a queue": {body(call.TypeEnqueued, `,"queue":"support","reason":"none"`), event(call.TypeEnqueued, call.Facts{}, &call.Queue{Name: "support"})},
		"a call taken out of it":  {body(call.TypeDequeued, `,"queue":"support","reason":"bridged","wait_time_secs":"7"`), event(call.TypeDequeued, call.Facts{}, &call.Queue{Name: "support", Reason: "bridged", WaitSeconds: new(int64(7))})},
		"a result that is no word does not disturb the rest": {
			body("call.ai_gather.ended", `,"result":{"age":7},"tags":["a",5,null,"b"],"from":{"x":1},"to":"user"`),
			event("call.ai_gather.ended", call.Facts{To: "user", Tags: []string{"a", "b"}, Unread: []string{"from", "tags"}}, &call.AIGather{Result: `{"age":7}`}),
		},
		"a type of tomorrow": {
			body("call.teleported", `,"status":"completed","result":"human","digits":"1","to":"user"`),
			event("call.teleported", call.Facts{To: "user"}, nil),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			outcomeOf(t, tt.body)
			got, err := telnyx.Decode(tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeTimes(t *testing.T) {
	tests := map[string]struct {
		data, payload string // the two places of occurred_at, as JSON
		want          time.Time
	}{
		"six digits":               {`"2026-03-01T12:00:00.123456Z"`, `null`, noon.Add(123456 * time.Microsecond)},
		"three digits in payload":  {`null`, `"2026-03-01T12:00:00.123Z"`, noon.Add(123 * time.Millisecond)},
		"data before payload":      {`"2026-03-01T12:00:00Z"`, `"2020-01-01T00:00:00Z"`, noon},
		"payload where data fails": {`"yesterday"`, `"2026-03-01T12:00:00Z"`, noon},
		"another zone is made UTC": {`"2026-03-01T14:00:00+02:00"`, `null`, noon},
		"a number":                 {`1772366400`, `null`, time.Time{}},
		"no zone is UTC":           {`"2026-03-01T12:00:00"`, `null`, noon},
		"a blank, and no zone":     {`"2026-03-01 12:00:00.5"`, `null`, noon.Add(500 * time.Millisecond)},
		"nowhere":                  {`null`, `null`, time.Time{}},
		"out of what JSON writes":  {`"9999-12-31T23:59:59-23:00"`, `"0000-01-01T00:00:00+01:00"`, time.Time{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := telnyx.Decode([]byte(`{"data":{"event_type":"conference.created","id":"e","occurred_at":` + tt.data +
				`,"payload":{"call_leg_id":"leg-1","occurred_at":` + tt.payload + `}}}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.OccurredAt); diff != "" {
				t.Errorf("occurred at (-want +got):\n%s", diff)
			}
		})
	}
}

func BenchmarkParseEnvelope(b *testing.B) {
	body := []byte(hangupBody)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := telnyx.ParseEnvelope(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	const party = `,"call_control_id":"v3:abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",` +
		`"call_session_id":"aaaaaaaa-1111-11f0-8000-000000000000","calling_party_type":"pstn","client_state":"c3RhdGU=",` +
		`"connection_id":"1234567890123456789","from":"+12025550100","to":"+12025550199"`
	for name, body := range map[string][]byte{
		"initiated": body("call.initiated", party+`,"caller_id_name":"+12025550100","connection_codecs":"PCMA,PCMU,VP8,H264","direction":"incoming",`+
			`"from_sip_uri":"2025550100@192.0.2.86:5060","offered_codecs":"PCMU,G729","start_time":"2026-03-01T12:00:00.000001Z","state":"parked",`+
			`"to_sip_uri":"+12025550199@192.0.2.10:5060"`),
		"answered":    body("call.answered", party+`,"codec":"PCMU","sampling_rate":8000,"start_time":"2026-03-01T12:00:00.000001Z"`),
		"bridged":     body("call.bridged", party+`,"start_time":"2026-03-01T12:00:00.000001Z"`),
		"speak ended": body("call.speak.ended", party+`,"speak_id":"YUx4fjNSuw","status":"completed"`),
		"hangup":      []byte(hangupBody),
		"ai gather ended": body("call.ai_gather.ended", party+`,"message_history":[{"content":"How old are you?","role":"assistant"},`+
			`{"content":"Twenty-nine.","role":"user"}],"result":{"age":29},"status":"valid"`),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := telnyx.Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

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

package telnyx_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// seeds are bodies near every branch of the decoders: one of every type, and these.
func seeds() []string {
	var all []string
	for _, odd := range oddBodies {
		all = append(all, odd.body)
	}
	for _, row := range detailRows {
		all = append(all, string(body(row.eventType, ","+row.fields)))
	}
	return all
}

// oddBodies are the bodies at the edges, each named for what is odd in it.
var oddBodies = []struct{ name, body string }{
	{"a webhook as Telnyx sends it", hangupBody},
	{"a leg that is dialled", string(body(call.TypeInitiated, `,"direction":"outgoing","from":"a","to":"b"`))},
	{"amounts in every notation of a number", string(body(call.TypeCost, `,"total_cost":5e-05,"cost_parts":[{"cost":"0.1","rate":1}],"billed_duration_secs":"60"`))},
	{"a URL that is null", string(body(call.TypeRecordingSaved, `,"recording_urls":{"mp3":"u","wav":null},"start_time":"2026-03-01T12:00:00Z"`))},
	{"a number with a fraction where seconds are counted", string(body(call.TypeDequeued, `,"queue":"q","wait_time_secs":1.5`))},
	{"a list where a word belongs", string(body(call.TypeMachinePremium, `,"result":["x"]`))},
	{"headers in the form of the guide, and a list that is none", string(body(call.TypeInitiated, `,"custom_headers":[{"header_name":"a","value":1},null],"sip_headers":{},"shaken_stir_validated":"true"`))},
	{"a result of lists in lists, and messages that state nothing", string(body(call.TypeAIGatherEnded, `,"result":[[["\u2028\\"]]],"message_history":[{},{"content":null,"role":"x"}]`))},
	{"half of a surrogate pair, and null", string(body(call.TypeInsights, `,"results":[{"result":"<\ud800>"},{"result":null}]`))},
	{"a URL with a password and escapes", string(body(call.TypePlaybackEnded, `,"media_url":"https://a:b@c.test/%ff/d%2fe.mp3?f"`))},
	{"a reason that holds a URL with a password", string(body(call.TypeStreamingFailed, `,"failure_reason":"x wss://a:b@c.test/d, y"`))},
	{"numbers too small for a float, and no JSON", string(body(call.TypeDeepfakeResult, `,"score":"1e-400","consistency":0x1p-2`))},
	{"data twice, with a failure cause of another type", `{"data":{"event_type":"siprec.failed","payload":{"call_leg_id":"a","failure_cause":"x"}},"data":{"payload":{"failure_cause":7}}}`},
	{"data twice, under names that differ in case", `{"data":{"event_type":"call.hold","payload":{"call_leg_id":"a"}},"Data":{"payload":null}}`},
	{"an id that cannot stand in a header", `{"data":{"event_type":"call.hold","id":"x\r\n","payload":{"call_control_id":"v3:x"}}}`},
	{"the one documented event without data", `{"event_type":"conference.floor.changed","id":"e","payload":{"call_session_id":"s","occurred_at":"2026-03-01T12:00:00.1Z"}}`},
	{"API version 1", `{"event_type":"call_hangup","payload":{}}`},
	{"the portal's flat form", `{"event_type":"call.hangup","webhook_id":"w"}`},
	{"the portal's wrapped form", `{"metadata":{"event":{}}}`},
	{"another product", `{"data":{"event_type":"message.received"}}`},
	{"data of another type", `{"data":[],"meta":"x"}`},
	{"type and id that are no UTF-8", "{\"data\":{\"event_type\":\"call.\xff\",\"payload\":{\"call_leg_id\":\"\xff\"}}}"},
	{"data twice, first null", `{"data":null,"data":{}}`},
	{"a list", `[]`},
	{"null", `null`},
	{"half an object", `{`},
	{"nothing", ``},
}

func FuzzParseEnvelope(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := outcomeOf(t, body) // fails where Decode disagrees
		if got.Reason != "" {
			if got.Envelope != (telnyx.Envelope{}) {
				t.Errorf("an envelope beside the reason %s: %+v", got.Reason, got.Envelope)
			}
			return
		}
		env := got.Envelope
		if env.Ref.Empty() || !call.ValidType(env.Type) || env.Attempt < 0 {
			t.Errorf("unusable, yet accepted: %+v", env)
		}
		for _, token := range []string{string(env.Ref.Session), string(env.Ref.Leg), string(env.Ref.Connection)} {
			if token != "" && !call.ValidToken(token) {
				t.Errorf("%q cannot stand in a subject", token)
			}
		}
		for _, header := range []string{env.Key(), string(env.Ref.Control)} {
			if !call.ValidControl(header) {
				t.Errorf("%q cannot stand in a header", header)
			}
		}
		// Only data identifies an event: another meta is another delivery of it.
		var parts struct {
			Data json.RawMessage `json:"data"`
		}
		if json.Unmarshal(body, &parts) != nil || string(parts.Data) == "null" || parts.Data == nil || !json.Valid(body) {
			return
		}
		if again, err := telnyx.ParseEnvelope([]byte(`{"meta":{"attempt":9},"data":` + string(parts.Data) + `}`)); err == nil && again.Key() != env.Key() {
			// Keys that stand twice are merged differently when only the last is left.
			if countKeys(body, "data") == 1 {
				t.Errorf("a redelivery has another key: %q and %q", env.Key(), again.Key())
			}
		}
	})
}

// FuzzParseAgainstStandard holds the JSON library that reads bodies against encoding/json.
func FuzzParseAgainstStandard(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, standard := telnyx.ParseBoth(body); !reflect.DeepEqual(got, standard) {
			t.Errorf("%q is read otherwise than by encoding/json:\n%+v\n%+v", body, got, standard)
		}
	})
}

// countKeys counts the outermost keys that encoding/json takes for name.
func countKeys(body []byte, name string) int {
	dec, n := json.NewDecoder(bytes.NewReader(body)), 0
	if _, err := dec.Token(); err != nil {
		return 0
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return n
		}
		if text, ok := key.(string); ok && strings.EqualFold(text, name) {
			n++
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return n
		}
	}
	return n
}

func FuzzDecode(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		event, err := telnyx.Decode(body)
		if err != nil {
			if diff := cmp.Diff(call.Event{}, event); diff != "" {
				t.Errorf("an event beside the error %v:\n%s", err, diff)
			}
			return
		}
		again, err := telnyx.Decode(body)
		if err != nil {
			t.Fatalf("the second time: %v", err)
		}
		if diff := cmp.Diff(event, again); diff != "" {
			t.Errorf("two readings differ:\n%s", diff)
		}
		for _, at := range []time.Time{event.OccurredAt, event.Facts.StartTime} {
			if at.Location() != time.UTC {
				t.Errorf("%v is not UTC", at)
			}
		}
		checkBounded(t, event.Detail)
		whole, err := telnyx.Decode(body, telnyx.Digits)
		if err != nil {
			t.Fatalf("with digits: %v", err)
		}
		checkBounded(t, whole.Detail)
		if diff := cmp.Diff(event, withoutDigits(whole)); diff != "" {
			t.Errorf("more than digits is left out (-without +with, less them):\n%s", diff)
		}
		// What JSON cannot write (NaN, the year 10000) would fail far from here.
		if _, err := json.Marshal(event); err != nil {
			t.Errorf("event cannot be written: %v", err)
		}
	})
}

// withoutDigits is an event as it is read where digits are not asked for. What was
// truncated of them is then not missed either.
func withoutDigits(e call.Event) call.Event {
	switch d := e.Detail.(type) {
	case *call.DTMF:
		e.Detail = &call.DTMF{}
	case *call.Gather:
		without := *d
		without.Digits = ""
		without.Truncated = len(d.Status) == call.MaxWord && d.Truncated
		e.Detail = &without
	}
	return e
}

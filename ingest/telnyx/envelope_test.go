package telnyx_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// outcome is what becomes of a body: an envelope or a reason.
type outcome struct {
	Envelope telnyx.Envelope
	Reason   telnyx.Reason
	Field    string
}

// outcomeOf reads a body in both ways and fails the test where they disagree.
func outcomeOf(t *testing.T, body []byte) outcome {
	t.Helper()
	env, err := telnyx.ParseEnvelope(body)
	event, decodeErr := telnyx.Decode(body)
	got, full := outcome{Envelope: env}, outcome{Envelope: telnyx.Envelope{
		ID: event.ID, Type: event.Type, Ref: event.Ref, Attempt: event.Attempt,
	}}
	for _, side := range []struct {
		err error
		out *outcome
	}{{err, &got}, {decodeErr, &full}} {
		var why *telnyx.Unusable
		switch {
		case errors.As(side.err, &why):
			side.out.Reason, side.out.Field = why.Reason, why.Field
		case side.err != nil:
			t.Fatalf("an error that is no *Unusable: %v", side.err)
		}
	}
	if diff := cmp.Diff(got, full); diff != "" {
		t.Errorf("ParseEnvelope and Decode disagree (-envelope +event) on %q:\n%s", body, diff)
	}
	return got
}

func sha(data string) string {
	sum := sha256.Sum256([]byte(data))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestEnvelopeOfACallEvent(t *testing.T) {
	full := call.Ref{Session: "sess-1", Leg: "leg-1", Control: "v3:ctl_1", Connection: "1234567890123456789"}
	const payload = `{"call_session_id":"sess-1","call_leg_id":"leg-1","call_control_id":"v3:ctl_1","connection_id":"1234567890123456789"}`
	noID := `{"event_type":"call.hold", "payload":` + payload + `}`
	tests := map[string]struct {
		body string
		want telnyx.Envelope
	}{
		"a webhook": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":` + payload + `,"record_type":"event"},"meta":{"attempt":2,"delivered_to":"https://hooks.test/"}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: full, Attempt: 2},
		},
		"without meta": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":` + payload + `}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: full},
		},
		"the attempt as text": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":` + payload + `},"meta":{"attempt":"3"}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: full, Attempt: 3},
		},
		"an attempt that is no number of a delivery": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":` + payload + `},"meta":{"attempt":1e999}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: full},
		},
		"without the data wrapper": {
			`{"event_type":"conference.floor.changed","id":"ev-2","payload":{"call_session_id":"sess-1"},"record_type":"event"}`,
			telnyx.Envelope{ID: "ev-2", Type: "conference.floor.changed", Ref: call.Ref{Session: "sess-1"}},
		},
		"an empty data beside the event": {
			`{"data":null,"event_type":"conference.floor.changed","id":"ev-2","payload":{"call_session_id":"sess-1"}}`,
			telnyx.Envelope{ID: "ev-2", Type: "conference.floor.changed", Ref: call.Ref{Session: "sess-1"}},
		},
		"the creator's session only": {
			`{"data":{"event_type":"conference.speak.ended","id":"ev-3","payload":{"call_session_id":null,"creator_call_session_id":"sess-9"}}}`,
			telnyx.Envelope{ID: "ev-3", Type: "conference.speak.ended", Ref: call.Ref{Session: "sess-9"}},
		},
		"its own session before the creator's": {
			`{"data":{"event_type":"conference.participant.speak.ended","id":"ev-3","payload":{"call_session_id":"sess-1","creator_call_session_id":"sess-9"}}}`,
			telnyx.Envelope{ID: "ev-3", Type: "conference.participant.speak.ended", Ref: call.Ref{Session: "sess-1"}},
		},
		"a control id only, of an old form": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":{"call_control_id":"AgDIab+c/d=="}}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: call.Ref{Control: "AgDIab+c/d=="}},
		},
		"a type of tomorrow that names a call": {
			`{"data":{"event_type":"dialogflow.detectintent.response","id":"ev-1","payload":{"call_leg_id":"leg-1"}}}`,
			telnyx.Envelope{ID: "ev-1", Type: "dialogflow.detectintent.response", Ref: call.Ref{Leg: "leg-1"}},
		},
		"an id of the wrong type is not stated": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":{"call_leg_id":{"a":[1]},"call_session_id":7.5,"call_control_id":"c"}}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: call.Ref{Control: "c"}},
		},
		"an id that is a number is its digits": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":{"connection_id":1700000000000000042,"call_session_id":7,"call_control_id":"c"}}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: call.Ref{Session: "7", Control: "c", Connection: "1700000000000000042"}},
		},
		"a missing id is the digest of data": {
			"{ \"data\" : " + noID + " ,\n\"meta\":{\"attempt\":4}}",
			telnyx.Envelope{ID: sha(noID), Type: "call.hold", Ref: full, Attempt: 4},
		},
		"without data and id it is the digest of the body": {
			"\n" + noID + "\n",
			telnyx.Envelope{ID: sha(noID), Type: "call.hold", Ref: full},
		},
		"portal's words inside a delivered event": {
			`{"data":{"event_type":"call.hold","id":"ev-1","payload":` + payload + `},"webhook_id":"w","metadata":{"event":{}}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: full},
		},
		"keys twice: the last counts": {
			`{"data":{"event_type":"call.hold","id":"ev-0","id":"ev-1","payload":{"call_leg_id":"a","call_leg_id":"b"}}}`,
			telnyx.Envelope{ID: "ev-1", Type: "call.hold", Ref: call.Ref{Leg: "b"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(outcome{Envelope: tt.want}, outcomeOf(t, []byte(tt.body))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

// An id ends up in a header of the log: what cannot stand there is replaced.
func TestIDThatCannotBeAHeaderIsReplacedByTheDigest(t *testing.T) {
	for name, id := range map[string]string{
		"a line break":   `"ev\r\nNats-Rollup: all"`,
		"a control":      `"ev\u0000"`,
		"a space":        `"ev 1"`,
		"another tongue": `"événement"`,
		"invalid UTF-8":  "\"ev\xff\"",
		"too long":       `"` + strings.Repeat("x", 129) + `"`,
		"empty":          `""`,
		"null":           `null`,
		"a number":       `12`,
		"an object":      `{"id":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			data := `{"event_type":"call.hold","id":` + id + `,"payload":{"call_leg_id":"leg-1"}}`
			want := telnyx.Envelope{ID: sha(data), Type: "call.hold", Ref: call.Ref{Leg: "leg-1"}}
			got := outcomeOf(t, []byte(`{"data":`+data+`,"meta":{"attempt":0}}`))
			if diff := cmp.Diff(outcome{Envelope: want}, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeyTellsIDAndTypeApart(t *testing.T) {
	got := telnyx.Envelope{ID: "a/b", Type: "call.hold"}.Key()
	if want := "a/b/call.hold"; got != want {
		t.Errorf("Key: got %q, want %q", got, want)
	}
}

func TestUnusable(t *testing.T) {
	event := func(eventType, payload string) string {
		return `{"data":{"event_type":"` + eventType + `","id":"ev-1","payload":` + payload + `}}`
	}
	long := strings.Repeat("x", 129)
	tests := map[string]struct {
		body, field string
		want        telnyx.Reason
	}{
		"nothing":                      {"", "", telnyx.ReasonNotJSON},
		"text":                         {"hello", "", telnyx.ReasonNotJSON},
		"half an object":               {`{"data":{"event_type":"call.hold"`, "", telnyx.ReasonNotJSON},
		"two objects":                  {`{} {}`, "", telnyx.ReasonNotJSON},
		"a list":                       {`[{"data":{}}]`, "", telnyx.ReasonNotJSON},
		"null":                         {` null `, "", telnyx.ReasonNotJSON},
		"a byte order mark":            {"\ufeff{}", "", telnyx.ReasonNotJSON},
		"nested beyond any sense":      {strings.Repeat(`{"data":`, 20_000) + "1" + strings.Repeat("}", 20_000), "", telnyx.ReasonNotJSON},
		"a form":                       {"CallSid=v3&CallStatus=completed", "", telnyx.ReasonNotJSON},
		"an empty object":              {`{}`, "", telnyx.ReasonNoType},
		"data of another type":         {`{"data":[{"event_type":"call.hold"}],"event_type":"call.hold"}`, "", telnyx.ReasonNoType},
		"a type of another type":       {`{"data":{"event_type":5,"payload":{"call_leg_id":"leg-1"}}}`, "", telnyx.ReasonNoType},
		"API v1":                       {`{"record_type":"event","id":"e","event_type":"call_hangup","created_at":"2026-03-01T12:00:00Z","payload":{"call_leg_id":"leg-1"}}`, "", telnyx.ReasonAPIv1},
		"API v1, one word":             {`{"record_type":"event","id":"e","event_type":"dtmf","payload":{}}`, "", telnyx.ReasonAPIv1},
		"the portal's flat form":       {`{"created_at":"2026-03-01T12:00:00Z","event_type":"call.hangup","payload":{"call_leg_id":"leg-1"},"record_type":"event","webhook_id":"w"}`, "", telnyx.ReasonPortal},
		"the portal's flat form of v1": {`{"event_type":"call_hangup","payload":{},"webhook_id":"w"}`, "", telnyx.ReasonPortal},
		"the portal's wrapped form":    {`{"call_leg_id":"leg-1","metadata":{"attempt":1,"event":{"event_type":"call.hangup"}},"name":"call.hangup","type":"webhook"}`, "", telnyx.ReasonPortal},
		"a call event without a call":  {event("call.hangup", `{"connection_id":"123"}`), "", telnyx.ReasonNoCall},
		"without a payload":            {`{"data":{"event_type":"siprec.failed","id":"e"}}`, "", telnyx.ReasonNoCall},
		"a payload of another type":    {event("streaming.started", `"none"`), "", telnyx.ReasonNoCall},
		"a conference without a call":  {event("conference.ended", `{"conference_id":"c","call_session_id":""}`), "", telnyx.ReasonNoCall},
		"a message":                    {event("message.received", `{"id":"m","from":{"phone_number":"x"}}`), "", telnyx.ReasonOtherProduct},
		"a meeting's status": {
			`{"event":"session.status_changed","version":"1","data":{"session_id":"s","status":"ended"}}`, "", telnyx.ReasonOtherProduct,
		},
		"a meeting's event that is null": {`{"event":null,"data":{"session_id":"s"}}`, "", telnyx.ReasonNoType},
		"a fax":                          {event("fax.received", `{"connection_id":"not a token"}`), "", telnyx.ReasonOtherProduct},
		"an assistant's initialization": {
			event("assistant.initialization", `{"assistant_id":"a"}`), "", telnyx.ReasonOtherProduct,
		},
		"a prefix that only begins alike": {event("callback.done", `{}`), "", telnyx.ReasonOtherProduct},
		"a type with a space":             {event("call.hang up", `{"call_leg_id":"leg-1"}`), "event_type", telnyx.ReasonBadID},
		"a type that is a wildcard":       {event("call.>", `{"call_leg_id":"leg-1"}`), "event_type", telnyx.ReasonBadID},
		"a type with an empty token":      {event("call..hangup", `{"call_leg_id":"leg-1"}`), "event_type", telnyx.ReasonBadID},
		"a session with a dot":            {event("call.hold", `{"call_session_id":"a.b","call_leg_id":"leg-1"}`), "call_session_id", telnyx.ReasonBadID},
		"a creator's session with a star": {event("conference.ended", `{"creator_call_session_id":"*"}`), "call_session_id", telnyx.ReasonBadID},
		"a leg with a line break":         {event("call.hold", `{"call_leg_id":"a\r\nb"}`), "call_leg_id", telnyx.ReasonBadID},
		"a leg of invalid UTF-8":          {event("call.hold", "{\"call_leg_id\":\"a\xff\"}"), "call_leg_id", telnyx.ReasonBadID},
		"the leg that means not known":    {event("call.hold", `{"call_leg_id":"_"}`), "call_leg_id", telnyx.ReasonBadID},
		"a leg too long":                  {event("call.hold", `{"call_leg_id":"`+long+`"}`), "call_leg_id", telnyx.ReasonBadID},
		"a connection with a space":       {event("call.hold", `{"call_leg_id":"leg-1","connection_id":"a b"}`), "connection_id", telnyx.ReasonBadID},
		"a control id with a line break":  {event("call.hold", `{"call_leg_id":"leg-1","call_control_id":"v3:\n"}`), "call_control_id", telnyx.ReasonBadID},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := outcome{Reason: tt.want, Field: tt.field}
			if diff := cmp.Diff(want, outcomeOf(t, []byte(tt.body))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReasonsCanStandInSubjectsAndErrorsShowNoValue(t *testing.T) {
	for _, reason := range telnyx.Reasons() {
		if !call.ValidToken(string(reason)) {
			t.Errorf("reason %q is no subject token", reason)
		}
	}
	_, err := telnyx.Decode([]byte(`{"data":{"event_type":"call.hold","payload":{"call_leg_id":"+1 202 555 0100"}}}`))
	if got, want := err.Error(), "telnyx: unusable webhook: bad_id (call_leg_id)"; got != want {
		t.Errorf("error: got %q, want %q", got, want)
	}
}

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

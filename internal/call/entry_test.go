package call_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/internal/call"
)

// stated sets every field of a struct to a value of its own, so that a field which the codec forgets is missed.
func stated(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	for i := range v.NumField() {
		*n++
		field, name := v.Field(i), v.Type().Field(i).Name
		switch field.Interface().(type) {
		case time.Time, []byte, *call.Event:
			continue // The log's timestamp and the body travel beside subject and header, what the body says is read from it.
		}
		switch field.Kind() {
		case reflect.String:
			field.SetString("v3:" + name)
		case reflect.Int:
			field.SetInt(int64(*n))
		case reflect.Uint64:
			field.SetUint(uint64(*n))
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Struct:
			stated(t, field, n)
		default:
			t.Fatalf("%s has a kind that this test does not know: %v", name, field.Kind())
		}
	}
}

func TestEveryFieldOfAnEntrySurvivesItsMessage(t *testing.T) {
	var full call.Entry
	n := 0
	stated(t, reflect.ValueOf(&full).Elem(), &n)
	full.Seq, full.Topic = 0, call.TopicEvent+"call.machine.premium.greeting.ended"
	full.Sweep, full.PutBack, full.Foreign = false, false, false // of the way to the log and of the way back
	for name, want := range map[string]call.Entry{
		"with everything":                 full,
		"with a topic alone":              {Topic: call.TopicHeartbeat},
		"of Legato's own":                 {Topic: call.TopicStatus, ID: "status", Ref: call.Ref{Session: "s", Leg: "l", Connection: "17"}},
		"with a control id alone":         {Topic: call.TopicEvent + "call.cost", ID: "x", Ref: call.Ref{Control: "v3:abc+/="}},
		"of a deployment's own name":      {Topic: call.TopicEvent + "emea.event", ID: "x", Ref: call.Ref{Leg: "l"}},
		"of a type of one token":          {Topic: call.TopicEvent + "ping", ID: "x", Ref: call.Ref{Session: "s"}},
		"that came from Telnyx's history": {Topic: call.TopicEvent + "call.hangup", ID: call.BackfillID("x"), Ref: call.Ref{Session: "s"}, Backfill: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := call.ReadEntry("emea", want.Subject("emea"), want.Header())
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-written +read:\n%s", diff)
			}
		})
	}
}

func TestTheSizeOfAnEntryIsNeverLessThanWhatTravels(t *testing.T) {
	var full call.Entry
	n := 0
	stated(t, reflect.ValueOf(&full).Elem(), &n)
	full.Data = []byte("body")
	travels := len("NATS/1.0\r\n\r\n") + len(full.Data)
	for name, values := range full.Header() {
		travels += len(name) + len(": \r\n") + len(values[0])
	}
	if got := full.Size(); got < int64(travels) {
		t.Errorf("got %d, and %d bytes travel", got, travels)
	}
}

func TestEveryFieldOfParkedInputSurvivesItsMessage(t *testing.T) {
	var full call.Parked
	n := 0
	stated(t, reflect.ValueOf(&full).Elem(), &n)
	for name, want := range map[string]call.Parked{
		"with everything": full,
		"of a webhook":    {Reason: "not_json", Signature: "c2ln", Timestamp: "1773500966", ContentType: "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, call.ReadParked(want.Header("id"))); diff != "" {
				t.Errorf("-written +read:\n%s", diff)
			}
		})
	}
	hostile := call.Parked{Reason: "not_json", Signature: "c2ln\r\nX-Evil: 1", ContentType: strings.Repeat("é", 2000), Timestamp: " \x00 "}
	want := map[string][]string{
		"Nats-Msg-Id": {"id"}, "Legato-Reason": {"not_json"}, "Telnyx-Signature-Ed25519": {"c2lnX-Evil: 1"},
		"Content-Type": {strings.Repeat("é", 512)},
	}
	if diff := cmp.Diff(want, hostile.Header("id")); diff != "" {
		t.Errorf("of a hostile sender (-want +got):\n%s", diff)
	}
}

func TestNumbersThatLegatoNeverWroteAreNotStated(t *testing.T) {
	e := call.ReadEntry("calls", "calls.event.call.hangup", map[string][]string{"Legato-Attempt": {"two"}, "Legato-Leg": {}})
	p := call.ReadParked(map[string][]string{"Legato-Sequence": {"-1"}})
	if e.Attempt != 0 || e.Ref.Leg != "" || p.Seq != 0 {
		t.Errorf("got attempt %d, leg %q, sequence %d", e.Attempt, e.Ref.Leg, p.Seq)
	}
}

func TestTheSubjectOfAnEntryNamesItsConnection(t *testing.T) {
	hangup := call.TopicEvent + "call.hangup"
	for want, e := range map[string]call.Entry{
		"calls.event.2201234567890123456.call.hangup": {Topic: hangup, Ref: call.Ref{Connection: "2201234567890123456"}},
		"calls.event._.call.hangup":                   {Topic: hangup, Ref: call.Ref{Session: "s"}},
		"calls.event._.ping":                          {Topic: call.TopicEvent + "ping", Ref: call.Ref{Connection: "no token"}},
		"calls.internal.status":                       {Topic: call.TopicStatus, Ref: call.Ref{Connection: "17"}},
	} {
		if got := e.Subject("calls"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := call.ReadEntry("calls", want, e.Header()).Topic; got != e.Topic {
			t.Errorf("%s is read as %s, want %s", want, got, e.Topic)
		}
	}
}

func TestALogOfAnEarlierReleaseIsReadAsItWasMeant(t *testing.T) {
	of := func(connection string) map[string][]string {
		if connection == "" {
			return nil
		}
		return map[string][]string{"Legato-Connection": {connection}}
	}
	for _, row := range []struct{ subject, connection, want string }{
		{"calls.event.call.hangup", "2201234567890123456", "event.call.hangup"},
		{"calls.event.call.hangup", "", "event.call.hangup"},
		{"calls.event.call.machine.premium.detection.ended", "17", "event.call.machine.premium.detection.ended"},
		{"calls.event.2201234567890123456.call.hangup", "2201234567890123456", "event.call.hangup"},
		{"calls.event.ping", "17", "event.ping"},
		{"calls.event.17", "17", "event.17"}, // a type of one token, equal to the connection
		{"calls.event._.17", "", "event.17"},
		{"calls.event.17.17.x", "17", "event.17.x"},
		{"calls.internal.check", "17", "internal.check"},
	} {
		if got := call.ReadEntry("calls", row.subject, of(row.connection)).Topic; got != row.want {
			t.Errorf("%s of connection %q: got %s, want %s", row.subject, row.connection, got, row.want)
		}
	}
}

func TestEveryEventTypeHasOneRow(t *testing.T) {
	rows := call.EventTypes()
	seen := make(map[string]bool)
	for _, row := range rows {
		if seen[row.Name] || !call.ValidType(row.Name) {
			t.Errorf("%q stands twice, or can stand in no subject", row.Name)
		}
		seen[row.Name] = true
		if diff := cmp.Diff(row, call.EventTypeOf(row.Name)); diff != "" {
			t.Errorf("%s is found as another (-want +got):\n%s", row.Name, diff)
		}
	}
	rows[0].Name = "changed"
	if call.EventTypes()[0].Name == "changed" {
		t.Error("who is given the rows can change them")
	}
	if diff := cmp.Diff(call.EventType{Name: "call.new"}, call.EventTypeOf("call.new")); diff != "" {
		t.Errorf("of a type that is not named (-want +got):\n%s", diff)
	}
}

func TestJSONIsWrittenWithoutU0000(t *testing.T) {
	for given, want := range map[string]string{
		`{"a":"b"}`:                           `{"a":"b"}`,
		`"\u0000"`:                            "\"\uFFFD\"",
		`{"\u0000a":["\u0000\u0000","\\\""]}`: "{\"\uFFFDa\":[\"\uFFFD\uFFFD\",\"\\\\\\\"\"]}",
		`"\\u0000"`:                           `"\\u0000"`,
		`"\\\u0000"`:                          "\"\\\\\uFFFD\"",
		`"\u00000\u0001"`:                     "\"\uFFFD0\\u0001\"",
		`"\u0000\`:                            "\"\uFFFD\\",
	} {
		if got := call.PrintableJSON(given); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"\x00", `\`, "u0000", `\u0000`, `"`, "a", "\n", "é"})).Draw(t, "text"), "")
		written, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal([]byte(call.PrintableJSON(string(written))), &got); err != nil {
			t.Fatal(err)
		}
		if want := strings.ReplaceAll(text, "\x00", "\uFFFD"); got != want {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

func TestWhatLegatoDidNotWriteIsToldApart(t *testing.T) {
	of := func(pairs ...string) map[string][]string {
		h := make(map[string][]string)
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = []string{pairs[i+1]}
		}
		return h
	}
	for name, row := range map[string]struct {
		subject string
		header  map[string][]string
		foreign bool
	}{
		"an event":                               {"calls.event._.call.hangup", of("Nats-Msg-Id", "x", "Legato-Session", "s"), false},
		"an event that names a control id alone": {"calls.event._.call.cost", of("Nats-Msg-Id", "x", "Legato-Control", "v3:a+/="), false},
		"a heartbeat":                            {"calls.internal.probe", nil, false},
		"without a header":                       {"calls.event._.call.hangup", nil, true},
		"without an identity":                    {"calls.event._.call.hangup", of("Legato-Session", "s"), true},
		"without a call":                         {"calls.internal.check", of("Nats-Msg-Id", "x", "Legato-Connection", "17"), true},
		"with a session that cannot stand in subjects": {"calls.event._.call.hangup", of("Nats-Msg-Id", "x", "Legato-Session", "a b"), true},
		"with a leg that cannot stand in subjects":     {"calls.event._.call.hangup", of("Nats-Msg-Id", "x", "Legato-Session", "s", "Legato-Leg", "*"), true},
	} {
		if got := call.ReadEntry("calls", row.subject, row.header).Foreign; got != row.foreign {
			t.Errorf("%s: foreign is %v", name, got)
		}
	}
}

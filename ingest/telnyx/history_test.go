package telnyx_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// past is the leg whose history is read.
var past = call.Ref{Session: "sess-7", Leg: "leg-7", Control: "v3:ctl-7", Connection: "1700000000000000042"}

const (
	pastPayload = `{"call_control_id":"v3:ctl-7","call_leg_id":"leg-7","call_session_id":"sess-7",` +
		`"connection_id":"1700000000000000042","hangup_cause":"normal_clearing","hangup_source":"callee","sip_hangup_cause":"200"}`
	pastEvent = `{"event_type":"call.hangup","id":"ev-7","occurred_at":"2026-03-01T12:00:24.127783Z","payload":` + pastPayload + `,"record_type":"event"}`
	pastIDs   = `"call_leg_id":"leg-7","call_session_id":"sess-7"`
)

// documented is a row as the specification has it, with some metadata.
func documented(metadata string) string {
	return `{"record_type":"call_event",` + pastIDs + `,"event_timestamp":"2026-03-01T12:00:24.200000Z","name":"call.hangup","type":"webhook","metadata":` + metadata + `}`
}

// recalledEvent is what a row comes to.
type recalledEvent struct {
	ID, Type   string
	OccurredAt string
	Ref        call.Ref
	Cause      string
	Exact      bool
}

func TestARowOfTheHistoryIsReadInAllItsForms(t *testing.T) {
	whole := recalledEvent{"ev-7", call.TypeHangup, "12:00:24.127783", past, "normal_clearing", true}
	with := func(change func(e *recalledEvent)) recalledEvent { e := whole; change(&e); return e }
	const made = "recalled:"
	for name, row := range map[string]struct {
		row  string
		want recalledEvent
	}{
		"documented, with the event":                {documented(pastEvent), whole},
		"documented, with a delivered body":         {documented(`{"data":` + pastEvent + `,"meta":{"attempt":2}}`), whole},
		"documented, with the wrapped event":        {documented(`{"attempt":2,"delivered_to":"https://hooks.example.com","status":"delivered","event":` + pastEvent + `}`), whole},
		"documented, with the payload and no event": {documented(pastPayload), with(func(e *recalledEvent) { e.ID, e.OccurredAt, e.Exact = made, "12:00:24.200000", false })},
		"documented, with a payload that has the time": {
			documented(strings.Replace(pastPayload, "{", `{"occurred_at":"2026-03-01T12:00:24.127783Z",`, 1)),
			with(func(e *recalledEvent) { e.ID = made }),
		},
		"documented, with nothing": {documented(`{}`), with(func(e *recalledEvent) {
			e.ID, e.OccurredAt, e.Exact, e.Cause = made, "12:00:24.200000", false, ""
			e.Ref = call.Ref{Session: past.Session, Leg: past.Leg}
		})},
		"with the names of an event": {
			`{"record_type":"call_event","id":"row-1",` + pastIDs + `,"occurred_at":"2026-03-01T12:00:24.127783Z","event_type":"call.hangup","type":"webhook","payload":` + pastPayload + `}`,
			with(func(e *recalledEvent) { e.ID = made }), // the id is the row's
		},
		"the event itself": {pastEvent, whole},
		"the portal's flat form": {
			`{"created_at":"2026-03-01T12:00:25.000000Z","event_type":"call.hangup","payload":` +
				strings.Replace(pastPayload, "{", `{"occurred_at":"2026-03-01T12:00:24.127783Z",`, 1) + `,"record_type":"event","webhook_id":"ev-7"}`,
			whole,
		},
		"the portal's wrapped form": {
			`{` + pastIDs + `,"event_timestamp":"2026-03-01T12:00:24.5Z","metadata":{"attempt":1,"event":` + pastEvent + `},"name":"call.hangup","type":"webhook"}`, whole,
		},
		"a time without a zone": {
			strings.Replace(pastEvent, `2026-03-01T12:00:24.127783Z`, `2026-03-01 12:00:24.127783`, 1), whole,
		},
		"the leg named by the row alone": {
			`{"record_type":"call_event","call_leg_id":"leg-7","name":"call.hangup","type":"webhook","metadata":{"id":"ev-7","event_type":"call.hangup","occurred_at":"2026-03-01T12:00:24.127783Z","payload":{"hangup_cause":"normal_clearing"}}}`,
			with(func(e *recalledEvent) { e.Ref = call.Ref{Session: past.Session, Leg: past.Leg} }),
		},
		"a name of version 1 within": {
			documented(strings.Replace(pastEvent, `"call.hangup"`, `"call_hangup"`, 1)), whole,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := telnyx.FromHistory([]byte(row.row), past)
			if err != nil {
				t.Fatal(err)
			}
			ev, err := telnyx.Decode(got.Body)
			if err != nil {
				t.Fatalf("the body %s: %v", got.Body, err)
			}
			e := recalledEvent{ev.ID, ev.Type, ev.OccurredAt.Format("15:04:05.000000"), ev.Ref, "", got.Exact}
			if strings.HasPrefix(e.ID, made) {
				e.ID = made
			}
			if h, ok := ev.Detail.(*call.Hangup); ok {
				e.Cause = h.Cause
			}
			if diff := cmp.Diff(row.want, e); diff != "" {
				t.Errorf("%s (-want +got):\n%s", got.Body, diff)
			}
		})
	}
}

func TestRowsThatAreNoEventOfTheLegAreLeftOut(t *testing.T) {
	foreign := strings.NewReplacer("leg-7", "leg-8").Replace
	for name, row := range map[string]struct {
		row  string
		want error
	}{
		"a command":                              {strings.Replace(documented(pastEvent), `"type":"webhook"`, `"type":"command"`, 1), telnyx.ErrNoWebhook},
		"another leg throughout":                 {foreign(documented(pastEvent)), telnyx.ErrOtherLeg},
		"another leg in the row":                 {foreign(documented(`{}`)), telnyx.ErrOtherLeg},
		"another leg in the event":               {documented(foreign(pastEvent)), telnyx.ErrOtherLeg},
		"another session in the event":           {documented(strings.ReplaceAll(pastEvent, "sess-7", "sess-8")), telnyx.ErrOtherLeg},
		"no leg at all":                          {strings.ReplaceAll(documented(pastEvent), "call_leg_id", "x"), telnyx.ErrNoWebhook},
		"no type":                                {strings.ReplaceAll(documented(`{}`), "call.hangup", ""), telnyx.ErrNoWebhook},
		"no time":                                {strings.ReplaceAll(documented(`{}`), "2026-", "x"), telnyx.ErrNoWebhook},
		"a type that cannot stand in a subject":  {strings.ReplaceAll(documented(`{}`), "call.hangup", "call.>"), telnyx.ErrNoWebhook},
		"a control id that cannot be in headers": {strings.ReplaceAll(pastEvent, "v3:ctl-7", "v3\\nx"), telnyx.ErrNoWebhook},
		"a list":                                 {`[` + pastEvent + `]`, telnyx.ErrNoWebhook},
		"a text":                                 {`"call.hangup"`, telnyx.ErrNoWebhook},
		"no JSON":                                {`{`, telnyx.ErrNoWebhook},
		"more than an entry of the log may be":   {documented(`{"x":"` + strings.Repeat("y", 512<<10) + `"}`), telnyx.ErrNoWebhook},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := telnyx.FromHistory([]byte(row.row), past)
			if !errors.Is(err, row.want) || got.Body != nil {
				t.Errorf("got %s, %v; want %v", got.Body, err, row.want)
			}
		})
	}
}

// The same event in another form of row must not be another event, as far as that can be known.
func TestAnIDThatIsMadeIsTheSameInEveryFormOfRow(t *testing.T) {
	bare := strings.Replace(pastEvent, `"id":"ev-7",`, "", 1)
	var first string
	for _, row := range []string{documented(bare), bare, documented(`{"event":` + bare + `}`), strings.Replace(documented(bare), `"record_type"`, ` "z":1,"record_type"`, 1)} {
		got, err := telnyx.FromHistory([]byte(row), past)
		if err != nil {
			t.Fatal(err)
		}
		env, err := telnyx.ParseEnvelope(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = env.Key()
		}
		if env.Key() != first || !strings.HasPrefix(env.ID, "recalled:") {
			t.Errorf("the row %s got the key %s; want %s", row, env.Key(), first)
		}
	}
}

func FuzzFromHistory(f *testing.F) {
	for _, seed := range []struct{ name, row string }{
		{"the documented form", documented(pastEvent)},
		{"the portal's, which wraps the event once more", documented(`{"event":` + pastEvent + `}`)},
		{"a payload in place of the event", documented(pastPayload)},
		{"metadata that states nothing", documented(`{}`)},
		{"the event itself", pastEvent},
		{"the flat form", `{"created_at":"2026-03-01T12:00:25Z","event_type":"call.hangup","payload":{"call_leg_id":"leg-7"},"webhook_id":"w"}`},
		{"wrapped deeper than any", `{"call_leg_id":"leg-7","name":"call.a","metadata":{"metadata":{"metadata":{"metadata":{"id":"x"}}}}}`},
		{"a payload that is a list", `{"call_leg_id":"leg-7","event_type":"call.a","occurred_at":"2026-03-01T12:00:25Z","payload":[]}`},
		{"fields of other types", `{"call_leg_id":7,"type":[],"metadata":"x"}`},
		{"a list", `[]`},
		{"null", `null`},
		{"nothing", ``},
	} {
		f.Add([]byte(seed.row))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		got, err := telnyx.FromHistory(row, past)
		if err != nil {
			if !errors.Is(err, telnyx.ErrNoWebhook) && !errors.Is(err, telnyx.ErrOtherLeg) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		ev, err := telnyx.Decode(got.Body)
		if err != nil {
			t.Fatalf("the body %q cannot be decoded: %v", got.Body, err)
		}
		if ev.Ref.Leg != past.Leg || ev.Ref.Session != past.Session || ev.ID == "" || ev.OccurredAt.IsZero() {
			t.Fatalf("the body %q is of %+v at %v", got.Body, ev.Ref, ev.OccurredAt)
		}
		if ev.OccurredAt.After(time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)) || !json.Valid(got.Body) {
			t.Fatalf("the body %q is out of bounds", got.Body)
		}
	})
}

package ingest_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

const eventBody = `{"data":{"event_type":"call.answered","id":"ev-1","payload":{"call_control_id":"v3:ctl","call_leg_id":"leg-1",` +
	`"call_session_id":"sess-1","connection_id":"123","from":"+12025550100"}},"meta":{"attempt":1}}`

// accepted is an answer 200.
func accepted(body string) answer {
	return answer{Status: http.StatusOK, Type: "application/json", Body: body}
}

// refused is a problem.
func refused(status int, reason, detail string) answer {
	a := answer{
		Status: status,
		Type:   "application/problem+json",
		Body: `{"title":"` + http.StatusText(status) + `","status":` + strconv.Itoa(status) +
			`,"detail":"` + detail + `","reason":"` + reason + `"}`,
	}
	switch status {
	case http.StatusServiceUnavailable:
		a.RetryAfter = "1"
	case http.StatusMethodNotAllowed:
		a.Allow = "POST"
	}
	return a
}

// The words of the answers that several tests expect.
var (
	noSignature  = refused(401, "no_signature", "The headers Telnyx-Signature-Ed25519 and Telnyx-Timestamp are required.")
	badSignature = refused(401, "bad_signature", "The signature does not match.")
	apiV1        = refused(401, "api_v1", "This webhook is signed for webhook API version 1. Set the application's webhook API version to 2.")
	clockOff     = refused(503, "clock", "The signature's timestamp is outside the tolerance.")
	notFound     = refused(404, "not_found", "There is nothing at this path.")
	elsewhere    = refused(404, "other_path", "There is nothing at this path; webhooks are taken at another.")
	wrongMethod  = refused(405, "method_not_allowed", "Only POST is allowed.")
	notJSON      = refused(415, "content_type", "The body must be JSON without a content encoding.")
	teXML        = refused(415, "content_type", "A form is a callback of a TeXML application, which Legato does not take. Set this URL as "+
		"the webhook URL of a Call Control application (Voice API) with webhook API version 2, which sends JSON, and take it out of the TeXML application.")
	tooLarge   = refused(413, "too_large", "The body is too large.")
	overloaded = refused(503, "overloaded", "Too many webhooks at once.")
	stopping   = refused(503, "stopping", "The server is stopping.")
	logFailed  = refused(503, "log_unavailable", "The event could not be stored.")
	parkFailed = refused(503, "parking_unavailable", "The input could not be stored.")
	internal   = refused(500, "internal", "An internal error.")
)

func parkedAs(reason string) answer { return accepted(`{"status":"parked","reason":"` + reason + `"}`) }

// What keeps entries in memory goes by the length of their bodies.
func TestABodyTakesNoMoreMemoryThanItIsLong(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	for n, chunked := range []bool{false, true} {
		req := r.webhook(t, strings.Replace(eventBody, "ev-1", strconv.Itoa(n), 1)+strings.Repeat(" ", 1024))
		if chunked {
			req.ContentLength = -1
		}
		if got := r.send(t, req); got.Status != http.StatusOK {
			t.Fatalf("answered %+v", got)
		}
		entries, _ := r.store.stored()
		if data := entries[n].Data; cap(data) > 2*len(data) {
			t.Errorf("chunked: %t: %d bytes take %d", chunked, len(data), cap(data))
		}
	}
}

func TestWebhookIsStoredAsAnEntry(t *testing.T) {
	r := open(t, nil)
	req := r.webhook(t, eventBody)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, req)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	want := []call.Entry{{
		Topic:     "event.call.answered",
		ID:        "ev-1/call.answered",
		Ref:       call.Ref{Session: "sess-1", Leg: "leg-1", Control: "v3:ctl", Connection: "123"},
		Attempt:   1,
		Signature: req.Header.Get(telnyx.HeaderSignature),
		Timestamp: req.Header.Get(telnyx.HeaderTimestamp),
		Data:      []byte(eventBody),
	}}
	got, parked := r.store.stored()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if len(parked) != 0 {
		t.Errorf("parked: %v", parked)
	}
	if budget := r.store.budgets[0]; budget <= 0 || budget > 1500*time.Millisecond {
		t.Errorf("the append may take %v, want no more than 1.5 s", budget)
	}
}

func TestTheLogKeepsHeadersThatLookLikeTelnyxs(t *testing.T) {
	for _, c := range []struct{ name, media, agent, wantMedia, wantAgent string }{
		{"the usual ones need no place", "application/json", "telnyx-webhooks", "", ""},
		{"a charset and a version", "application/json; charset=utf-8", "telnyx-webhooks/2.1", "application/json; charset=utf-8", "telnyx-webhooks/2.1"},
		{"a parameter that anybody may have added", "application/json; note=12025550142", "telnyx-webhooks", "", ""},
		{"another program", "application/json", "Marquetta Markovna", "", ""},
		{"a number behind the name", "application/json", "telnyx 12025550142", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, nil)
			req := r.webhook(t, eventBody)
			req.Header.Set("Content-Type", c.media)
			req.Header.Set("User-Agent", c.agent)
			r.send(t, req)
			got, _ := r.store.stored()
			if len(got) != 1 || got[0].ContentType != c.wantMedia || got[0].UserAgent != c.wantAgent {
				t.Errorf("kept %+v, want %q and %q", got, c.wantMedia, c.wantAgent)
			}
		})
	}
}

func TestAnEntryIsTheSameWhetherItsEventIsDecodedOrNot(t *testing.T) {
	plain := open(t, nil)
	plain.send(t, plain.webhook(t, eventBody))
	want, _ := plain.store.stored()
	event, err := telnyx.Decode([]byte(eventBody))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		decode func([]byte) (call.Event, error)
		event  *call.Event
	}{
		"decoded":                        {func(body []byte) (call.Event, error) { return telnyx.Decode(body) }, &event},
		"by a decoder that has a fault":  {func([]byte) (call.Event, error) { panic("fault") }, nil},
		"by a decoder that takes it not": {func([]byte) (call.Event, error) { return call.Event{}, errors.New("no") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, func(cfg *ingest.Config, _ *fakeStore) { cfg.Decode = tt.decode })
			if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, r.webhook(t, eventBody))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			want := slices.Clone(want)
			want[0].Event = tt.event
			got, _ := r.store.stored()
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(call.Entry{}, "Signature")); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSameEventAgainIsStoredOnce(t *testing.T) {
	r := open(t, nil)
	r.send(t, r.webhook(t, eventBody))
	again := strings.Replace(eventBody, `"attempt":1`, `"attempt":2`, 1)
	if diff := cmp.Diff(accepted(`{"status":"duplicate"}`), r.send(t, r.webhook(t, again))); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if got, _ := r.store.stored(); len(got) != 1 {
		t.Errorf("%d entries, want 1", len(got))
	}
	want := map[string]float64{"stored": 1, "duplicate": 1}
	if diff := cmp.Diff(want, r.counted(t, "legato_webhooks_total")); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestUnusableInputIsParked(t *testing.T) {
	for reason, body := range map[string]string{
		"not_json":      "CallSid=v3&CallStatus=completed",
		"no_type":       `{"hello":"world"}`,
		"api_v1":        `{"event_type":"call_hangup","id":"e","payload":{"call_leg_id":"leg-1"}}`,
		"portal":        `{"event_type":"call.hangup","webhook_id":"w","payload":{"call_leg_id":"leg-1"}}`,
		"no_call":       `{"data":{"event_type":"call.hangup","id":"e","payload":{"connection_id":"123"}}}`,
		"other_product": `{"data":{"event_type":"message.received","id":"e","payload":{}}}`,
		"bad_id":        `{"data":{"event_type":"call.hangup","id":"e","payload":{"call_leg_id":"a.b"}}}`,
	} {
		t.Run(reason, func(t *testing.T) {
			r := open(t, nil)
			req := r.webhook(t, body)
			req.Header.Set("Content-Type", "application/json; charset=utf-8")
			if diff := cmp.Diff(parkedAs(reason), r.send(t, req)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			want := []call.Parked{{
				Reason: reason, Signature: req.Header.Get(telnyx.HeaderSignature), Timestamp: req.Header.Get(telnyx.HeaderTimestamp),
				ContentType: "application/json", Data: []byte(body),
			}}
			entries, got := r.store.stored()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("parked (-want +got):\n%s", diff)
			}
			if len(entries) != 0 {
				t.Errorf("appended: %v", entries)
			}
			if diff := cmp.Diff(map[string]float64{reason: 1}, r.counted(t, "legato_webhooks_parked_total")); diff != "" {
				t.Errorf("parked by reason (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]float64{"parked": 1}, r.counted(t, "legato_webhooks_total")); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}

// change alters a signed webhook before it is sent.
type change func(r *room, req *http.Request)

func TestAnswers(t *testing.T) {
	signAt := func(at time.Time) change {
		return func(r *room, req *http.Request) {
			timestamp, signature := telnyx.Sign(r.key, at, []byte(eventBody))
			req.Header.Set(telnyx.HeaderTimestamp, timestamp)
			req.Header.Set(telnyx.HeaderSignature, signature)
		}
	}
	header := func(name, value string) change {
		return func(_ *room, req *http.Request) { req.Header.Set(name, value) }
	}
	without := func(name string) change {
		return func(_ *room, req *http.Request) { req.Header.Del(name) }
	}
	method := func(name string) change {
		return func(_ *room, req *http.Request) { req.Method = name }
	}
	path := func(path string) change {
		return func(_ *room, req *http.Request) { req.URL.Opaque = "//" + req.URL.Host + path }
	}
	all := func(changes ...change) change {
		return func(r *room, req *http.Request) {
			for _, c := range changes {
				c(r, req)
			}
		}
	}
	stored := accepted(`{"status":"stored"}`)
	headless := wrongMethod
	headless.Body = ""
	tests := map[string]struct {
		change change
		want   answer
		result string
	}{
		"signed just now":                       {signAt(now), stored, "stored"},
		"signed at the edge of the tolerance":   {signAt(now.Add(-5 * time.Minute)), stored, "stored"},
		"signed at the other edge":              {signAt(now.Add(5 * time.Minute)), stored, "stored"},
		"a query is no other path":              {path(ingest.Path + "?a=b"), stored, "stored"},
		"JSON with parameters":                  {header("Content-Type", "Application/JSON; charset=UTF-8"), stored, "stored"},
		"JSON with a parameter nobody can read": {header("Content-Type", "application/json; charset"), stored, "stored"},
		"JSON of a dialect":                     {header("Content-Type", "application/cloudevents+json"), stored, "stored"},
		"encoded as itself":                     {header("Content-Encoding", "identity"), stored, "stored"},

		"no signature at all":         {all(without(telnyx.HeaderSignature), without(telnyx.HeaderTimestamp)), noSignature, "no_signature"},
		"no signature header":         {without(telnyx.HeaderSignature), noSignature, "no_signature"},
		"no timestamp header":         {without(telnyx.HeaderTimestamp), noSignature, "no_signature"},
		"no base64":                   {header(telnyx.HeaderSignature, "nonsense"), badSignature, "bad_signature"},
		"another timestamp":           {header(telnyx.HeaderTimestamp, "1"), badSignature, "bad_signature"},
		"another key":                 {func(_ *room, req *http.Request) { signWith(req, 2, eventBody) }, badSignature, "bad_signature"},
		"another body":                {func(_ *room, req *http.Request) { signWith(req, 1, "{}") }, badSignature, "bad_signature"},
		"signed for API version 1":    {all(without(telnyx.HeaderSignature), header("X-Telnyx-Signature", "t=1,h=abc")), apiV1, "api_v1"},
		"signed for both versions":    {header("X-Telnyx-Signature", "t=1,h=abc"), stored, "stored"},
		"a clock that is behind":      {signAt(now.Add(-5*time.Minute - time.Second)), clockOff, "clock"},
		"a clock that is ahead":       {signAt(now.Add(5*time.Minute + time.Second)), clockOff, "clock"},
		"a signed time that is none":  {func(_ *room, req *http.Request) { signText(req, 1, "soon", eventBody) }, clockOff, "clock"},
		"milliseconds are no seconds": {func(_ *room, req *http.Request) { signText(req, 1, "1772366400000", eventBody) }, clockOff, "clock"},

		"a form":                     {header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), teXML, "content_type"},
		"no content type":            {without("Content-Type"), notJSON, "content_type"},
		"a content type of no form":  {header("Content-Type", ";;"), notJSON, "content_type"},
		"a word that ends in json":   {header("Content-Type", "text/vnd+json"), notJSON, "content_type"},
		"a compressed body":          {header("Content-Encoding", "gzip"), notJSON, "content_type"},
		"another path":               {path("/"), elsewhere, "other_path"},
		"a trailing slash":           {path(ingest.Path + "/"), elsewhere, "other_path"},
		"a doubled slash":            {path("/" + ingest.Path), elsewhere, "other_path"},
		"dots":                       {path("/webhooks/../webhooks/telnyx"), elsewhere, "other_path"},
		"an escaped slash":           {path("/webhooks%2Ftelnyx"), elsewhere, "other_path"},
		"other case":                 {path("/Webhooks/Telnyx"), elsewhere, "other_path"},
		"another path, signed late":  {all(path("/x"), signAt(now.Add(-time.Hour))), elsewhere, "other_path"},
		"another path and key":       {all(path("/x"), func(_ *room, req *http.Request) { signWith(req, 2, eventBody) }), notFound, "not_found"},
		"another path, not signed":   {all(path("/x"), without(telnyx.HeaderSignature)), notFound, "not_found"},
		"another path and method":    {all(path("/metrics"), method(http.MethodGet)), notFound, "not_found"},
		"OPTIONS on another path":    {all(path("/x"), method(http.MethodOptions)), notFound, "not_found"},
		"GET":                        {method(http.MethodGet), wrongMethod, "method_not_allowed"},
		"PUT":                        {method(http.MethodPut), wrongMethod, "method_not_allowed"},
		"DELETE":                     {method(http.MethodDelete), wrongMethod, "method_not_allowed"},
		"OPTIONS":                    {method(http.MethodOptions), wrongMethod, "method_not_allowed"},
		"a method that nobody knows": {method("BREW"), wrongMethod, "method_not_allowed"},
		"HEAD":                       {method(http.MethodHead), headless, "method_not_allowed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := open(t, nil)
			req := r.webhook(t, eventBody)
			tt.change(r, req)
			if diff := cmp.Diff(tt.want, r.send(t, req)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]float64{tt.result: 1}, r.counted(t, "legato_webhooks_total")); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			wantWritten := 0
			if tt.result == "stored" {
				wantWritten = 1
			}
			if entries, parked := r.store.stored(); len(entries)+len(parked) != wantWritten {
				t.Errorf("%d entries and %d parked, want %d in all", len(entries), len(parked), wantWritten)
			}
		})
	}
}

func signWith(req *http.Request, seed byte, body string) {
	timestamp, signature := telnyx.Sign(privateKey(seed), now, []byte(body))
	req.Header.Set(telnyx.HeaderTimestamp, timestamp)
	req.Header.Set(telnyx.HeaderSignature, signature)
}

func TestBodyLimit(t *testing.T) {
	const limit = 4096
	pad := func(n int) string { return eventBody + strings.Repeat(" ", n-len(eventBody)) }
	tests := map[string]struct {
		body    string
		chunked bool
		want    answer
	}{
		"at the limit":            {pad(limit), false, accepted(`{"status":"stored"}`)},
		"at the limit, chunked":   {pad(limit), true, accepted(`{"status":"stored"}`)},
		"over the limit":          {pad(limit + 1), false, tooLarge},
		"over the limit, chunked": {pad(limit + 1), true, tooLarge},
		"far over the limit":      {pad(4 << 20), false, tooLarge},
		"far over it, chunked":    {pad(4 << 20), true, tooLarge},
		"empty":                   {"", false, parkedAs("not_json")},
		"empty, chunked":          {"", true, parkedAs("not_json")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := open(t, func(cfg *ingest.Config, _ *fakeStore) { cfg.MaxBody = limit })
			req := r.webhook(t, tt.body)
			if tt.chunked {
				req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(tt.body))
			}
			if diff := cmp.Diff(tt.want, r.send(t, req)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefaultBodyLimitIs960KiB(t *testing.T) {
	r := open(t, nil)
	largest := eventBody + strings.Repeat(" ", 960<<10-len(eventBody))
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, r.webhook(t, largest))); diff != "" {
		t.Errorf("answer to 960 KiB (-want +got):\n%s", diff)
	}
	if entries, _ := r.store.stored(); string(entries[0].Data) != largest {
		t.Error("the stored bytes are not the sent ones")
	}
	if diff := cmp.Diff(tooLarge, r.send(t, r.webhook(t, largest+" "))); diff != "" {
		t.Errorf("answer to a byte more (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeWrittenIsAnswered503(t *testing.T) {
	down := errors.New("secret cause")
	tests := map[string]struct {
		body   string
		fail   error
		panics any
		want   answer
	}{
		"an event that the log refuses":  {eventBody, down, nil, logFailed},
		"input that the parking refuses": {"{}", down, nil, parkFailed},
		"a log that panics":              {eventBody, nil, "secret cause", internal},
		"a parking that panics":          {"{}", nil, down, internal},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := open(t, func(_ *ingest.Config, f *fakeStore) { f.fail, f.panics = tt.fail, tt.panics })
			if diff := cmp.Diff(tt.want, r.send(t, r.webhook(t, tt.body))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if tt.fail != nil && !strings.Contains(r.logs.String(), "secret cause") {
				t.Errorf("the operator is not told the cause:\n%s", r.logs)
			}
			if tt.panics != nil && strings.Contains(r.logs.String(), "secret cause") {
				t.Errorf("what was thrown is in the log:\n%s", r.logs)
			}
		})
	}
}

// signText signs with a timestamp of any text.
func signText(req *http.Request, seed byte, timestamp, body string) {
	signature := ed25519.Sign(privateKey(seed), []byte(timestamp+"|"+body))
	req.Header.Set(telnyx.HeaderTimestamp, timestamp)
	req.Header.Set(telnyx.HeaderSignature, base64.StdEncoding.EncodeToString(signature))
}

func TestWithoutVerificationEverythingElseStays(t *testing.T) {
	r := open(t, func(cfg *ingest.Config, _ *fakeStore) { cfg.Keys, cfg.SkipVerify = nil, true })
	send := func(body, timestamp, signature string) answer {
		req := r.webhook(t, body)
		for name, value := range map[string]string{telnyx.HeaderTimestamp: timestamp, telnyx.HeaderSignature: signature} {
			if req.Header.Del(name); value != "" {
				req.Header.Set(name, value)
			}
		}
		return r.send(t, req)
	}
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), send(eventBody, "", "")); diff != "" {
		t.Errorf("without headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(accepted(`{"status":"duplicate"}`), send(eventBody, "yesterday", "nonsense")); diff != "" {
		t.Errorf("with headers that prove nothing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(parkedAs("not_json"), send("no JSON", "yesterday", "nonsense")); diff != "" {
		t.Errorf("to what is no event (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(tooLarge, send(strings.Repeat("x", ingest.DefaultMaxBody+1), "", "")); diff != "" {
		t.Errorf("to what is too large (-want +got):\n%s", diff)
	}
	entries, parked := r.store.stored()
	if len(entries) != 1 || len(parked) != 1 || entries[0].Signature+entries[0].Timestamp+parked[0].Signature+parked[0].Timestamp != "" {
		t.Errorf("stored %+v and %+v, want one each without the headers that nobody checked", entries, parked)
	}
}

func TestRetry(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const (
		hangup = `{"data":{"event_type":"call.hangup","id":"ev-1","payload":{"call_leg_id":"leg-1","call_session_id":"ses-1"}},"meta":{"attempt":2}}`
		flat   = `{"event_type":"call_hangup","id":"ev-1","payload":{"call_leg_id":"leg-1"}}`
		check  = `{"kind":"settle"}`
	)
	// Signed a year ago: no age is too old for what was accepted once.
	signed := func(p call.Parked) call.Parked {
		p.Timestamp, p.Signature = telnyx.Sign(key, time.Now().AddDate(-1, 0, 0), p.Data)
		return p
	}
	ref := call.Ref{Session: "ses-1", Leg: "leg-1"}
	eventOf := func(id string, p call.Parked) call.Entry {
		return call.Entry{
			Topic: "event.call.hangup", ID: id, Ref: ref, Attempt: 2,
			Signature: p.Signature, Timestamp: p.Timestamp, Backfill: p.Backfill, Data: p.Data,
		}
	}
	event := signed(call.Parked{Reason: "bad_id", Data: []byte(hangup)})
	logged := event
	logged.Reason, logged.Seq, logged.Topic, logged.Ref = "poison", 99, "event.call.hangup", ref
	repaired := call.Parked{Reason: "poison", Seq: 99, Topic: "event.call.hangup", Ref: ref, Backfill: true, Data: []byte(hangup)}
	tests := []struct {
		name   string
		parked call.Parked
		want   call.Entry
	}{
		{"a webhook that can be used now is what it would be if it came in", event, eventOf("ev-1/call.hangup", event)},
		{"an event of the log gets an id that the log does not know", logged, eventOf("retry/7/ev-1/call.hangup", logged)},
		{"an event from the history was never signed", repaired, eventOf("retry/7/ev-1/call.hangup", repaired)},
		{
			"an entry of Legato's own is put back as it was",
			call.Parked{Reason: "poison", Seq: 99, Topic: call.TopicCheck, Ref: ref, Data: []byte(check)},
			call.Entry{Topic: call.TopicCheck, ID: "retry/7/" + call.TopicCheck, Ref: ref, Data: []byte(check)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ingest.Retry(tt.parked, 7, telnyx.NewVerifier([]ed25519.PublicKey{public}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("what still is no event says why", func(t *testing.T) {
		_, err := ingest.Retry(signed(call.Parked{Reason: "api_v1", Data: []byte(flat)}), 7, nil)
		unusable, ok := errors.AsType[*telnyx.Unusable](err)
		if !ok || unusable.Reason != telnyx.ReasonAPIv1 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a signature that does not match is refused when there is a key", func(t *testing.T) {
		forged := event
		forged.Data = []byte(flat)
		if _, err := ingest.Retry(forged, 7, telnyx.NewVerifier([]ed25519.PublicKey{public})); !errors.Is(err, telnyx.ErrBadSignature) {
			t.Errorf("got %v, want ErrBadSignature", err)
		}
	})
	t.Run("without a key the signature counts as checked", func(t *testing.T) {
		unsigned := call.Parked{Reason: "bad_id", Data: []byte(hangup)}
		if _, err := ingest.Retry(unsigned, 7, nil); err != nil {
			t.Error(err)
		}
	})
}

// sink stores everything at once.
type sink struct{}

func (sink) Append(context.Context, call.Entry) (call.Receipt, error) {
	return call.Receipt{Seq: 1}, nil
}
func (sink) Park(context.Context, call.Parked) error { return nil }

// BenchmarkReceive posts a webhook of 1.1 KB over a connection that is kept: HTTP both ways,
// verification and envelope, and a log that costs nothing.
func BenchmarkReceive(b *testing.B) { benchmarkReceive(b, nil) }

// BenchmarkReceiveTraced makes a span of each webhook and sends it nowhere.
func BenchmarkReceiveTraced(b *testing.B) {
	benchmarkReceive(b, sdktrace.NewTracerProvider().Tracer("test"))
}

func benchmarkReceive(b *testing.B, tracer trace.Tracer) {
	key := privateKey(1)
	server, err := ingest.New(ingest.Config{
		Listen: "127.0.0.1:0", Keys: []ed25519.PublicKey{publicKey(key)}, Journal: sink{}, Parking: sink{},
		Now: func() time.Time { return now }, Tracer: tracer,
	})
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	defer func() {
		if err := server.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		if err := <-served; err != nil {
			b.Error(err)
		}
	}()
	body := strings.TrimSuffix(eventBody, "}") + `,"padding":"` + strings.Repeat("x", 900) + `"}`
	timestamp, signature := telnyx.Sign(key, now, []byte(body))
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: legato.test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s: %s\r\n%s: %s\r\n\r\n%s",
		ingest.Path, len(body), telnyx.HeaderTimestamp, timestamp, telnyx.HeaderSignature, signature, body)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for pb.Next() {
			if err := exchange(conn, answers, request); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func exchange(conn net.Conn, answers *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

package ingest_test

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
)

// Everything that must stay inside, in every kind of request.
func TestNothingPrivateIsLoggedOrAnswered(t *testing.T) {
	private := map[string]string{
		"from": "+12025550100", "to": "+12025550199", "client_state": "c2VjcmV0IHN0YXRl", "digits": "987654321",
		"sip": "ada@pbx.test",
	}
	payload := `"from":"` + private["from"] + `","to":"` + private["to"] + `","client_state":"` + private["client_state"] +
		`","digits":"` + private["digits"] + `","from_sip_uri":"` + private["sip"] + `"`
	event := func(eventType, ids string) string {
		return `{"data":{"event_type":"` + eventType + `","id":"ev-1","payload":{` + ids + payload + `}}}`
	}
	bodies := map[string]string{
		"stored":        event("call.gather.ended", `"call_leg_id":"leg-1",`),
		"no_call":       event("call.gather.ended", ""),
		"bad_id":        event("call.gather.ended", `"call_leg_id":"+12025550100",`),
		"bad_type":      event("call.+1 2025550100", `"call_leg_id":"leg-1",`),
		"other_product": event("message.received", ""),
		"not_json":      "{" + payload,
		"portal":        `{"webhook_id":"w",` + payload + `}`,
		"api_v1":        `{"event_type":"gather_ended",` + payload + `}`,
	}
	r := open(t, nil)
	var answers strings.Builder
	send := func(req *http.Request) {
		for _, name := range []string{telnyx.HeaderSignature, telnyx.HeaderSignatureV1} {
			if value := req.Header.Get(name); value != "" {
				private[name+value] = value
			}
		}
		answers.WriteString(r.send(t, req).Body + "\n")
	}
	for _, body := range bodies {
		send(r.webhook(t, body))
		for _, status := range []func(*http.Request){
			func(req *http.Request) { req.Header.Set(telnyx.HeaderTimestamp, "1") },
			func(req *http.Request) { signWith(req, 2, body) },
			func(req *http.Request) { signText(req, 1, "1", body) },
			func(req *http.Request) { req.Header.Set("Content-Type", "text/plain") },
			func(req *http.Request) { req.URL.Path = "/" + private["digits"] },
			func(req *http.Request) { req.URL.RawQuery = "from=" + private["digits"] },
			func(req *http.Request) {
				req.Header.Del(telnyx.HeaderSignature)
				req.Header.Set(telnyx.HeaderSignatureV1, "t=1,h=c2lnbmF0dXJl")
			},
		} {
			req := r.webhook(t, body)
			status(req)
			send(req)
		}
	}
	r.store.mu.Lock()
	r.store.fail = errors.New("the log is full")
	r.store.mu.Unlock()
	for _, body := range bodies {
		send(r.webhook(t, body))
	}
	private["key"] = base64.StdEncoding.EncodeToString(publicKey(r.key))
	for what, secret := range private {
		if strings.Contains(r.logs.String(), secret) {
			t.Errorf("the log shows %s", what)
		}
		if strings.Contains(answers.String(), secret) {
			t.Errorf("an answer shows %s", what)
		}
	}
	if strings.Contains(answers.String(), "the log is full") {
		t.Error("an answer shows the private cause")
	}
}

func TestOneDebugLineForEachWebhook(t *testing.T) {
	r := open(t, nil)
	r.send(t, r.webhook(t, eventBody))
	// Shutdown waits for the line as well as for the answer.
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(r.logs.String()), "\n")
	if len(lines) != 1 {
		t.Fatalf("%d lines, want 1:\n%s", len(lines), r.logs)
	}
	var kept []string
	for word := range strings.FieldsSeq(lines[0]) {
		if !strings.HasPrefix(word, "time=") && !strings.HasPrefix(word, "duration_ms=") {
			kept = append(kept, word)
		}
	}
	want := []string{
		"level=DEBUG", "msg=webhook", "result=stored", "status=200", "bytes=204", "event_id=ev-1", "type=call.answered",
		"session=sess-1", "leg=leg-1", "control=v3:ctl", "connection=123", "attempt=1", "seq=1",
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestNoticesComeOnceAMinute(t *testing.T) {
	tests := map[string]struct {
		change change
		want   []string // what the line says
	}{
		"API version 1": {
			func(_ *room, req *http.Request) {
				req.Header.Del(telnyx.HeaderSignature)
				req.Header.Set(telnyx.HeaderSignatureV1, "t=1,h=x")
			},
			[]string{"level=WARN", "reason=api_v1", "Set the application's webhook API version to 2."},
		},
		"a clock that is off": {
			func(_ *room, req *http.Request) { signText(req, 1, "1772366400", eventBody) },
			[]string{"level=WARN", "reason=clock", "signed 1h0m0s before now by this clock, tolerance 5m0s"},
		},
		"a signature that does not match": {
			func(_ *room, req *http.Request) { req.Header.Set(telnyx.HeaderTimestamp, "1") },
			[]string{"level=WARN", "reason=bad_signature"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var elapsed atomic.Int64
			elapsed.Store(int64(time.Hour))
			r := open(t, func(cfg *ingest.Config, _ *fakeStore) {
				cfg.Now = func() time.Time { return now.Add(time.Duration(elapsed.Load())) }
				// Only the notices.
				cfg.Logger = slog.New(atInfo{cfg.Logger.Handler()})
			})
			for range 3 {
				req := r.webhook(t, eventBody)
				tt.change(r, req)
				r.send(t, req)
			}
			elapsed.Add(int64(time.Minute))
			req := r.webhook(t, eventBody)
			tt.change(r, req)
			r.send(t, req)
			if err := r.server.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(r.logs.String()), "\n")
			if len(lines) != 2 {
				t.Fatalf("%d lines for two minutes, want 2:\n%s", len(lines), r.logs)
			}
			for _, want := range append(tt.want, "suppressed=0") {
				if !strings.Contains(lines[0], want) {
					t.Errorf("the line does not say %q:\n%s", want, lines[0])
				}
			}
			if !strings.Contains(lines[1], "suppressed=2") {
				t.Errorf("the second line does not count what it left out:\n%s", lines[1])
			}
		})
	}
}

func TestTheLastHourIsCountedByWhatBecameOfWebhooks(t *testing.T) {
	clock := now
	var at atomic.Pointer[time.Time]
	at.Store(&clock)
	r := open(t, func(c *ingest.Config, _ *fakeStore) { c.Now = func() time.Time { return *at.Load() } })
	later := func(d time.Duration) {
		next := at.Load().Add(d)
		at.Store(&next)
	}
	send := func(change func(*http.Request), body string) {
		t.Helper()
		req := r.webhook(t, body)
		// It is signed as of the beginning, and the tolerance is not what this is about.
		signText(req, 1, strconv.FormatInt(at.Load().Unix(), 10), body)
		if change != nil {
			change(req)
		}
		r.send(t, req)
	}
	event := func(id string) string {
		return `{"data":{"event_type":"call.answered","id":"` + id + `","payload":{"call_leg_id":"leg","call_session_id":"ses","from":"+12025550100"}}}`
	}
	send(nil, event("old"))
	later(30 * time.Minute)
	send(nil, event("one"))
	send(nil, event("one"))
	send(nil, `{"data":{"event_type":"message.received","id":"m","payload":{"from":"+12025550100"}}}`)
	send(func(req *http.Request) { req.Header.Set(telnyx.HeaderSignature, "bm9uZQ==") }, event("two"))
	got := r.server.LastHour()
	if diff := cmp.Diff(map[string]int64{"stored": 2, "duplicate": 1, "parked": 1, "bad_signature": 1}, got.Results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{"other_product": 1}, got.Parked); diff != "" {
		t.Errorf("parked (-want +got):\n%s", diff)
	}
	if len(got.Refusals) != 1 || got.Refusals[0].Status != http.StatusUnauthorized || !strings.Contains(got.Refusals[0].Do, "public key") || !got.Since.Equal(now) {
		t.Errorf("got %+v", got)
	}
	later(45 * time.Minute)
	if got := r.server.LastHour(); got.Results["stored"] != 1 || !got.Since.Equal(now.Add(15*time.Minute)) {
		t.Errorf("an hour and a quarter after the first: got %+v", got)
	}
	later(time.Hour)
	if got := r.server.LastHour(); len(got.Results) != 0 || len(got.Refusals) != 1 {
		t.Errorf("an hour later: got %+v", got)
	}
}

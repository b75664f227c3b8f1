package ingest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

const (
	formBody = "CallSid=v3%3Actl&CallStatus=ringing&ConnectionId=123"
	formType = "application/x-www-form-urlencoded"
)

// application is one in proxy mode that takes what is of connection 123.
type application struct {
	mu  sync.Mutex
	got []call.Entry
	// answer is what it says. Where gate is not nil, it says on entered that it was asked, and waits for gate.
	answer        ingest.Answer
	entered, gate chan struct{}
}

func (a *application) serve(_ context.Context, e call.Entry) (ingest.Answer, bool) {
	if e.Ref.Connection != "123" {
		return ingest.Answer{}, false
	}
	if a.gate != nil {
		a.entered <- struct{}{}
		<-a.gate
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, e)
	return a.answer, true
}

func openWithApplication(t *testing.T, a *application) *room {
	t.Helper()
	return open(t, func(cfg *ingest.Config, _ *fakeStore) { cfg.Application, cfg.MaxInFlight = a.serve, 1 })
}

// ask sends a request whose answer is the application's, which no document of ours describes.
func (r *room) ask(t *testing.T, req *http.Request) (status int, media, body string) {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(got)
}

func TestAnApplicationAnswersInPlaceOfLegato(t *testing.T) {
	a := &application{answer: ingest.Answer{Status: 201, ContentType: "application/json", Body: []byte(`{"dynamic_variables":{}}`)}}
	r := openWithApplication(t, a)
	req := r.webhook(t, eventBody)
	req.Header.Set("User-Agent", "telnyx-webhooks/2")
	want := req.Clone(t.Context()).Header
	if status, media, body := r.ask(t, req); status != 201 || media != "application/json" || body != `{"dynamic_variables":{}}` {
		t.Errorf("answer: %d %s %s, want the application's", status, media, body)
	}
	// A repetition of what is stored is handed on again.
	again := strings.Replace(eventBody, `"attempt":1`, `"attempt":2`, 1)
	if status, _, _ := r.ask(t, r.webhook(t, again)); status != 201 {
		t.Errorf("answer to the repetition: %d, want the application's", status)
	}
	if entries, _ := r.store.stored(); len(entries) != 1 {
		t.Errorf("%d entries are stored, want 1", len(entries))
	}
	if len(a.got) != 2 {
		t.Fatalf("the application got %d webhooks, want 2", len(a.got))
	}
	first := a.got[0]
	if first.Seq != 1 || first.Attempt != 1 || string(first.Data) != eventBody || first.Signature != want.Get(telnyx.HeaderSignature) ||
		first.Timestamp != want.Get(telnyx.HeaderTimestamp) || first.UserAgent != "telnyx-webhooks/2" || first.ReceivedAt.IsZero() {
		t.Errorf("the application got %+v", first)
	}
	if second := a.got[1]; second.Seq != 1 || second.Attempt != 2 || string(second.Data) != again {
		t.Errorf("the application got %+v the second time", second)
	}
}

func TestAnApplicationThatAnswersNothingIsAnsweredFor(t *testing.T) {
	r := openWithApplication(t, &application{answer: ingest.Answer{Status: http.StatusGatewayTimeout}})
	if status, _, body := r.ask(t, r.webhook(t, eventBody)); status != 504 || body != "" {
		t.Errorf("answer: %d %q, want 504, so that Telnyx repeats", status, body)
	}
	if entries, _ := r.store.stored(); len(entries) != 1 {
		t.Errorf("%d entries are stored, want 1", len(entries))
	}
}

func TestWhatNoApplicationIsToAnswerLegatoAnswers(t *testing.T) {
	r := openWithApplication(t, &application{answer: ingest.Answer{Status: 500}})
	other := strings.Replace(eventBody, `"connection_id":"123"`, `"connection_id":"124"`, 1)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, r.webhook(t, other))); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeStoredIsNotHandedOn(t *testing.T) {
	a := &application{answer: ingest.Answer{Status: 200}}
	r := open(t, func(cfg *ingest.Config, s *fakeStore) {
		cfg.Application, s.fail = a.serve, errors.New("the log is full")
	})
	if diff := cmp.Diff(logFailed, r.send(t, r.webhook(t, eventBody))); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if len(a.got) != 0 {
		t.Errorf("the application got what is not in the log")
	}
}

func TestASlowApplicationKeepsNoOtherWebhookOut(t *testing.T) {
	a := &application{answer: ingest.Answer{Status: 200}, entered: make(chan struct{}), gate: make(chan struct{})}
	r := openWithApplication(t, a) // one webhook at a time is verified and stored
	slow := make(chan int)
	first := r.webhook(t, eventBody)
	go func() {
		response, err := r.client.Do(first)
		if err != nil {
			slow <- 0
			return
		}
		defer response.Body.Close()
		slow <- response.StatusCode
	}()
	other := strings.Replace(strings.Replace(eventBody, `"connection_id":"123"`, `"connection_id":"124"`, 1), "ev-1", "ev-2", 1)
	<-a.entered
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, r.webhook(t, other))); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	// It is stored, and not answered yet: the alert that holds one against the other has to know of it.
	if n := r.inFlight(t); n < 1 {
		t.Errorf("%v webhooks are in flight, want the slow one at least", n)
	}
	close(a.gate)
	if status := <-slow; status != 200 {
		t.Errorf("answer of the slow one: %d, want 200", status)
	}
}

func TestAFormGetsTheApplicationsAnswer(t *testing.T) {
	a := &application{answer: ingest.Answer{Status: 200, ContentType: "text/xml", Body: []byte("<Response/>")}}
	r := openWithApplication(t, a)
	form := func(body string) *http.Request {
		req := r.webhook(t, body)
		req.Header.Set("Content-Type", formType)
		return req
	}
	if status, media, body := r.ask(t, form(formBody)); status != 200 || media != "text/xml" || body != "<Response/>" {
		t.Errorf("answer: %d %s %s, want the application's", status, media, body)
	}
	if len(a.got) != 1 || a.got[0].EventType() != ingest.TypeTeXML || a.got[0].Seq != 0 || string(a.got[0].Data) != formBody ||
		a.got[0].ContentType != formType || a.got[0].Signature == "" {
		t.Errorf("the application got %+v", a.got)
	}
	if entries, parked := r.store.stored(); len(entries)+len(parked) != 0 {
		t.Errorf("%d entries and %d parked, want nothing kept of a form", len(entries), len(parked))
	}
	if got := r.counted(t, "legato_webhooks_total")["passed"]; got != 1 {
		t.Errorf("counted as passed: %v, want 1", got)
	}
	if a := r.send(t, form("ConnectionId=124")); a.Status != http.StatusUnsupportedMediaType {
		t.Errorf("a form that no application takes: %d, want 415", a.Status)
	}
	forged := form(formBody)
	forged.Header.Set(telnyx.HeaderSignature, strings.Repeat("A", 86)+"==")
	if a := r.send(t, forged); a.Status != http.StatusUnauthorized {
		t.Errorf("a forged form: %d, want 401", a.Status)
	}
}

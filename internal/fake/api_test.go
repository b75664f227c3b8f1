package fake_test

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

const key = "KEY-of-the-fake"

var (
	ref   = call.Ref{Session: "session-1", Leg: "leg-1", Control: "v3:a/b+c=d"}
	begun = time.Date(2031, time.March, 4, 12, 0, 0, 123456000, time.UTC)
	ended = begun.Add(34 * time.Second)
)

// clock is set by the test and read by the server.
type clock struct{ now atomic.Pointer[time.Time] }

func (c *clock) set(t time.Time) { c.now.Store(&t) }

func (c *clock) read() time.Time { return *c.now.Load() }

// start serves a fake on which the leg of ref is registered, and a client of it.
func startAPI(t *testing.T, config fake.APIConfig, c fake.APICall) (*fake.API, *status.Client, *clock) {
	t.Helper()
	now := &clock{}
	now.set(ended.Add(time.Second))
	config.APIKey, config.Now = key, now.read
	server := fake.NewAPI(config)
	c.Ref = ref
	server.Register(c)
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	timeout := time.Minute
	if config.Slow == 0 && slices.Contains(c.Script, fake.ReplySlow) {
		timeout = 200 * time.Millisecond // The one reply that is waited for in vain.
	}
	client, err := status.New(status.Config{
		BaseURL: listener.URL + "/v2", APIKey: key, Rate: math.Inf(1), Timeout: timeout, Now: now.read,
	})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(client.Close)
	return server, client, now
}

func fetch(t *testing.T, client *status.Client) status.Answer {
	t.Helper()
	answer, err := client.Fetch(t.Context(), ref)
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	return answer
}

func answer(at time.Time, alive bool, duration float64) status.Answer {
	return status.Answer{
		Session: ref.Session, Leg: ref.Leg, Control: ref.Control, FetchedAt: at, Result: status.Answered, HTTPStatus: 200,
		IsAlive: &alive, CallDuration: &duration, StartTime: begun.Truncate(time.Millisecond), ClientState: "c3RhdGU=", RecordType: "call",
	}
}

func TestACallIsKnownFromItsStartToTenMinutesAfterItsEnd(t *testing.T) {
	server, client, now := startAPI(t, fake.APIConfig{}, fake.APICall{StartTime: begun, EndTime: ended, Duration: 30, ClientState: "c3RhdGU=", AliveFor: 1})
	dialling := answer(begun.Add(-time.Second), false, 0)
	dialling.StartTime = time.Time{}
	over := func(at time.Time) status.Answer {
		a := answer(at, false, 30)
		a.EndTime = ended.Truncate(time.Millisecond)
		return a
	}
	gone := ended.Add(10*time.Minute + time.Second)
	steps := []struct {
		name string
		at   time.Time
		want status.Answer
	}{
		{"being dialled", begun.Add(-time.Second), dialling},
		{"alive", begun.Add(5 * time.Second), answer(begun.Add(5*time.Second), true, 5)},
		{"ended, and not yet known to be", ended.Add(time.Second), answer(ended.Add(time.Second), true, 35)},
		{"ended", ended.Add(2 * time.Second), over(ended.Add(2 * time.Second))},
		{"ended for nearly ten minutes", ended.Add(9 * time.Minute), over(ended.Add(9 * time.Minute))},
		{"gone", gone, status.Answer{
			Session: ref.Session, Leg: ref.Leg, Control: ref.Control, FetchedAt: gone, Result: status.NotFound, HTTPStatus: 422,
		}},
	}
	for _, step := range steps {
		now.set(step.at)
		if diff := cmp.Diff(step.want, fetch(t, client)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if got := server.Requests(ref.Control); got != len(steps) {
		t.Errorf("counted %d requests, want %d", got, len(steps))
	}
}

func TestACallEndsWhenItIsToldTo(t *testing.T) {
	server, client, now := startAPI(t, fake.APIConfig{}, fake.APICall{StartTime: begun})
	if a := fetch(t, client); a.IsAlive == nil || !*a.IsAlive {
		t.Errorf("got %+v, want a call that is alive", a)
	}
	if !server.End(ref.Control, now.read(), 12) || server.End("unknown", now.read(), 12) {
		t.Error("End confuses known and unknown calls")
	}
	if a := fetch(t, client); a.IsAlive == nil || *a.IsAlive || a.EndTime.IsZero() || *a.CallDuration != 12 {
		t.Errorf("got %+v, want a call that has ended", a)
	}
}

func TestEachReplyIsWhatItsNameSays(t *testing.T) {
	type result struct {
		Result  status.Result
		Status  int
		Problem status.Problem
	}
	tests := map[fake.Reply]result{
		fake.ReplyTruth:       {status.Answered, 200, ""},
		fake.ReplyAlive:       {status.Answered, 200, ""},
		fake.ReplyOtherCall:   {status.Unreachable, 200, status.ProblemOtherCall},
		fake.ReplyNotFound:    {status.NotFound, 404, ""},
		fake.ReplyGone:        {status.NotFound, 422, ""},
		fake.ReplyDenied:      {status.Denied, 401, ""},
		fake.ReplyForbidden:   {status.Denied, 403, ""},
		fake.ReplyRateLimited: {status.RateLimited, 429, ""},
		fake.ReplyServerError: {status.Unreachable, 500, status.ProblemHTTP},
		fake.ReplyHTML:        {status.Unreachable, 200, status.ProblemNotJSON},
		fake.ReplyHalfBody:    {status.Unreachable, 200, status.ProblemTruncated},
		fake.ReplySlow:        {status.Unreachable, 0, status.ProblemTimeout},
	}
	for reply, want := range tests {
		t.Run(string(reply), func(t *testing.T) {
			_, client, _ := startAPI(t, fake.APIConfig{Reset: 7}, fake.APICall{StartTime: begun, EndTime: ended, Script: []fake.Reply{reply}})
			a := fetch(t, client)
			if diff := cmp.Diff(want, result{a.Result, a.HTTPStatus, a.Problem}); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if alive := a.IsAlive != nil && *a.IsAlive; alive != (reply == fake.ReplyAlive) {
				t.Errorf("is_alive: %v", alive)
			}
			if reply == fake.ReplyRateLimited && a.RetryAfter != 7 {
				t.Errorf("retry after %v, want 7", a.RetryAfter)
			}
		})
	}
}

func TestASlowReplyIsTheTruthAfterAll(t *testing.T) {
	_, client, _ := startAPI(t, fake.APIConfig{Slow: time.Millisecond}, fake.APICall{StartTime: begun, EndTime: ended, Script: []fake.Reply{fake.ReplySlow}})
	if a := fetch(t, client); a.Result != status.Answered || a.EndTime.IsZero() {
		t.Errorf("got %+v, want the truth", a)
	}
}

func TestAScriptIsPlayedInTurnAndThenTheTruth(t *testing.T) {
	server, client, _ := startAPI(t, fake.APIConfig{}, fake.APICall{EndTime: ended, Script: []fake.Reply{fake.ReplyServerError}})
	if !server.Script(ref.Control, fake.ReplyNotFound) || server.Script("unknown", fake.ReplyNotFound) {
		t.Error("Script confuses known and unknown calls")
	}
	for i, want := range []status.Result{status.Unreachable, status.NotFound, status.Answered, status.Answered} {
		if got := fetch(t, client).Result; got != want {
			t.Errorf("request %d: got %s, want %s", i, got, want)
		}
	}
}

func TestRandomFaultsAreThoseOfTheSeed(t *testing.T) {
	play := func(seed uint64) (results []int) {
		config := fake.APIConfig{FaultShare: 0.5, Faults: []fake.Reply{fake.ReplyServerError, fake.ReplyNotFound}, Seed: seed}
		_, client, _ := startAPI(t, config, fake.APICall{EndTime: ended})
		for range 60 {
			results = append(results, fetch(t, client).HTTPStatus)
		}
		return results
	}
	one := play(1)
	if diff := cmp.Diff(one, play(1)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if cmp.Equal(one, play(2)) {
		t.Error("another seed gave the same faults")
	}
	seen := map[int]bool{}
	for _, code := range one {
		seen[code] = true
	}
	if diff := cmp.Diff(map[int]bool{200: true, 404: true, 500: true}, seen); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func TestRequestsThatAreNotUnderstood(t *testing.T) {
	server := fake.NewAPI(fake.APIConfig{APIKey: key, Now: func() time.Time { return ended }})
	server.Register(fake.APICall{Ref: ref, EndTime: ended})
	const path = "/v2/calls/v3%3Aa%2Fb%2Bc%3Dd"
	tests := []struct {
		name, method, path, authorization string
		status                            int
		code                              string
	}{
		{"no key", "GET", path, "", 401, "10009"},
		{"another key", "GET", path, "Bearer other", 401, "10009"},
		{"another scheme", "GET", path, "Basic " + key, 401, "10009"},
		{"an unknown call", "GET", "/v2/calls/unknown", "Bearer " + key, 404, "10005"},
		{"no call", "GET", "/v2/calls/", "Bearer " + key, 404, "10005"},
		{"another path", "GET", "/v2/numbers/1", "Bearer " + key, 404, "10005"},
		{"another method", "POST", path, "Bearer " + key, 405, ""},
		{"all well, without a prefix", "GET", "/calls/v3:a%2Fb+c=d", "Bearer " + key, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, http.NoBody)
			request.Header.Set("Authorization", tt.authorization)
			recorder := httptest.NewRecorder()
			server.ServeHTTP(recorder, request)
			var body struct {
				Errors []struct{ Code, Title, Detail string }
			}
			if err := json.NewDecoder(recorder.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("body: %v", err)
			}
			code := ""
			if len(body.Errors) > 0 {
				code = body.Errors[0].Code
			}
			if recorder.Code != tt.status || code != tt.code {
				t.Errorf("got %d, code %q; want %d, %q", recorder.Code, code, tt.status, tt.code)
			}
		})
	}
	if got := server.Requests("unknown"); got != 1 {
		t.Errorf("counted %d requests for the unknown call, want 1", got)
	}
	if got := server.TotalRequests(); got != 5 {
		t.Errorf("counted %d requests for calls, want 5", got)
	}
}

func TestCallsOfLongAgoAreForgotten(t *testing.T) {
	server, client, now := startAPI(t, fake.APIConfig{}, fake.APICall{EndTime: ended})
	fetch(t, client)
	now.set(ended.Add(21 * time.Minute))
	server.Register(fake.APICall{Ref: call.Ref{Control: "another"}})
	if got := server.Requests(ref.Control); got != 0 {
		t.Errorf("the server remembers %d requests", got)
	}
	if got := fetch(t, client).HTTPStatus; got != 404 {
		t.Errorf("got %d, want 404", got)
	}
}

func TestManyAskAtOnce(t *testing.T) {
	server, client, _ := startAPI(t, fake.APIConfig{}, fake.APICall{EndTime: ended})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			server.Register(fake.APICall{Ref: call.Ref{Control: "another"}})
			server.End(ref.Control, ended, 3)
			server.Script("another", fake.ReplyAlive)
			fetch(t, client)
		})
	}
	group.Wait()
	if got := server.Requests(ref.Control); got != 20 {
		t.Errorf("counted %d requests, want 20", got)
	}
}

// Whatever form a row has, the event in it is found.
func TestEveryFormOfTheHistoryCanBeRead(t *testing.T) {
	at := begun.Add(7 * time.Second)
	data := `{"event_type":"call.hangup","id":"event-7","occurred_at":"` + at.Format(time.RFC3339Nano) + `","payload":{"call_leg_id":"leg-1","call_session_id":"session-1","hangup_cause":"timeout"},"record_type":"event"}`
	for _, form := range []fake.Form{fake.FormDocumented, fake.FormNamed, fake.FormWrapped, fake.FormFlat} {
		t.Run(string(form), func(t *testing.T) {
			_, client, now := startAPI(t, fake.APIConfig{Form: form, Lag: time.Minute}, fake.APICall{
				StartTime: begun, EndTime: ended, Events: []fake.HistoryEvent{{ID: "event-7", Type: call.TypeHangup, OccurredAt: at, Data: []byte(data)}},
			})
			read := func() (events []call.Event) {
				came := make(chan status.Past, 1)
				client.AskHistory(t.Context(), status.Request{Ref: ref}, func(p status.Past, err error) {
					if err != nil {
						t.Error(err)
					}
					came <- p
				})
				past := <-came
				for _, row := range past.Rows {
					if got, err := telnyx.FromHistory(row, ref); err == nil {
						ev, err := telnyx.Decode(got.Body)
						if err != nil || !got.Exact {
							t.Errorf("row %s: %v, exact %t", row, err, got.Exact)
						}
						events = append(events, ev)
					}
				}
				return events
			}
			if early := read(); len(early) > 0 {
				t.Errorf("before the history has it: %+v", early)
			}
			now.set(ended.Add(time.Minute))
			events := read()
			if len(events) != 1 || events[0].Type != call.TypeHangup || !events[0].OccurredAt.Equal(at) || events[0].Ref.Leg != ref.Leg {
				t.Fatalf("events %+v", events)
			}
			if h, ok := events[0].Detail.(*call.Hangup); !ok || h.Cause != "timeout" {
				t.Errorf("detail %+v", events[0].Detail)
			}
			if (events[0].ID == "event-7") == (form == fake.FormNamed) {
				t.Errorf("id %s", events[0].ID)
			}
		})
	}
}

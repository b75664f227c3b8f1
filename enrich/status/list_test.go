package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

// legOf names leg n of a connection.
func legOf(n int) call.Ref {
	return call.Ref{
		Session: call.SessionID(fmt.Sprintf("session-%d", n)), Leg: call.LegID(fmt.Sprintf("leg-%d", n)),
		Control: call.ControlID(fmt.Sprintf("v3:%d", n)), Connection: "17",
	}
}

// serveFake serves a fake API and returns a client of it.
func serveFake(t *testing.T, config fake.APIConfig) (*fake.API, *status.Client) {
	t.Helper()
	server := fake.NewAPI(config)
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	client, err := status.New(status.Config{BaseURL: listener.URL + "/v2", APIKey: "KEY", Rate: math.Inf(1), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return server, client
}

// told are n events that the history of a leg has.
func told(leg, n int) []fake.HistoryEvent {
	var events []fake.HistoryEvent
	for i := range n {
		at := time.Now().Add(-time.Hour + time.Duration(i)*time.Second).UTC()
		events = append(events, fake.HistoryEvent{
			ID: fmt.Sprintf("event-%d", i), Type: "call.dtmf.received", OccurredAt: at,
			Data: fmt.Appendf(nil, `{"event_type":"call.dtmf.received","id":"event-%d","occurred_at":%q,"payload":{"call_leg_id":%q,"digit":"1"}}`, i, at.Format(time.RFC3339Nano), legOf(leg).Leg),
		})
	}
	return events
}

func TestAHistoryIsReadToItsEndAndToItsBound(t *testing.T) {
	for name, tc := range map[string]struct {
		config   fake.APIConfig
		events   int
		rows     int
		requests int
	}{
		"no event":                {fake.APIConfig{}, 0, 0, 1},
		"one page":                {fake.APIConfig{}, 9, 10, 1}, // with a command
		"pages that just fit":     {fake.APIConfig{PageSize: 5}, 9, 10, 2},
		"a page that is not full": {fake.APIConfig{PageSize: 5}, 10, 11, 3},
		"more than is read":       {fake.APIConfig{PageSize: 5}, 50, 40, 8},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := serveFake(t, tc.config)
			server.Register(fake.APICall{Ref: legOf(1), Events: told(1, tc.events)})
			server.Register(fake.APICall{Ref: legOf(2), Events: told(2, 3)})
			past, err := historyOf(t.Context(), client, legOf(1))
			if err != nil {
				t.Fatal(err)
			}
			if past.Result != status.Answered || past.HTTPStatus != 200 || past.FetchedAt.IsZero() || past.Leg != "leg-1" {
				t.Errorf("got %+v", past.Answer)
			}
			if n := server.HistoryRequests("leg-1"); len(past.Rows) != tc.rows || n != tc.requests {
				t.Errorf("%d rows in %d requests; want %d in %d", len(past.Rows), n, tc.rows, tc.requests)
			}
		})
	}
}

func TestAHistoryThatIsNotAnsweredSaysWhy(t *testing.T) {
	type result struct {
		Result  status.Result
		Status  int
		Problem status.Problem
	}
	for reply, want := range map[fake.Reply]result{
		fake.ReplyNotFound:    {status.NotFound, 404, ""},
		fake.ReplyDenied:      {status.Denied, 401, ""},
		fake.ReplyForbidden:   {status.Denied, 403, ""},
		fake.ReplyRateLimited: {status.RateLimited, 429, ""},
		fake.ReplyServerError: {status.Unreachable, 500, status.ProblemHTTP},
		fake.ReplyHTML:        {status.Unreachable, 200, status.ProblemNotJSON},
		fake.ReplyHalfBody:    {status.Unreachable, 200, status.ProblemTruncated},
		fake.ReplyOtherCall:   {status.Unreachable, 200, status.ProblemOtherCall},
	} {
		for page := range 2 {
			t.Run(fmt.Sprintf("%s on page %d", reply, page+1), func(t *testing.T) {
				server, client := serveFake(t, fake.APIConfig{PageSize: 5})
				server.Register(fake.APICall{Ref: legOf(1), Events: told(1, 9)})
				server.Register(fake.APICall{Ref: legOf(2), Events: told(2, 9)})
				for range page {
					server.ScriptHistory("leg-1", fake.ReplyTruth)
				}
				server.ScriptHistory("leg-1", reply)
				past, err := historyOf(t.Context(), client, legOf(1))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, result{past.Result, past.HTTPStatus, past.Problem}); diff != "" || past.Rows != nil {
					t.Errorf("%d rows (-want +got):\n%s", len(past.Rows), diff)
				}
				if n := server.HistoryRequests("leg-1"); n != page+1 {
					t.Errorf("asked %d times after a page that is no answer; want %d", n, page+1)
				}
			})
		}
	}
}

func TestOfAHistoryWhoseFilterIsIgnoredOnlyTheLegsRowsAreTaken(t *testing.T) {
	server, client := serveFake(t, fake.APIConfig{IgnoreFilter: true})
	server.Register(fake.APICall{Ref: legOf(1), Events: told(1, 3)})
	server.Register(fake.APICall{Ref: legOf(2), Events: told(2, 3)})
	past, err := historyOf(t.Context(), client, legOf(1))
	if err != nil || len(past.Rows) != 4 {
		t.Fatalf("%d rows, %v; want 4", len(past.Rows), err)
	}
	for _, row := range past.Rows {
		if strings.Contains(string(row), "leg-2") {
			t.Errorf("a foreign row: %s", row)
		}
	}
}

// A server that ignores page[number] as well must not be asked for ever.
func TestTheSamePageAgainEndsTheReading(t *testing.T) {
	requests := 0
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		_, _ = w.Write([]byte(`{"data":[{"call_leg_id":"leg-1"}],"meta":{"page_number":"1","total_pages":9}}`))
	}))
	t.Cleanup(listener.Close)
	client, err := status.New(status.Config{BaseURL: listener.URL, APIKey: "KEY"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	past, err := historyOf(t.Context(), client, legOf(1))
	if err != nil || len(past.Rows) != 1 || requests != 2 {
		t.Errorf("%d rows in %d requests, %v; want one in two", len(past.Rows), requests, err)
	}
}

func TestOddListsAreNoAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want status.Problem
	}{
		"an object":            {`{"data":{"call_leg_id":"leg-1"}}`, status.ProblemNoData},
		"no data":              {`{"errors":[]}`, status.ProblemNoData},
		"a list alone":         {`[{"call_leg_id":"leg-1"}]`, status.ProblemNoData},
		"null":                 {`null`, status.ProblemNoData},
		"nothing":              {``, status.ProblemNotJSON},
		"rows that are none":   {`{"data":[1,"leg-1",null],"meta":"x"}`, ""},
		"an empty list":        {`{"data":[],"meta":{"total_pages":"many"}}`, ""},
		"too large for a page": {`{"data":["` + strings.Repeat("x", status.MaxPage) + `"]}`, status.ProblemTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tc.body)) }))
			t.Cleanup(listener.Close)
			client, err := status.New(status.Config{BaseURL: listener.URL, APIKey: "KEY", Timeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			past, err := historyOf(t.Context(), client, legOf(1))
			if err != nil || past.Problem != tc.want {
				t.Errorf("problem %q, %v; want %q", past.Problem, err, tc.want)
			}
		})
	}
}

func TestAHistoryIsNotRecordedWhenItsContextEnds(t *testing.T) {
	server, client := serveFake(t, fake.APIConfig{Slow: time.Minute})
	server.Register(fake.APICall{Ref: legOf(1), Events: told(1, 3)})
	server.ScriptHistory("leg-1", fake.ReplySlow)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if past, err := historyOf(ctx, client, legOf(1)); !errors.Is(err, context.Canceled) || past.Rows != nil {
		t.Errorf("got %+v, %v", past, err)
	}
}

// inMemory carries requests to a handler, so that a bubble of synctest can hold both.
type inMemory struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	var err error
	func() {
		defer func() {
			if p := recover(); p != nil {
				err = io.ErrUnexpectedEOF // the handler broke the connection
			}
		}()
		m.handler.ServeHTTP(recorder, r)
	}()
	return recorder.Result(), err
}

// sweeping runs a test in virtual time, with a client of the handler.
func sweeping(t *testing.T, handler http.Handler, test func(t *testing.T, client *status.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, err := status.New(status.Config{BaseURL: "http://api.example.com/v2", APIKey: "KEY", Rate: math.Inf(1), Transport: inMemory{handler}})
		if err != nil {
			t.Fatal(err)
		}
		test(t, client)
	})
}

// sweep asks about legs at once and returns the answers by leg.
func sweep(t *testing.T, client *status.Client, legs ...int) map[call.LegID]status.Answer {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := make(map[call.LegID]status.Answer)
	for _, n := range legs {
		wg.Go(func() {
			a, err := sweepOf(t.Context(), client, legOf(n))
			if err != nil {
				t.Errorf("leg %d: %v", n, err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[legOf(n).Leg] = a
		})
	}
	wg.Wait()
	return got
}

func TestManyLegsOfAConnectionAreSweptWithOneList(t *testing.T) {
	server := fake.NewAPI(fake.APIConfig{PageSize: 4})
	sweeping(t, server, func(t *testing.T, client *status.Client) {
		for n := range 10 {
			c := fake.APICall{Ref: legOf(n), StartTime: time.Now().Add(-time.Hour), ClientState: "c3RhdGU="}
			if n == 3 {
				c.EndTime = time.Now().Add(-time.Minute)
			}
			server.Register(c)
		}
		got := sweep(t, client, 0, 1, 2, 3, 4, 5, 6, 7)
		if n := server.ActiveRequests("17"); n != 3 {
			t.Errorf("%d pages were asked for; want 3", n)
		}
		if n := server.TotalRequests(); n != 1 || server.Requests(legOf(3).Control) != 1 {
			t.Errorf("%d requests of single legs; want one, for the leg that is not on the list", n)
		}
		for n := range 8 {
			a := got[legOf(n).Leg]
			if a.Result != status.Answered || a.Ref() != legOf(n) || a.HTTPStatus != 200 || a.FetchedAt.IsZero() {
				t.Errorf("leg %d: %+v", n, a)
			}
			if alive := a.IsAlive != nil && *a.IsAlive; alive == (n == 3) || a.EndTime.IsZero() == (n == 3) {
				t.Errorf("leg %d: alive %t, end %v", n, alive, a.EndTime)
			}
		}
		// A list answers for some seconds more.
		sweep(t, client, 8)
		if n := server.ActiveRequests("17"); n != 3 || server.TotalRequests() != 1 {
			t.Errorf("%d pages and %d single requests after one more leg", n, server.TotalRequests())
		}
		<-time.After(5 * time.Second)
		sweep(t, client, 4, 5, 6, 7, 8)
		if n := server.ActiveRequests("17"); n != 6 || server.TotalRequests() != 1 {
			t.Errorf("%d pages and %d single requests when the list was old", n, server.TotalRequests())
		}
	})
}

func TestAFewLegsAreAskedAboutSingly(t *testing.T) {
	server := fake.NewAPI(fake.APIConfig{})
	sweeping(t, server, func(t *testing.T, client *status.Client) {
		for n := range 3 {
			server.Register(fake.APICall{Ref: legOf(n), StartTime: time.Now().Add(-time.Hour)})
		}
		sweep(t, client, 0, 1, 2)
		if n := server.TotalRequests(); n != 3 || server.ActiveRequests("17") != 0 {
			t.Errorf("%d single requests and %d lists; want 3 and none", n, server.ActiveRequests("17"))
		}
	})
}

func TestAListThatSaysNothingEndsNoLeg(t *testing.T) {
	for name, reply := range map[string]fake.Reply{
		"an empty list": fake.ReplyAlive, "a list of others": fake.ReplyOtherCall, "a refusal": fake.ReplyForbidden, "no such connection": fake.ReplyNotFound,
		"half a list": fake.ReplyHalfBody, "a page of HTML": fake.ReplyHTML,
	} {
		t.Run(name, func(t *testing.T) {
			server := fake.NewAPI(fake.APIConfig{})
			sweeping(t, server, func(t *testing.T, client *status.Client) {
				for n := range 6 {
					server.Register(fake.APICall{Ref: legOf(n), StartTime: time.Now().Add(-time.Hour)})
				}
				server.ScriptActive("17", reply)
				for leg, a := range sweep(t, client, 0, 1, 2, 3, 4, 5) {
					if a.IsAlive == nil || !*a.IsAlive {
						t.Errorf("%s: %+v; want alive, by its own answer", leg, a)
					}
				}
				if n := server.TotalRequests(); n != 6 {
					t.Errorf("%d single requests; want 6", n)
				}
			})
		})
	}
}

// What a list says is a sign of life or nothing, whatever it says.
func TestAListProvesNoEnd(t *testing.T) {
	rows := map[string]string{
		"leg-0": `"is_alive":false`, "leg-1": `"end_time":"2026-03-01T12:00:00Z"`, "leg-2": `"call_duration":-1`, "leg-3": `"client_state":7`,
	}
	var list []string
	for leg, more := range rows {
		list = append(list, `{"call_leg_id":"`+leg+`",`+more+`}`)
	}
	list = append(list, `7`, `null`, `{"call_leg_id":7}`)
	var single sync.Map
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/active_calls") {
			_, _ = w.Write([]byte(`{"data":[` + strings.Join(list, ",") + `]}`))
			return
		}
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		single.Store(id, true)
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"call_control_id": id, "is_alive": true}})
	})
	sweeping(t, api, func(t *testing.T, client *status.Client) {
		for leg, a := range sweep(t, client, 0, 1, 2, 3) {
			if a.IsAlive == nil || !*a.IsAlive || !a.EndTime.IsZero() {
				t.Errorf("%s: %+v", leg, a)
			}
		}
		for n := range 4 {
			_, asked := single.Load(string(legOf(n).Control))
			if asked != (n < 2) {
				t.Errorf("leg %d was asked about singly: %t", n, asked)
			}
		}
	})
}

package status_test

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ref is an invented call, as are all ids here.
var ref = call.Ref{
	Session:    "11111111-aaaa-11f0-8000-0242ac110002",
	Leg:        "22222222-aaaa-11f0-8000-0242ac110002",
	Control:    "v3:invented-control-id_of-a-call-that-never-was-made-0000",
	Connection: "1234567890123456789",
}

// noon is what the test clock shows.
var noon = time.Date(2031, time.March, 4, 12, 0, 0, 123456789, time.UTC)

const key = "KEY-0123-very-secret"

// data is a status of ref that has ended, less its outer braces.
const data = `"record_type":"call","call_session_id":"11111111-aaaa-11f0-8000-0242ac110002",
"call_leg_id":"22222222-aaaa-11f0-8000-0242ac110002",
"call_control_id":"v3:invented-control-id_of-a-call-that-never-was-made-0000",
"client_state":"c3RhdGU=","is_alive":false,"call_duration":34,
"start_time":"2031-03-04T11:59:00.25Z","end_time":"2031-03-04T11:59:34.250001Z"`

func newClient(t *testing.T, config status.Config) *status.Client {
	t.Helper()
	if config.APIKey == "" {
		config.APIKey = key
	}
	if config.Now == nil {
		config.Now = func() time.Time { return noon }
	}
	client, err := status.New(config)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(client.Close)
	return client
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func fetch(t *testing.T, client *status.Client) status.Answer {
	t.Helper()
	answer, err := client.Fetch(t.Context(), ref)
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	return answer
}

// roundTrip is a transport without a network, for tests in a synctest bubble.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(code int, body string, header ...string) (*http.Response, error) {
	response := &http.Response{
		StatusCode: code,
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(body)),
	}
	for i := 0; i+1 < len(header); i += 2 {
		response.Header.Set(header[i], header[i+1])
	}
	return response, nil
}

// hang answers nothing until the request's context ends.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// historyOf asks for the history of a leg and waits for what comes of it.
func historyOf(ctx context.Context, client *status.Client, of call.Ref) (status.Past, error) {
	type outcome struct {
		past status.Past
		err  error
	}
	came := make(chan outcome, 1)
	client.AskHistory(ctx, status.Request{Ref: of, Place: status.Place{Class: status.History}}, func(p status.Past, err error) {
		came <- outcome{p, err}
	})
	o := <-came
	return o.past, o.err
}

// sweepOf asks about a leg that is believed to be alive and waits for what comes of it.
func sweepOf(ctx context.Context, client *status.Client, of call.Ref) (status.Answer, error) {
	type outcome struct {
		answer status.Answer
		err    error
	}
	came := make(chan outcome, 1)
	client.Ask(ctx, status.Request{Ref: of, Place: status.Place{Class: status.Sweep}}, func(a status.Answer, err error) {
		came <- outcome{a, err}
	})
	o := <-came
	return o.answer, o.err
}

// FuzzBody feeds any body to the client: whatever it is, there is an answer
// that can be written to the log and read back as it was.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"data":{` + data + `}}`,
		`{"errors":[{"code":10007}],"data":{` + data + `,"call_duration":"1e400"}}`,
		`{"data":{"call_leg_id":"22222222-aaaa-11f0-8000-0242ac110002","is_alive":"true","call_duration":-1,"end_time":"0000-01-01T00:00:00+23:59"}}`,
		`{"data":{"call_control_id":null,"call_leg_id":7}}`,
		`{"data":[`, `<html>`, ``, `null`, "{\"data\":{\"client_state\":\"\xff\\u0000\"}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client := newClient(t, status.Config{
			Rate:      math.Inf(1),
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(200, string(body)) }),
		})
		answer := fetch(t, client)
		if answer.Result != status.Answered && answer.Result != status.Unreachable {
			t.Errorf("a 200 gave the result %q", answer.Result)
		}
		if (answer.Problem == "") != (answer.Result == status.Answered) {
			t.Errorf("result %q with problem %q", answer.Result, answer.Problem)
		}
		encoded, err := json.Marshal(answer)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		if len(encoded) > 512<<10 {
			t.Errorf("an answer takes %d bytes", len(encoded))
		}
		var back status.Answer
		if err := json.Unmarshal(encoded, &back); err != nil {
			t.Fatalf("Unmarshal: %v", err)
		}
		if diff := cmp.Diff(answer, back); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	})
}

// FuzzHistory feeds any page to the client: whatever it is, the reading ends, and
// what it says can be written to the log.
func FuzzHistory(f *testing.F) {
	for _, seed := range []string{
		`{"data":[{"call_leg_id":"leg-1"}],"meta":{"page_number":1,"total_pages":3}}`,
		`{"data":["leg-1",null,7],"meta":{"cursors":{"after":"x"}}}`,
		`{"data":[{"call_leg_id":"leg-2"}],"meta":{"total_pages":"1e9","page_number":-1}}`,
		`{"data":{},"meta":[]}`, `{"data":[`, `<html>`, ``, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		requests := 0
		client := newClient(t, status.Config{
			Rate: math.Inf(1),
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				requests++
				return respond(200, string(body))
			}),
		})
		past, err := historyOf(t.Context(), client, legOf(1))
		if err != nil {
			t.Fatal(err)
		}
		if requests > 8 || (past.Problem == "") != (past.Result == status.Answered) || past.Rows != nil && past.Result != status.Answered {
			t.Errorf("%d requests, result %q, problem %q, %d rows", requests, past.Result, past.Problem, len(past.Rows))
		}
		if _, err := json.Marshal(past.Answer); err != nil {
			t.Fatalf("Marshal: %v", err)
		}
	})
}

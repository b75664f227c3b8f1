package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
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

func TestAConfigThatCannotWorkIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		config status.Config
	}{
		{"no key", status.Config{}},
		{"a key with a line break", status.Config{APIKey: key + "\n"}},
		{"a base URL that is none", status.Config{APIKey: key, BaseURL: "://"}},
		{"a base URL of another scheme", status.Config{APIKey: key, BaseURL: "ftp://api.example.com"}},
		{"a base URL without host", status.Config{APIKey: key, BaseURL: "https:///v2"}},
		{"a base URL with credentials", status.Config{APIKey: key, BaseURL: "https://user:" + key + "@api.example.com"}},
		{"a base URL with a query", status.Config{APIKey: key, BaseURL: "https://api.example.com?x=1"}},
		{"a negative rate", status.Config{APIKey: key, Rate: -1}},
		{"a rate that is no number", status.Config{APIKey: key, Rate: math.NaN()}},
		{"a negative timeout", status.Config{APIKey: key, Timeout: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, err := status.New(tt.config)
			if err == nil {
				t.Fatalf("New returned %v, want an error", client)
			}
			if strings.Contains(err.Error(), key) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestTheKeyIsNeverShown(t *testing.T) {
	var log bytes.Buffer
	level := &slog.HandlerOptions{Level: slog.LevelDebug}
	loggers := []*slog.Logger{slog.New(slog.NewTextHandler(&log, level)), slog.New(slog.NewJSONHandler(&log, level))}

	replies := []func() (*http.Response, error){
		func() (*http.Response, error) { return respond(401, key) },
		func() (*http.Response, error) { return respond(500, key) },
		func() (*http.Response, error) { return respond(200, `{"data":"`+key) },
		func() (*http.Response, error) { return nil, errors.New("the line is dead") },
	}
	var shown strings.Builder
	for _, logger := range loggers {
		for _, reply := range replies {
			config := status.Config{
				APIKey: key, Logger: logger, Registerer: prometheus.NewRegistry(),
				Transport: roundTrip(func(*http.Request) (*http.Response, error) { return reply() }),
			}
			client := newClient(t, config)
			answer := fetch(t, client)
			encoded, err := json.Marshal(answer)
			if err != nil {
				t.Fatalf("Marshal: %v", err)
			}
			shown.Write(encoded)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				fmt.Fprintf(&shown, verb, config)
				fmt.Fprintf(&shown, verb, &config)
				fmt.Fprintf(&shown, verb, client)
				fmt.Fprintf(&shown, verb, struct{ c *status.Client }{client})
			}
			logger.Info("configured", "config", config, "client", client)
		}
	}
	if !strings.Contains(log.String(), "the line is dead") {
		t.Errorf("the log does not tell why a request failed:\n%s", log.String())
	}
	if strings.Contains(shown.String()+log.String(), key) {
		t.Errorf("the key is shown:\n%s\n%s", shown.String(), log.String())
	}
}

func TestTheLogShowsNoClientState(t *testing.T) {
	var log bytes.Buffer
	client := newClient(t, status.Config{
		Logger:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(200, `{"data":{`+data+`}}`) }),
	})
	if answer := fetch(t, client); answer.ClientState == "" {
		t.Fatal("the answer has no client state")
	}
	if got := log.String(); !strings.Contains(got, string(ref.Leg)) || strings.Contains(got, "c3RhdGU") {
		t.Errorf("want a line with the leg and without the client state, got: %s", got)
	}
}

func TestRequestsAreCountedByResult(t *testing.T) {
	registry := prometheus.NewRegistry()
	code := 0
	client := newClient(t, status.Config{
		Registerer: registry, Rate: math.Inf(1),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(code, "") }),
	})
	for _, code = range []int{404, 422, 401, 503, 200} {
		fetch(t, client)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("Gather: %v", err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			value := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if value == 0 && len(m.GetLabel()) > 0 {
				continue // begun, and nothing happened
			}
			got[name] = value
		}
	}
	want := map[string]float64{
		"legato_status_requests_total  not_found":             2,
		"legato_status_requests_total  denied":                1,
		"legato_status_requests_total http_error unreachable": 1,
		"legato_status_requests_total not_json unreachable":   1,
		"legato_status_request_duration_seconds":              5,
		"legato_status_requests_in_flight":                    0,
		"legato_status_pauses_total":                          0,
		"legato_status_backlog_seconds":                       0,
		"legato_status_rate":                                  0,
		"legato_active_calls_listed_total":                    0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if _, err := status.New(status.Config{APIKey: key, Registerer: registry}); err == nil {
		t.Error("a second client on one registry: want an error")
	}
}

package status_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

func asked() status.Answer {
	return status.Answer{
		Session: ref.Session, Leg: ref.Leg, Control: ref.Control, Connection: ref.Connection,
		FetchedAt: time.Date(2031, time.March, 4, 12, 0, 0, 123456000, time.UTC),
	}
}

func answered(change func(*status.Answer)) status.Answer {
	a := asked()
	a.Result, a.HTTPStatus = status.Answered, 200
	a.IsAlive, a.CallDuration = new(false), new(34.0)
	a.StartTime = time.Date(2031, time.March, 4, 11, 59, 0, 250000000, time.UTC)
	a.EndTime = time.Date(2031, time.March, 4, 11, 59, 34, 250001000, time.UTC)
	a.ClientState, a.RecordType = "c3RhdGU=", "call"
	if change != nil {
		change(&a)
	}
	return a
}

func unusable(code int, problem status.Problem) status.Answer {
	a := asked()
	a.Result, a.HTTPStatus, a.Problem = status.Unreachable, code, problem
	return a
}

func refused(code int, result status.Result, retryAfter float64) status.Answer {
	a := asked()
	a.Result, a.HTTPStatus, a.RetryAfter = result, code, retryAfter
	return a
}

func TestA200IsReadLeniently(t *testing.T) {
	with := func(old, replacement string) string {
		changed := strings.Replace(data, old, replacement, 1)
		if changed == data {
			t.Fatalf("%q is not in the body", old)
		}
		return `{"data":{` + changed + `}}`
	}
	tests := []struct {
		name string
		body string
		want status.Answer
	}{
		{"a call that has ended", `{"data":{` + data + `}}`, answered(nil)},
		{
			"a call that is alive", with(`"is_alive":false`, `"is_alive":true`),
			answered(func(a *status.Answer) { a.IsAlive = new(true) }),
		},
		{
			"client_state null", with(`"c3RhdGU="`, `null`),
			answered(func(a *status.Answer) { a.ClientState = "" }),
		},
		{
			"client_state of another type", with(`"c3RhdGU="`, `{"a":1}`),
			answered(func(a *status.Answer) { a.ClientState = "" }),
		},
		{
			"client_state beyond all measure", with(`c3RhdGU=`, strings.Repeat("A", 65<<10)),
			answered(func(a *status.Answer) { a.ClientState = "" }),
		},
		{
			"duration as text", with(`:34`, `:"34"`), answered(nil),
		},
		{
			"duration not a number", with(`:34`, `:"NaN"`),
			answered(func(a *status.Answer) { a.CallDuration = nil }),
		},
		{
			"duration zero is stated", with(`:34`, `:0`),
			answered(func(a *status.Answer) { a.CallDuration = new(0.0) }),
		},
		{
			"is_alive as text", with(`"is_alive":false`, `"is_alive":"false"`), answered(nil),
		},
		{
			"is_alive of another type is not stated", with(`"is_alive":false`, `"is_alive":[]`),
			answered(func(a *status.Answer) { a.IsAlive = nil }),
		},
		{
			"a time in another zone", with(`11:59:34.250001Z`, `13:59:34.250001+02:00`), answered(nil),
		},
		{
			"a time that is none", with(`2031-03-04T11:59:34.250001Z`, `yesterday`),
			answered(func(a *status.Answer) { a.EndTime = time.Time{} }),
		},
		{
			"a year that UTC pushes out of range", with(`2031-03-04T11:59:34.250001Z`, `9999-12-31T23:59:59-10:00`),
			answered(func(a *status.Answer) { a.EndTime = time.Time{} }),
		},
		{"errors beside the data", `{"errors":[{"code":10007}],"data":{` + data + `}}`, answered(nil)},
		{"unknown fields", `{"meta":{},"data":{"more":[1],` + data + `}}`, answered(nil)},
		{
			"another form of control id of the same leg", with(`v3:invented`, `v2:otherwise`), answered(nil),
		},
		{
			"no leg id but this control id", with(`"call_leg_id":"22222222-aaaa-11f0-8000-0242ac110002",`, ``), answered(nil),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, tt.body) })
			if diff := cmp.Diff(tt.want, fetch(t, newClient(t, status.Config{BaseURL: url}))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestA200WithoutAStatusIsUnreachable(t *testing.T) {
	tests := []struct {
		name, body string
		want       status.Problem
	}{
		{"HTML", `<!DOCTYPE html><html><body>Maintenance</body></html>`, status.ProblemNotJSON},
		{"nothing at all", ``, status.ProblemNotJSON},
		{"JSON cut off", `{"data":{` + data[:60], status.ProblemNotJSON},
		{"two documents", `{"data":{` + data + `}}{}`, status.ProblemNotJSON},
		{"errors and no data", `{"errors":[{"code":"10007","title":"Unexpected error"}]}`, status.ProblemNoData},
		{"data of another type", `{"data":[]}`, status.ProblemNoData},
		{"data null", `{"data":null}`, status.ProblemNoData},
		{"not an object", `"data"`, status.ProblemNoData},
		{"no ids", `{"data":{"record_type":"call","is_alive":false}}`, status.ProblemNoIDs},
		{"another leg", `{"data":{` + strings.Replace(data, "22222222", "33333333", 1) + `}}`, status.ProblemOtherCall},
		{"no leg and another control id", `{"data":{"call_control_id":"v3:another"}}`, status.ProblemOtherCall},
		{"a huge body", `{"data":{` + data + `,"x":"` + strings.Repeat("x", status.MaxBody) + `"}}`, status.ProblemTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, tt.body) })
			want := unusable(200, tt.want)
			if diff := cmp.Diff(want, fetch(t, newClient(t, status.Config{BaseURL: url}))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAStatusDecidesWhateverTheBody(t *testing.T) {
	tests := []struct {
		name   string
		code   int
		header []string
		want   status.Answer
	}{
		{"404", 404, nil, refused(404, status.NotFound, 0)},
		{"422", 422, nil, refused(422, status.NotFound, 0)},
		{"401", 401, nil, refused(401, status.Denied, 0)},
		{"403", 403, nil, refused(403, status.Denied, 0)},
		{"429 without a word", 429, nil, refused(429, status.RateLimited, 0)},
		{"429 with seconds", 429, []string{"Retry-After", "7"}, refused(429, status.RateLimited, 7)},
		{
			"429 with a date", 429,
			[]string{"Retry-After", noon.Add(9 * time.Second).Format(http.TimeFormat)},
			refused(429, status.RateLimited, 8.876543211), // the clock shows a fraction, HTTP dates do not
		},
		{"429 with a date gone by", 429, []string{"Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"}, refused(429, status.RateLimited, 0)},
		{"429 with a reset", 429, []string{"x-ratelimit-reset", "3"}, refused(429, status.RateLimited, 3)},
		{"Retry-After before the reset", 429, []string{"x-ratelimit-reset", "3", "Retry-After", "5"}, refused(429, status.RateLimited, 5)},
		{"429 asks for too much", 429, []string{"Retry-After", "86400"}, refused(429, status.RateLimited, 60)},
		{"429 says nonsense", 429, []string{"Retry-After", "NaN", "x-ratelimit-reset", "-1"}, refused(429, status.RateLimited, 0)},
		{"500", 500, nil, unusable(500, status.ProblemHTTP)},
		{"503 with seconds", 503, []string{"Retry-After", "2"}, func() status.Answer {
			a := unusable(503, status.ProblemHTTP)
			a.RetryAfter = 2
			return a
		}()},
		{"408", 408, nil, unusable(408, status.ProblemHTTP)},
		{"204", 204, nil, unusable(204, status.ProblemHTTP)},
		{"a redirect is not followed", 302, []string{"Location", "/elsewhere"}, unusable(302, status.ProblemHTTP)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				requests++
				for i := 0; i+1 < len(tt.header); i += 2 {
					w.Header().Set(tt.header[i], tt.header[i+1])
				}
				w.WriteHeader(tt.code)
				if tt.code != http.StatusNoContent {
					_, _ = fmt.Fprint(w, `{"data":{`+data+`}}`)
				}
			})
			if diff := cmp.Diff(tt.want, fetch(t, newClient(t, status.Config{BaseURL: url}))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if requests != 1 {
				t.Errorf("got %d requests, want 1", requests)
			}
		})
	}
}

func TestNoAnswerIsUnreachable(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    status.Answer
	}{
		{
			"the connection breaks before the answer",
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			unusable(0, status.ProblemConnection),
		},
		{
			"the connection breaks in the middle of the body",
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "400")
				_, _ = fmt.Fprint(w, `{"data":{`)
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			},
			unusable(200, status.ProblemTruncated),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient(t, status.Config{BaseURL: serve(t, tt.handler)})
			if diff := cmp.Diff(tt.want, fetch(t, client)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSilenceIsATimeout(t *testing.T) {
	tests := []struct {
		name  string
		reply roundTrip
		want  status.Answer
	}{
		{
			"before the answer",
			func(r *http.Request) (*http.Response, error) { return nil, hang(r.Context()) },
			unusable(0, status.ProblemTimeout),
		},
		{
			"in the middle of the body",
			func(r *http.Request) (*http.Response, error) {
				response, err := respond(200, "")
				response.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"data":{`), silence{r}))
				return response, err
			},
			unusable(200, status.ProblemTimeout),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				answer := fetch(t, newClient(t, status.Config{Transport: tt.reply}))
				if diff := cmp.Diff(tt.want, answer); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				if got := time.Since(begun); got != status.DefaultTimeout {
					t.Errorf("took %s, want %s", got, status.DefaultTimeout)
				}
			})
		})
	}
}

// silence is a body that says nothing until the request is given up.
type silence struct{ r *http.Request }

func (s silence) Read([]byte) (int, error) { return 0, hang(s.r.Context()) }

func TestNobodyListensIsUnreachable(t *testing.T) {
	client := newClient(t, status.Config{BaseURL: "http://127.0.0.1:1"})
	if diff := cmp.Diff(unusable(0, status.ProblemConnection), fetch(t, client)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestTheRequestIsAsDocumented(t *testing.T) {
	var got *http.Request
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = fmt.Fprint(w, `{"data":{}}`)
	})
	client := newClient(t, status.Config{BaseURL: url + "/v2/", UserAgent: "legato/1.2.3"})
	odd := call.Ref{Leg: "leg", Control: "v3:a/b+c=d?e#f%g&h"}
	if _, err := client.Fetch(t.Context(), odd); err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	want := map[string]string{
		"method":        "GET",
		"path":          "/v2/calls/v3%3Aa%2Fb%2Bc%3Dd%3Fe%23f%25g%26h",
		"Authorization": "Bearer " + key,
		"User-Agent":    "legato/1.2.3",
		"Accept":        "application/json",
	}
	have := map[string]string{"method": got.Method, "path": got.RequestURI}
	for _, name := range []string{"Authorization", "User-Agent", "Accept"} {
		have[name] = got.Header.Get(name)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestAnIDThatCannotBeAskedForIsNotSent(t *testing.T) {
	client := newClient(t, status.Config{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("a request was sent: %s", r.URL)
		return respond(404, "")
	})})
	for _, id := range []call.ControlID{"", ".", "..", "a b", "a\nb", call.ControlID(strings.Repeat("x", 513))} {
		answer, err := client.Fetch(t.Context(), call.Ref{Leg: "leg", Control: id})
		if err != nil {
			t.Errorf("Fetch(%q): %v", id, err)
		}
		if answer.Result != status.Unreachable || answer.Problem != status.ProblemBadID {
			t.Errorf("Fetch(%q) = %s, %s; want unreachable, bad_control_id", id, answer.Result, answer.Problem)
		}
	}
}

func TestAnAnswerSurvivesTheLog(t *testing.T) {
	full := answered(func(a *status.Answer) {
		a.Attempt, a.RetryAfter, a.Problem = 3, 1.5, status.ProblemHTTP
	})
	const wantFull = `{"call_session_id":"11111111-aaaa-11f0-8000-0242ac110002","call_leg_id":"22222222-aaaa-11f0-8000-0242ac110002",` +
		`"call_control_id":"v3:invented-control-id_of-a-call-that-never-was-made-0000","connection_id":"1234567890123456789",` +
		`"attempt":3,"fetched_at":"2031-03-04T12:00:00.123456Z","result":"answered","http_status":200,"problem":"http_error",` +
		`"retry_after_seconds":1.5,"is_alive":false,"call_duration":34,"start_time":"2031-03-04T11:59:00.25Z",` +
		`"end_time":"2031-03-04T11:59:34.250001Z","client_state":"c3RhdGU=","record_type":"call"}`
	tests := []struct {
		name   string
		answer status.Answer
		want   string
	}{
		{"everything", full, wantFull},
		{
			"nothing but what is always there",
			status.Answer{FetchedAt: full.FetchedAt, Result: status.Unreachable},
			`{"fetched_at":"2031-03-04T12:00:00.123456Z","result":"unreachable"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			encoded, err := json.Marshal(tt.answer)
			if err != nil {
				t.Fatalf("Marshal: %v", err)
			}
			if diff := cmp.Diff(tt.want, string(encoded)); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
			var back status.Answer
			if err := json.Unmarshal(encoded, &back); err != nil {
				t.Fatalf("Unmarshal: %v", err)
			}
			if diff := cmp.Diff(tt.answer, back); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(ref, full.Ref()); diff != "" {
		t.Errorf("Ref (-want +got):\n%s", diff)
	}
}

package status_test

import (
	"encoding/json"
	"math"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
)

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

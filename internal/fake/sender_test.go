package fake_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/internal/fake"
)

var private = ed25519.NewKeyFromSeed([]byte("thirty-two bytes, never a secret"))

func sign(at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	return timestamp, base64.StdEncoding.EncodeToString(ed25519.Sign(private, fmt.Appendf(nil, "%s|%s", timestamp, body)))
}

// roundTrip is a transport without a network, for tests in a synctest bubble.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(code int) (*http.Response, error) {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

func newSender(t *testing.T, config fake.SenderConfig) *fake.Sender {
	t.Helper()
	if config.Target == "" {
		config.Target = "http://hooks.example.com/webhooks/telnyx"
	}
	config.Sign = sign
	sender, err := fake.NewSender(config)
	if err != nil {
		t.Fatalf("NewSender: %v", err)
	}
	t.Cleanup(sender.Close)
	return sender
}

func TestASenderNeedsTargetAndSignature(t *testing.T) {
	for _, config := range []fake.SenderConfig{
		{Sign: sign},
		{Target: "nowhere", Sign: sign},
		{Target: "ftp://hooks.example.com", Sign: sign},
		{Target: "http://hooks.example.com"},
	} {
		if _, err := fake.NewSender(config); err == nil {
			t.Errorf("NewSender(%q, signs: %v): want an error", config.Target, config.Sign != nil)
		}
	}
}

func TestAPostIsSignedAsTelnyxDoes(t *testing.T) {
	var header http.Header
	var body []byte
	var method string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		method, header = r.Method, r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	d := tidy().Deliveries[0]
	before := time.Now().Unix()
	outcome := newSender(t, fake.SenderConfig{Target: server.URL + "/hook", Timeout: time.Minute}).Send(t.Context(), d)
	if diff := cmp.Diff(fake.Outcome{Accepted: true, Posts: 1, Status: 200}, outcome); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(d.Body(1, server.URL+"/hook")), string(body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	got := []string{method, header.Get("Content-Type"), header.Get("User-Agent")}
	if diff := cmp.Diff([]string{"POST", "application/json", "telnyx-webhooks"}, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	timestamp := header.Get("Telnyx-Timestamp")
	if at, err := strconv.ParseInt(timestamp, 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("timestamp %q, want that of the post", timestamp)
	}
	signature, err := base64.StdEncoding.DecodeString(header.Get("Telnyx-Signature-Ed25519"))
	if err != nil || !ed25519.Verify(private.Public().(ed25519.PublicKey), fmt.Appendf(nil, "%s|%s", timestamp, body), signature) {
		t.Errorf("the signature does not match: %v", err)
	}
}

func TestWhatIsPostedAgain(t *testing.T) {
	broken := errors.New("connection refused")
	tests := []struct {
		name string
		// answers are given in turn, the last one for good; 0 breaks the connection.
		answers []int
		want    fake.Outcome
		took    time.Duration
	}{
		{"200 at once", []int{200}, fake.Outcome{Accepted: true, Posts: 1, Status: 200}, 0},
		{"204 is a success too", []int{204}, fake.Outcome{Accepted: true, Posts: 1, Status: 204}, 0},
		{"503 and then 200", []int{503, 200}, fake.Outcome{Accepted: true, Posts: 2, Status: 200}, time.Second},
		{"429, 408, 500", []int{429, 408, 500, 200}, fake.Outcome{Accepted: true, Posts: 4, Status: 200}, 7 * time.Second},
		{"no connection", []int{0, 200}, fake.Outcome{Accepted: true, Posts: 2, Status: 200}, time.Second},
		{"500 for ever", []int{500}, fake.Outcome{Posts: 4, Status: 500}, 7 * time.Second},
		{"401 is final", []int{401}, fake.Outcome{Posts: 1, Status: 401}, 0},
		{"404 after a 500", []int{500, 404}, fake.Outcome{Posts: 2, Status: 404}, time.Second},
		{"a redirect is a failure", []int{301}, fake.Outcome{Posts: 1, Status: 301}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts []int
				sender := newSender(t, fake.SenderConfig{
					Attempts: 4, Backoff: time.Second,
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						var body struct{ Meta struct{ Attempt int } }
						if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
							t.Errorf("body: %v", err)
						}
						attempts = append(attempts, body.Meta.Attempt)
						code := tt.answers[min(len(attempts), len(tt.answers))-1]
						if code == 0 {
							return nil, broken
						}
						return respond(code)
					}),
				})
				begun := time.Now()
				if diff := cmp.Diff(tt.want, sender.Send(t.Context(), tidy().Deliveries[0])); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if got := time.Since(begun); got != tt.took {
					t.Errorf("took %s, want %s", got, tt.took)
				}
				for i, attempt := range attempts {
					if attempt != i+1 {
						t.Errorf("meta.attempt of the posts: %v, want to count from 1", attempts)
						break
					}
				}
			})
		})
	}
}

func TestASlowEndpointTimesOutAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := newSender(t, fake.SenderConfig{
			Attempts: 2,
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		begun := time.Now()
		outcome := sender.Send(t.Context(), tidy().Deliveries[0])
		if outcome.Accepted || outcome.Posts != 2 || !errors.Is(outcome.Err, context.DeadlineExceeded) {
			t.Errorf("got %+v, want two posts that timed out", outcome)
		}
		// Two timeouts of 2 s and the back-off between them.
		if got := time.Since(begun); got != 4500*time.Millisecond {
			t.Errorf("took %s, want 4.5s", got)
		}
	})
}

func TestTheBudgetEndsTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := newSender(t, fake.SenderConfig{
			Attempts: 100, Backoff: time.Second,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(503) }),
		})
		begun := time.Now()
		// 1 + 2 + 4 + 8 + 16 = 31 s; another 32 s would exceed the minute.
		if diff := cmp.Diff(fake.Outcome{Posts: 6, Status: 503}, sender.Send(t.Context(), tidy().Deliveries[0])); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		if got := time.Since(begun); got != 31*time.Second {
			t.Errorf("took %s, want 31s", got)
		}
	})
}

func TestACancelledSendIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := newSender(t, fake.SenderConfig{
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(503) }),
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		outcome := sender.Send(ctx, tidy().Deliveries[0])
		if outcome.Accepted || outcome.Posts != 2 || !errors.Is(outcome.Err, context.Canceled) {
			t.Errorf("got %+v, want two posts and a cancellation", outcome)
		}
	})
}

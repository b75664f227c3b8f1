package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Defaults of a Sender.
const (
	// DefaultTimeout is how long Telnyx waits for the answer to a webhook.
	DefaultTimeout = 2 * time.Second
	// DefaultAttempts counts the posts of one delivery, the first included.
	DefaultAttempts = 5
	// DefaultBackoff is the wait before the second post; it doubles from then on.
	// With five attempts: 0.5 + 1 + 2 + 4 = 7.5 s, and as much as 10 s of timeouts.
	DefaultBackoff = 500 * time.Millisecond
	// DefaultBudget is the time after which no further attempt begins.
	DefaultBudget = time.Minute
)

// SignFunc signs a body and returns the values of the headers Telnyx-Timestamp
// (Unix seconds of at) and Telnyx-Signature-Ed25519.
type SignFunc func(at time.Time, body []byte) (timestamp, signature string)

// SenderConfig says where to and how a Sender posts. Zero values stand for defaults.
type SenderConfig struct {
	// Target is the webhook URL. Required.
	Target string
	// FailoverName is meta.delivered_to of duplicates; they are posted to Target
	// all the same. Default: Target with the query "failover".
	FailoverName string
	// Sign signs each post. Required.
	Sign SignFunc
	// Transport carries the requests. Default: one of the sender's own.
	Transport http.RoundTripper
	// Timeout bounds one post. Default DefaultTimeout.
	Timeout time.Duration
	// Attempts bounds the posts of one delivery. Default DefaultAttempts.
	Attempts int
	// Backoff is the wait before the second post; it doubles. Default DefaultBackoff.
	Backoff time.Duration
	// Budget is the time after which no further attempt begins. Default DefaultBudget.
	Budget time.Duration
}

// Sender posts deliveries as Telnyx does. It is safe for concurrent use.
type Sender struct {
	config SenderConfig
	client http.Client
	owned  *http.Transport
}

// Outcome is what became of one delivery.
type Outcome struct {
	// Accepted tells that a post was answered 2xx.
	Accepted bool
	// Posts counts the requests that were made.
	Posts int
	// Status is that of the last answer. Zero: there was none.
	Status int
	// Err tells why there was no last answer: a timeout, no connection, or the
	// context's end, which stops a delivery.
	Err error
}

// NewSender returns a sender. It fails when target or signature are missing.
func NewSender(config SenderConfig) (*Sender, error) {
	target, err := url.Parse(config.Target)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, fmt.Errorf("fake Telnyx: the target %q is no http or https URL", config.Target)
	}
	if config.Sign == nil {
		return nil, errors.New("fake Telnyx: nothing to sign with")
	}
	if config.FailoverName == "" {
		other := *target
		other.RawQuery = "failover"
		config.FailoverName = other.String()
	}
	config.Timeout = orDefault(config.Timeout, DefaultTimeout)
	config.Attempts = orDefault(config.Attempts, DefaultAttempts)
	config.Backoff = orDefault(config.Backoff, DefaultBackoff)
	config.Budget = orDefault(config.Budget, DefaultBudget)

	s := &Sender{config: config}
	s.client = http.Client{
		Transport: config.Transport,
		// A redirect is no success for Telnyx.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if config.Transport == nil {
		// Webhooks come from outside and through no proxy of ours.
		s.owned = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}
		s.client.Transport = s.owned
	}
	return s, nil
}

func orDefault[T int | time.Duration | float64](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// Close lets go of idle connections.
func (s *Sender) Close() {
	if s.owned != nil {
		s.owned.CloseIdleConnections()
	}
}

// Send posts a delivery until it is accepted, refused for good, or out of attempts.
func (s *Sender) Send(ctx context.Context, d Delivery) Outcome {
	var outcome Outcome
	begun, wait := time.Now(), s.config.Backoff
	deliveredTo := s.config.Target
	if d.Duplicate {
		deliveredTo = s.config.FailoverName
	}
	for {
		outcome.Status, outcome.Err = s.post(ctx, d.Body(d.Attempt+outcome.Posts, deliveredTo))
		outcome.Posts++
		outcome.Accepted = outcome.Status/100 == 2
		if outcome.Accepted || !again(outcome) || outcome.Posts >= s.config.Attempts {
			return outcome
		}
		if time.Since(begun)+wait > s.config.Budget {
			return outcome
		}
		if err := sleep(ctx, wait); err != nil {
			outcome.Err = err
			return outcome
		}
		wait *= 2
	}
}

// again reports whether Telnyx would post once more: after no answer, 408, 429 and 5xx. Any other answer is final.
func again(o Outcome) bool {
	switch {
	case errors.Is(o.Err, context.Canceled):
		return false
	case o.Err != nil, o.Status == http.StatusRequestTimeout, o.Status == http.StatusTooManyRequests:
		return true
	}
	return o.Status >= 500
}

func (s *Sender) post(ctx context.Context, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.Target, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", err)
	}
	// At each attempt anew: a signature is as old as the post, not as the event.
	timestamp, signature := s.config.Sign(time.Now(), body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "telnyx-webhooks")
	request.Header.Set("Telnyx-Timestamp", timestamp)
	request.Header.Set("Telnyx-Signature-Ed25519", signature)
	response, err := s.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 16<<10)
	return response.StatusCode, nil
}

// sleep waits for d, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Package status asks Telnyx what became of a call: it is the client of
// GET /calls/{call_control_id}, and of two lists that help where webhooks were lost:
// GET /call_events, what a leg's webhooks said (AskHistory), and
// GET /connections/{connection_id}/active_calls, which legs are alive (used for requests of class Sweep, where many legs
// are asked about).
//
// In goes a call.Ref; out comes an Answer, one attempt's result as plain data.
// Every attempt that was made yields an Answer, also one that failed: "not yet"
// (alive), "not found" and "could not ask" are different results, and the caller
// writes each of them to the log. The only error is that the context
// ended first, so that a shutdown is never recorded as an attempt.
//
// The client guarantees bounds, whoever calls it from however many goroutines:
// requests in flight, requests per second, time per request, bytes per body, and
// after a 429 silence from all callers until Telnyx said they may speak again. Whoever
// has to wait for a turn keeps its place in line, and while anybody waits no turn is left out. It
// asks once and does not retry: when to ask again is the caller's schedule.
//
// It knows neither what an answer means for a summary nor how it is stored, nor
// what a row of the history says. The API key appears in the Authorization header of its requests and nowhere else.
package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/internal/call"
)

// Client asks for the status of calls. It is safe for concurrent use.
type Client struct {
	http     http.Client
	base     string
	agent    string
	key      atomic.Pointer[func(*http.Request)] // a closure, so that no formatting of a Client finds the key
	timeouts timeouts
	turns    *turns
	now      func() time.Time
	log      *slog.Logger
	metrics  *metrics
	owned    *http.Transport // nil when the caller brought the transport
	rolls    rolls

	mu       sync.Mutex
	deniedAt time.Time // of the last denial; zero once the key was accepted again
	shoutAt  time.Time // when a denial is to be logged again
}

// New returns a client. It fails when the config cannot work, or when the
// registerer refuses the metrics, as it does those of a second client.
func New(config Config) (*Client, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("status client: %w", err)
	}
	m, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, fmt.Errorf("status client: %w", err)
	}
	c := &Client{
		base:     config.BaseURL,
		agent:    config.UserAgent,
		timeouts: timeouts{usual: config.Timeout, most: max(config.Timeout, MaxTimeout)},
		turns:    newTurns(config.Rate, config.Burst, config.MaxConcurrent, m),
		now:      config.Now,
		log:      config.Logger,
		metrics:  m,
		rolls:    rolls{by: make(map[call.ConnectionID]*roll)},
	}
	c.authorizeWith(config.APIKey)
	if err := c.watchBacklog(config.Registerer); err != nil {
		return nil, fmt.Errorf("status client: %w", err)
	}
	transport := config.Transport
	if transport == nil {
		c.owned = newTransport(config.MaxConcurrent)
		transport = c.owned
	}
	c.http = http.Client{
		Transport: transport,
		// A redirect would carry the key elsewhere; its status is the answer.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func newTransport(maxConcurrent int) *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if d, ok := http.DefaultTransport.(*http.Transport); ok {
		t = d.Clone()
	}
	// The default of two would open and close a connection for nearly every request.
	t.MaxIdleConnsPerHost = maxConcurrent
	return t
}

// Close closes idle connections and hands out no more turns; whoever waits leaves when its ctx ends. Requests in flight
// are not touched; their contexts end them.
func (c *Client) Close() {
	c.turns.close()
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
}

// String describes the client without its key.
func (c *Client) String() string { return fmt.Sprintf("status.Client{%q}", c.base) }

// GoString keeps %#v as short as %v.
func (c *Client) GoString() string { return c.String() }

// SetAPIKey makes all later requests carry another key. What was refused before was
// another key's: LastDenied starts anew. It fails when the key could not travel in a
// header; then the one before stays.
func (c *Client) SetAPIKey(key string) error {
	if err := (Config{APIKey: key}).checkKey(); err != nil {
		return fmt.Errorf("status client: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.authorizeWith(key)
	c.deniedAt, c.shoutAt = time.Time{}, time.Time{}
	return nil
}

func (c *Client) authorizeWith(key string) {
	bearer := "Bearer " + key
	c.key.Store(new(func(r *http.Request) { r.Header.Set("Authorization", bearer) }))
}

// LastDenied returns when Telnyx last refused the API key, and whether it still
// seems to: true until an answer shows that the key is accepted again.
func (c *Client) LastDenied() (at time.Time, denied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deniedAt, !c.deniedAt.IsZero()
}

// Backlog returns how long the leg has been over that is to be asked about next, 0 when none waits that was not asked
// about before; and how many requests a second may be made at present.
func (c *Client) Backlog() (age time.Duration, perSecond float64) { return c.turns.backlog() }

// validPath reports whether the id can stand as one segment of a path. Escaping
// does not help with dots, which a server may resolve.
func validPath(id call.ControlID) bool {
	return id != "" && id != "." && id != ".." && call.ValidControl(string(id))
}

// get sends one request and returns the body of a 200, of which it reads no more
// than a byte past the limit. Where it returns none the answer says why, and the error is the cause.
func (c *Client) get(ctx context.Context, path string, limit int64, key *func(*http.Request), answer *Answer) ([]byte, error) {
	begun := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		answer.Result, answer.Problem = Unreachable, ProblemBadID
		return nil, err
	}
	(*key)(request)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.agent)

	c.metrics.inFlight.Inc()
	defer c.metrics.inFlight.Dec()
	response, err := c.http.Do(request)
	if err != nil {
		answer.Result, answer.Problem = Unreachable, problemOf(err, ProblemConnection)
		return nil, withoutURL(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusTooManyRequests {
		c.turns.accepted(response.Header, response.StatusCode < http.StatusInternalServerError)
	}
	if d, ok := usedUp(response.Header); ok {
		c.turns.pause(d)
	}
	answer.HTTPStatus = response.StatusCode
	if response.StatusCode != http.StatusOK {
		c.refusal(response, answer, begun)
		// Reading a short rest lets the connection be used again.
		_, _ = io.CopyN(io.Discard, response.Body, 16<<10)
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		answer.Result, answer.Problem = Unreachable, problemOf(err, ProblemTruncated)
		return nil, err
	}
	return body, nil
}

// refusal sets what a status other than 200 means.
func (c *Client) refusal(response *http.Response, answer *Answer, sent time.Time) {
	switch response.StatusCode {
	case http.StatusNotFound, http.StatusUnprocessableEntity:
		answer.Result = NotFound
		return
	case http.StatusUnauthorized, http.StatusForbidden:
		answer.Result = Denied
		return
	}
	now := c.now()
	asked, ok := retryAfter(response.Header, now)
	if response.StatusCode == http.StatusTooManyRequests {
		answer.Result = RateLimited
		if !ok {
			asked, ok = rateLimitReset(response.Header)
		}
		pause := DefaultPause
		if ok {
			pause = asked
		}
		c.turns.refused(sent, pause)
	} else {
		answer.Result, answer.Problem = Unreachable, ProblemHTTP
	}
	if ok {
		answer.RetryAfter = asked.Seconds()
	}
}

// finish stamps, counts and logs an answer to a request with a key. It took no time, and no key, when nothing was sent.
func (c *Client) finish(
	ctx context.Context, answer *Answer, counter *prometheus.CounterVec, key *func(*http.Request), took time.Duration, cause error,
) {
	answer.FetchedAt = c.now().UTC().Truncate(time.Microsecond)
	counter.WithLabelValues(string(answer.Result), string(answer.Problem)).Inc()
	if took > 0 {
		c.metrics.latency.Observe(took.Seconds())
	}
	if c.noteDenial(*answer, key, counter == c.metrics.requests) {
		what := "Telnyx refuses the API key: calls go unconfirmed until it is put right"
		if answer.HTTPStatus == http.StatusForbidden {
			what = "the API key may not see some calls: they go unconfirmed"
		}
		c.log.ErrorContext(ctx, what, "http_status", answer.HTTPStatus)
	}
	if !c.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("session", string(answer.Session)),
		slog.String("leg", string(answer.Leg)),
		slog.String("result", string(answer.Result)),
		slog.Int("http_status", answer.HTTPStatus),
		slog.String("problem", string(answer.Problem)),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
	}
	if cause != nil {
		attrs = append(attrs, slog.String("cause", cause.Error()))
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "status fetched", attrs...)
}

// shoutEvery is how often a run of denials is logged.
const shoutEvery = time.Minute

// noteDenial keeps LastDenied and reports whether a denial is to be logged: the
// first, and one a minute. An answer that the key had to be accepted for ends the denial and not the minute: a key may
// see some calls and others not.
//
// The status is what calls are confirmed by: a key that may not read lists is no key that is refused.
func (c *Client) noteDenial(answer Answer, key *func(*http.Request), ofStatus bool) (shout bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key != c.key.Load() || answer.HTTPStatus == http.StatusForbidden && !ofStatus {
		return false // It says nothing about the key of now.
	}
	switch answer.Result {
	case Denied:
		c.deniedAt = answer.FetchedAt
		if shout = !answer.FetchedAt.Before(c.shoutAt); shout {
			c.shoutAt = answer.FetchedAt.Add(shoutEvery)
		}
	case Answered, NotFound:
		c.deniedAt = time.Time{}
	case RateLimited, Unreachable:
	}
	return shout
}

// problemOf separates a timeout from the problem that any other error stands for.
func problemOf(err error, otherwise Problem) Problem {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return ProblemTimeout
	}
	return otherwise
}

// withoutURL strips the request from a client's error: the log line names the leg.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) && strings.EqualFold(wrapped.Op, http.MethodGet) {
		return wrapped.Err
	}
	return err
}

// Request is what is to be asked once its turn has come.
type Request struct {
	// Ref is the leg it is about.
	Ref call.Ref
	// Place is where it stands among those that wait. Of the class Sweep, several of one connection can be answered by
	// one list of its active calls; that costs them no turn of their own.
	Place Place
	// Patient gives it the longer of the two timeouts: an answer was awaited in vain before.
	Patient bool
	// Begin is called when its turn has come, before anything is sent. False: it is not wanted any more, and the turn
	// is the next one's. It must not block. Nil: it is always wanted.
	Begin func() bool
}

// begin reports whether it is still wanted.
func (r *Request) begin(ctx context.Context) bool {
	return ctx.Err() == nil && (r.Begin == nil || r.Begin())
}

// Ask has a request about the status of a call wait for its turn, and returns at once. Once Begin has returned true,
// done is called, on a goroutine of its own, with what came of it; its error wraps that of ctx, which ended before there
// was an answer: that is no attempt. A request that is not wanted any more, or whose ctx has ended, leaves without a
// word. A request that waits costs some hundred bytes and no goroutine.
func (c *Client) Ask(ctx context.Context, r Request, done func(Answer, error)) {
	if r.Place.Class == Sweep && r.Ref.Leg != "" && r.Ref.Connection != "" {
		c.rolls.take(ctx, c, r, done)
		return
	}
	c.ask(ctx, r, done)
}

func (c *Client) ask(ctx context.Context, r Request, done func(Answer, error)) {
	c.turns.enter(r.Place, func() bool { return r.begin(ctx) }, func() {
		go func() {
			answer, err := c.fetch(ctx, r)
			c.turns.release()
			done(answer, err)
		}()
	})
}

// AskHistory is Ask for what Telnyx has on record of a leg: GET /call_events, page by page, each page in its turn.
//
// Telnyx ignores filters that it does not know: an answer that does not mention the
// leg at all is no answer (ProblemOtherCall), and is not read to its end.
func (c *Client) AskHistory(ctx context.Context, r Request, done func(Past, error)) {
	c.turns.enter(r.Place, func() bool { return r.begin(ctx) }, func() {
		go func() { done(c.history(ctx, r)) }()
	})
}

// Fetch waits for its turn as one of the first, asks once for the status of the call and returns what came of it. Its
// error wraps that of ctx, which ended before there was an answer: that is no attempt.
func (c *Client) Fetch(ctx context.Context, ref call.Ref) (Answer, error) {
	r := Request{Ref: ref, Place: Place{Class: First, Since: time.Now()}}
	if err := c.turns.await(ctx, r.Place); err != nil {
		return Answer{}, fmt.Errorf("status of leg %s: wait for a turn: %w", ref.Leg, err)
	}
	defer c.turns.release()
	return c.fetch(ctx, r)
}

// fetch asks, in a turn that has come.
func (c *Client) fetch(ctx context.Context, r Request) (Answer, error) {
	answer := About(r.Ref)
	if !validPath(r.Ref.Control) {
		answer.Result, answer.Problem = Unreachable, ProblemBadID
		c.finish(ctx, &answer, c.metrics.requests, nil, 0, nil)
		return answer, nil
	}
	// Unlike url.PathEscape this escapes '+' as well, which some servers take for a space.
	path := "/calls/" + url.QueryEscape(string(r.Ref.Control))
	e := exchange{path: path, limit: MaxBody, patient: r.Patient, counter: c.metrics.requests}
	if err := c.exchange(ctx, e, &answer, func(body []byte) { decode(body, &answer) }); err != nil {
		return Answer{}, fmt.Errorf("status of leg %s: %w", r.Ref.Leg, err)
	}
	return answer, nil
}

// exchange is one request and its answer.
type exchange struct {
	path string
	// limit bounds the body.
	limit   int64
	patient bool
	counter *prometheus.CounterVec
}

// exchange sends one request, in a turn that has come, and has the body of a 200 read. The answer says what came of
// it; the error is that of ctx, and then there was no request to speak of.
func (c *Client) exchange(ctx context.Context, e exchange, answer *Answer, read func(body []byte)) error {
	begun, key := time.Now(), c.key.Load()
	limited, cancel := context.WithTimeout(ctx, c.timeouts.of(e.patient))
	defer cancel()
	body, cause := c.get(limited, e.path, e.limit, key, answer)
	if cause != nil && ctx.Err() != nil {
		return fmt.Errorf("ask: %w", ctx.Err())
	}
	c.timeouts.note(answer, time.Since(begun))
	if body != nil {
		read(body)
	}
	c.finish(ctx, answer, e.counter, key, time.Since(begun), cause)
	return nil
}

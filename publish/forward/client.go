package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// answerKept is how much of a bad answer is kept, for whoever looks at the attempts.
	answerKept = 1 << 10
	// answerRead is how much of an answer is read so that its connection can be used again.
	answerRead = 64 << 10
	// answerProxied is how much of an answer is handed on to Telnyx: TeXML documents have some KB.
	answerProxied = 1 << 20
	// idleFor is below the 5 s after which Node's server closes an idle connection: a request must not meet
	// the end of its connection on the way.
	idleFor = 4 * time.Second
)

// client posts events to one target.
type client struct {
	target    Target
	transport *http.Transport
	timeout   time.Duration
	// authorization is that of the URL's user, empty where it names none.
	authorization string
}

func newClient(t Target, timeout time.Duration, concurrency int) *client {
	c := &client{target: t, timeout: timeout}
	if u := t.URL.User; u != nil {
		password, _ := u.Password()
		c.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
	}
	c.transport = &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}).DialContext,
		// As many as may be under way: with fewer, every attempt beyond them would open a connection of its own.
		MaxIdleConns: concurrency, MaxIdleConnsPerHost: concurrency, IdleConnTimeout: idleFor,
		TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true,
		DisableCompression:     true, // an answer is handed on as it came
		MaxResponseHeaderBytes: 64 << 10,
	}
	return c
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// answer is what came of one attempt.
type answer struct {
	result Result
	// status is 0 when there was none.
	status      int
	contentType string
	// body is the beginning of a bad answer; in proxy mode the whole of any.
	body []byte
	// err is why there was no answer, or none of use, as Attempt.Error.
	err string
	// after is what Retry-After asks for.
	after time.Duration
	took  time.Duration
}

// post makes one attempt. keep bounds what is kept of the answer's body, of a good one too where good is set.
func (c *client) post(ctx context.Context, e *call.Entry, attempt, keep int, good bool) answer {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(e.Data)) }
	r := (&http.Request{
		Method: http.MethodPost, URL: c.target.URL, Host: c.target.URL.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(e, attempt, start), ContentLength: int64(len(e.Data)),
		Body: body(), GetBody: func() (io.ReadCloser, error) { return body(), nil },
	}).WithContext(ctx)
	// Not an http.Client: that would follow redirects and know cookies.
	response, err := c.transport.RoundTrip(r)
	if err != nil {
		return broken(ctx, err, start)
	}
	defer response.Body.Close()
	a := answer{result: judge(response.StatusCode), status: response.StatusCode, contentType: response.Header.Get("Content-Type")}
	if a.result == Failed {
		a.after = retryAfter(response.Header, start)
	}
	if good || a.result != Done {
		a.body, err = io.ReadAll(io.LimitReader(response.Body, int64(keep)))
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, response.Body, answerRead)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		// The status is the answer, but where the body is to be handed on.
		if good {
			return broken(ctx, err, start)
		}
	}
	a.took = time.Since(start)
	return a
}

func broken(ctx context.Context, err error, start time.Time) answer {
	a := answer{result: Unreachable, took: time.Since(start), err: said(err)}
	timeout, ok := errors.AsType[net.Error](err)
	if ctx.Err() != nil || ok && timeout.Timeout() {
		a.result = TimedOut
	}
	return a
}

// maxError bounds Attempt.Error.
const maxError = 200

// said is what an error says, less what the application has sent: that may be personal.
func said(err error) string {
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return "the answer is not HTTP"
	}
	text, _, _ := strings.Cut(err.Error(), `"`) // what was sent stands in quotes
	return strings.ToValidUTF8(strings.TrimRight(text[:min(len(text), maxError)], " (:"), "")
}

func (c *client) header(e *call.Entry, attempt int, now time.Time) http.Header {
	h := make(http.Header, 10)
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	set("Content-Type", orDefault(e.ContentType, call.WebhookContentType))
	set("User-Agent", orDefault(e.UserAgent, call.WebhookUserAgent))
	set("Telnyx-Signature-Ed25519", e.Signature)
	set("Telnyx-Timestamp", e.Timestamp)
	if e.Seq > 0 { // otherwise it is not an event of the log
		set("Legato-Event-Seq", strconv.FormatUint(e.Seq, 10))
	}
	set("Legato-Forward-Attempt", strconv.Itoa(attempt))
	if !e.ReceivedAt.IsZero() {
		set("Legato-Received-At", e.ReceivedAt.UTC().Format(time.RFC3339Nano))
	}
	set("Legato-Signature-Age", signatureAge(e.Timestamp, now))
	set("Traceparent", e.Trace)
	set("Authorization", c.authorization)
	if c.target.Header != "" {
		set(c.target.Header, c.target.Value)
	}
	return h
}

// signatureAge returns how many seconds old a signature is, empty while it does not matter.
func signatureAge(timestamp string, now time.Time) string {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return ""
	}
	if age := now.Sub(time.Unix(seconds, 0)); age >= signatureOld {
		return strconv.Itoa(int(age / time.Second))
	}
	return ""
}

func orDefault(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}

// Result is what became of an attempt, or of an event in the end.
type Result string

// Results. Done, Refused, Stale and Expired end an event; the others are followed by another attempt.
const (
	// Done: the target answered 2xx.
	Done Result = "done"
	// Refused: the target answered what trying again would not change, a redirect too.
	Refused Result = "refused"
	// Stale: the application would command a leg that is over.
	Stale Result = "stale"
	// Expired: the event's time was over.
	Expired Result = "expired"
	// Failed: the target answered 408, 429 or 5xx.
	Failed Result = "failed"
	// TimedOut: the target did not answer in time.
	TimedOut Result = "timeout"
	// Unreachable: there was no connection, or it broke.
	Unreachable Result = "unreachable"
)

// Final reports whether the result ends an event.
func (r Result) Final() bool {
	switch r {
	case Done, Refused, Stale, Expired:
		return true
	default:
		return false
	}
}

// judge says what a status means.
func judge(status int) Result {
	switch {
	case status >= 200 && status < 300:
		return Done
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return Failed
	}
	return Refused
}

// maxRetryAfter bounds what a target may ask for: longer than any patience is of no use.
const maxRetryAfter = time.Hour

// retryAfter reads the header of an answer: seconds or a date. Zero: nothing is asked for.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(value); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// Reports reports whether events of a type only report: nobody answers the call by them, so that late is better than
// never. The application commands on all others, unknown types included.
func Reports(eventType string) bool { return call.EventTypeOf(eventType).Reports }

// Outlives reports whether events of a type are of use to an application when their leg is over, too: those that report,
// and those that the end of the call brings about, which may come behind it.
func Outlives(eventType string) bool {
	t := call.EventTypeOf(eventType)
	return t.Reports || t.Closes
}

// Times of the attempts.
const (
	// firstPause doubles to lastPause between the attempts at an event that commands: the far end of the
	// call waits, and hangs up after some 10 to 30 s.
	firstPause, lastPause = 250 * time.Millisecond, 2 * time.Second
	// signatureOld is when Telnyx's SDKs are about to refuse a signature (300 s).
	signatureOld = 240 * time.Second
)

// defaultPauses are the growing pauses between the attempts at an event that only reports.
func defaultPauses() []time.Duration {
	return []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}
}

package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
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
	// after is what Retry-After asks for.
	after time.Duration
	took  time.Duration
}

// post makes one attempt. keep bounds what is kept of the answer's body, of a good one too where good is set.
func (c *client) post(ctx context.Context, e *call.Entry, seq uint64, attempt, keep int, good bool) answer {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r := (&http.Request{
		Method: http.MethodPost, URL: c.target.URL, Host: c.target.URL.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(e, seq, attempt, start), ContentLength: int64(len(e.Data)),
		Body: io.NopCloser(bytes.NewReader(e.Data)),
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
	a := answer{result: Unreachable, took: time.Since(start)}
	timeout, ok := errors.AsType[net.Error](err)
	if ctx.Err() != nil || ok && timeout.Timeout() {
		a.result = TimedOut
	}
	return a
}

func (c *client) header(e *call.Entry, seq uint64, attempt int, now time.Time) http.Header {
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
	if seq > 0 { // it is no event of the log else
		set("Legato-Event-Seq", strconv.FormatUint(seq, 10))
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

// signatureAge returns how many seconds old a signature is, empty while that is no matter.
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

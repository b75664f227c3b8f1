package ingest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// observation gathers what is worth telling about one request: the handler fills it in, observe reports it.
type observation struct {
	// webhook tells that the request came to the handler, not to a wrong path or method.
	webhook bool
	result  result
	// refused is the problem that was answered. Nil: it was accepted.
	refused *problem
	// parked is why a body is unusable. Nil: it is a call event, or was not read.
	parked *telnyx.Unusable
	// entry is zero until the body was understood.
	entry call.Entry
	// seq is the log's sequence of the event, 0 where there is none.
	seq   uint64
	bytes int
	// began is when the headers were there; span is nil where nothing is traced.
	began time.Time
	span  trace.Span
}

const observationKey = "legato.observation"

func observationOf(c echo.Context) *observation {
	o, _ := c.Get(observationKey).(*observation)
	return o
}

// observe wraps every handler: it answers their errors, counts, and writes the one line of each request.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		o := &observation{began: time.Now()}
		c.Set(observationKey, o)
		if err := guard(next, c); err != nil {
			o.refused = toProblem(err)
			o.result = o.refused.result
			c.Error(o.refused)
		}
		took := time.Since(o.began)
		s.metrics.count(o, c.Response().Status, took)
		s.hour.count(o, c.Response().Status, s.now())
		s.log(c.Request().Context(), o, c.Response().Status, took)
		finish(o, c.Response().Status)
		return nil
	}
}

// panicked is a handler's panic as an error. What was thrown is shown only when
// the runtime threw it: other values may hold parts of a body.
type panicked struct {
	thrown any
	stack  []byte
}

func (p *panicked) Error() string {
	var known runtime.Error
	if err, ok := p.thrown.(error); ok && errors.As(err, &known) {
		return "panic: " + known.Error()
	}
	return fmt.Sprintf("panic with a %T", p.thrown)
}

// guard calls the handler and returns its panic as an error.
func guard(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			err = refuse(resultInternal, &panicked{thrown: thrown, stack: debug.Stack()})
		}
	}()
	return next(c)
}

// log writes the debug line of a request and, at most once a minute for each
// cause, the line that calls for an operator.
func (s *Server) log(ctx context.Context, o *observation, status int, took time.Duration) {
	// The notices are about the server, not about the one request.
	switch {
	case o.refused != nil:
		s.notices.refused(ctx, s.now(), o.refused)
	case o.parked != nil:
		s.notices.parked(ctx, s.now(), o.parked)
	}
	if !s.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := make([]slog.Attr, 0, 14)
	attrs = append(attrs,
		slog.String("result", string(o.result)),
		slog.Int("status", status),
		slog.Int("bytes", o.bytes),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
	)
	if o.parked != nil {
		attrs = append(attrs, slog.String("reason", string(o.parked.Reason)))
	}
	if e := o.entry; e.ID != "" {
		// The id alone: the key has the type behind it, and an id may have slashes.
		attrs = append(attrs,
			slog.String("event_id", strings.TrimSuffix(e.ID, "/"+e.EventType())), slog.String("type", e.EventType()),
			slog.String("session", string(e.Ref.Session)), slog.String("leg", string(e.Ref.Leg)),
			slog.String("control", string(e.Ref.Control)), slog.String("connection", string(e.Ref.Connection)),
			slog.Int("attempt", e.Attempt), slog.Uint64("seq", o.seq),
		)
	}
	s.logger.LogAttrs(ctx, slog.LevelDebug, "webhook", attrs...)
}

// notices are the lines for the operator, each at most once a minute.
type notices struct {
	logger *slog.Logger

	mu sync.Mutex
	// byCause are the last lines. The causes are words of this package and of telnyx.Reason.
	byCause map[string]notice
}

// notice is the last line of a cause, and how many were suppressed since.
type notice struct {
	at         time.Time
	suppressed int
}

func newNotices(logger *slog.Logger) *notices {
	return &notices{logger: logger, byCause: map[string]notice{}}
}

// take reports whether a line may be written, and how many were not since the last that was.
func (n *notices) take(cause string, now time.Time) (suppressed slog.Attr, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.byCause[cause]
	// A clock that was set back must not silence the line until it has caught up.
	if since := now.Sub(last.at); since >= 0 && since < time.Minute {
		last.suppressed++
		n.byCause[cause] = last
		return slog.Attr{}, false
	}
	n.byCause[cause] = notice{at: now}
	return slog.Int("suppressed", last.suppressed), true
}

// evicted says that a connection was closed to make room.
func (n *notices) evicted(now time.Time, why string) {
	suppressed, ok := n.take("evicted/"+why, now)
	if !ok {
		return
	}
	text := "too many connections: the idle and the slow are closed to make room"
	if why == evictedForBody {
		text = "too many long bodies at once: slow senders of such are closed to make room"
	}
	n.logger.Warn(text, suppressed)
}

// serverNotices takes the HTTP server's own log: anybody can make it say something, with each handshake that fails.
type serverNotices struct{ *notices }

// Write implements io.Writer, a line at a time.
func (n serverNotices) Write(line []byte) (int, error) {
	cause := "server/other"
	if bytes.Contains(line, []byte("TLS handshake error")) {
		cause = "server/handshake"
	}
	if suppressed, ok := n.take(cause, time.Now()); ok {
		n.logger.Warn("webhook listener", slog.String("detail", string(bytes.TrimSpace(line))), suppressed)
	}
	return len(line), nil
}

func (n *notices) refused(ctx context.Context, now time.Time, p *problem) {
	how := refusals[p.result]
	if how.notice == "" {
		return
	}
	suppressed, ok := n.take("refused/"+string(p.result), now)
	if !ok {
		return
	}
	attrs := []slog.Attr{slog.String("reason", string(p.result)), suppressed}
	if p.cause != nil {
		attrs = append(attrs, slog.String("cause", p.cause.Error()))
	}
	if crash, ok := errors.AsType[*panicked](p.cause); ok {
		attrs = append(attrs, slog.String("stack", string(crash.stack)))
	}
	n.logger.LogAttrs(ctx, how.level, how.notice, attrs...)
}

func (n *notices) parked(ctx context.Context, now time.Time, why *telnyx.Unusable) {
	suppressed, ok := n.take("parked/"+string(why.Reason), now)
	if !ok {
		return
	}
	text := "signed webhook parked: it is no usable call event"
	if why.Reason == telnyx.ReasonAPIv1 {
		text = "signed webhook parked: it is of API version 1; " + setAPIVersion
	}
	n.logger.LogAttrs(ctx, slog.LevelWarn, text,
		slog.String("reason", string(why.Reason)), slog.String("field", why.Field), suppressed)
}

// trace makes the span of a webhook, and its context the request's: as a part of
// the sender's trace, if it says that it has one. It is called once the signature is
// known to be good; whoever else connects decides neither that there is a trace nor which.
func (s *Server) trace(c echo.Context, o *observation) {
	if s.tracer == nil {
		return
	}
	r := c.Request()
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, o.span = s.tracer.Start(ctx, http.MethodPost+" "+s.path, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(o.began),
		trace.WithAttributes(attribute.String("http.request.method", http.MethodPost), attribute.String("http.route", s.path)))
	c.SetRequest(r.WithContext(ctx))
}

// finish ends the span with what became of the webhook. Ids stand in it, and never a number.
func finish(o *observation, status int) {
	if o.span == nil {
		return
	}
	o.span.SetAttributes(attribute.Int("http.response.status_code", status), attribute.String("legato.result", string(o.result)))
	if e := &o.entry; e.ID != "" {
		o.span.SetAttributes(
			attribute.String("legato.event_type", e.EventType()),
			attribute.String("legato.call_session_id", string(e.Ref.Session)),
			attribute.String("legato.call_leg_id", string(e.Ref.Leg)),
			attribute.Int("legato.attempt", e.Attempt),
		)
	}
	if status >= http.StatusInternalServerError {
		o.span.SetStatus(codes.Error, string(o.result))
	}
	o.span.End()
}

// hourMinutes and keptRefusals bound what is remembered of the last hour.
const hourMinutes, keptRefusals = 60, 50

// Refusal is a webhook that was refused.
type Refusal struct {
	At time.Time
	// Result is why, a label of legato_webhooks_total; Status is the answer's.
	Result string
	Status int
	// Do is what an operator can do about it, or what the sender was told.
	Do string
}

// LastHour is what became of the webhooks of the last hour.
type LastHour struct {
	// Since is when it began: an hour ago, or when the server was made.
	Since time.Time
	// Results counts webhooks by what became of them, Parked those of no use by the reason.
	Results, Parked map[string]int64
	// Refusals are the last ones, the newest first.
	Refusals []Refusal
}

// minute is what became of the webhooks of one minute.
type minute struct {
	at              int64 // Unix minutes
	results, parked map[string]int64
}

// hour remembers the last hour.
type hour struct {
	began time.Time

	mu       sync.Mutex
	minutes  [hourMinutes]minute
	refusals []Refusal // the oldest first
}

// count takes one request.
func (h *hour) count(o *observation, status int, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := now.Unix() / 60
	m := &h.minutes[at%hourMinutes]
	if m.at != at {
		*m = minute{at: at, results: make(map[string]int64), parked: make(map[string]int64)}
	}
	m.results[string(o.result)]++
	if o.parked != nil {
		m.parked[string(o.parked.Reason)]++
	}
	if o.refused == nil {
		return
	}
	how := refusals[o.refused.result]
	if len(h.refusals) == keptRefusals {
		h.refusals = slices.Delete(h.refusals, 0, 1)
	}
	h.refusals = append(h.refusals, Refusal{At: now.UTC(), Result: string(o.result), Status: status, Do: cmp.Or(how.notice, how.detail)})
}

// LastHour returns what became of the webhooks of the last hour, to a minute. What was received stands nowhere in it.
func (s *Server) LastHour() LastHour {
	h, now := &s.hour, s.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	last := LastHour{Since: h.began, Results: make(map[string]int64), Parked: make(map[string]int64), Refusals: slices.Clone(h.refusals)}
	if hourAgo := now.Add(-time.Hour); last.Since.Before(hourAgo) {
		last.Since = hourAgo
	}
	slices.Reverse(last.Refusals)
	for i := range h.minutes {
		if m := &h.minutes[i]; m.at > now.Unix()/60-hourMinutes {
			for word, n := range m.results {
				last.Results[word] += n
			}
			for word, n := range m.parked {
				last.Parked[word] += n
			}
		}
	}
	return last
}

package ingest

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// trace makes the span of a webhook, and its context the request's: as a part of
// the sender's trace, if it says that it has one. It is called once the signature is
// known to be good; whoever else connects decides neither that there is a trace nor which.
func (s *Server) trace(c echo.Context, o *observation) {
	if s.tracer == nil {
		return
	}
	r := c.Request()
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, o.span = s.tracer.Start(ctx, http.MethodPost+" "+Path, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(o.began),
		trace.WithAttributes(attribute.String("http.request.method", http.MethodPost), attribute.String("http.route", Path)))
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

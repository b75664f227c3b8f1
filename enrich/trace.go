package enrich

import (
	"cmp"
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
)

// noSpan stands for a span where there is no tracer.
var noSpan = trace.SpanFromContext(context.Background())

// workSpan makes the span of a job. It continues the trace of the session's last entry that was traced, which may
// have been folded after the one that the job begins with: where several webhooks come at once, the last of them
// decides what is published. Where the job begins with an answer, its trace is continued. So one decision to sample
// holds for a webhook and what follows from it.
func (w *Worker) workSpan(ctx context.Context, place session.Place, t Task) (context.Context, trace.Span) {
	if w.cfg.Tracer == nil {
		return ctx, noSpan
	}
	e := t.Entry()
	cause := cmp.Or(place.Trace, e.Trace)
	if e.EventType() == "" {
		cause = cmp.Or(e.Trace, place.Trace)
	}
	ctx = trace.ContextWithRemoteSpanContext(ctx, parse(ctx, cause))
	return w.cfg.Tracer.Start(ctx, "work on session", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("legato.call_session_id", string(place.Session)),
	))
}

// link ties a task that a job works on to where its entry came from.
func (w *Worker) link(ctx context.Context, span trace.Span, t Task) {
	if w.cfg.Tracer == nil {
		return
	}
	e := t.Entry()
	if cause := parse(ctx, e.Trace); cause.IsValid() {
		span.AddLink(trace.Link{SpanContext: cause, Attributes: []attribute.KeyValue{
			attribute.String("legato.topic", e.Topic), attribute.Int64("legato.seq", int64(e.Seq)),
		}})
	}
}

// parse reads a traceparent; what is none gives one that is not valid.
func parse(ctx context.Context, traceparent string) trace.SpanContext {
	// What ctx itself is part of is not what was asked for.
	ctx = trace.ContextWithRemoteSpanContext(ctx, trace.SpanContext{})
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// span makes a span of what is done about a leg or a session.
func (w *Worker) span(ctx context.Context, name string, kind trace.SpanKind, about summary.Key) (context.Context, trace.Span) {
	if w.cfg.Tracer == nil {
		return ctx, noSpan
	}
	return w.cfg.Tracer.Start(ctx, name+" "+about.Kind, trace.WithSpanKind(kind), trace.WithAttributes(
		attribute.String("legato.call_session_id", about.Session), attribute.String("legato.call_leg_id", about.Leg),
	))
}

// answered notes in a span what Telnyx answered.
func answered(span trace.Span, a *status.Answer, attempt int) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("legato.result", string(a.Result)), attribute.Int("legato.attempt", attempt))
	if a.HTTPStatus != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", a.HTTPStatus))
	}
	if a.Result != status.Answered && a.Result != status.NotFound {
		span.SetStatus(codes.Error, string(a.Result)+" "+string(a.Problem))
	}
}

// publishedSpan notes in a span what came of a publication.
func publishedSpan(span trace.Span, revision int, err error) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.Int("legato.revision", revision))
	switch {
	case errors.Is(err, summary.ErrRefused): // somebody else has published: nothing is wrong
		span.SetAttributes(attribute.Bool("legato.refused", true))
	case err != nil:
		span.SetStatus(codes.Error, err.Error())
	}
}

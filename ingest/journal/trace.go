package journal

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/internal/call"
)

// begin makes the span of an append, and the entry say which it is, so that whoever
// works on it later can tell what it came from. What is not part of a trace starts none:
// nobody waits for heartbeats and checks. Then, and without a tracer, the span is nil.
func (j *Journal) begin(ctx context.Context, e *call.Entry) (context.Context, trace.Span) {
	if j.cfg.Tracer == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, nil
	}
	ctx, span := j.cfg.Tracer.Start(ctx, "append to log", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.type", "send"),
		attribute.String("messaging.destination.name", j.cfg.Stream),
		attribute.String("legato.topic", e.Topic),
	))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	e.Trace = carrier["traceparent"]
	return ctx, span
}

// finish ends the span with what came of the append.
func finish(span trace.Span, receipt call.Receipt, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	} else {
		span.SetAttributes(attribute.Int64("legato.seq", int64(receipt.Seq)), attribute.Bool("legato.duplicate", receipt.Duplicate))
	}
	span.End()
}

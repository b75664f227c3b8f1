package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// tracerName is the instrumentation scope of all spans.
const tracerName = "github.com/legato-calls/legato"

// wantsTraces reports whether the environment asks for traces. The standard's default is to
// send them to localhost; here nothing is sent that nobody has asked for.
func wantsTraces(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "none":
		return false, nil
	case "otlp":
		return true, nil
	case "":
		return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "", nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; otlp and none are known", exporter)
	}
}

// newExporter sends spans by OTLP. All but the protocol it reads from the environment itself.
func newExporter(ctx context.Context, protocol string) (sdktrace.SpanExporter, error) {
	switch protocol {
	case "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q; http/protobuf and grpc are known", protocol)
	}
}

// traces makes the tracer of the rooms when the OTEL_* variables of OpenTelemetry
// ask for one; nil otherwise, and then nothing of it runs. Exporter, sampler, limits, batches and resource
// are configured by the SDK from its own variables.
func (s *Service) traces(ctx context.Context, getenv func(string) string) (trace.Tracer, error) {
	wanted, err := wantsTraces(getenv)
	if err != nil || !wanted {
		return nil, err
	}
	protocol := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	exporter, err := newExporter(ctx, protocol)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	// What the environment says of the resource stands above what is known here.
	about, err := resource.New(ctx, resource.WithHost(), resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "legato"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, errors.Join(fmt.Errorf("describe this process to traces: %w", err), exporter.Shutdown(ctx))
	}
	log, failing := s.log.With("component", "traces"), &rate.Sometimes{Interval: sayEvery}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		failing.Do(func() { log.Warn("traces are not sent", "error", err) })
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	s.onStop("traces", func(ctx context.Context) error {
		// A collector that is away must not keep a stop from being clean.
		ctx, cancel := context.WithTimeout(ctx, flushTraces)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			s.log.Warn("the last traces could not be sent", "error", err)
		}
		return nil
	})
	s.log.Info("tracing", "protocol", protocol)
	return provider.Tracer(tracerName, trace.WithInstrumentationVersion(version)), nil
}

// flushTraces bounds the sending of the last spans at a stop.
const flushTraces = 2 * time.Second

package service

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
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

// tracing is what the environment asks for.
type tracing struct {
	wanted   bool
	protocol string
	// warnings are what it asks for in vain. A platform sets these variables for all that runs on it: none of them is a
	// reason not to start.
	warnings []string
}

// readTracing reads the variables of OpenTelemetry that the exporter does not read itself, or reads too late. The
// standard's default is to send traces to localhost; here nothing is sent that nobody has asked for.
func readTracing(getenv func(string) string) tracing {
	const endpoint, tracesEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	t := tracing{protocol: "http/protobuf"}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return t
	}
	exporters := strings.FieldsFunc(getenv("OTEL_TRACES_EXPORTER"), func(r rune) bool { return r == ',' || r == ' ' })
	t.wanted = len(exporters) == 0 && getenv(endpoint)+getenv(tracesEndpoint) != ""
	for _, name := range exporters {
		switch name {
		case "otlp":
			t.wanted = true
		case "none":
		default:
			t.warnings = append(t.warnings, fmt.Sprintf("OTEL_TRACES_EXPORTER names %.20q, which is passed over: otlp and none are known", name))
		}
	}
	if !t.wanted {
		return t
	}
	switch protocol := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL")); protocol {
	case "":
	case "http/protobuf", "grpc":
		t.protocol = protocol
	default:
		t.warnings = append(t.warnings, fmt.Sprintf("OTEL_EXPORTER_OTLP_PROTOCOL is %.20q: http/protobuf is used in its place, it and grpc are known", protocol))
	}
	for _, name := range []string{tracesEndpoint, endpoint} {
		value := getenv(name)
		if value == "" {
			continue
		}
		// By itself the exporter takes "collector:4318" for a scheme and a path, and says so when it has failed to send.
		if u, err := url.Parse(value); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			t.wanted = false
			t.warnings = append(t.warnings, name+" is not of the form http://host:port or https://host:port: no traces are sent")
		}
		break
	}
	return t
}

// newExporter sends spans by OTLP. All but the protocol it reads from the environment itself.
func newExporter(ctx context.Context, protocol string) (sdktrace.SpanExporter, error) {
	if protocol == "grpc" {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

// traces makes the tracer of the rooms when the OTEL_* variables of OpenTelemetry
// ask for one; nil otherwise, and then nothing of it runs. Exporter, sampler, limits, batches and resource
// are configured by the SDK from its own variables. What is wrong with them is warned of.
func (s *Service) traces(ctx context.Context, getenv func(string) string) trace.Tracer {
	log := s.log.With("component", "traces")
	t := readTracing(getenv)
	for _, warning := range t.warnings {
		log.Warn(warning)
	}
	if !t.wanted {
		return nil
	}
	otel.SetLogger(logr.FromSlogHandler(otelHandler{log.Handler()}))
	failing := &rate.Sometimes{Interval: sayEvery}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		failing.Do(func() { log.Warn("traces are not sent", "error", err) })
	}))
	exporter, err := newExporter(ctx, t.protocol)
	if err != nil {
		log.Warn("no traces are sent", "error", err)
		return nil
	}
	// What the environment says of the resource stands above what is known here.
	about, err := resource.New(ctx, resource.WithHost(), resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "legato"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		log.Warn("traces do not describe this process in full", "error", err)
	}
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
	s.log.Info("tracing", "protocol", t.protocol)
	return provider.Tracer(tracerName, trace.WithInstrumentationVersion(version))
}

// flushTraces bounds the sending of the last spans at a stop.
const flushTraces = 2 * time.Second

// otelHandler takes OpenTelemetry's own lines. Its warnings come at a level of their own, and what it quotes of its
// variables may be a secret, a header of the collector's for one.
type otelHandler struct{ slog.Handler }

// otelLevel is the level of a line: OpenTelemetry has -1 for warnings, -4 for information and -8 for details.
func otelLevel(l slog.Level) slog.Level {
	if l == slog.LevelInfo-1 {
		return slog.LevelWarn
	}
	return l
}

// Enabled implements slog.Handler.
func (h otelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, otelLevel(l))
}

// Handle implements slog.Handler.
func (h otelHandler) Handle(ctx context.Context, r slog.Record) error {
	line := slog.NewRecord(r.Time, otelLevel(r.Level), "OpenTelemetry", r.PC)
	line.AddAttrs(slog.String("detail", r.Message))
	return h.Handler.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (h otelHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h otelHandler) WithGroup(string) slog.Handler { return h }

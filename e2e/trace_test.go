package e2e_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

// otlpCollector receives spans as an OpenTelemetry collector does.
type otlpCollector struct {
	url string

	mu       sync.Mutex
	spans    []*tracepb.Span
	resource map[string]string
}

func newCollector(t *testing.T) *otlpCollector {
	t.Helper()
	c := &otlpCollector{resource: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if r.URL.Path != "/v1/traces" || err != nil || proto.Unmarshal(body, &request) != nil {
			http.Error(w, "no spans", http.StatusBadRequest)
			return
		}
		c.take(&request)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *otlpCollector) take(request *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		for _, a := range of.GetResource().GetAttributes() {
			c.resource[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range of.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

// grpcCollector is the same over gRPC.
type grpcCollector struct {
	collector.UnimplementedTraceServiceServer
	*otlpCollector
}

func newGRPCCollector(t *testing.T) grpcCollector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := grpcCollector{otlpCollector: &otlpCollector{url: "http://" + listener.Addr().String(), resource: map[string]string{}}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// Export implements the service.
func (c grpcCollector) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.take(request)
	return &collector.ExportTraceServiceResponse{}, nil
}

// find returns the spans of a name that have all the attributes.
func (c *otlpCollector) find(name string, attributes ...string) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*tracepb.Span
	for _, s := range c.spans {
		has := flat(s.GetAttributes())
		if s.GetName() == name && !slices.ContainsFunc(attributes, func(a string) bool { return !slices.Contains(has, a) }) {
			found = append(found, s)
		}
	}
	return found
}

// one waits for the one such span.
func (c *otlpCollector) one(t *testing.T, name string, attributes ...string) *tracepb.Span {
	t.Helper()
	var found []*tracepb.Span
	legatotest.Eventually(t, fmt.Sprintf("the span %s %v", name, attributes), func() error {
		if found = c.find(name, attributes...); len(found) == 0 {
			return errors.New("it was not received")
		}
		return nil
	})
	if len(found) > 1 {
		t.Fatalf("%d spans %s %v", len(found), name, attributes)
	}
	return found[0]
}

// flat writes attributes as key=value.
func flat(attributes []*commonpb.KeyValue) []string {
	var all []string
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			all = append(all, a.GetKey()+"="+v.StringValue)
		case *commonpb.AnyValue_IntValue:
			all = append(all, fmt.Sprintf("%s=%d", a.GetKey(), v.IntValue))
		case *commonpb.AnyValue_BoolValue:
			all = append(all, fmt.Sprintf("%s=%t", a.GetKey(), v.BoolValue))
		}
	}
	return all
}

// traceparent names a span as messages carry it.
func traceparent(s *tracepb.Span) string {
	return "00-" + hex.EncodeToString(s.GetTraceId()) + "-" + hex.EncodeToString(s.GetSpanId()) + "-01"
}

func childOf(t *testing.T, child, parent *tracepb.Span) {
	t.Helper()
	if string(child.GetTraceId()) != string(parent.GetTraceId()) || string(child.GetParentSpanId()) != string(parent.GetSpanId()) {
		t.Errorf("%s %v is not part of %s %v", child.GetName(), flat(child.GetAttributes()), parent.GetName(), flat(parent.GetAttributes()))
	}
}

// tracedSender posts with a traceparent of its own each time, as a proxy that traces would.
type tracedSender struct {
	http.RoundTripper
	sent int
}

func (s *tracedSender) RoundTrip(r *http.Request) (*http.Response, error) {
	s.sent++
	r = r.Clone(r.Context())
	r.Header.Set("Traceparent", fmt.Sprintf("00-%032x-%016x-01", 0xabc000+s.sent, 0xdef000+s.sent))
	return s.RoundTripper.RoundTrip(r)
}

// playOne plays a call of one leg, event by event.
func playOne(t *testing.T, w *legatotest.Telnyx, s *legatotest.Server, transport http.RoundTripper) fake.Call {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: w.Sign, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 9}.Of(fake.IVR, 1, time.Now().UTC().Add(-5*time.Minute).Truncate(time.Microsecond))
	w.Know(c)
	for _, d := range c.Deliveries {
		if d.OccurredAt.After(hangupOf(c)) {
			continue // what comes later makes revisions, which have spans of their own
		}
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
	return c
}

func hangupOf(c fake.Call) (at time.Time) {
	for _, d := range c.Deliveries {
		if d.Type == "call.hangup" {
			at = d.OccurredAt
		}
	}
	return at
}

// loggedTrace returns the traceparent of the log's last entry of an event type.
func loggedTrace(t *testing.T, s *legatotest.Server, eventType string) string {
	t.Helper()
	stream, err := legatotest.Dial(t, s.NATS).Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	var m *jetstream.RawStreamMsg
	legatotest.Eventually(t, "the entry is copied", func() (err error) {
		m, err = stream.GetLastMsgForSubject(t.Context(), "calls.event.*."+eventType)
		return err
	})
	return m.Header.Get("traceparent")
}

// TestATraceLinksWebhookEnrichmentAndPublication follows one call through the
// program by the spans that a collector receives.
func TestATraceLinksWebhookEnrichmentAndPublication(t *testing.T) {
	t.Parallel()
	world, collected := legatotest.NewTelnyx(t), newCollector(t)
	s := legatotest.Serve(t, append(world.Env(),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+collected.url, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test",
	), legatotest.EmbeddedFlags(t.TempDir())...)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	sender := &tracedSender{RoundTripper: transport}
	c := playOne(t, world, s, sender)
	leg, sid := string(c.Legs[0].Ref.Leg), string(c.Session)

	// Webhook → append.
	webhook := collected.one(t, "POST /webhooks/telnyx", "legato.event_type=call.hangup", "legato.call_leg_id="+leg)
	if got := hex.EncodeToString(webhook.GetTraceId()); !strings.HasPrefix(got, "00000000000000000000000000abc") || webhook.GetKind() != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("the webhook's span is of trace %s, kind %v: not of its sender's", got, webhook.GetKind())
	}
	appended := collected.one(t, "append to log", "legato.topic=event.call.hangup")
	childOf(t, appended, webhook)
	if got := loggedTrace(t, s, "call.hangup"); got != traceparent(appended) {
		t.Errorf("the log's entry says %q, the span is %s", got, traceparent(appended))
	}

	// Queue → status → publish.
	published := collected.one(t, "publish leg", "legato.revision=1")
	status := collected.one(t, "status leg", "legato.result=answered", "http.response.status_code=200", "legato.call_leg_id="+leg)
	answer := collected.one(t, "append to log", "legato.topic=internal.status")
	childOf(t, answer, status)
	var work *tracepb.Span
	legatotest.Eventually(t, "the span of the work that published", func() error {
		spans := collected.find("work on session", "legato.call_session_id="+sid)
		i := slices.IndexFunc(spans, func(s *tracepb.Span) bool { return string(s.GetSpanId()) == string(published.GetParentSpanId()) })
		if i < 0 {
			return errors.New("it was not received")
		}
		work = spans[i]
		return nil
	})
	childOf(t, work, appended)
	childOf(t, status, work)
	childOf(t, published, work)
	if !slices.ContainsFunc(work.GetLinks(), func(l *tracepb.Span_Link) bool {
		return string(l.GetSpanId()) == string(appended.GetSpanId()) && string(l.GetTraceId()) == string(appended.GetTraceId())
	}) {
		t.Errorf("the work has %d links, none to the append of the hangup", len(work.GetLinks()))
	}
	if got := legatotest.Completed(t, s.NATS, "calls.leg.completed.*."+sid+"."+leg).Header.Get("traceparent"); got != traceparent(published) {
		t.Errorf("the leg's message says %q, the span is %s", got, traceparent(published))
	}

	// The session's summary belongs to the same trace, though a check made it due.
	session := collected.one(t, "publish session", "legato.revision=1", "legato.call_session_id="+sid)
	if string(session.GetTraceId()) != string(webhook.GetTraceId()) {
		t.Errorf("the session was published in another trace, %x, than its last webhook's, %x", session.GetTraceId(), webhook.GetTraceId())
	}
	if got := legatotest.Completed(t, s.NATS, "calls.session.completed.*."+sid).Header.Get("traceparent"); got != traceparent(session) {
		t.Errorf("the session's message says %q, the span is %s", got, traceparent(session))
	}
	legatotest.StopsCleanly(t, s)
	if n := len(collected.find("POST /webhooks/telnyx")); n != sender.sent {
		t.Errorf("%d webhooks have spans, %d were sent", n, sender.sent)
	}
	collected.wantNoPersonalData(t, c)
}

// wantNoPersonalData looks through all that was received.
func (c *otlpCollector) wantNoPersonalData(t *testing.T, played fake.Call) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resource["service.name"] != "legato" || c.resource["deployment.environment.name"] != "test" {
		t.Errorf("the resource is %v", c.resource)
	}
	secrets := []string{"KEY-of-a-test"}
	for _, l := range played.Legs {
		secrets = append(secrets, l.From, l.To, l.ClientState)
	}
	for _, s := range c.spans {
		text := s.String()
		for _, secret := range secrets {
			if secret != "" && strings.Contains(text, secret) {
				t.Errorf("a span tells %q: %s", secret, text)
			}
		}
	}
}

// TestNothingIsTracedUnasked: a sender's traceparent alone makes no trace.
func TestNothingIsTracedUnasked(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := playOne(t, world, s, &tracedSender{RoundTripper: transport})
	if got := loggedTrace(t, s, "call.hangup"); got != "" {
		t.Errorf("the log's entry says %q", got)
	}
	if got := legatotest.Completed(t, s.NATS, "calls.leg.completed.>").Header.Get("traceparent"); got != "" {
		t.Errorf("the message of %s says %q", c.Session, got)
	}
}

func TestTracesGoOverGRPC(t *testing.T) {
	t.Parallel()
	world, collected := legatotest.NewTelnyx(t), newGRPCCollector(t)
	s := legatotest.Serve(t, append(world.Env(),
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+collected.url,
		"OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_SERVICE_NAME=calls of a test",
	), legatotest.EmbeddedFlags(t.TempDir())...)
	if a := world.Post(t, s.Target(), time.Now(), legatotest.Ringing(1)); a.Status != http.StatusOK {
		t.Fatalf("a webhook was answered %+v", a)
	}
	childOf(t, collected.one(t, "append to log"), collected.one(t, "POST /webhooks/telnyx"))
	legatotest.StopsCleanly(t, s)
	if got := collected.resource["service.name"]; got != "calls of a test" {
		t.Errorf("the service is called %q", got)
	}
}

// TestACollectorThatIsAwayKeepsNobodyWaiting: its spans are lost, and nothing else.
func TestACollectorThatIsAwayKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, append(world.Env(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+legatotest.FreeAddrs(t, 1)[0], "OTEL_BSP_SCHEDULE_DELAY=100"), legatotest.EmbeddedFlags(t.TempDir())...)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := playOne(t, world, s, transport)
	legatotest.Completed(t, s.NATS, "calls.leg.completed.*."+string(c.Session)+".>")
	s.Logged("traces are not sent")
	legatotest.StopsCleanly(t, s)
}

// A platform sets OpenTelemetry's variables for all that runs on it: what Legato cannot do is said at the start, and
// it starts.
func TestWhatIsAskedOfTracesInVainIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		env    []string
		says   string
		traced bool
	}{
		"another exporter":    {[]string{"OTEL_TRACES_EXPORTER=console"}, `names "console"`, false},
		"a list of exporters": {[]string{"OTEL_TRACES_EXPORTER=console,otlp"}, `names "console"`, true},
		"another protocol":    {[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, `OTEL_EXPORTER_OTLP_PROTOCOL is "http/json"`, true},
		"no scheme":           {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=otelcol:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is not of the form", false},
		"no scheme of traces": {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=//otelcol"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not of the form", false},
		// The library quotes such a header in its own lines.
		"a header that is none": {[]string{"OTEL_EXPORTER_OTLP_HEADERS=Bearer a-secret-of-a-test"}, "OpenTelemetry", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(legatotest.NewTelnyx(t).Env(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+legatotest.FreeAddrs(t, 1)[0])
			s := legatotest.Serve(t, append(env, row.env...), legatotest.EmbeddedFlags(t.TempDir())...)
			told := s.Logged(strings.SplitN(row.says, " is not", 2)[0])
			if strings.Contains(s.Text(), "a-secret-of-a-test") {
				t.Error("a secret is shown")
			}
			if !strings.Contains(fmt.Sprint(told["msg"], told["detail"]), row.says) {
				t.Errorf("it says %v", told)
			}
			if got := strings.Contains(s.Text(), `"msg":"tracing"`); got != row.traced {
				t.Errorf("it traces: %v", got)
			}
			for line := range strings.Lines(s.Text()) {
				if !strings.HasPrefix(line, "{") {
					t.Errorf("a line is not of the service's log: %s", line)
				}
			}
			legatotest.StopsCleanly(t, s)
		})
	}
}

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/internal/fake"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exposed is what a running program exposes: each metric's families by name.
func exposed(t *testing.T, s *legatotest.Server) (map[string]*dto.MetricFamily, []byte) {
	t.Helper()
	response, err := http.Get(s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families, text
}

// busyServer is a service that has had a call of each kind, a type that nobody knows, and misuse.
func busyServer(t *testing.T) (*legatotest.Server, []fake.Call) {
	t.Helper()
	world := legatotest.NewTelnyx(t)
	application := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(application.Close)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward="+application.URL)
	s := legatotest.Serve(t, append(world.Env(), "LEGATO_LOG_LEVEL=debug"), flags...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for i, scenario := range fake.Scenarios() {
		c := fake.Generator{Seed: 6}.Of(scenario, uint64(i), time.Now().UTC().Add(-5*time.Minute).Truncate(time.Microsecond))
		world.Know(c)
		for _, d := range c.Deliveries {
			if out := sender.Send(t.Context(), d); !out.Accepted {
				t.Fatalf("%s of a call %s was not accepted: %+v", d.Type, scenario, out)
			}
		}
	}
	misuse(t, world, s.Target())
	unknown := fmt.Sprintf(`{"data":{"record_type":"event","event_type":"call.of.tomorrow","id":"e1","occurred_at":%q,"payload":{"call_session_id":%q}}}`,
		time.Now().UTC().Format(time.RFC3339Nano), world.Calls[0].Session)
	if a := world.Post(t, s.Target(), time.Now(), []byte(unknown)); a.Status != http.StatusOK {
		t.Fatalf("an event of an unknown type was answered %+v", a)
	}
	for _, c := range world.Calls {
		legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	}
	return s, world.Calls
}

// promised are the metrics that operators look for, each with a label that it must have.
var promised = map[string]string{
	"legato_webhooks_total": "result type", "legato_webhook_duration_seconds": "", "legato_webhooks_parked_total": "reason",
	"legato_log_append_seconds": "", "legato_log_batch_size": "", "legato_log_fill_ratio": "", "legato_log_lag": "", "legato_log_bytes": "",
	"legato_legs": "state", "legato_open_sessions": "", "legato_oldest_open_leg_age_seconds": "",
	"legato_queue_waiting": "", "legato_queue_held": "", "legato_queue_age_seconds": "", "legato_tasks_parked_total": "reason",
	"legato_summaries_total": "level outcome type", "legato_amendments_total": "level reason", "legato_completion_seconds": "",
	"legato_status_requests_total": "problem result", "legato_status_request_duration_seconds": "",
	"legato_sweeps_total": "result", "legato_repairs_total": "result", "legato_backfilled_events_total": "",
	"legato_forward_attempts_total": "result target", "legato_forward_events_total": "result target", "legato_forward_seconds": "target",
	"legato_build_info": "commit goversion version", "legato_ready": "", "legato_nats_connected": "", "legato_disk_free_bytes": "",
}

// TestMetricsAreAsPrometheusWantsThem scrapes the program and looks at every name and label.
func TestMetricsAreAsPrometheusWantsThem(t *testing.T) {
	t.Parallel()
	s, calls := busyServer(t)
	families, text := exposed(t, s)
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	for name, labels := range promised {
		family := families[name]
		if family == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		for _, m := range family.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName())
			}
			slices.Sort(got)
			if strings.Join(got, " ") != labels {
				t.Errorf("%s has the labels %q, want %q", name, strings.Join(got, " "), labels)
			}
		}
	}
	word := regexp.MustCompile(`^[a-z0-9_.]*$`)
	for name, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if strings.HasPrefix(name, "legato_") && name != "legato_build_info" && !word.MatchString(l.GetValue()) {
					t.Errorf("%s has the label %s=%q, which is no word", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
	for _, c := range calls {
		for _, l := range c.Legs {
			for _, private := range []string{string(c.Session), string(l.Ref.Leg), string(l.Ref.Control), string(l.Ref.Connection), l.From, l.To} {
				if strings.Contains(string(text), strings.TrimPrefix(private, "+")) {
					t.Errorf("/metrics tells %q", private)
				}
			}
		}
	}
	hangups := 0.0
	for _, c := range calls {
		hangups += float64(len(c.Legs))
	}
	legatotest.Eventually(t, "the service has counted what happened", func() error {
		m := legatotest.Scrape(t, s.Admin)
		for series, want := range map[string]float64{
			`legato_webhooks_total{result="stored",type="call.hangup"}`: hangups,
			`legato_webhooks_total{result="stored",type="other"}`:       1,
			`legato_webhooks_total{result="bad_signature",type="none"}`: 5,
			`legato_webhooks_total{result="parked",type="none"}`:        6,
			`legato_ready`: 1, `legato_nats_connected`: 1, `legato_log_lag`: 0, `legato_queue_age_seconds`: 0,
			`legato_legs{state="open"}`: 0, `legato_open_sessions`: 0, `legato_oldest_open_leg_age_seconds`: 0,
		} {
			if got, ok := m[series]; !ok || got != want {
				return fmt.Errorf("%s is %v, want %v", series, got, want)
			}
		}
		return nil
	})
}

// TestOneWideLineTellsOfASummary looks for what one line of the log is to say, and for what it is not.
func TestOneWideLineTellsOfASummary(t *testing.T) {
	t.Parallel()
	s, calls := busyServer(t)
	for text, keys := range map[string][]string{
		"leg completed": {
			"kind", "call_session_id", "call_leg_id", "revision", "outcome", "ended_by", "status", "why", "reasons", "events",
			"attempts", "duration_ms", "hangup_to_published_ms",
		},
		"session completed": {
			"kind", "call_session_id", "revision", "outcome", "status", "reasons", "legs", "events", "duration_ms", "hangup_to_published_ms",
		},
		"webhook": {"result", "status", "bytes", "duration_ms"},
	} {
		line := legatotest.Said(s.Process, text)
		for _, key := range keys {
			if _, ok := line[key]; !ok {
				t.Errorf("the line %q has no %s: %v", text, key, line)
			}
		}
	}
	log := s.Text()
	for _, c := range calls {
		for _, l := range c.Legs {
			for _, private := range []string{l.From, l.To, l.ClientState} {
				if private != "" && strings.Contains(log, private) {
					t.Errorf("the log tells %q", private)
				}
			}
			if got := strings.Count(log, `"msg":"leg completed","component":"enrich","kind":"leg","call_session_id":"`+string(c.Session)+`","call_leg_id":"`+string(l.Ref.Leg)); got != 1 {
				t.Errorf("%d lines tell that leg %s is completed", got, l.Ref.Leg)
			}
		}
	}
}

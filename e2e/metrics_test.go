package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
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
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
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
	world.Deliver(t, s.Target(), []byte(unknown))
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

// settled waits until a process has no leg pending, and returns its metrics, which must balance.
func settled(t *testing.T, s *legatotest.Server, legs int) legatotest.Metrics {
	t.Helper()
	var m legatotest.Metrics
	legatotest.Eventually(t, fmt.Sprintf("%d legs are over and completed", legs), func() error {
		m = legatotest.Scrape(t, s.Admin)
		if err := m.Balance(); err != nil {
			return err
		}
		answered, parked := m.Sum("legato_webhook_answers_total", `code="200"`), m.Sum("legato_webhooks_parked_total")
		stored, again := m.Sum("legato_log_appends_total", `kind="event"`, `result="stored"`), m.Sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`)
		if answered != stored+again+parked {
			return fmt.Errorf("answered 200: %v, stored %v + before %v + parked %v", answered, stored, again, parked)
		}
		if over, pending := m["legato_legs_over_total"], m["legato_legs_pending"]; over != float64(legs) || pending != 0 {
			return fmt.Errorf("%v are over, %v of them pending", over, pending)
		}
		return nil
	})
	return m
}

// misuse posts what is parked and what is refused, and returns how much was parked.
func misuse(t *testing.T, w *legatotest.Telnyx, target string) (parked float64) {
	t.Helper()
	for range 3 { // The same bytes again are answered 200 again.
		for _, body := range []string{"no JSON", `{"data":{"record_type":"event","event_type":"message.received","id":"m1","payload":{}}}`} {
			if a := w.Post(t, target, time.Now(), []byte(body)); a.Status != http.StatusOK || a.Reason == "" {
				t.Fatalf("unusable input was answered %+v", a)
			}
			parked++
		}
	}
	for i := range uint64(5) {
		body := legatotest.Ringing(i)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		timestamp, signature := w.Sign(time.Now(), append(body, ' '))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Telnyx-Timestamp", timestamp)
		request.Header.Set("Telnyx-Signature-Ed25519", signature)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong signature was answered %d", response.StatusCode)
		}
	}
	return parked
}

// eventsInLog counts the webhooks that stand in the log.
func eventsInLog(t *testing.T, url string) (n float64) {
	t.Helper()
	stream, err := legatotest.Dial(t, url).Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("calls.event.>"))
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range info.State.Subjects {
		n += float64(count)
	}
	return n
}

func TestTheCountersOfOneProcessBalance(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(t.TempDir())
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 30, 51)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	parked := misuse(t, world, s.Target())
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, s.NATS, player.Ledger())
	totals := player.Ledger().Totals()
	m := settled(t, s, totals.Legs)
	if got := m.Sum("legato_webhooks_parked_total"); got != parked {
		t.Errorf("%v were parked, want %v", got, parked)
	}
	if got := m.Sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`); got < float64(totals.Duplicates) || totals.Duplicates == 0 {
		t.Errorf("%v duplicates were counted, %d were sent", got, totals.Duplicates)
	}
	if got, want := m.Sum("legato_log_appends_total", `kind="event"`, `result="stored"`), eventsInLog(t, s.NATS); got != want {
		t.Errorf("%v events were counted as stored, the log has %v", got, want)
	}
	if got := m.Sum("legato_summaries_total", `level="leg"`, `type="completed"`); got != float64(totals.Legs) {
		t.Errorf("%v completed messages of legs were counted, want %d", got, totals.Legs)
	}
	legatotest.StopsCleanly(t, s)

	// A process that was started again has read the history and knows what was published before.
	s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	m = settled(t, s, totals.Legs)
	if got := m.Sum("legato_summaries_total"); got != 0 {
		t.Errorf("after a start %v summaries were published again", got)
	}
}

func TestTheCountersOfEachReplicaBalance(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, a.Target(), 30, 52, over(&spray{hosts: []string{a.Webhooks, b.Webhooks}}))
	if err := player.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	misuse(t, world, b.Target())
	world.WantOnce(t, url, player.Ledger())
	totals := player.Ledger().Totals()
	one, two := settled(t, a, totals.Legs), settled(t, b, totals.Legs)
	both := func(name string, labels ...string) float64 {
		return one.Sum(name, labels...) + two.Sum(name, labels...)
	}
	stored := []string{`kind="event"`, `result="stored"`}
	if got, want := both("legato_log_appends_total", stored...), eventsInLog(t, url); got != want {
		t.Errorf("both counted %v events as stored, the log has %v", got, want)
	}
	if one.Sum("legato_log_appends_total", stored...) == 0 || two.Sum("legato_log_appends_total", stored...) == 0 {
		t.Error("one of them took all webhooks")
	}
	if got := both("legato_summaries_total", `level="leg"`, `type="completed"`); got != float64(totals.Legs) {
		t.Errorf("both published %v completed messages of legs, want %d", got, totals.Legs)
	}
}

// What deploy watches the program with is held against what the program exposes. That
// Prometheus reads it, and that every alert fires, is seen in deploy/alertstest, whose dependencies are too many
// for this module.

type dashboard struct {
	Title      string
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type string }
	}
	Annotations struct {
		List []struct{ Expr string }
	}
}

type panel struct {
	Title      string
	Type       string
	Datasource struct{ UID string }
	Targets    []struct {
		Expr         string
		LegendFormat string
	}
}

func theDashboard(t *testing.T) dashboard {
	t.Helper()
	var board dashboard
	if err := json.Unmarshal([]byte(legatotest.ReadText(t, "deploy", "grafana", "legato.json")), &board); err != nil {
		t.Fatal(err)
	}
	return board
}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func theAlerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal([]byte(legatotest.ReadText(t, "deploy", "prometheus", "alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

var (
	// selector is a metric and what is asked of its labels.
	selector = regexp.MustCompile(`\b((?:legato|go|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)(=~|!=|!~|=)"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
	shown    = regexp.MustCompile(`\{\{ ?(?:\$labels\.)?([a-z_]+)`)
)

// exposition is what each label of each metric has been seen to be.
type exposition map[string]map[string][]string

func expositionOf(families map[string]*dto.MetricFamily) exposition {
	// Prometheus's own: what every series has, and the metric that it makes for each target.
	all := exposition{"up": {"job": nil, "instance": nil}}
	for name, family := range families {
		labels := map[string][]string{"job": nil, "instance": nil}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
			if m.GetSummary() != nil {
				labels["quantile"] = nil
			}
		}
		all[name] = labels
		if family.GetType() == dto.MetricType_HISTOGRAM {
			delete(all, name)
			for _, part := range []string{"_sum", "_count", "_bucket"} {
				all[name+part] = maps.Clone(labels)
			}
			all[name+"_bucket"]["le"] = nil
		}
	}
	return all
}

// faultsOf returns what an expression names that is not exposed. used gathers its metrics;
// texts are templates that show its labels.
func (e exposition) faultsOf(expr string, used map[string]bool, texts ...string) (faults []string) {
	known := map[string]bool{}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		labels, ok := e[s[1]]
		if !ok {
			faults = append(faults, "the metric "+s[1])
			continue
		}
		used[s[1]] = true
		for name := range labels {
			known[name] = true
		}
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			values, ok := labels[m[1]]
			if !ok {
				faults = append(faults, "the label "+m[1]+" of "+s[1])
			}
			for value := range strings.SplitSeq(m[3], "|") {
				if values != nil && !slices.Contains(values, value) {
					faults = append(faults, "the value "+value+" of the label "+m[1]+" of "+s[1])
				}
			}
		}
	}
	grouped := map[string]bool{}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(g[1], ", ") {
			grouped[name] = true
			if !known[name] {
				faults = append(faults, "the label "+name+" to group by")
			}
		}
	}
	if len(grouped) > 0 || regexp.MustCompile(`^(sum|max|min)\(`).MatchString(expr) {
		known = grouped
	}
	for _, text := range texts {
		for _, l := range shown.FindAllStringSubmatch(text, -1) {
			if !known[l[1]] && !strings.HasPrefix(l[0], "{{ $value") {
				faults = append(faults, "the label "+l[1]+" to show")
			}
		}
	}
	return faults
}

// TestDashboardAndAlertsNameOnlyWhatIsExposed holds both against a running program.
func TestDashboardAndAlertsNameOnlyWhatIsExposed(t *testing.T) {
	t.Parallel()
	s, _ := busyServer(t)
	families, _ := exposed(t, s)
	all, used := expositionOf(families), map[string]bool{}

	board := theDashboard(t)
	expressions := 0
	for _, p := range board.Panels {
		if p.Type != "row" && p.Datasource.UID != "${datasource}" {
			t.Errorf("the panel %q has the data source %q", p.Title, p.Datasource.UID)
		}
		for _, target := range p.Targets {
			expressions++
			expr := strings.ReplaceAll(target.Expr, `job=~"$job",instance=~"$instance"`, "")
			if expr == target.Expr {
				t.Errorf("the panel %q does not heed the variables: %s", p.Title, expr)
			}
			for _, fault := range all.faultsOf(expr, used, target.LegendFormat) {
				t.Errorf("the panel %q names %s, which is not there: %s", p.Title, fault, expr)
			}
		}
	}
	for _, a := range board.Annotations.List {
		for _, fault := range all.faultsOf(strings.ReplaceAll(a.Expr, `job=~"$job",instance=~"$instance"`, ""), used) {
			t.Errorf("an annotation names %s, which is not there", fault)
		}
	}
	if expressions < 60 {
		t.Errorf("only %d expressions were read", expressions)
	}
	for name := range all {
		if strings.HasPrefix(name, "legato_") && !used[name] && !strings.HasSuffix(name, "_sum") && !strings.HasSuffix(name, "_count") {
			t.Errorf("the dashboard does not show %s", name)
		}
	}

	operations := headings(legatotest.ReadText(t, "docs", "operations.md"))
	alerts := theAlerts(t)
	for _, a := range alerts {
		for _, fault := range all.faultsOf(a.Expr, used, a.Annotations["summary"], a.Annotations["description"]) {
			t.Errorf("the alert %s names %s, which is not there", a.Alert, fault)
		}
		if a.Labels["severity"] == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("the alert %s lacks severity, summary or description", a.Alert)
		}
		page, heading, _ := strings.Cut(a.Annotations["runbook_url"], "#")
		if !strings.HasSuffix(page, "/docs/operations.md") || !slices.Contains(operations, heading) {
			t.Errorf("the alert %s leads to %s, which is no part of docs/operations.md", a.Alert, a.Annotations["runbook_url"])
		}
	}
	if len(alerts) < 20 {
		t.Errorf("only %d alerts were read", len(alerts))
	}
}

// headings are the anchors of a page's headings, as GitHub makes them.
func headings(page string) (all []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

// Package alertstest_test sees every alert of deploy/prometheus fire, and stay silent
// when all is well, in Prometheus's own engine, and has its parser read the expressions of the
// dashboard. It is run by hand, after a change of either:
//
//	cd deploy/alertstest && go test ./...
//
// That the metrics and labels which they name are those of the program is tested in e2e.
package alertstest_test

import (
	"encoding/json"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// healthy is a minute-by-minute record of a replica at work: 600 webhooks, 60 legs and 120 status
// requests a minute, a second and a half to a summary, and something in flight now and then. A loader runs beside it.
const healthy = `
	up{job="legato",instance="a"} 1x60
	legato_build_info{job="legato",instance="a",version="v1"} 1x60
	legato_log_position{job="legato",instance="a"} 0+700x60
	legato_build_info{job="legato-load",instance="l",version="v1"} 1x60
	legato_ready{job="legato-load",instance="l"} 1x60
	legato_ready{job="legato",instance="a"} 1x60
	legato_nats_connected{job="legato",instance="a"} 1x60
	legato_webhooks_total{job="legato",instance="a",result="stored",type="call.hangup"} 0+600x60
	legato_webhooks_total{job="legato",instance="a",result="bad_signature",type="none"} 0x60
	legato_webhooks_total{job="legato",instance="a",result="clock",type="none"} 0x60
	legato_webhooks_total{job="legato",instance="a",result="log_unavailable",type="none"} 0x60
	legato_webhooks_total{job="legato",instance="a",result="parked",type="none"} 0x60
	legato_log_appends_total{job="legato",instance="a",kind="event",result="stored"} 0+598x60
	legato_log_appends_total{job="legato",instance="a",kind="event",result="duplicate"} 0+2x60
	legato_log_appends_total{job="legato",instance="a",kind="event",result="error"} 0x60
	legato_webhooks_parked_total{job="legato",instance="a",reason="not_json"} 0x60
	legato_webhooks_in_flight{job="legato",instance="a"} 0 3 1 0 2 0x55
	legato_storage_fill_ratio{job="legato",instance="a",limit="log_bytes"} 0.4x60
	legato_storage_refusing{job="legato",instance="a"} 0x60
	legato_disk_free_bytes{job="legato",instance="a"} 5e10x60
	legato_log_lost_total{job="legato",instance="a"} 0x60
	legato_log_unusable_total{job="legato",instance="a"} 0x60
	legato_log_lag{job="legato",instance="a"} 3x60
	legato_queue_age_seconds{job="legato",instance="a"} 4x60
	legato_work_failures_total{job="legato",instance="a"} 2x60
	legato_completion_seconds_bucket{job="legato",instance="a",le="2"} 0+60x60
	legato_completion_seconds_bucket{job="legato",instance="a",le="15"} 0+60x60
	legato_completion_seconds_bucket{job="legato",instance="a",le="60"} 0+60x60
	legato_completion_seconds_bucket{job="legato",instance="a",le="+Inf"} 0+60x60
	legato_legs_over_total{job="legato",instance="a"} 10+60x60
	legato_legs_completed_total{job="legato",instance="a"} 8+60x60
	legato_legs_pending{job="legato",instance="a"} 2x60
	legato_oldest_open_leg_age_seconds{job="legato",instance="a"} 14500x60
	legato_failing_seconds{job="legato",instance="a",part="copy"} 0x60
	legato_status_requests_total{job="legato",instance="a",result="answered",problem=""} 0+120x60
	legato_status_requests_total{job="legato",instance="a",result="denied",problem=""} 0x60
	legato_status_requests_total{job="legato",instance="a",result="unreachable",problem="timeout"} 0+6x60
	legato_status_pauses_total{job="legato",instance="a"} 0x60
	legato_status_unasked_total{job="legato",instance="a"} 0x60
	legato_status_backlog_seconds{job="legato",instance="a"} 0x60
	legato_tasks_parked_total{job="legato",instance="a",reason="poison"} 0x60
	legato_forward_breaker_open{job="legato",instance="a",target="app"} 0x30 1x1 0x28
	legato_forward_oldest_seconds{job="legato",instance="a",target="app"} 0x60
	legato_forward_events_total{job="legato",instance="a",target="app",result="done"} 0+600x60
	legato_forward_events_total{job="legato",instance="a",target="app",result="stale"} 0+1x60
	legato_forward_events_total{job="legato",instance="a",target="app",result="refused"} 0x60
	legato_forward_events_total{job="legato",instance="a",target="app",result="expired"} 0x60
`

// faults are what makes each alert fire: lines that replace those of healthy with
// the same series. An empty line takes the series away.
var faults = map[string][]string{
	"LegatoReplicaDown":          {`up{job="legato",instance="a"} 1x20 0x40`},
	"LegatoGone":                 {`legato_build_info{job="legato",instance="a",version="v1"}`, `legato_log_position{job="legato",instance="a"}`},
	"LegatoNotReady":             {`legato_ready{job="legato",instance="a"} 1x20 0x40`},
	"LegatoNATSDisconnected":     {`legato_nats_connected{job="legato",instance="a"} 1x20 0x40`},
	"LegatoWebhooksNotStored":    {`legato_webhooks_total{job="legato",instance="a",result="log_unavailable",type="none"} 0x20 0+1x40`},
	"LegatoWebhooksRefused":      {`legato_webhooks_total{job="legato",instance="a",result="bad_signature",type="none"} 0x20 0+2x40`},
	"LegatoClockWrong":           {`legato_webhooks_total{job="legato",instance="a",result="clock",type="none"} 0x20 0+1x40`},
	"LegatoLogNearlyFull":        {`legato_storage_fill_ratio{job="legato",instance="a",limit="log_bytes"} 0.4x20 0.72x40`},
	"LegatoLogFull":              {`legato_storage_refusing{job="legato",instance="a"} 0x20 1x40`},
	"LegatoDiskNearlyFull":       {`legato_disk_free_bytes{job="legato",instance="a"} 5e10x20 1e9x40`},
	"LegatoAppendsFailing":       {`legato_log_appends_total{job="legato",instance="a",kind="event",result="error"} 0x20 0+3x40`},
	"LegatoLogNotCopied":         {`legato_failing_seconds{job="legato",instance="a",part="copy"} 0x20 0+60x40`},
	"LegatoLogDamaged":           {`legato_log_lost_total{job="legato",instance="a"} 0x20 5x40`},
	"LegatoFollowLag":            {`legato_log_lag{job="legato",instance="a"} 3x20 0+500x40`},
	"LegatoQueueOld":             {`legato_queue_age_seconds{job="legato",instance="a"} 4x20 4+60x40`},
	"LegatoWorkFailing":          {`legato_work_failures_total{job="legato",instance="a"} 2x20 2+4x40`},
	"LegatoSummariesSlow":        {`legato_completion_seconds_bucket{job="legato",instance="a",le="2"} 0x60`, `legato_completion_seconds_bucket{job="legato",instance="a",le="15"} 0x60`},
	"LegatoSummariesMissing":     {`legato_legs_pending{job="legato",instance="a"} 2x20 102x40`, `legato_legs_completed_total{job="legato",instance="a"} 8+60x20 1168+60x39`},
	"LegatoApplicationDead":      {`legato_forward_breaker_open{job="legato",instance="a",target="app"} 0x20 1x40`},
	"LegatoApplicationBehind":    {`legato_forward_oldest_seconds{job="legato",instance="a",target="app"} 0x20 0+10x40`},
	"LegatoEventsNotDelivered":   {`legato_forward_events_total{job="legato",instance="a",target="app",result="refused"} 0x20 0+1x40`},
	"LegatoLegsDoNotBalance":     {`legato_legs_completed_total{job="legato",instance="a"} 8+60x20 1267+60x39`},
	"LegatoWebhooksDoNotBalance": {`legato_webhooks_total{job="legato",instance="a",result="stored",type="call.hangup"} 0+600x20 12610+600x39`},
	"LegatoOldestLegTooOld":      {`legato_oldest_open_leg_age_seconds{job="legato",instance="a"} 13000+60x60`},
	"LegatoAPIKeyRefused":        {`legato_status_requests_total{job="legato",instance="a",result="denied",problem=""} 0x20 0+5x40`},
	"LegatoStatusUnreachable":    {`legato_status_requests_total{job="legato",instance="a",result="unreachable",problem="timeout"} 0+600x60`},
	"LegatoStatusThrottled":      {`legato_status_pauses_total{job="legato",instance="a"} 0x20 0+1x40`},
	"LegatoInputParked": {
		`legato_webhooks_parked_total{job="legato",instance="a",reason="not_json"} 0x20 0+1x40`,
		`legato_webhooks_total{job="legato",instance="a",result="parked",type="none"} 0x20 0+1x40`,
	},
	"LegatoTasksParked": {`legato_tasks_parked_total{job="legato",instance="a",reason="poison"} 0x20 1x40`},
}

// with is the record of health with a fault in it.
func with(fault []string) string {
	series := func(line string) string { s, _, _ := strings.Cut(strings.TrimSpace(line), " "); return s }
	record := "load 1m\n"
	for line := range strings.Lines(healthy) {
		for _, f := range fault {
			if series(f) == series(line) {
				line = f + "\n"
			}
		}
		if strings.Contains(strings.TrimSpace(line), " ") {
			record += "  " + strings.TrimSpace(line) + "\n"
		}
	}
	return record
}

// fired plays an hour and returns the alerts that fired, with their annotations.
func fired(t *testing.T, groups *rulefmt.RuleGroups, record string) map[string]labels.Labels {
	t.Helper()
	storage := promqltest.LoadedStorage(t, record)
	t.Cleanup(func() { _ = storage.Close() })
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	query := rules.EngineQueryFunc(engine, storage)
	external := &url.URL{Scheme: "http", Host: "prometheus.test"}
	found := map[string]labels.Labels{}
	for _, group := range groups.Groups {
		for _, r := range group.Rules {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			rule := rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
			for minute := range 60 {
				if _, err := rule.Eval(t.Context(), 0, time.Unix(0, 0).Add(time.Duration(minute)*time.Minute), query, external, 0); err != nil {
					t.Fatalf("%s: %v", r.Alert, err)
				}
				for _, a := range rule.ActiveAlerts() {
					if a.State == rules.StateFiring {
						found[r.Alert] = a.Annotations
					}
				}
			}
		}
	}
	return found
}

func load(t *testing.T) *rulefmt.RuleGroups {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join("..", "prometheus", "alerts.yaml"), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	return groups
}

func TestNoAlertFiresWhenAllIsWell(t *testing.T) {
	for name, annotations := range fired(t, load(t), with(nil)) {
		t.Errorf("%s: %s", name, annotations.Get("summary"))
	}
}

func TestEveryAlertFires(t *testing.T) {
	groups := load(t)
	known := map[string]bool{}
	for _, group := range groups.Groups {
		for _, r := range group.Rules {
			known[r.Alert] = true
			t.Run(r.Alert, func(t *testing.T) {
				fault, ok := faults[r.Alert]
				if !ok {
					t.Fatal("nothing is known to make it fire")
				}
				all := fired(t, groups, with(fault))
				annotations, ok := all[r.Alert]
				if !ok {
					t.Fatalf("it did not fire; %d others did", len(all))
				}
				for _, name := range []string{"summary", "description", "runbook_url"} {
					text := annotations.Get(name)
					if text == "" || strings.Contains(text, "<error") || strings.Contains(text, "no value") {
						t.Errorf("its %s is %q", name, text)
					}
				}
				t.Logf("%s: %s", annotations.Get("summary"), annotations.Get("description"))
				// One fault is one alert, or nearly: what is full is nearly full as well.
				for other := range all {
					if other != r.Alert && !strings.HasPrefix(r.Alert, "LegatoLog") {
						t.Errorf("%s fired as well", other)
					}
				}
			})
		}
	}
	for name := range faults {
		if !known[name] {
			t.Errorf("there is no alert %s", name)
		}
	}
}

// TestPrometheusReadsTheDashboard parses every expression of it.
func TestPrometheusReadsTheDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "grafana", "legato.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	n := 0
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", "legato", "$instance", "a")
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			n++
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(target.Expr)); err != nil {
				t.Errorf("%s: %s: %v", panel.Title, target.Expr, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d expressions were read", n)
	}
}

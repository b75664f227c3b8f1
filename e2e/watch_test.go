package e2e_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v4"
)

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

package legatotest

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Metrics are the samples of a scrape, by name and labels as they are written.
type Metrics map[string]float64

// Scrape reads /metrics.
func Scrape(t *testing.T, admin string) Metrics {
	t.Helper()
	response, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	m := make(Metrics)
	for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
		line := scanner.Text()
		space := strings.LastIndexByte(line, ' ')
		if space < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		m[line[:space]] = value
	}
	return m
}

// Sum adds up a metric's samples that have all of these labels.
func (m Metrics) Sum(name string, labels ...string) float64 {
	var total float64
	for sample, value := range m {
		base, rest, _ := strings.Cut(sample, "{")
		if base == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			total += value
		}
	}
	return total
}

// Balance returns what does not balance in a scrape of one process. It is to be
// empty whenever no webhook is in flight.
func (m Metrics) Balance() error {
	answered := m.Sum("legato_webhook_answers_total", `code="200"`)
	logged := m.Sum("legato_log_appends_total", `kind="event"`, `result="stored"`)
	duplicates := m.Sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`)
	parked := m.Sum("legato_webhooks_parked_total")
	if answered != logged+duplicates+parked {
		return fmt.Errorf("answered 200: %v, logged %v + duplicates %v + parked %v", answered, logged, duplicates, parked)
	}
	over, completed, pending := m["legato_legs_over_total"], m["legato_legs_completed_total"], m["legato_legs_pending"]
	if over != completed+pending {
		return fmt.Errorf("legs over: %v, completed %v + pending %v", over, completed, pending)
	}
	return nil
}

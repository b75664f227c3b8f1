package status_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/enrich/status"
)

func TestAConfigThatCannotWorkIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		config status.Config
	}{
		{"no key", status.Config{}},
		{"a key with a line break", status.Config{APIKey: key + "\n"}},
		{"a base URL that is none", status.Config{APIKey: key, BaseURL: "://"}},
		{"a base URL of another scheme", status.Config{APIKey: key, BaseURL: "ftp://api.example.com"}},
		{"a base URL without host", status.Config{APIKey: key, BaseURL: "https:///v2"}},
		{"a base URL with credentials", status.Config{APIKey: key, BaseURL: "https://user:" + key + "@api.example.com"}},
		{"a base URL with a query", status.Config{APIKey: key, BaseURL: "https://api.example.com?x=1"}},
		{"a negative rate", status.Config{APIKey: key, Rate: -1}},
		{"a rate that is no number", status.Config{APIKey: key, Rate: math.NaN()}},
		{"a negative timeout", status.Config{APIKey: key, Timeout: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, err := status.New(tt.config)
			if err == nil {
				t.Fatalf("New returned %v, want an error", client)
			}
			if strings.Contains(err.Error(), key) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestTheKeyIsNeverShown(t *testing.T) {
	var log bytes.Buffer
	level := &slog.HandlerOptions{Level: slog.LevelDebug}
	loggers := []*slog.Logger{slog.New(slog.NewTextHandler(&log, level)), slog.New(slog.NewJSONHandler(&log, level))}

	replies := []func() (*http.Response, error){
		func() (*http.Response, error) { return respond(401, key) },
		func() (*http.Response, error) { return respond(500, key) },
		func() (*http.Response, error) { return respond(200, `{"data":"`+key) },
		func() (*http.Response, error) { return nil, errors.New("the line is dead") },
	}
	var shown strings.Builder
	for _, logger := range loggers {
		for _, reply := range replies {
			config := status.Config{
				APIKey: key, Logger: logger, Registerer: prometheus.NewRegistry(),
				Transport: roundTrip(func(*http.Request) (*http.Response, error) { return reply() }),
			}
			client := newClient(t, config)
			answer := fetch(t, client)
			encoded, err := json.Marshal(answer)
			if err != nil {
				t.Fatalf("Marshal: %v", err)
			}
			shown.Write(encoded)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				fmt.Fprintf(&shown, verb, config)
				fmt.Fprintf(&shown, verb, &config)
				fmt.Fprintf(&shown, verb, client)
				fmt.Fprintf(&shown, verb, struct{ c *status.Client }{client})
			}
			logger.Info("configured", "config", config, "client", client)
		}
	}
	if !strings.Contains(log.String(), "the line is dead") {
		t.Errorf("the log does not tell why a request failed:\n%s", log.String())
	}
	if strings.Contains(shown.String()+log.String(), key) {
		t.Errorf("the key is shown:\n%s\n%s", shown.String(), log.String())
	}
}

func TestTheLogShowsNoClientState(t *testing.T) {
	var log bytes.Buffer
	client := newClient(t, status.Config{
		Logger:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(200, `{"data":{`+data+`}}`) }),
	})
	if answer := fetch(t, client); answer.ClientState == "" {
		t.Fatal("the answer has no client state")
	}
	if got := log.String(); !strings.Contains(got, string(ref.Leg)) || strings.Contains(got, "c3RhdGU") {
		t.Errorf("want a line with the leg and without the client state, got: %s", got)
	}
}

func TestRequestsAreCountedByResult(t *testing.T) {
	registry := prometheus.NewRegistry()
	code := 0
	client := newClient(t, status.Config{
		Registerer: registry, Rate: math.Inf(1),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(code, "") }),
	})
	for _, code = range []int{404, 422, 401, 503, 200} {
		fetch(t, client)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("Gather: %v", err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			value := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if value == 0 && len(m.GetLabel()) > 0 {
				continue // begun, and nothing happened
			}
			got[name] = value
		}
	}
	want := map[string]float64{
		"legato_status_requests_total  not_found":             2,
		"legato_status_requests_total  denied":                1,
		"legato_status_requests_total http_error unreachable": 1,
		"legato_status_requests_total not_json unreachable":   1,
		"legato_status_request_duration_seconds":              5,
		"legato_status_requests_in_flight":                    0,
		"legato_status_pauses_total":                          0,
		"legato_status_backlog_seconds":                       0,
		"legato_status_rate":                                  0,
		"legato_active_calls_listed_total":                    0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if _, err := status.New(status.Config{APIKey: key, Registerer: registry}); err == nil {
		t.Error("a second client on one registry: want an error")
	}
}

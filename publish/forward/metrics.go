package forward

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/internal/call"
)

type metrics struct {
	attempts, ended, trimmed                    *prometheus.CounterVec
	latency                                     *prometheus.HistogramVec
	oldest, waiting, held, later, breaker, here *prometheus.GaugeVec
}

func newMetrics() *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"target"})
	}
	return &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_forward_attempts_total",
			Help: "Attempts at events, by target and result: done, failed (408, 429 or 5xx), timeout, unreachable or refused.",
		}, []string{"target", "result"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_forward_events_total",
			Help: "Events that are through, by target and result: done, refused, stale (their leg was over) or expired.",
		}, []string{"target", "result"}),
		trimmed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_forward_trimmed_total",
			Help: "Times that the log was trimmed although the target still waited: its patience was over.",
		}, []string{"target"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "legato_forward_seconds",
			Help:    "Time from an event's receipt to the target's good answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600},
		}, []string{"target"}),
		oldest:  gauge("legato_forward_oldest_seconds", "Age of the oldest event that the target still waits for, 0 without one; on the replica that works the target."),
		waiting: gauge("legato_forward_waiting", "Events that were not handed out for the target yet."),
		held:    gauge("legato_forward_held", "Events that are handed out for the target and not through."),
		later:   gauge("legato_forward_set_aside", "Messages of events that are set aside for the target, each of up to 256 events."),
		breaker: gauge("legato_forward_breaker_open", "1 while the target does not answer and is probed."),
		here:    gauge("legato_forward_pinned", "1 on the replica that works the target."),
	}
}

// register makes the metrics seen. It fails when such are there already.
func (m *metrics) register(r prometheus.Registerer) error {
	var errs []error
	for _, c := range []prometheus.Collector{
		m.attempts, m.ended, m.trimmed, m.latency, m.oldest, m.waiting, m.held, m.later, m.breaker, m.here,
	} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forward: register metrics: %w", err)
	}
	return nil
}

// meter is the metrics of one target.
type meter struct {
	attempts, ended                             *prometheus.CounterVec
	trimmed                                     prometheus.Counter
	latency                                     prometheus.Observer
	oldest, waiting, held, later, breaker, here prometheus.Gauge
}

func (m *metrics) of(target string) *meter {
	label := prometheus.Labels{"target": target}
	t := &meter{
		attempts: m.attempts.MustCurryWith(label), ended: m.ended.MustCurryWith(label), trimmed: m.trimmed.With(label),
		latency: m.latency.With(label), oldest: m.oldest.With(label), waiting: m.waiting.With(label),
		held: m.held.With(label), later: m.later.With(label), breaker: m.breaker.With(label), here: m.here.With(label),
	}
	// All there from the start: an alert cannot see the first of what was never counted before.
	for _, r := range []Result{Done, Refused, Failed, TimedOut, Unreachable} {
		t.attempts.WithLabelValues(string(r))
	}
	for _, r := range []Result{Done, Refused, Stale, Expired} {
		t.ended.WithLabelValues(string(r))
	}
	return t
}

func (t *meter) attempt(e *call.Entry, a answer) {
	t.attempts.WithLabelValues(string(a.result)).Inc()
	if a.result == Done && !e.ReceivedAt.IsZero() {
		t.latency.Observe(time.Since(e.ReceivedAt).Seconds())
	}
}

func (t *meter) end(r Result) { t.ended.WithLabelValues(string(r)).Inc() }

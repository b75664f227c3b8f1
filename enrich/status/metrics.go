package status

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the client's. Their labels are closed vocabularies: no id ever.
type metrics struct {
	requests *prometheus.CounterVec
	latency  prometheus.Histogram
	inFlight prometheus.Gauge
	pauses   prometheus.Counter
	busy     prometheus.Counter
}

// newMetrics registers the metrics, or leaves them unregistered without a registerer.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_status_requests_total",
			Help: "Attempts to fetch a call's status, by result and, for unreachable, by problem.",
		}, []string{"result", "problem"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "legato_status_request_duration_seconds",
			Help: "Duration of status requests, without the wait for their turn.",
			// 5 ms doubling to 5.12 s: the last one just above the default timeout.
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 11),
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "legato_status_requests_in_flight",
			Help: "Status requests being made.",
		}),
		pauses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "legato_status_pauses_total",
			Help: "Pauses of all status requests after a 429.",
		}),
		busy: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "legato_status_busy_total",
			Help: "Status requests put off because their turn would have come too late; raise --status-rate.",
		}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.latency, m.inFlight, m.pauses, m.busy} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

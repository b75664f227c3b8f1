package status

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the client's. Their labels are closed vocabularies: no id ever.
type metrics struct {
	requests *prometheus.CounterVec
	history  *prometheus.CounterVec
	rolls    *prometheus.CounterVec
	listed   prometheus.Counter
	latency  prometheus.Histogram
	inFlight prometheus.Gauge
	pauses   prometheus.Counter
	waiting  [len(classes)]prometheus.Gauge
	rate     prometheus.Gauge
}

// newMetrics registers the metrics, or leaves them unregistered without a registerer.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	attempts := func(name, what string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name, Help: what + ", by result and, for unreachable, by problem.",
		}, []string{"result", "problem"})
	}
	m := &metrics{
		requests: attempts("legato_status_requests_total", "Attempts to fetch a call's status"),
		history:  attempts("legato_history_requests_total", "Pages of call events asked for"),
		rolls:    attempts("legato_active_calls_requests_total", "Pages of a connection's active calls asked for"),
		listed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "legato_active_calls_listed_total", Help: "Legs that were found alive on a list of active calls, and needed no request of their own.",
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "legato_status_request_duration_seconds",
			Help: "Duration of requests to the status API, without the wait for their turn.",
			// 5 ms doubling to 41 s: the last one just below the longest timeout.
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "legato_status_requests_in_flight", Help: "Status requests being made.",
		}),
		pauses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "legato_status_pauses_total", Help: "Pauses of all status requests, after a 429 or when the rate limit is used up.",
		}),
		rate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "legato_status_rate", Help: "Status requests a second that may be made now: --status-rate, or less after a 429; with auto what was found.",
		}),
	}
	waiting := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "legato_status_waiting",
		Help: "Status requests that wait for their turn, by class, in the order in which they get it: first (of a leg that is over), " +
			"again, sweep (of a leg that is silent), late (the status window is over) and history.",
	}, []string{"class"})
	for i, class := range classes {
		m.waiting[i] = waiting.WithLabelValues(class)
	}
	for _, v := range []*prometheus.CounterVec{m.requests, m.history, m.rolls} {
		for _, result := range []Result{Answered, NotFound, Denied, RateLimited} {
			v.WithLabelValues(string(result), "")
		}
		for _, problem := range problems {
			v.WithLabelValues(string(Unreachable), string(problem))
		}
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.history, m.rolls, m.listed, m.latency, m.inFlight, m.pauses, waiting, m.rate} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// watchBacklog registers how far behind the requests are.
func (c *Client) watchBacklog(registerer prometheus.Registerer) error {
	if registerer == nil {
		return nil
	}
	return registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "legato_status_backlog_seconds",
		Help: "How long the leg has been over that is to be asked about next, 0 when none waits that was not asked about before.",
	}, func() float64 {
		age, _ := c.Backlog()
		return age.Seconds()
	}))
}

// wait counts who stands in line.
func (m *metrics) wait(c Class, n float64) { m.waiting[c].Add(n) }

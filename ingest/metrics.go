package ingest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// metrics counts what the server does. Labels are words of this package and of
// telnyx.Reason, never anything that was received.
type metrics struct {
	answers  *prometheus.CounterVec
	results  *prometheus.CounterVec
	stored   map[string]prometheus.Counter // by the event's type, of those that are known
	parked   *prometheus.CounterVec
	seconds  prometheus.Histogram
	inFlight prometheus.Gauge
	evicted  *prometheus.CounterVec
}

// newMetrics registers the metrics, each at zero for every label that it can
// have. connections tells their number. It fails when reg has metrics of these names already.
func newMetrics(reg prometheus.Registerer, connections func() int) (*metrics, error) {
	m := &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_webhook_answers_total",
			Help: "Answers of the webhook listener by their HTTP status.",
		}, []string{"code"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_webhooks_total",
			Help: "Requests to the webhook listener by what became of them and by the event's type: " +
				"other for one that this version does not know, none where no event was read.",
		}, []string{"result", "type"}),
		parked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_webhooks_parked_total",
			Help: "Signed webhooks that are no usable call events, by reason.",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "legato_webhook_duration_seconds",
			Help: "Time from the headers of a webhook to its answer.",
			// Half a millisecond is a memory-speed append; Telnyx gives up at 2 s.
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2, 5},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "legato_webhooks_in_flight",
			Help: "Webhooks that were received whole and are not yet answered.",
		}),
		evicted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_webhook_connections_evicted_total",
			Help: "Idle or slow connections that were closed to make room, for a connection or for a long body.",
		}, []string{"reason"}),
	}
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "legato_webhook_connections",
		Help: "Connections to the webhook listener.",
	}, func() float64 { return float64(connections()) })
	for _, why := range []string{evictedForConnection, evictedForBody} {
		m.evicted.WithLabelValues(why)
	}
	m.answers.WithLabelValues("200")
	m.stored = make(map[string]prometheus.Counter)
	for _, eventType := range call.EventTypes() {
		m.stored[eventType.Name] = m.results.WithLabelValues(string(resultStored), eventType.Name)
	}
	m.results.WithLabelValues(string(resultStored), typeOther)
	m.results.WithLabelValues(string(resultDuplicate), typeOther)
	m.results.WithLabelValues(string(resultParked), typeNone)
	for refused, how := range refusals {
		m.results.WithLabelValues(string(refused), typeNone)
		m.answers.WithLabelValues(strconv.Itoa(how.status))
	}
	for _, reason := range telnyx.Reasons() {
		m.parked.WithLabelValues(string(reason))
	}
	for _, c := range []prometheus.Collector{m.answers, m.results, m.parked, m.seconds, m.inFlight, m.evicted, size} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("ingest: register metrics: %w", err)
		}
	}
	return m, nil
}

// count records one request and its answer.
func (m *metrics) count(o *observation, status int, took time.Duration) {
	m.answers.WithLabelValues(strconv.Itoa(status)).Inc()
	m.result(o).Inc()
	if o.result == resultParked {
		m.parked.WithLabelValues(string(o.parked.Reason)).Inc()
	}
	if o.webhook {
		m.seconds.Observe(took.Seconds())
	}
}

// Words in place of an event's type: what was received is no label.
const (
	typeOther = "other"
	typeNone  = "none"
)

// result returns the counter of what became of a request.
func (m *metrics) result(o *observation) prometheus.Counter {
	eventType := o.entry.EventType()
	if eventType == "" {
		return m.results.WithLabelValues(string(o.result), typeNone)
	}
	counter, known := m.stored[eventType]
	switch {
	case !known:
		eventType = typeOther
	case o.result == resultStored: // nearly all
		return counter
	}
	return m.results.WithLabelValues(string(o.result), eventType)
}

package journal

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	appends  *prometheus.CounterVec
	batch    prometheus.Histogram
	latency  prometheus.Histogram
	restarts *prometheus.CounterVec
	lost     prometheus.Counter
	fill     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		appends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_log_appends_total",
			Help: "Entries handed to the log, by result: stored, duplicate, full or error.",
		}, []string{"result"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "legato_log_batch_size",
			Help:    "Entries written with one acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "legato_log_append_seconds",
			Help:    "Time from the write of a batch to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 11),
		}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_log_replays_total",
			Help: "Times that the log was read from its beginning, by cause: start, gap, recreated or shrunk.",
		}, []string{"cause"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "legato_log_lost_total",
			Help: "Entries that were missing in the middle of the log when it was read.",
		}),
		fill: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "legato_log_fill_ratio",
			Help: "Size of the log as a share of its limit, 0 when it has none. Events are refused from 0.95 on.",
		}),
	}
	if r != nil {
		r.MustRegister(m.appends, m.batch, m.latency, m.restarts, m.lost, m.fill)
	}
	return m
}

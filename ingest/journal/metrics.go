package journal

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	appends  *prometheus.CounterVec
	batch    prometheus.Histogram
	latency  prometheus.Histogram
	restarts *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		appends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_log_appends_total",
			Help: "Entries handed to the log, by result: stored, duplicate or error.",
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
	}
	if r != nil {
		r.MustRegister(m.appends, m.batch, m.latency, m.restarts)
	}
	return m
}

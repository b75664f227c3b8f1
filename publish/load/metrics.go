package load

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	messagesDesc = prometheus.NewDesc("legato_load_messages_total",
		"Messages that are in the warehouse and acknowledged, rejected ones included.", nil, nil)
	appliedDesc = prometheus.NewDesc("legato_load_rows_applied_total",
		"Rows of legs and sessions that were new in the warehouse, or newer than what stood there.", nil, nil)
	rejectedDesc = prometheus.NewDesc("legato_load_rejected_total",
		"Messages that were set aside because they are no summary or the warehouse refuses them.", nil, nil)
	pendingDesc = prometheus.NewDesc("legato_load_pending_messages", "Messages that are still to be loaded.", nil, nil)
	lagDesc     = prometheus.NewDesc("legato_load_lag_seconds",
		"Age of the newest message in the warehouse while others are pending, else 0.", nil, nil)
	failuresDesc = prometheus.NewDesc("legato_load_failures_total", "Times that loading stopped, for the warehouse or NATS.", nil, nil)
	batchesDesc  = prometheus.NewDesc("legato_load_batches_total", "Batches that the warehouse took.", nil, nil)
	secondsDesc  = prometheus.NewDesc("legato_load_batch_seconds_total", "Seconds that the warehouse took for them.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *Loader) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(l, ch) }

// Collect implements prometheus.Collector.
func (l *Loader) Collect(ch chan<- prometheus.Metric) {
	p := l.Progress()
	l.state.mu.Lock()
	failures, batches, seconds := l.state.failures, l.state.batches, l.state.seconds
	l.state.mu.Unlock()
	lag := 0.0
	if p.Pending > 0 && !p.Stored.IsZero() {
		lag = time.Since(p.Stored).Seconds()
	}
	for _, m := range []struct {
		desc  *prometheus.Desc
		typ   prometheus.ValueType
		value float64
	}{
		{messagesDesc, prometheus.CounterValue, float64(p.Loaded)},
		{appliedDesc, prometheus.CounterValue, float64(p.Applied)},
		{rejectedDesc, prometheus.CounterValue, float64(p.Rejected)},
		{pendingDesc, prometheus.GaugeValue, float64(p.Pending)},
		{lagDesc, prometheus.GaugeValue, lag},
		{failuresDesc, prometheus.CounterValue, float64(failures)},
		{batchesDesc, prometheus.CounterValue, float64(batches)},
		{secondsDesc, prometheus.CounterValue, seconds},
	} {
		ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value)
	}
}

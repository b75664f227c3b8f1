package journal

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/legato-calls/legato/internal/call"
)

// Metrics are those of the log. The forms set what is exported.
type Metrics struct {
	appends  *prometheus.CounterVec
	Batch    prometheus.Histogram
	latency  prometheus.Histogram
	Restarts *prometheus.CounterVec
	Lost     prometheus.Counter
	Foreign  prometheus.Counter
	fill     prometheus.Gauge
	bytes    prometheus.Gauge
	limit    prometheus.Gauge
	entries  prometheus.Gauge
	lag      prometheus.Gauge
	storage  *prometheus.GaugeVec
	refusing prometheus.Gauge
	// all has them, and is registered when the log is open.
	all *prometheus.Registry
}

func newMetrics() *Metrics {
	all := prometheus.NewRegistry()
	f := promauto.With(all)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &Metrics{
		appends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_log_appends_total",
			Help: "Entries handed to the log, by kind (event, backfill, put_back, status, check, probe, other) and by the result that whoever " +
				"handed it in was told: stored, duplicate, full, error or left (its caller ended meanwhile, and nobody waits for it). " +
				"untold: stored after its caller had been told error or left.",
		}, []string{"kind", "result"}),
		Batch: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "legato_log_batch_size",
			Help:    "Entries written with one acknowledgement: on JetStream always 1.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		latency: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "legato_log_append_seconds",
			Help:    "Time from the write of a batch to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 11),
		}),
		Restarts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "legato_log_replays_total",
			Help: "Times that the log was read from its beginning, by cause: start, gap, recreated, shrunk or rewritten.",
		}, []string{"cause"}),
		Lost: f.NewCounter(prometheus.CounterOpts{
			Name: "legato_log_lost_total",
			Help: "Entries that were missing in the middle of the log when it was read, or of its copy when that went on.",
		}),
		Foreign: f.NewCounter(prometheus.CounterOpts{
			Name: "legato_log_foreign_total",
			Help: "Messages in the log's stream that Legato did not write, which are passed over. A start reads the log again, and counts again.",
		}),
		fill:    gauge("legato_log_fill_ratio", "Size of the log as a share of its limit, 0 when it has none."),
		bytes:   gauge("legato_log_bytes", "Size of the log."),
		limit:   gauge("legato_log_limit_bytes", "Size at which the log takes nothing any more, 0 when it has no limit."),
		entries: gauge("legato_log_entries", "Entries in the log, from the oldest that is still needed."),
		lag:     gauge("legato_log_lag", "Entries of the log that this replica has not folded yet."),
		storage: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "legato_storage_fill_ratio",
			Help: "What is used of each limit of the storage (log_bytes, log_messages, summaries_bytes, summaries_messages, " +
				"account, disk), as a share of it; 0 where there is none.",
		}, []string{"limit"}),
		refusing: gauge("legato_storage_refusing",
			"1 while webhooks that begin a call are refused, since the rest of the storage is kept for calls that are on their way, else 0."),
		all: all,
	}
	for _, name := range limitNames {
		m.storage.WithLabelValues(name)
	}
	for _, k := range kinds {
		for _, result := range []string{appendStored, appendDuplicate, appendFull, appendError, appendLeft, appendUntold} {
			m.appends.WithLabelValues(k, result)
		}
	}
	return m
}

// Size tells how large the log is, of which info is the stream, and how many entries are not folded yet.
func (m *Metrics) Size(info *jetstream.StreamInfo, entries, lag uint64) {
	bytes, limit := float64(info.State.Bytes), float64(max(info.Config.MaxBytes, 0))
	m.bytes.Set(bytes)
	m.limit.Set(limit)
	fill := 0.0
	if limit > 0 {
		fill = bytes / limit
	}
	m.fill.Set(fill)
	m.entries.Set(float64(entries))
	m.lag.Set(float64(lag))
}

// Results of an append.
const (
	appendStored    = "stored"
	appendDuplicate = "duplicate"
	appendFull      = "full"
	appendError     = "error"
	// appendLeft: the caller's context was cancelled. Nothing is wrong with the log.
	appendLeft = "left"
	// appendUntold: its caller had given up before it was stored. It hands it in again, and it is a duplicate then.
	appendUntold = "untold"
)

// told counts one append by what its caller is told: what is answered on the
// strength of it can be held against this.
func (m *Metrics) told(e *call.Entry, receipt call.Receipt, err error) {
	result := appendStored
	switch {
	case errors.Is(err, ErrFull):
		result = appendFull
	case errors.Is(err, errLeft):
		result = appendLeft
	case err != nil:
		result = appendError
	case receipt.Duplicate:
		result = appendDuplicate
	}
	m.appends.WithLabelValues(kind(e), result).Inc()
}

// Kinds of entries.
const (
	kindEvent     = "event"
	kindBackfill  = "backfill"
	kindPutBack   = "put_back"
	kindStatus    = "status"
	kindCheck     = "check"
	kindHeartbeat = "probe"
	kindOther     = "other"
)

var kinds = []string{kindEvent, kindBackfill, kindPutBack, kindStatus, kindCheck, kindHeartbeat, kindOther}

func kind(e *call.Entry) string {
	switch {
	case e.Backfill:
		return kindBackfill
	case e.PutBack:
		return kindPutBack
	case strings.HasPrefix(e.Topic, call.TopicEvent):
		return kindEvent
	case e.Topic == call.TopicStatus:
		return kindStatus
	case e.Topic == call.TopicCheck:
		return kindCheck
	case e.Topic == call.TopicHeartbeat:
		return kindHeartbeat
	}
	return kindOther
}

package enrich

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

type metrics struct {
	tasks          *prometheus.CounterVec
	failures       prometheus.Counter
	unusable       prometheus.Counter
	unread         *prometheus.CounterVec
	refused        prometheus.Counter
	orphansExpired prometheus.Counter
	checks         *prometheus.CounterVec
	learned        *prometheus.CounterVec
	parked         *prometheus.CounterVec
	sweeps         *prometheus.CounterVec
	backfills      *prometheus.CounterVec
	backfilled     prometheus.Counter
	unasked        prometheus.Counter
	summaries      *prometheus.CounterVec
	amendments     *prometheus.CounterVec
	waiting        prometheus.Gauge
	held           prometheus.Gauge
	completion     prometheus.Histogram
}

// newMetrics registers the metrics, each at zero for every label that it can have; with a nil r it registers none.
func newMetrics(r prometheus.Registerer, table *session.Table) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		tasks: counters("legato_tasks_total",
			"Tasks of the queue, by what became of them: nothing_due, done, given_back, not_folded, not_known, not_parked or parked.", "result"),
		failures: counter("legato_work_failures_total", "Failed passes over a session; each is tried again."),
		unusable: counter("legato_log_unusable_total", "Log entries that could not be folded."),
		unread: counters("legato_fields_unread_total",
			"Values of events that could not be read, by the name of their field. Whatever reads an entry again (a start, a packed call) counts it again.", "field"),
		refused:        counter("legato_publish_refused_total", "Publications refused because the key stood elsewhere than supposed."),
		orphansExpired: counter("legato_orphans_lost_total", "Events whose call, or any leg of it, never became known within the amend window."),
		checks:         counters("legato_checks_total", "Checks appended to the log, by kind: status, settle, expire, close or repair.", "kind"),
		learned: counters("legato_entries_learned_total",
			"Entries of Legato's own that were folded without the log, which had no room for them, by topic.", "topic"),
		parked: counters("legato_tasks_parked_total",
			"Tasks that could not be done and were parked, by reason: undecodable, poison or unknown_call.", "reason"),
		sweeps: counters("legato_sweeps_total",
			"Live legs that were asked about because they had gone silent, by result: alive, ended, not_found, denied, "+
				"rate_limited or unreachable.", "result"),
		backfills: counters("legato_repairs_total",
			"Attempts to complete a leg from the history, by result: whole, partial (it may know more later), "+
				"not_found, denied, rate_limited or unreachable.", "result"),
		backfilled: counter("legato_backfilled_events_total", "Events appended to the log from the history."),
		unasked: counter("legato_status_unasked_total",
			"Legs whose status window was over before a turn to ask about them came."),
		summaries: counters("legato_summaries_total",
			"Summaries published, by level (leg, session), type (completed, amended) and outcome.", "level", "type", "outcome"),
		amendments: counters("legato_amendments_total", "Reasons of amended summaries.", "level", "reason"),
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "legato_queue_waiting", Help: "Log entries that the queue has not handed out yet.",
		}),
		held: f.NewGauge(prometheus.GaugeOpts{
			Name: "legato_queue_held", Help: "Tasks that replicas hold unacknowledged.",
		}),
		completion: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "legato_completion_seconds",
			Help:    "Time from the receipt of a hangup to the leg's completed message, settle time included.",
			Buckets: []float64{0.5, 1, 1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 15, 30, 60},
		}),
	}
	m.beginAtZero()
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "legato_log_position", Help: "Sequence of the last log entry that was folded.",
	}, func() float64 { return float64(table.Position()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "legato_queue_age_seconds",
		Help: "How long ago the oldest log entry was received that the queue is not through with, 0 when there is none. " +
			"A leg is held for its settle time and until its status is known or its deadline is over.",
	}, func() float64 { return table.Backlog().Seconds() })
	if r != nil {
		r.MustRegister(&tableCollector{table})
	}
	return m
}

// Results of tasks, and of sweeps beyond those of the status API.
const (
	taskNothingDue = "nothing_due"
	taskDone       = "done"
	taskGivenBack  = "given_back"
	taskNotFolded  = "not_folded"
	taskNotKnown   = "not_known"
	taskNotParked  = "not_parked"
	taskParked     = "parked"

	sweepAlive = "alive"
	sweepEnded = "ended"
)

// decode reads the event of an entry that is folded, and counts what it states that could not be read.
func (w *Worker) decode(e call.Entry) (call.Event, error) {
	event, err := w.cfg.Decode(e)
	for _, field := range event.Facts.Unread {
		w.metrics.unread.WithLabelValues(field).Inc()
	}
	return event, err
}

// beginAtZero makes every series that there can be: of one that begins at 1 the
// first is never seen to happen.
func (m *metrics) beginAtZero() {
	for _, result := range []string{taskNothingDue, taskDone, taskGivenBack, taskNotFolded, taskNotKnown, taskNotParked, taskParked} {
		m.tasks.WithLabelValues(result)
	}
	for _, topic := range []string{call.TopicCheck, call.TopicStatus, call.TopicBackfill} {
		m.learned.WithLabelValues(topic)
	}
	for _, why := range ParkReasons() {
		m.parked.WithLabelValues(why)
	}
	for _, k := range []session.CheckKind{session.CheckStatus, session.CheckSettle, session.CheckExpire, session.CheckClose, session.CheckBackfill} {
		m.checks.WithLabelValues(string(k))
	}
	for _, result := range []string{sweepAlive, sweepEnded} {
		m.sweeps.WithLabelValues(result)
	}
	for _, result := range []string{backfillWhole, backfillPartial} {
		m.backfills.WithLabelValues(result)
	}
	for _, result := range []status.Result{status.NotFound, status.Denied, status.RateLimited, status.Unreachable} {
		m.sweeps.WithLabelValues(string(result))
		m.backfills.WithLabelValues(string(result))
	}
	for _, level := range []string{summary.KindLeg, summary.KindSession} {
		for _, o := range summary.Outcomes() {
			m.summaries.WithLabelValues(level, kindOf(1), string(o))
			m.summaries.WithLabelValues(level, kindOf(2), string(o))
		}
		for _, r := range summary.Reasons() {
			m.amendments.WithLabelValues(level, string(r))
		}
	}
}

// swept counts what the sweep learned of a leg.
func (m *metrics) swept(a *status.Answer) {
	result := string(a.Result)
	if a.Result == status.Answered {
		if result = sweepAlive; ends(a) {
			result = sweepEnded
		}
	}
	m.sweeps.WithLabelValues(result).Inc()
}

// tableCollector counts what the table holds when it is asked to.
type tableCollector struct{ table *session.Table }

var (
	sessionsDesc = prometheus.NewDesc("legato_sessions", "Sessions in the live table.", nil, nil)
	openDesc     = prometheus.NewDesc("legato_open_sessions", "Those of legato_sessions that are not over.", nil, nil)
	oldestDesc   = prometheus.NewDesc("legato_oldest_open_leg_age_seconds",
		"How long ago the first event was received of the leg that is open the longest, 0 when none is open. No leg lives longer than 4 hours.", nil, nil)
	legsDesc = prometheus.NewDesc("legato_legs", "Legs in the live table, by state: open or over.", []string{"state"}, nil)
	overDesc = prometheus.NewDesc("legato_legs_over_total",
		"Legs that were over, each once, in the log as this replica has read it: history included, the same on every replica. "+
			"Equal to legato_legs_completed_total + legato_legs_pending.", nil, nil)
	completedDesc = prometheus.NewDesc("legato_legs_completed_total",
		"Those of legato_legs_over_total whose completed message is known to be stored, whichever replica published it, "+
			"or that were dismissed because nobody knows their call.", nil, nil)
	pendingDesc = prometheus.NewDesc("legato_legs_pending",
		"Those of legato_legs_over_total whose completed message is not known to be stored yet.", nil, nil)
	orphansDesc = prometheus.NewDesc("legato_orphans", "Events whose call is not known yet.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *tableCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *tableCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.table.Stats()
	ch <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(st.Sessions))
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(st.OpenSessions))
	ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, st.Oldest.Seconds())
	ch <- prometheus.MustNewConstMetric(legsDesc, prometheus.GaugeValue, float64(st.OpenLegs), "open")
	ch <- prometheus.MustNewConstMetric(legsDesc, prometheus.GaugeValue, float64(st.Legs-st.OpenLegs), "over")
	// Read at once, so that they balance in every scrape.
	a := c.table.Tally()
	ch <- prometheus.MustNewConstMetric(overDesc, prometheus.CounterValue, float64(a.Over))
	ch <- prometheus.MustNewConstMetric(completedDesc, prometheus.CounterValue, float64(a.Completed))
	ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(a.Pending))
	ch <- prometheus.MustNewConstMetric(orphansDesc, prometheus.GaugeValue, float64(st.Orphans))
}

// report counts and logs one published revision: one wide line, no parties. duration_ms is
// since the leg, or the last leg of the session, was over; hangup is when the log took its hangup. Zero: not known.
func (w *Worker) report(k summary.Key, revision int, o summary.Outcome, reasons []summary.Reason, now, over, hangup time.Time, more ...any) {
	kind := kindOf(revision)
	w.metrics.summaries.WithLabelValues(k.Kind, kind, string(o)).Inc()
	for _, r := range reasons {
		w.metrics.amendments.WithLabelValues(k.Kind, string(r)).Inc()
	}
	args := []any{"kind", k.Kind, "call_session_id", k.Session}
	if k.Leg != "" {
		args = append(args, "call_leg_id", k.Leg)
	}
	args = append(args, "revision", revision, "outcome", string(o), "reasons", reasons)
	args = append(args, more...)
	if !over.IsZero() {
		args = append(args, "duration_ms", now.Sub(over).Milliseconds())
	}
	if !hangup.IsZero() {
		args = append(args, "hangup_to_published_ms", now.Sub(hangup).Milliseconds())
	}
	w.log.Info(k.Kind+" "+kind, args...)
}

package load

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Progress tells how far a loader is.
type Progress struct {
	// Loaded counts the messages that are in the warehouse and acknowledged, Applied the rows that they changed there, and
	// Rejected those of them that were set aside.
	Loaded, Applied, Rejected int64
	// Pending is how many messages are still to be loaded, as the last one told, or the server after a failure.
	Pending uint64
	// CaughtUp is when Pending was first 0. Zero: it has not been yet.
	CaughtUp time.Time
	// Stored is when the newest message that was loaded had been stored.
	Stored time.Time
	// LastBatch is when the target last took a batch, or was found with nothing to do.
	LastBatch time.Time
	// Failure is why nothing is loaded, as ErrStandby while another loader does. Nil: nothing fails.
	Failure error
}

// state is what a loader tells of itself.
type state struct {
	mu       sync.Mutex
	progress Progress
	// began is when the loader was made.
	began    time.Time
	failure  error
	failures int64
	batches  int64
	seconds  float64
	// handed: the target has rows that are not acknowledged.
	handed bool
}

// Progress returns how far the loader is.
func (l *Loader) Progress() Progress {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	p := l.state.progress
	p.Failure = l.state.failure
	return p
}

func (s *state) opened(pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.handed = nil, false
	s.progress.Pending = pending
	s.catchUp()
}

func (s *state) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	if !errors.Is(err, ErrStandby) {
		s.failures++
	}
}

// left notes how many messages are still to be loaded while nothing is.
func (s *state) left(pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.Pending = pending
}

// took notes that the target is handed rows.
func (s *state) took() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handed = true
}

// idle notes that there is nothing to load, unless the target still has rows: nobody knows whether it ever takes them.
func (s *state) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.handed {
		s.progress.LastBatch = time.Now()
	}
}

func (s *state) loaded(c *commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handed = false
	p := &s.progress
	p.Loaded += int64(len(c.replies))
	p.Applied += int64(c.applied)
	p.Rejected += int64(c.rejected)
	p.Pending = c.last.pending
	p.Stored, p.LastBatch = c.last.stored, time.Now()
	s.batches++
	s.seconds += c.took.Seconds()
	s.catchUp()
}

func (s *state) catchUp() {
	if s.progress.Pending == 0 && s.progress.CaughtUp.IsZero() {
		s.progress.CaughtUp = time.Now()
	}
}

var (
	messagesDesc = prometheus.NewDesc("legato_load_messages_total",
		"Messages that are in the warehouse and acknowledged, rejected ones included.", nil, nil)
	appliedDesc = prometheus.NewDesc("legato_load_rows_applied_total",
		"Rows of legs and sessions that were new in the warehouse, or newer than what stood there.", nil, nil)
	rejectedDesc = prometheus.NewDesc("legato_load_rejected_total",
		"Messages that were set aside because they are no summary or the warehouse refuses them.", nil, nil)
	pendingDesc = prometheus.NewDesc("legato_load_pending_messages", "Messages that are still to be loaded.", nil, nil)
	lagDesc     = prometheus.NewDesc("legato_load_lag_seconds",
		"Age of the newest message in the warehouse while others are pending, else 0. While a warehouse cannot be reached that "+
			"this process has not reached before: since its start.", nil, nil)
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
	switch {
	case p.Pending == 0:
	case !p.Stored.IsZero():
		lag = time.Since(p.Stored).Seconds()
	case p.Failure != nil:
		lag = time.Since(l.state.began).Seconds()
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

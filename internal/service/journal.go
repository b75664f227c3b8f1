package service

import (
	"context"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/disk"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/natsd"
)

// eventLog is the log, in whichever form.
type eventLog interface {
	enrich.Log
	Follow(ctx context.Context, f journal.Follower) error
	LastStored() time.Time
	FailingSince() time.Time
	Failure() error
	Following() journal.Trouble
	Working() journal.Trouble
	Refuses() (limit string, all bool)
	Fill() map[string]float64
}

// gather is how long entries are gathered for the copy of the log where no application waits for them.
const gather = 10 * time.Millisecond

// gathers is how long they are gathered now; 0: as short as that is of use.
func (s *Service) gathers() time.Duration {
	if f := s.forwarded.Load(); len(s.settings.Forward) == 0 || f != nil && f.Dead() {
		return gather
	}
	return 0
}

// logDir is the log's directory within the data directory.
const logDir = "log"

// openLog opens the log, on the local disk beside an embedded NATS and otherwise on JetStream, and its queue. It goes on
// where it failed before.
func (s *Service) openLog(ctx context.Context) (enrich.Queue, error) {
	cfg := journal.Config{
		JetStream: s.js, Stream: s.layout.Events, Summaries: s.layout.Calls, Disk: s.freeDisk(), Prefix: s.layout.Prefix,
		Logger: s.log.With("component", "journal"), Registerer: s.registry, Tracer: s.tracer,
	}
	if s.embedded != nil {
		set := disk.Config{
			Config: cfg, Dir: filepath.Join(s.settings.DataDir, logDir), SyncedAfter: natsd.SyncedAfter, Queue: queueName,
			Gather: s.gathers,
		}
		log, err := disk.Open(ctx, set)
		if err != nil {
			return nil, err
		}
		s.onStop("journal", log.Close)
		s.journal, s.copying = log, log.Copying
		s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "legato_log_uncopied", Help: "Entries of the log on the disk that are not in the stream of events yet.",
		}, func() float64 { return float64(log.Uncopied()) }))
		return diskQueue{log.Queue()}, nil
	}
	log, ok := s.journal.(*stream.Journal)
	if !ok {
		var err error
		if log, err = stream.Open(ctx, stream.Config{Config: cfg, Queue: queueName}); err != nil {
			return nil, err
		}
		s.onStop("journal", log.Close)
		s.journal = log
	}
	queue, err := log.Queue(ctx)
	return streamQueue{queue}, err
}

// diskQueue and streamQueue hand the tasks of a form of the log to enrich, which knows neither.
type diskQueue struct{ *disk.Queue }

// Work implements enrich.Queue.
func (q diskQueue) Work(ctx context.Context, do func(enrich.Task)) error {
	return q.Queue.Work(ctx, func(t *disk.Task) { do(t) })
}

type streamQueue struct{ *stream.Queue }

// Work implements enrich.Queue.
func (q streamQueue) Work(ctx context.Context, do func(enrich.Task)) error {
	return q.Queue.Work(ctx, func(t *stream.Task) { do(t) })
}

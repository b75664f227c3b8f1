package publish

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
)

// Option changes a Publisher.
type Option func(*Publisher)

// Telling has a Publisher count and log what it meets that Legato did not write. A nil Registerer counts nothing.
func Telling(log *slog.Logger, r prometheus.Registerer) Option {
	return func(p *Publisher) {
		p.foreign = foreign{
			log:  log,
			said: rate.Sometimes{Interval: time.Minute},
			met: promauto.With(r).NewCounter(prometheus.CounterOpts{
				Name: "legato_summaries_foreign_total",
				Help: "Times that a message was met among the summaries that Legato did not write, and was passed over or overtaken.",
			}),
		}
	}
}

// foreign tells of messages among the summaries that Legato did not write. The zero value is silent.
type foreign struct {
	log  *slog.Logger
	said rate.Sometimes
	met  prometheus.Counter
}

func (f *foreign) note(stream string, seq uint64) {
	if f.log == nil {
		return
	}
	f.met.Inc()
	f.said.Do(func() {
		f.log.Warn("there are messages among the summaries that Legato did not write; they are passed over: somebody else may publish there",
			"stream", stream, "seq", seq)
	})
}

// newest returns the newest summary on the subjects that match a filter, zero when there is none, and the sequence of the
// last message, whoever wrote it.
func (p *Publisher) newest(ctx context.Context, filter string) (stored summary.Stored, last uint64, err error) {
	m, err := p.stream.GetLastMsgForSubject(ctx, filter)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return summary.Stored{}, 0, nil
	case err != nil:
		return summary.Stored{}, 0, err
	}
	if stored, err = decode(m); err == nil {
		return stored, m.Sequence, nil
	}
	scan := natsd.Scan{Stream: p.layout.Calls, Subjects: []string{filter}}
	err = scan.Each(ctx, p.js, func(m *jetstream.RawStreamMsg) error {
		last = m.Sequence
		if s, err := decode(m); err == nil {
			stored = s
		} else {
			p.foreign.note(p.layout.Calls, m.Sequence)
		}
		return nil
	})
	return stored, last, err
}

// behindForeign reports whether nothing but messages that Legato did not write came on the subjects that match a filter
// since the summary at a sequence (0: since ever), and the sequence of the last of them. Whoever publishes on condition
// that it still is the last, publishes after that summary.
func (p *Publisher) behindForeign(ctx context.Context, filter string, seq uint64) (last uint64, ok bool) {
	stored, last, err := p.newest(ctx, filter)
	return last, err == nil && stored.Seq == seq && last > seq
}

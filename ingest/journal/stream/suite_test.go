package stream_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/journaltest"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

type suited struct {
	*stream.Journal
	*stream.Queue
}

func (s suited) Work(ctx context.Context, do func(journaltest.Task)) error {
	return s.Queue.Work(ctx, func(t *stream.Task) { do(t) })
}

func TestTheLogOnJetStreamKeepsTheContract(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		s := natsdtest.Run(t)
		return func(t *testing.T) journaltest.Log {
			j, err := stream.Open(t.Context(), stream.Config{Queue: queueName, Config: journal.Config{
				JetStream: s.JS, Stream: logStream, Prefix: "calls", Logger: slog.New(slog.DiscardHandler),
			}}.Paced(soon, 0))
			if err != nil {
				t.Fatal(err)
			}
			q, err := j.Queue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return suited{j, q}
		}
	})
}

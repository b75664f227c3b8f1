package stream_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/journaltest"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
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

// TestThreeReplicasOnThreeNodes has each replica append the same entries at the
// same time, follow the log and work the queue.
func TestThreeReplicasOnThreeNodes(t *testing.T) {
	c := natsdtest.RunCluster(t)
	entries := numbers(1, 300)
	var followers []*recorder
	var workers []*worker
	var journals []*stream.Journal
	for _, js := range c.JS {
		j := openSoon(t, js)
		r, _ := follow(t, j)
		w, _ := work(t, j, ack(t))
		journals, followers, workers = append(journals, j), append(followers, r), append(workers, w)
	}
	receipts := make([][]call.Receipt, len(journals))
	var wg sync.WaitGroup
	for i, j := range journals {
		wg.Go(func() {
			// Chunks, so that ids collide in batches, alone and with what was stored before.
			for part := range slices.Chunk(entries, 100) {
				got, errs := appendAll(t.Context(), j, part)
				for errors.Join(errs...) != nil { // Three nodes on a busy machine can be slow.
					got, errs = appendAll(t.Context(), j, part)
				}
				receipts[i] = append(receipts[i], got...)
			}
		})
	}
	wg.Wait()
	where := map[string]uint64{}
	for _, m := range stored(t, c.JS[0]) {
		where[m.Header.Get(jetstream.MsgIDHeader)] = m.Sequence
	}
	for i, e := range entries {
		first := 0
		for _, r := range receipts {
			if r[i].Seq != where[e.ID] {
				t.Errorf("%s: stored at %d, got %+v", e.ID, where[e.ID], r[i])
			}
			if !r[i].Duplicate {
				first++
			}
		}
		if first > 1 {
			t.Errorf("%s: %d receipts are not marked as duplicate", e.ID, first)
		}
	}
	for _, r := range followers {
		if diff := cmp.Diff(idsOf(entries), idsOf(r.await(1, 300))); diff != "" {
			t.Errorf("followed (-want +got):\n%s", diff)
		}
	}
	done(t, journals[0], 0)
	var all []*stream.Task
	for _, w := range workers {
		all = append(all, w.taken()...)
	}
	if diff := cmp.Diff(upTo(300), seqs(all)); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// AckWait is how long a task may stay silent before another replica gets it:
	// the time that work of a killed process waits. Work in progress says so in time.
	AckWait = 15 * time.Second
	// MaxAckPending bounds the tasks that all replicas hold unacknowledged. A leg is held for its settle time and
	// at most the status deadline, some 12 s: enough for 2,500 hangups a second with the status API down.
	MaxAckPending = 32_768
	// queuePrefetch bounds what one replica takes ahead of its decisions.
	queuePrefetch = 256
)

// Task is one entry that the queue has handed to this replica, and to no other until AckWait passes in silence.
type Task struct {
	entry     call.Entry
	delivered uint64
	msg       jetstream.Msg
}

// Entry is the log's entry.
func (t *Task) Entry() call.Entry { return t.entry }

// Again reports whether the task was handed out before, to whomever.
func (t *Task) Again() bool { return t.delivered > 1 }

// Ack says that the entry needs no more work. It does not wait for the server:
// an acknowledgement that is lost brings the task back.
func (t *Task) Ack() error { return t.msg.Ack() }

// Nak gives the task back, to be handed out again after the delay.
func (t *Task) Nak(delay time.Duration) error { return t.msg.NakWithDelay(delay) }

// InProgress asks for another AckWait.
func (t *Task) InProgress() error { return t.msg.InProgress() }

// Term ends the task without it having been done: for what was parked.
func (t *Task) Term() error { return t.msg.Term() }

// Queue hands each entry of the log to one replica. Heartbeats are left out: they ask for nothing.
type Queue struct {
	j        *Journal
	consumer jetstream.Consumer
	// folded is the position of the last look at the depth.
	folded atomic.Uint64
}

// Queue makes sure of the durable consumer that all replicas share.
func (j *Journal) Queue(ctx context.Context) (*Queue, error) {
	consumer, err := j.queueConsumer(ctx)
	if err != nil {
		return nil, err
	}
	return &Queue{j: j, consumer: consumer}, nil
}

func (j *Journal) queueConsumer(ctx context.Context) (jetstream.Consumer, error) {
	want := jetstream.ConsumerConfig{
		Durable:     j.cfg.Queue,
		Description: "hands each event to one replica of Legato",
		FilterSubjects: []string{
			j.cfg.Prefix + "." + call.TopicEvent + ">",
			j.cfg.Prefix + "." + call.TopicStatus,
			j.cfg.Prefix + "." + call.TopicCheck,
		},
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       j.cfg.pace.ackWait,
		MaxDeliver:    -1,
	}
	consumer, err := natsd.WithAckPending(MaxAckPending, func(pending int) (jetstream.Consumer, error) {
		want.MaxAckPending = pending
		return j.js.CreateOrUpdateConsumer(ctx, j.cfg.Stream, want)
	})
	if err != nil {
		return nil, fmt.Errorf("make the queue %s on %s: %w", j.cfg.Queue, j.cfg.Stream, err)
	}
	if want.MaxAckPending < MaxAckPending {
		j.fewPending.Do(func() {
			j.log.Warn("the server allows fewer tasks to be held at once than calls may need: beyond them summaries wait",
				"max_ack_pending", want.MaxAckPending, "wanted", MaxAckPending)
		})
	}
	return consumer, nil
}

// Work hands tasks to do, one after the other, until ctx ends; tasks that were already on their way then are given
// back. It goes on by itself after a disturbance, also one that took the consumer with it, and returns ctx's error,
// or nats.ErrConnectionClosed, wrapped, after which it cannot go on. do does not run any more then.
func (q *Queue) Work(ctx context.Context, do func(*Task)) error {
	failures := journal.NewRetry()
	for {
		start := time.Now()
		err := q.work(ctx, do)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if q.j.js.Conn().IsClosed() {
			return fmt.Errorf("work the queue %s: %w", q.j.cfg.Queue, nats.ErrConnectionClosed)
		}
		if time.Since(start) > journal.MaxRetryPause {
			failures.Succeeded() // It went well for a while.
		}
		q.j.Works.Note(err)
		if !failures.Wait(ctx, q.j.log, "working the queue", err) {
			return ctx.Err()
		}
	}
}

// work is one subscription to the queue.
func (q *Queue) work(ctx context.Context, do func(*Task)) error {
	// Made sure of each time: it is gone when the stream was made anew, and nobody else would see it.
	consumer, err := q.j.queueConsumer(ctx)
	if err != nil {
		return err
	}
	var unworked []jetstream.Msg
	c, err := natsd.Consume(consumer, queuePrefetch, func(m jetstream.Msg) error {
		select {
		case <-ctx.Done():
			unworked = append(unworked, m)
			return nil
		default:
		}
		meta, err := m.Metadata()
		if err != nil {
			return errors.Join(fmt.Errorf("read the metadata of a task: %w", err), m.Nak())
		}
		do(&Task{entry: q.j.entry(m, meta), delivered: meta.NumDelivered, msg: m})
		return nil
	})
	if err != nil {
		return fmt.Errorf("work the queue %s: %w", q.j.cfg.Queue, err)
	}
	err = q.wait(ctx, c)
	c.Drain()
	// Given back only now that nothing is asked for: else the server would hand them
	// to this same subscription, where they would lie until AckWait has passed.
	for _, m := range unworked {
		if err := m.Nak(); err != nil {
			q.j.log.Debug("a task could not be given back", "error", err)
		}
	}
	return err
}

// wait is until the subscription ends. One that has lasted for a while works.
func (q *Queue) wait(ctx context.Context, c *natsd.Consumption) error {
	well := time.NewTimer(journal.MaxRetryPause)
	defer well.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.Ended():
			return err
		case <-c.Closed():
			return errClosed
		case <-well.C:
			q.j.Works.Clear()
		}
	}
}

// renewQueue takes the queue's consumer away, to be made again by whoever works it: its place is one in a log that
// went on otherwise, and it would pass over as many entries as were lost. What was done already is found done.
func (j *Journal) renewQueue(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	if err := j.js.DeleteConsumer(ctx, j.cfg.Stream, j.cfg.Queue); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		j.log.Warn("the queue could not be begun anew after the log had lost its end", "error", err)
	}
}

// Depth asks the server what is left to do. folded is a position that the caller's fold had reached before: where
// nothing waits and nothing is held, as much of the log is done as was folded at the look before. The consumer hears of
// an entry a little after it was stored, and until then it does not count as waiting.
func (q *Queue) Depth(ctx context.Context, folded uint64) (call.Depth, error) {
	info, err := q.consumer.Info(ctx)
	if err != nil {
		return call.Depth{}, fmt.Errorf("read the depth of the queue %s: %w", q.j.cfg.Queue, err)
	}
	if info.Paused {
		q.j.paused.Note(fmt.Errorf("the queue %s is paused by an operator for another %v", q.j.cfg.Queue, info.PauseRemaining.Round(time.Second)))
	} else {
		q.j.paused.Clear()
	}
	before := q.folded.Swap(folded)
	d := call.Depth{Waiting: info.NumPending, Held: uint64(max(info.NumAckPending, 0)), Floor: info.AckFloor.Stream}
	if d.Waiting == 0 && d.Held == 0 {
		// The floor is that of the last matching entry, and heartbeats lie above it.
		d.Floor = max(d.Floor, min(before, folded))
	}
	return d, nil
}

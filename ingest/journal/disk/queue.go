package disk

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
)

// maxHeld bounds the tasks that are handed out and not done: as many as the queue of replicas allows.
const maxHeld = 32_768

// queueGathers is how long the next entries are gathered where few came: most ask for nothing, and what they begin waits
// for a settle time. An entry that changes what is under way reaches that by the fold, at once.
const queueGathers = 5 * time.Millisecond

// errWoken: a task is to be handed out again.
var errWoken = errors.New("a task comes again")

// Queue hands out the entries of the log, each as soon as it is folded, and again until it is done. It lives in this
// process alone: what is not done by its end is handed out again after the next start.
type Queue struct {
	j *Journal
	// wake gets a value when a task comes again, or is done.
	wake chan struct{}

	mu sync.Mutex // guards all that follows
	// floor is up to where all is done. done tells it of the entries above that were handed out, held counts those of
	// which it is not so.
	floor uint64
	done  []bool
	held  int
	// handed is up to where entries were handed out before, in whatever process.
	handed uint64
	// next is the next entry to hand out, again are the tasks that come again, run numbers the calls of Work.
	next  uint64
	again []*Task
	run   int
}

func newQueue(j *Journal, floor uint64) *Queue {
	_, last, _ := j.tail.bounds()
	return &Queue{j: j, wake: make(chan struct{}, 1), floor: floor, handed: last, next: floor + 1}
}

// Queue returns the log's queue.
func (j *Journal) Queue() *Queue { return j.queue }

// Task is one entry that the queue has handed out.
type Task struct {
	queue   *Queue
	entry   *call.Entry
	isAgain bool
	run     int
}

// Entry is the log's entry.
func (t *Task) Entry() call.Entry { return *t.entry }

// Again reports whether the task was handed out before, or may have been, by an earlier process.
func (t *Task) Again() bool { return t.isAgain }

// Ack says that the entry needs no more work.
func (t *Task) Ack() error {
	t.queue.finish(t.entry.Seq)
	return nil
}

// Nak gives the task back, to be handed out again after the delay.
func (t *Task) Nak(delay time.Duration) error {
	q := t.queue
	time.AfterFunc(delay, func() {
		q.mu.Lock()
		if t.run == q.run {
			q.again = append(q.again, &Task{queue: q, entry: t.entry, isAgain: true, run: t.run})
		}
		q.mu.Unlock()
		q.nudge()
	})
	return nil
}

// InProgress says that the task is being worked on. Nobody else would take it.
func (t *Task) InProgress() error { return nil }

// Term ends the task without it having been done: for what was parked.
func (t *Task) Term() error { return t.Ack() }

func (q *Queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// finish notes that an entry needs no more work.
func (q *Queue) finish(seq uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := seq - q.floor - 1
	if seq <= q.floor || i >= uint64(len(q.done)) || q.done[i] {
		return
	}
	q.done[i] = true
	if q.held--; q.held == maxHeld-1 {
		q.nudge()
	}
	q.raise()
}

// raise moves the floor up to what is not done. The lock is held.
func (q *Queue) raise() {
	n := 0
	for n < len(q.done) && q.done[n] {
		n++
	}
	q.done, q.floor = q.done[n:], q.floor+uint64(n)
}

// Work hands tasks to do, one after the other, until ctx ends, whose error it returns. It begins with what is not done,
// also where it was handed out before: whoever held it is gone.
func (q *Queue) Work(ctx context.Context, do func(*Task)) error {
	q.mu.Lock()
	q.run++
	q.again, q.next = nil, q.floor+1
	q.mu.Unlock()
	failures := journal.NewRetry()
	for {
		err := q.work(ctx, do, func() { q.j.Works.Clear(); failures.Succeeded() })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errWoken) {
			continue
		}
		q.j.Works.Note(err)
		if !failures.Wait(ctx, q.j.log, "working the queue", err) {
			return ctx.Err()
		}
	}
}

// work hands out tasks until it is woken, ctx ends or the log cannot be read. It calls well each time that it was read.
func (q *Queue) work(ctx context.Context, do func(*Task), well func()) error {
	for {
		again, next, full := q.take()
		for _, t := range again {
			do(t)
		}
		if full {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		entries, err := q.j.read(ctx, working, next)
		if err != nil {
			return err
		}
		well()
		for i := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if t := q.hand(entries[i]); t != nil {
				do(t)
			}
			if len(q.wake) > 0 {
				break
			}
		}
		if len(entries) < fewCopied && !journal.Sleep(ctx, queueGathers) {
			return ctx.Err()
		}
	}
}

// take returns the tasks that come again, and where to go on; full: with no more for now. What was handed out before, to a
// worker that is gone, is among those that are held already.
func (q *Queue) take() (again []*Task, next uint64, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.wake:
	default:
	}
	again, q.again = q.again, nil
	return again, q.next, q.held >= maxHeld && q.next > q.floor+uint64(len(q.done))
}

// hand returns the task of the next entry; nil: it asks for nothing, or is done.
func (q *Queue) hand(e *call.Entry) *Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = e.Seq + 1
	i := e.Seq - q.floor - 1
	if i == uint64(len(q.done)) {
		asks := e.Topic != call.TopicHeartbeat && e.Topic != call.TopicBackfill
		q.done = append(q.done, !asks)
		if !asks {
			q.raise()
			return nil
		}
		q.held++
	} else if q.done[i] {
		return nil
	}
	isAgain := e.Seq <= q.handed
	q.handed = max(q.handed, e.Seq)
	return &Task{queue: q, entry: e, isAgain: isAgain, run: q.run}
}

// Depth returns what is left to do.
func (q *Queue) Depth(context.Context, uint64) (call.Depth, error) {
	_, last, _ := q.j.tail.bounds()
	q.mu.Lock()
	defer q.mu.Unlock()
	return call.Depth{Waiting: last + 1 - min(last+1, q.next), Held: uint64(q.held), Floor: q.floor}, nil
}

// Package journaltest holds every form of the log against what package journal promises.
package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
)

// Task is an entry that a queue has handed out.
type Task interface {
	Entry() call.Entry
	Again() bool
	Ack() error
	Nak(delay time.Duration) error
	InProgress() error
	Term() error
}

// Log is one form of the log, with its queue.
type Log interface {
	Append(ctx context.Context, e call.Entry) (call.Receipt, error)
	Follow(ctx context.Context, f journal.Follower) error
	State(ctx context.Context) (call.Log, error)
	Close(ctx context.Context) error
	Work(ctx context.Context, do func(Task)) error
	Depth(ctx context.Context, folded uint64) (call.Depth, error)
}

// Opener opens a log that is empty at first, and opens the same one again, after it was closed.
type Opener func(t *testing.T) Log

// patience is when a test gives up: much longer than anything takes.
const patience = 60 * time.Second

// Run holds a form of the log against the contract. fresh returns what opens a log of its own.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for name, test := range map[string]func(t *testing.T, open Opener){
		"a follower gets every entry once, in order and byte for byte":      wholeAndInOrder,
		"an id is stored once, however many append it at once":              storedOnce,
		"entries without an id are all stored":                              withoutID,
		"positions go on, and the log is the same one, when it is reopened": reopened,
		"a task is handed out until it is acknowledged":                     untilAcknowledged,
		"what nobody acknowledged is handed out after a restart":            afterARestart,
		"the floor is below what is not done":                               floor,
		"what asks for nothing is no task":                                  noTask,
		"a closed log takes nothing":                                        closed,
		"an entry that no reader could name is refused":                     refused,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

func event(n int) call.Entry {
	return call.Entry{
		Topic: call.TopicEvent + "call.answered", ID: fmt.Sprintf("event-%d", n), Attempt: n % 3, Backfill: n%5 == 0,
		Ref:       call.Ref{Session: "s", Leg: call.LegID(fmt.Sprintf("l%d", n)), Control: "v3:c", Connection: "22"},
		Signature: "sig", Timestamp: "1700000000", ContentType: "text/json", UserAgent: "agent", Trace: "00-1-2-00",
		Data: fmt.Appendf(nil, "{\"n\":%d,\"text\":\"\xff\x00\"}", n),
	}
}

func store(t *testing.T, l Log, e call.Entry) call.Receipt {
	t.Helper()
	r, err := l.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func end(t *testing.T, l Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// running runs something until the test ends or it is stopped.
func running(t *testing.T, do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// follower keeps what it is given.
type follower struct {
	mu       sync.Mutex
	restarts []call.Log
	entries  []call.Entry
}

func (f *follower) Restart(log call.Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarts, f.entries = append(f.restarts, log), nil
}

func (f *follower) Fold(e call.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, e)
}

func (f *follower) folded() []call.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.entries)
}

// followed follows a log; the queue hands out only what is folded.
func followed(t *testing.T, l Log) (f *follower, stop func()) {
	f = &follower{}
	return f, running(t, func(ctx context.Context) error { return l.Follow(ctx, f) })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func wholeAndInOrder(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	f, _ := followed(t, l)
	const entries, callers = 600, 40
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for n := c; n < entries; n += callers {
				if _, err := l.Append(t.Context(), event(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	late, _ := followed(t, l) // it reads what the log holds
	for _, f := range []*follower{f, late} {
		eventually(t, "all to be folded", func() bool { return len(f.folded()) >= entries })
		got := f.folded()
		for i, e := range got {
			if e.Seq != uint64(i)+1 || e.ReceivedAt.IsZero() || e.ReceivedAt.Location() != time.UTC {
				t.Fatalf("entry %d stands at %d, received at %v", i, e.Seq, e.ReceivedAt)
			}
		}
		var want []call.Entry
		for n := range entries {
			want = append(want, event(n))
		}
		sorted := cmpopts.SortSlices(func(a, b call.Entry) bool { return a.ID < b.ID })
		if diff := cmp.Diff(want, got, sorted, cmpopts.IgnoreFields(call.Entry{}, "Seq", "ReceivedAt"), cmp.Comparer(bytes.Equal)); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
	}
}

func storedOnce(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	var mu sync.Mutex
	first := 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			r, err := l.Append(t.Context(), event(1))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || r.Seq != 1 {
				t.Errorf("got %+v, %v", r, err)
			}
			if !r.Duplicate {
				first++
			}
		})
	}
	wg.Wait()
	if again := store(t, l, event(1)); first != 1 || !again.Duplicate {
		t.Errorf("%d were stored first, and the last is %+v", first, again)
	}
	if log, err := l.State(t.Context()); err != nil || log.First != 1 || log.Last != 1 {
		t.Errorf("the log is %+v, %v", log, err)
	}
}

func withoutID(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	for want := range uint64(5) {
		if r := store(t, l, call.Entry{Topic: call.TopicHeartbeat}); r != (call.Receipt{Seq: want + 1}) {
			t.Errorf("got %+v", r)
		}
	}
}

func reopened(t *testing.T, open Opener) {
	l := open(t)
	for n := range 5 {
		store(t, l, event(n))
	}
	before, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	end(t, l)
	l = open(t)
	t.Cleanup(func() { end(t, l) })
	after, err := l.State(t.Context())
	if err != nil || before != after {
		t.Errorf("the log was %+v and is %+v, %v", before, after, err)
	}
	if r := store(t, l, event(9)); r != (call.Receipt{Seq: 6}) {
		t.Errorf("the next entry stands at %+v", r)
	}
	f, _ := followed(t, l)
	eventually(t, "all to be folded", func() bool { return len(f.folded()) == 6 })
}

// worked hands tasks of a log to do until it is stopped.
func worked(t *testing.T, l Log, do func(Task)) (stop func()) {
	return running(t, func(ctx context.Context) error { return l.Work(ctx, do) })
}

// handed keeps what was handed out.
type handed struct {
	mu    sync.Mutex
	tasks []Task
}

func (h *handed) take(task Task) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tasks = append(h.tasks, task)
}

func (h *handed) all() []Task {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tasks)
}

func untilAcknowledged(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	followed(t, l)
	var h handed
	worked(t, l, func(task Task) {
		h.take(task)
		var err error
		if n := len(h.all()); n < 3 {
			err = task.Nak(time.Millisecond)
		} else {
			err = errors.Join(task.InProgress(), task.Ack())
		}
		if err != nil {
			t.Error(err)
		}
	})
	store(t, l, event(7))
	eventually(t, "the queue to be through", func() bool {
		d, err := l.Depth(t.Context(), 0)
		return err == nil && d.Waiting+d.Held == 0 && len(h.all()) == 3
	})
	for i, task := range h.all() {
		if e := task.Entry(); e.ID != "event-7" || e.Seq != 1 || !bytes.Equal(e.Data, event(7).Data) || i > 0 && !task.Again() || i == 0 && task.Again() {
			t.Errorf("hand-out %d: %+v, again %t", i+1, e, task.Again())
		}
	}
}

func afterARestart(t *testing.T, open Opener) {
	l := open(t)
	_, unfollow := followed(t, l)
	var h handed
	stop := worked(t, l, func(task Task) {
		h.take(task)
		if e := task.Entry(); e.Seq != 2 {
			if err := task.Ack(); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range 3 {
		store(t, l, event(n))
	}
	eventually(t, "all to be handed out", func() bool { return len(h.all()) == 3 })
	stop()
	unfollow()
	end(t, l)
	l = open(t)
	t.Cleanup(func() { end(t, l) })
	followed(t, l)
	var later handed
	worked(t, l, func(task Task) {
		later.take(task)
		if err := task.Ack(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the queue to be through", func() bool {
		d, err := l.Depth(t.Context(), 3)
		return err == nil && d.Waiting+d.Held == 0 && d.Floor == 3
	})
	if !slices.ContainsFunc(later.all(), func(task Task) bool { e := task.Entry(); return e.Seq == 2 && task.Again() }) {
		t.Error("the task that nobody acknowledged was not handed out again")
	}
}

func floor(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	followed(t, l)
	var h handed
	worked(t, l, h.take)
	for n := range 4 {
		store(t, l, event(n))
	}
	eventually(t, "all to be handed out", func() bool { return len(h.all()) == 4 })
	for _, seq := range []uint64{1, 3, 4} {
		for _, task := range h.all() {
			if e := task.Entry(); e.Seq == seq {
				if err := task.Ack(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	eventually(t, "one to be held", func() bool {
		d, err := l.Depth(t.Context(), 4)
		return err == nil && d.Held == 1 && d.Waiting == 0 && d.Floor == 1
	})
}

func noTask(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	followed(t, l)
	var h handed
	worked(t, l, func(task Task) {
		h.take(task)
		if err := task.Ack(); err != nil {
			t.Error(err)
		}
	})
	store(t, l, call.Entry{Topic: call.TopicHeartbeat})
	store(t, l, call.Entry{Topic: call.TopicBackfill, ID: "b", Data: []byte("{}")})
	store(t, l, event(1))
	eventually(t, "the queue to be through", func() bool {
		d, err := l.Depth(t.Context(), 3)
		return err == nil && d.Waiting+d.Held == 0 && d.Floor == 3
	})
	if got := h.all(); len(got) != 1 || got[0].Entry().ID != "event-1" {
		t.Errorf("%d tasks were handed out", len(got))
	}
}

func closed(t *testing.T, open Opener) {
	l := open(t)
	store(t, l, event(1))
	end(t, l)
	if _, err := l.Append(t.Context(), event(2)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("got error %v, want %v", err, journal.ErrClosed)
	}
}

func refused(t *testing.T, open Opener) {
	l := open(t)
	t.Cleanup(func() { end(t, l) })
	for name, bad := range map[string]call.Entry{
		"no topic of the log": {Topic: "elsewhere", ID: "bad"},
		"larger than a message may be": {
			Topic: call.TopicEvent + "call.answered", ID: "large", Data: make([]byte, 1<<20),
		},
	} {
		if _, err := l.Append(t.Context(), bad); !errors.Is(err, journal.ErrUnavailable) {
			t.Errorf("%s: got error %v, want %v", name, err, journal.ErrUnavailable)
		}
	}
	if r := store(t, l, event(1)); r.Seq != 1 {
		t.Errorf("the next entry stands at %d", r.Seq)
	}
}

package stream_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// worker takes tasks and does with each what do says.
type worker struct {
	tb testing.TB
	do func(*stream.Task)

	mu    sync.Mutex
	tasks []*stream.Task
}

func (w *worker) take(t *stream.Task) {
	w.mu.Lock()
	w.tasks = append(w.tasks, t)
	w.mu.Unlock()
	if w.do != nil {
		w.do(t)
	}
}

func (w *worker) taken() []*stream.Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tasks)
}

// await waits for at least n tasks and returns the sequences of all, sorted.
func (w *worker) await(n int) []uint64 {
	w.tb.Helper()
	eventually(w.tb, "tasks", func() bool { return len(w.taken()) >= n })
	return seqs(w.taken())
}

func seqs(tasks []*stream.Task) []uint64 {
	var got []uint64
	for _, t := range tasks {
		got = append(got, t.Entry().Seq)
	}
	slices.Sort(got)
	return got
}

func upTo(n uint64) []uint64 {
	var all []uint64
	for seq := uint64(1); seq <= n; seq++ {
		all = append(all, seq)
	}
	return all
}

// work works the queue of a journal until the test ends or stop is called.
func work(tb testing.TB, j *stream.Journal, do func(*stream.Task)) (w *worker, stop func()) {
	tb.Helper()
	q, err := j.Queue(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	w = &worker{tb: tb, do: do}
	return w, run(tb, func(ctx context.Context) error { return q.Work(ctx, w.take) })
}

func ack(tb testing.TB) func(*stream.Task) {
	return func(t *stream.Task) {
		if err := t.Ack(); err != nil {
			tb.Error(err)
		}
	}
}

// done waits until nothing of the queue waits or is held, and returns its floor.
func done(tb testing.TB, j *stream.Journal, folded uint64) uint64 {
	tb.Helper()
	q, err := j.Queue(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var d call.Depth
	eventually(tb, "the queue to be done", func() bool {
		before := d
		if d, err = q.Depth(tb.Context(), folded); err != nil {
			tb.Fatal(err)
		}
		return d.Waiting == 0 && d.Held == 0 && d == before
	})
	return d.Floor
}

func TestEachTaskGoesToOneReplica(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	one, other := open(t, s.JS, stream.Config{}), open(t, s.JS, stream.Config{})
	a, _ := work(t, one, ack(t))
	b, _ := work(t, other, ack(t))
	// How the server shares tasks out is its own affair: there are more until each replica has had some.
	total := 0
	for len(a.taken()) == 0 || len(b.taken()) == 0 {
		if total == 10_000 {
			t.Fatalf("of %d tasks one replica has %d, the other %d", total, len(a.taken()), len(b.taken()))
		}
		if _, errs := appendAll(t.Context(), one, numbers(total+1, total+500)); errors.Join(errs...) != nil {
			t.Fatal(errors.Join(errs...))
		}
		total += 500
		eventually(t, "all tasks", func() bool { return len(a.taken())+len(b.taken()) >= total })
	}
	if floor := done(t, one, 0); floor != uint64(total) {
		t.Errorf("got floor %d, want %d", floor, total)
	}
	all := append(a.taken(), b.taken()...)
	if diff := cmp.Diff(upTo(uint64(total)), seqs(all)); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
	for _, task := range all {
		if task.Again() {
			t.Errorf("task %d was handed out again", task.Entry().Seq)
		}
	}
}

func TestATaskIsTheEntry(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	want := []call.Entry{webhook(1), {Topic: call.TopicStatus, ID: "status", Data: []byte("{}")}, {Topic: call.TopicCheck, ID: "check"}}
	for _, e := range want {
		must(t)(j.Append(t.Context(), e))
		must(t)(j.Append(t.Context(), call.Entry{Topic: call.TopicHeartbeat})) // Asks for nothing.
	}
	w, _ := work(t, j, ack(t))
	if diff := cmp.Diff([]uint64{1, 3, 5}, w.await(3)); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
	var got []call.Entry
	for _, task := range w.taken() {
		got = append(got, task.Entry())
	}
	if diff := same(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestATaskComesAgain tells what becomes of one task that is handed out.
func TestATaskComesAgain(t *testing.T) {
	t.Parallel()
	const ackWait = 500 * time.Millisecond
	tests := []struct {
		name  string
		do    func(t *testing.T, task *stream.Task)
		least time.Duration // until it comes again
	}{
		{"after the delay, when it was given back", func(t *testing.T, task *stream.Task) {
			if err := task.Nak(300 * time.Millisecond); err != nil {
				t.Error(err)
			}
		}, 290 * time.Millisecond},
		{"at once, when it was given back without delay", func(t *testing.T, task *stream.Task) {
			if err := task.Nak(0); err != nil {
				t.Error(err)
			}
		}, 0},
		{"when nobody says a word", func(*testing.T, *stream.Task) {}, ackWait - 50*time.Millisecond},
		{"when its worker falls silent after it said that it works", func(t *testing.T, task *stream.Task) {
			tick := time.NewTicker(ackWait / 5)
			defer tick.Stop()
			for range 15 {
				receive(t, "a tick", tick.C)
				if err := task.InProgress(); err != nil {
					t.Error(err)
				}
			}
		}, 3 * ackWait},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := open(t, s.JS, stream.Config{}.Paced(0, ackWait))
			var start, end time.Time
			w, _ := work(t, j, func(task *stream.Task) {
				if task.Again() {
					end = time.Now()
					ack(t)(task)
					return
				}
				start = time.Now()
				go tt.do(t, task)
			})
			fill(t, j, 1, 1)
			w.await(2)
			done(t, j, 0)
			tasks := w.taken()
			if len(tasks) != 2 || tasks[0].Again() || !tasks[1].Again() {
				t.Fatalf("got %d tasks, want the task and the task again", len(tasks))
			}
			if took := end.Sub(start); took < tt.least || took > tt.least+10*time.Second {
				t.Errorf("it came again after %v, want %v", took, tt.least)
			}
		})
	}
}

func TestATaskThatIsTerminatedIsDone(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{}.Paced(0, 200*time.Millisecond))
	w, _ := work(t, j, func(task *stream.Task) {
		if err := task.Term(); err != nil {
			t.Error(err)
		}
	})
	fill(t, j, 1, 3)
	w.await(3)
	if floor := done(t, j, 0); floor != 3 {
		t.Errorf("got floor %d, want 3", floor)
	}
	if diff := cmp.Diff(upTo(3), seqs(w.taken())); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

func TestAWorkerThatStopsGivesBackWhatItDidNotBegin(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	one, other := open(t, s.JS, stream.Config{}), open(t, s.JS, stream.Config{})
	fill(t, one, 1, 100)
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	q, err := one.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() {
		returned <- q.Work(ctx, func(task *stream.Task) {
			entered <- struct{}{}
			<-leave
			ack(t)(task)
		})
	}()
	receive(t, "the first task", entered)
	// All others are on their way to it now, or there.
	eventually(t, "all to be handed out", func() bool {
		d, err := q.Depth(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return d.Waiting == 0 && d.Held == 100
	})
	start := time.Now()
	cancel()
	select {
	case err := <-returned:
		t.Errorf("Work returned while a task was being done: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(leave)
	if err := receive(t, "Work to return", returned); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
	if got := len(entered); got != 0 {
		t.Errorf("%d tasks were begun after the context had ended", got)
	}
	w, _ := work(t, other, ack(t))
	got := w.await(99)
	if took := time.Since(start); took > stream.AckWait/3 {
		t.Errorf("it took %v", took)
	}
	if diff := cmp.Diff(upTo(100)[1:], got); diff != "" {
		t.Errorf("tasks of the other (-want +got):\n%s", diff)
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	probe := call.Entry{Topic: call.TopicHeartbeat}
	tests := []struct {
		name    string
		entries []call.Entry
		take    int   // so many are handed out
		ack     []int // and these acknowledged, by place
		folded  uint64
		want    call.Depth
	}{
		{"of an empty log is nothing", nil, 0, nil, 0, call.Depth{}},
		{"counts what waits", numbers(1, 3), 0, nil, 3, call.Depth{Waiting: 3}},
		{"counts what is held", numbers(1, 3), 3, nil, 3, call.Depth{Held: 3}},
		{"has its floor below the first that is held", numbers(1, 4), 4, []int{0, 1, 3}, 4, call.Depth{Held: 1, Floor: 2}},
		{"has its floor at the end when all is done", numbers(1, 3), 3, []int{0, 1, 2}, 3, call.Depth{Floor: 3}},
		{"has its floor at what was folded when only probes are above", append(numbers(1, 2), probe, probe), 2, []int{0, 1}, 4, call.Depth{Floor: 4}},
		{"has its floor at what was folded when there are only probes", []call.Entry{probe, probe}, 0, nil, 2, call.Depth{Floor: 2}},
		{"does not believe in a fold that is not done", []call.Entry{probe, entry(1), probe}, 1, nil, 3, call.Depth{Held: 1}},
		{"is not held back by a fold that lags", numbers(1, 3), 3, []int{0, 1, 2}, 1, call.Depth{Floor: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := open(t, s.JS, stream.Config{})
			for _, e := range tt.entries {
				must(t)(j.Append(t.Context(), e))
			}
			q, err := j.Queue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tt.take > 0 {
				var w *worker
				w, _ = work(t, j, nil)
				w.await(tt.take)
				for _, place := range tt.ack {
					ack(t)(w.taken()[place])
				}
			}
			if err := s.Conn.Flush(); err != nil {
				t.Fatal(err)
			}
			var got call.Depth
			eventually(t, "the server to take notice", func() bool {
				for range 2 { // what was folded counts from the second look on
					if got, err = q.Depth(t.Context(), tt.folded); err != nil {
						t.Fatal(err)
					}
				}
				return got.Held == uint64(tt.take-len(tt.ack))
			})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("depth (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWorkGoesOn has a worker at work when something happens.
func TestWorkGoesOn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		run  func(t *testing.T, s *natsdtest.Server, l *link)
	}{
		{"when the server restarts", func(_ *testing.T, s *natsdtest.Server, l *link) {
			s.Restart()
			l.point(s)
		}},
		{"when the connection breaks", func(_ *testing.T, _ *natsdtest.Server, l *link) { l.cut() }},
		{"when the queue is deleted", func(t *testing.T, s *natsdtest.Server, _ *link) {
			if err := s.JS.DeleteConsumer(t.Context(), logStream, queueName); err != nil {
				t.Fatal(err)
			}
		}},
		{"when the log is made anew", func(t *testing.T, s *natsdtest.Server, _ *link) { remake(t, s) }},
		{"when the log was made anew behind its back", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.lose()
			remake(t, s)
			l.cut()
			l.heal()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			// Acknowledgements are lost as well: their tasks come again.
			j := open(t, js, stream.Config{}.Paced(0, time.Second))
			more(t, s, 1, 10)
			w, _ := work(t, j, func(task *stream.Task) { _ = task.Ack() })
			w.await(10)
			tt.run(t, s, l)
			more(t, s, 11, 20)
			eventually(t, "the new tasks", func() bool {
				got := map[string]bool{}
				for _, task := range w.taken() {
					got[task.Entry().ID] = true
				}
				return len(got) == 20
			})
			done(t, open(t, s.JS, stream.Config{}.Paced(0, time.Second)), 0)
		})
	}
}

func TestWorkEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	nc, js := s.Dial()
	j := open(t, js, stream.Config{})
	q, err := j.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	returned := make(chan error, 1)
	w := &worker{tb: t, do: ack(t)}
	go func() { returned <- q.Work(t.Context(), w.take) }()
	fill(t, j, 1, 1)
	w.await(1)
	nc.Close()
	if err := receive(t, "Work to return", returned); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got error %v, want %v", err, nats.ErrConnectionClosed)
	}
	if _, err := j.Append(t.Context(), entry(2)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Append: got error %v, want %v", err, journal.ErrClosed)
	}
}

func TestWorkEndsSoonWhileTheServerIsGone(t *testing.T) {
	// Not at the same time as other tests: it is about time.
	tests := []struct {
		name  string
		leave func(s *natsdtest.Server, l *link)
	}{
		{"and the connection is down", func(s *natsdtest.Server, _ *link) { s.Stop() }},
		{"and nobody knows", func(_ *natsdtest.Server, l *link) { l.lose() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			j := open(t, js, stream.Config{})
			fill(t, j, 1, 3)
			w, stop := work(t, j, ack(t))
			w.await(3)
			tt.leave(s, l)
			start := time.Now()
			stop()
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		before      uint64 // trimmed to this before
		seq         uint64
		first, last uint64
	}{
		{"of nothing does nothing", 0, 0, 1, 10},
		{"to the first entry does nothing", 0, 1, 1, 10},
		{"removes what is before the entry", 0, 4, 4, 10},
		{"to where it was trimmed to does nothing", 4, 4, 4, 10},
		{"to less than it was trimmed to does nothing", 6, 4, 6, 10},
		{"to the last entry leaves that", 0, 10, 10, 10},
		{"beyond the last entry removes all", 0, 11, 11, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := open(t, s.JS, stream.Config{})
			fill(t, j, 1, 10)
			for _, seq := range []uint64{tt.before, tt.seq} {
				if err := j.Trim(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
			got, err := j.State(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(call.Log{ID: got.ID, First: tt.first, Last: tt.last}, got); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			// The next one has the next number, and an id from before the trimming is still known.
			if r := must(t)(j.Append(t.Context(), entry(11))); r != (call.Receipt{Seq: 11}) {
				t.Errorf("the next entry: got %+v", r)
			}
			if r := must(t)(open(t, s.JS, stream.Config{}).Append(t.Context(), entry(1))); r != (call.Receipt{Seq: 1, Duplicate: true}) {
				t.Errorf("an entry that was there before: got %+v", r)
			}
		})
	}
}

func TestALogThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	if err := s.JS.DeleteStream(t.Context(), logStream); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		run  func() error
		want error
	}{
		{"cannot be opened", func() error {
			_, err := stream.Open(t.Context(), stream.Config{Config: journal.Config{JetStream: s.JS, Stream: logStream}})
			return err
		}, jetstream.ErrStreamNotFound},
		{"cannot be trimmed", func() error { return j.Trim(t.Context(), 5) }, jetstream.ErrStreamNotFound},
		{"has no state", func() error { _, err := j.State(t.Context()); return err }, jetstream.ErrStreamNotFound},
		{"has no queue", func() error { _, err := j.Queue(t.Context()); return err }, jetstream.ErrStreamNotFound},
		{"cannot be written", func() error { _, err := j.Append(t.Context(), entry(1)); return err }, journal.ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.run(); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

// What the queue's consumer does must not be left to the server's defaults: 1,000
// tasks held, as a minute of hangups can be, would keep all others from being handed out.
func TestTheQueueIsSaidExplicitly(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	work(t, open(t, s.JS, stream.Config{}), nil)
	consumer, err := s.JS.Consumer(t.Context(), logStream, queueName)
	if err != nil {
		t.Fatal(err)
	}
	type config struct {
		MaxAckPending, MaxDeliver int
		AckWait                   time.Duration
		Ack                       jetstream.AckPolicy
		Deliver                   jetstream.DeliverPolicy
		Subjects                  []string
	}
	c := consumer.CachedInfo().Config
	got := config{c.MaxAckPending, c.MaxDeliver, c.AckWait, c.AckPolicy, c.DeliverPolicy, c.FilterSubjects}
	want := config{
		32_768, -1, stream.AckWait, jetstream.AckExplicitPolicy, jetstream.DeliverAllPolicy,
		[]string{"calls." + call.TopicEvent + ">", "calls." + call.TopicStatus, "calls." + call.TopicCheck},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("consumer (-want +got):\n%s", diff)
	}
}

// More tasks are held than the server would hand out by default, and still the next one comes.
func TestHeldTasksDoNotKeepOthersFromBeingHandedOut(t *testing.T) {
	t.Parallel()
	const many = 1200
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	if _, errs := appendAll(t.Context(), j, numbers(1, many)); errors.Join(errs...) != nil {
		t.Fatal(errors.Join(errs...))
	}
	w, _ := work(t, j, func(task *stream.Task) {
		if err := task.Nak(time.Hour); err != nil { // it is for later
			t.Error(err)
		}
	})
	w.await(many)
	fill(t, j, many+1, many+1)
	if got := w.await(many + 1); got[many] != many+1 {
		t.Errorf("got task %d, want the next one", got[many])
	}
}

// A replica whose decisions are slow does not hoard what others could do.
func TestAReplicaTakesOnlySoMuchAhead(t *testing.T) {
	t.Parallel()
	const many, ahead = 1500, 600 // twice what it asks for at once, and what is on its way
	s := natsdtest.Run(t)
	one, other := open(t, s.JS, stream.Config{}), open(t, s.JS, stream.Config{})
	if _, errs := appendAll(t.Context(), one, numbers(1, many)); errors.Join(errs...) != nil {
		t.Fatal(errors.Join(errs...))
	}
	leave := make(chan struct{})
	entered := make(chan struct{}, many)
	work(t, one, func(task *stream.Task) {
		entered <- struct{}{}
		<-leave
		ack(t)(task)
	})
	receive(t, "the first task", entered)
	defer close(leave)
	q, err := one.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d call.Depth
	held, same := uint64(0), 0
	eventually(t, "nothing more to be handed out to it", func() bool {
		if d, err = q.Depth(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if d.Held != held {
			held, same = d.Held, 0
		}
		same++
		return held > 1 && same > 50
	})
	if d.Held > ahead {
		t.Errorf("%d tasks are held", d.Held)
	}
	w, _ := work(t, other, ack(t))
	w.await(many - ahead)
}

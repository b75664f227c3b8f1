package stream_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/nats-io/nats.go/jetstream"
)

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

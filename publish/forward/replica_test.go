package forward_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/forward"
)

// killable returns a connection through which a replica works until it is cut off as if its process were killed.
func (w *world) killable() (nc *nats.Conn, kill func()) {
	w.t.Helper()
	nc, _ = w.nats.Dial()
	return nc, nc.Close
}

func TestAnotherReplicaTakesOverFromOneThatIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold, stuck := make(chan struct{}), make(chan struct{}, 10)
	var slow atomic.Bool
	slow.Store(true)
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "3" && slow.Load() {
			stuck <- struct{}{}
			<-hold
		}
	})
	cfg := forward.Config{Targets: targets(t, a.server.URL, nil), Timeout: patience}
	nc, kill := w.killable()
	w.runOn(natsdtest.JetStream(t, nc), cfg)
	for i := range 6 {
		w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: strconv.Itoa(i)})
	}
	<-stuck // the fourth is under way, and two wait behind it
	w.run(cfg)
	slow.Store(false)
	died := time.Now()
	kill()
	w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: "6"})
	got := a.awaitCount(8)
	close(hold)
	// The one that was under way is sent again; nobody knows whether it was taken.
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 4, 5, 6, 7}, seqs(got)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if took := got[4].at.Sub(died); took > 10*time.Second {
		t.Errorf("the other replica took over after %v, want some two seconds", took)
	}
	t.Logf("taken over after %v", got[4].at.Sub(died))
}

func TestAReplicaThatStopsHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	cfg := forward.Config{Targets: targets(t, a.server.URL, nil)}
	_, stop := w.run(cfg)
	w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	a.awaitCount(1)
	first := w.pinned()
	w.run(cfg)
	stop()
	// One that is killed is waited for two seconds.
	if first == "" || w.pinned() == first {
		t.Errorf("the place is still that of the replica %q, which has stopped", first)
	}
	w.put(event{typ: "call.answered", session: "s", leg: "l", body: "{}"})
	a.awaitCount(2)
	w.settled(w.desk(), "app")
}

func TestOneOfTwoReplicasWorksATarget(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	cfg := forward.Config{Targets: targets(t, a.server.URL, nil)}
	w.run(cfg)
	w.run(cfg)
	const sessions, events = 20, 10
	for range events {
		for s := range sessions {
			w.put(event{typ: "call.dtmf.received", session: fmt.Sprint("s", s), leg: fmt.Sprint("l", s), body: fmt.Sprint("s", s)})
		}
	}
	a.awaitCount(sessions * events)
	w.settled(w.desk(), "app")
	got := a.all()
	if len(got) != sessions*events {
		t.Errorf("requests: got %d, want %d", len(got), sessions*events)
	}
	bySession := make(map[string][]uint64)
	for _, r := range got {
		bySession[r.body] = append(bySession[r.body], r.seq)
	}
	for s, order := range bySession {
		if !slices.IsSorted(order) {
			t.Errorf("%s: out of order: %v", s, order)
		}
	}
}

func TestForwardingOutlivesARestartOfNATS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, natsdtest.WithListen(newPort(t).addr))
	hold := make(chan struct{})
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "1" && r.attempt == 1 {
			<-hold
		}
	})
	nc, err := nats.Connect(w.nats.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, stop := w.runOn(natsdtest.JetStream(t, nc), forward.Config{Targets: targets(t, a.server.URL, nil), Timeout: patience})
	for i := range 4 {
		w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: strconv.Itoa(i)})
	}
	a.awaitCount(2) // the second is under way
	w.nats.Restart()
	close(hold) // it is answered while NATS may be away
	for i := 4; i < 8; i++ {
		w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: strconv.Itoa(i)})
	}
	got := a.await("the last one", func(r []request) bool { return r[len(r)-1].body == "7" })
	w.settled(w.desk(), "app")
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6, 7, 8}, seqs(got)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	stop()
}

func TestATargetGoesOnUnderAnotherURLAndOtherConditions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := newApp(t, nil), newApp(t, nil)
	_, stop := w.run(forward.Config{Targets: targets(t, first.server.URL, nil)})
	w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	first.awaitCount(1)
	w.settled(w.desk(), "app")
	stop()
	w.put(event{typ: "call.answered", session: "s", leg: "l", body: "{}"})
	w.put(event{typ: "call.hangup", session: "s", leg: "l", body: "{}"})
	w.run(forward.Config{Targets: targets(t, second.server.URL, func(f *forward.Flags) { f.Only = []string{"app=call.hangup"} })})
	if got := second.awaitCount(1); got[0].seq != 3 {
		t.Errorf("got event %d, want 3: what came in between, and no more than is asked for", got[0].seq)
	}
	// Each place of what is set aside is told of it by itself, soon after the start.
	eventually(t, "the desk shows the second URL", func() bool { return w.settled(w.desk(), "app").URL == second.server.URL+"/" })
	if n := len(first.all()); n != 1 {
		t.Errorf("the first URL got %d requests, want 1", n)
	}
}

func TestReplicasThatStartTogetherShareAPlace(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	const replicas = 8
	errs := make(chan error, replicas)
	for range replicas {
		_, js := w.nats.Dial()
		go func() {
			_, err := forward.New(t.Context(), w.config(js, forward.Config{Targets: targets(t, a.server.URL, nil)}))
			errs <- err
		}()
	}
	for range replicas {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// What a replica that lost a dead target has to tell it by, another one has then.
func TestAReplicaThatLostADeadTargetDoesNotSayThatItIsDead(t *testing.T) {
	t.Parallel()
	w, a, p := newWorld(t), newApp(t, nil), newPort(t)
	cfg := forward.Config{Targets: targets(t, "http://"+p.addr, nil)}
	lost, works := prometheus.NewRegistry(), prometheus.NewRegistry()
	cfg.Registerer = lost
	f, _ := w.run(cfg)
	put := func(session string) {
		w.put(event{typ: "call.initiated", session: session, leg: session, body: session})
	}
	for i := range 6 {
		put(strconv.Itoa(i))
	}
	eventually(t, "the breaker opens", func() bool { return metric(t, lost, "legato_forward_breaker_open") == 1 })
	cfg.Registerer = works
	w.run(cfg)
	eventually(t, "the other replica waits for events", func() bool {
		info, err := w.consumer("app").Info(t.Context())
		return err == nil && info.NumWaiting >= 2
	})
	w.unpin()
	put("6")
	eventually(t, "the other replica works the target", func() bool {
		return metric(t, works, "legato_forward_pinned") == 1 && metric(t, lost, "legato_forward_pinned") == 0
	})
	p.serve(a)
	a.awaitCount(7)
	eventually(t, "the one that lost the target says nothing of it", func() bool {
		return metric(t, lost, "legato_forward_breaker_open") == 0 && !f.Dead() && len(f.Warnings()) == 0
	})
}

// A server that becomes the consumer's leader may not know of the last events that the one before it handed out, which
// its replica works on: they do not stand for what it does know to be handed out, and which the replica waits for.
func TestWhatTheServerDoesNotKnowToBeHandedOutStandsForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "under way" {
			<-hold
		}
	})
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil), Timeout: patience})
	for _, session := range []string{"a", "b", "c"} {
		w.put(event{typ: "call.dtmf.received", session: session, leg: session, body: "under way"})
	}
	a.awaitCount(3)
	w.forgetHandedOut(1, 2, 3)

	killed := w.takeTurn()
	w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: "{}"})
	if m, err := killed.NextMsg(patience); err != nil || m.Header.Get("Nats-Pin-Id") == "" {
		t.Fatalf("the other replica got %v, %v", m, err)
	}
	w.unpin() // it has the fourth event, and is no more
	w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: "{}"})
	got := a.awaitCount(5)
	close(hold)
	if diff := cmp.Diff([]uint64{4, 5}, seqs(got)[3:]); diff != "" {
		t.Errorf("requests of the session (-want +got):\n%s", diff)
	}
	w.settled(w.desk(), "app")
}

// What is on its way to a replica is lost with its connection, and may be back within its turn.
func TestWhatIsLostOnItsWayKeepsItsPlaceInTheOrder(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	put := func() uint64 { return w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: "{}"}) }
	put()
	a.awaitCount(1)
	w.settled(w.desk(), "app")

	info, err := w.consumer("app").Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost := w.pull(fmt.Sprintf(`{"batch":1,"expires":15000000000,"group":"legato","id":%q}`, info.PriorityGroups[0].PinnedClientID))
	var want []uint64
	eventually(t, "an event is handed out and does not come to the replica", func() bool {
		seq := put()
		want = append(want, seq)
		m, err := lost.NextMsg(20 * time.Millisecond)
		return err == nil && len(m.Data) > 0
	})
	want = append(want, put())
	if diff := cmp.Diff(want, seqs(a.awaitCount(1 + len(want)))[1:]); diff != "" {
		t.Errorf("requests of the session (-want +got):\n%s", diff)
	}
	w.settled(w.desk(), "app")
}

// forgetHandedOut makes the server take the first events of the log, each handed out once, as acknowledged.
func (w *world) forgetHandedOut(seqs ...uint64) {
	w.t.Helper()
	for _, seq := range seqs {
		if _, err := w.nats.Conn.Request(fmt.Sprintf("$JS.ACK.%s.forward_app.1.%d.%d.0.0", w.nats.Layout.Events, seq, seq), []byte("+ACK"), patience); err != nil {
			w.t.Fatal(err)
		}
	}
}

// takeTurn is a second replica of the target app, in whose turn it now is: what the consumer hands out comes to it, as
// long as it is at most one event.
func (w *world) takeTurn() *nats.Subscription {
	w.t.Helper()
	sub := w.pull(`{"batch":1,"expires":15000000000,"group":"legato"}`)
	w.unpin()
	return sub
}

// pull asks for events of the target app past its replicas.
func (w *world) pull(request string) *nats.Subscription {
	w.t.Helper()
	nc, _ := w.nats.Dial()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+w.nats.Layout.Events+".forward_app", inbox, []byte(request)); err != nil {
		w.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		w.t.Fatal(err)
	}
	return sub
}

// consumer is where a target stands.
func (w *world) consumer(target string) jetstream.Consumer {
	w.t.Helper()
	c, err := w.nats.JS.Consumer(w.t.Context(), w.nats.Layout.Events, "forward_"+target)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// pinned returns who works the target app, "" for nobody.
func (w *world) pinned() string {
	w.t.Helper()
	if groups := w.consumer("app").CachedInfo().PriorityGroups; len(groups) > 0 {
		return groups[0].PinnedClientID
	}
	return ""
}

// unpin ends the turn of whoever works the target app.
func (w *world) unpin() {
	w.t.Helper()
	stream, err := w.nats.JS.Stream(w.t.Context(), w.nats.Layout.Events)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := stream.UnpinConsumer(w.t.Context(), "forward_app", "legato"); err != nil {
		w.t.Fatal(err)
	}
}

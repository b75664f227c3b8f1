package forward_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/publish/forward"
)

func TestMain(m *testing.M) {
	// Certificates of httptest are those of a known authority: the process reads these once.
	file := filepath.Join(os.TempDir(), fmt.Sprintf("legato-test-%d.pem", os.Getpid()))
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate().Certificate[0]}), 0o600); err != nil {
		panic(err)
	}
	if err := os.Setenv("SSL_CERT_FILE", file); err != nil {
		panic(err)
	}
	// These tests wait for the pauses between attempts and use 5 s of CPU together: ten of them run at once. A flag
	// of the command line, parsed by Run, has the last word.
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.Remove(file)
		os.Exit(code)
	}))
}

// certificate is that of httptest's servers, for 127.0.0.1.
func certificate() tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0]
}

func TestTheDeskShowsTargetsAndAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newApp(t, func(rw http.ResponseWriter, _ request) {
		http.Error(rw, strings.Repeat("no ", 1000), http.StatusBadRequest)
	})
	f, _ := w.run(forward.Config{Targets: targets(t, strings.Replace(a.server.URL, "http://", "http://user:word@", 1)+"/in?token=1", nil)})
	before := time.Now()
	seq := w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "{}"})
	got := w.attempts(seq, before, 1)
	if len(got) != 1 || got[0].Status != 400 || got[0].Result != forward.Refused || len(got[0].Answer) != 1024 {
		t.Errorf("attempts: got %+v, want one that was refused, with the first KiB of the answer", got)
	}
	s := w.settled(w.desk(), "app")
	if s.URL != a.server.URL+"/in" || s.Mode != forward.After || s.Floor != seq || s.Dead || len(s.Last) != 1 || s.Last[0].Seq != seq {
		t.Errorf("state: got %+v", s)
	}
	if a.all()[0].header.Get("Authorization") == "" {
		t.Error("the URL's user is not sent")
	}
	if found, complete, err := w.desk().Attempts(t.Context(), before, time.Now(), seq+1); len(found) != 0 || !complete || err != nil {
		t.Errorf("attempts at another event: got %v, %v, %v", found, complete, err)
	}
	stream, err := w.nats.JS.Stream(t.Context(), w.nats.Layout.Forward)
	if err != nil {
		t.Fatal(err)
	}
	for info := range stream.ListConsumers(t.Context()).Info() {
		if info.Config.Durable == "" {
			t.Errorf("reading the attempts leaves the consumer %s, and a stream has room for a thousand", info.Name)
		}
	}
	eventually(t, "nothing is needed any more", func() bool {
		needed, err := f.Needed(t.Context())
		return err == nil && needed == math.MaxUint64
	})
}

func TestTheDeskOfADeploymentWithoutForwardingIsEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.nats.JS.DeleteStream(t.Context(), w.nats.Layout.Forward); err != nil {
		t.Fatal(err)
	}
	if got, err := w.desk().List(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("list: got %v, %v", got, err)
	}
	if got, complete, err := w.desk().Attempts(t.Context(), time.Now(), time.Time{}, 1); len(got) != 0 || !complete || err != nil {
		t.Errorf("attempts: got %v, %v, %v", got, complete, err)
	}
}

// recorded stores a record of attempts at the target app, as the service does.
func (w *world) recorded(dead bool, attempts ...forward.Attempt) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"attempts": attempts, "dead": dead})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.nats.JS.Publish(w.t.Context(), w.nats.Layout.Prefix+".internal.forward.app", body); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatIsLeftOfAnErasedRecordIsNotTakenForTheNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, stop := w.run(forward.Config{Targets: targets(t, "http://127.0.0.1:1/", nil)})
	w.settled(w.desk(), "app") // it is known
	stop()
	began := time.Now().UTC().Truncate(time.Millisecond).Add(-2 * time.Hour)
	at := func(seq uint64, number int, result forward.Result) forward.Attempt {
		return forward.Attempt{Seq: seq, Number: number, At: began.Add(time.Duration(number) * time.Millisecond), Result: result}
	}
	const erased, taken, lost = 11, 12, 13
	w.recorded(true, at(erased, 1, forward.Refused), at(taken, 1, forward.Failed), at(lost, 1, forward.Failed))
	w.recorded(false, at(taken, 2, forward.Done))
	for range 2 { // again what is left has nothing of it
		if n, err := w.desk().Erase(t.Context(), []uint64{erased}, false); n > 1 || err != nil {
			t.Fatalf("erase: got %d, %v", n, err)
		}
	}
	since := began.Add(-time.Hour)
	all, complete, err := w.desk().Undelivered(t.Context(), since, 10)
	if want := []forward.Undelivered{{Target: "app", Attempt: at(lost, 1, forward.Failed)}}; err != nil || !complete || !cmp.Equal(all, want) {
		t.Errorf("undelivered: got %+v, complete %v, %v, want %+v", all, complete, err, want)
	}
	if all, complete, err := w.desk().Undelivered(t.Context(), began.Add(time.Hour), 10); err != nil || !complete || len(all) != 0 {
		t.Errorf("undelivered of a time after all attempts: got %+v, complete %v, %v", all, complete, err)
	}
	for _, until := range []time.Time{{}, began.Add(-time.Minute)} {
		found, complete, err := w.desk().Attempts(t.Context(), since, until, erased, taken)
		want := forward.History{taken: {"app": {at(taken, 1, forward.Failed), at(taken, 2, forward.Done)}}}
		if diff := cmp.Diff(want, found); err != nil || !complete || diff != "" {
			t.Errorf("attempts until %v: complete %v, %v (-want +got)\n%s", until, complete, err, diff)
		}
	}
	states, err := w.desk().List(t.Context())
	if err != nil || len(states) != 1 || states[0].Dead || len(states[0].Last) != 1 || states[0].Last[0] != at(taken, 2, forward.Done) {
		t.Errorf("list: got %+v, %v, want what was recorded last", states, err)
	}
}

func TestRetryByHandMakesOneMoreAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var good atomic.Bool
	a := newApp(t, func(rw http.ResponseWriter, _ request) {
		if !good.Load() {
			rw.WriteHeader(400)
		}
	})
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	before := time.Now()
	refused := w.put(event{typ: "call.cost", session: "s1", leg: "l1", body: "report"})
	command := w.put(event{typ: "call.initiated", session: "s1", leg: "l2", body: "command"})
	a.awaitCount(2)
	w.settled(w.desk(), "app")
	good.Store(true)
	w.fold.end("l2")
	if err := w.desk().Retry(t.Context(), "", refused, command); err != nil {
		t.Fatal(err)
	}
	got := a.awaitCount(3)
	if got[2].seq != refused || got[2].body != "report" {
		t.Errorf("got %d, want the report", got[2].seq)
	}
	w.settled(w.desk(), "app")
	if last := w.attempts(refused, before, 2); last[1].Result != forward.Done {
		t.Errorf("recorded: got %+v, want done at last", last)
	}
	if last := w.attempts(command, before, 2); last[1].Result != forward.Stale {
		t.Errorf("recorded: got %+v, want stale at last: its leg is over", last)
	}
	if n := len(a.all()); n != 3 {
		t.Errorf("requests: got %d, want 3", n)
	}
	if err := w.desk().Retry(t.Context(), "app", 99); !errors.Is(err, forward.ErrNoEvent) {
		t.Errorf("an event that is not there: got %v", err)
	}
	if err := w.desk().Retry(t.Context(), "crm", refused); !errors.Is(err, forward.ErrNoTarget) {
		t.Errorf("a target that is not there: got %v", err)
	}
}

func TestARetryByHandWaitsForAFoldThatCannotTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	calls := w.lagging()
	a := newApp(t, func(rw http.ResponseWriter, _ request) { rw.WriteHeader(400) })
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil), Calls: calls})
	before := time.Now()
	seq := w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	w.attempts(seq, before, 1)
	calls.behind.Store(true)
	if err := w.desk().Retry(t.Context(), "", seq); err != nil {
		t.Fatal(err)
	}
	calls.awaitAsked(t)
	calls.behind.Store(false)
	a.awaitCount(2)
	if got := w.attempts(seq, before, 2); len(got) != 2 || got[1].Result != forward.Refused {
		t.Errorf("recorded: got %+v, want two attempts", got)
	}
}

// blinking is a JetStream of which one read fails when it is told so.
type blinking struct {
	jetstream.JetStream
	fails *atomic.Bool
}

func (b blinking) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := b.JetStream.Stream(ctx, name)
	return blinkingStream{s, b.fails}, err
}

type blinkingStream struct {
	jetstream.Stream
	fails *atomic.Bool
}

func (s blinkingStream) GetMsg(ctx context.Context, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if s.fails.CompareAndSwap(true, false) {
		return nil, errors.New("the leader is away")
	}
	return s.Stream.GetMsg(ctx, seq, opts...)
}

func TestARetryByHandOutlivesAReadThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	js := blinking{w.nats.JS, new(atomic.Bool)}
	a := newApp(t, func(rw http.ResponseWriter, _ request) { rw.WriteHeader(400) })
	w.runOn(js, forward.Config{Targets: targets(t, a.server.URL, nil)})
	before := time.Now()
	seq := w.put(event{typ: "call.cost", session: "s", leg: "l", body: "{}"})
	w.attempts(seq, before, 1)
	w.settled(w.desk(), "app")
	js.fails.Store(true)
	if err := w.desk().Retry(t.Context(), "", seq); err != nil {
		t.Fatal(err)
	}
	a.awaitCount(2)
	if js.fails.Load() {
		t.Error("no read failed")
	}
}

// unsure is a JetStream of which one publish of what is set aside fails when it is told so: before it is stored, or after.
type unsure struct {
	blinking
	fails  *atomic.Bool
	stores bool
}

func (u unsure) Publish(ctx context.Context, subject string, body []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if !strings.Contains(subject, ".internal.later.") || !u.fails.CompareAndSwap(true, false) {
		return u.JetStream.Publish(ctx, subject, body, opts...)
	}
	if u.stores {
		if _, err := u.JetStream.Publish(ctx, subject, body, opts...); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("there is no answer")
}

func TestARetryByHandIsMadeOnceWhenTheRestCannotBePutBack(t *testing.T) {
	t.Parallel()
	for name, stores := range map[string]bool{"it is not stored": false, "it is stored, and the answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			js := unsure{blinking{w.nats.JS, new(atomic.Bool)}, new(atomic.Bool), stores}
			a := newApp(t, func(rw http.ResponseWriter, _ request) { rw.WriteHeader(400) })
			w.runOn(js, forward.Config{Targets: targets(t, a.server.URL, nil)})
			first := w.put(event{typ: "call.cost", session: "s1", leg: "l1", body: "{}"})
			second := w.put(event{typ: "call.cost", session: "s2", leg: "l2", body: "{}"})
			a.awaitCount(2)
			w.settled(w.desk(), "app")
			js.blinking.fails.Store(true)
			js.fails.Store(true)
			if err := w.desk().Retry(t.Context(), "", first, second); err != nil {
				t.Fatal(err)
			}
			a.awaitCount(4)
			w.settled(w.desk(), "app")
			got := seqs(a.all())
			slices.Sort(got)
			if diff := cmp.Diff([]uint64{first, first, second, second}, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if js.blinking.fails.Load() || js.fails.Load() {
				t.Error("nothing failed")
			}
		})
	}
}

// broken is a JetStream that stores so many messages and no more.
type broken struct {
	jetstream.JetStream
	stores int
}

func (b *broken) Publish(ctx context.Context, subject string, body []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if b.stores--; b.stores < 0 {
		return nil, errors.New("the disk is full")
	}
	return b.JetStream.Publish(ctx, subject, body, opts...)
}

func TestARetryByHandThatFailsHalfwaySaysHowMuchIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, stop := w.run(forward.Config{Targets: targets(t, "http://127.0.0.1:1/", nil)})
	w.settled(w.desk(), "app") // it is known
	stop()
	seq := w.put(event{typ: "call.cost", session: "s", leg: "l", body: "{}"})
	desk := forward.NewDesk(&broken{w.nats.JS, 1}, w.nats.Layout)
	if err := desk.Retry(t.Context(), "app", slices.Repeat([]uint64{seq}, 300)...); err == nil || !strings.Contains(err.Error(), "256 of 300") {
		t.Errorf("got %v, want how many are asked for", err)
	}
}

func TestTheOldestEventThatWaitsIsOneThatTheTargetTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	a := newApp(t, func(http.ResponseWriter, request) { <-hold })
	only := func(f *forward.Flags) { f.Only = []string{"app=call.cost", "call.hangup"} }
	w.run(forward.Config{Targets: targets(t, a.server.URL, only), Timeout: patience})
	t.Cleanup(func() { close(hold) })
	w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	seq := w.put(event{typ: "call.cost", session: "s", leg: "l", body: "{}"})
	a.awaitCount(1)
	e, err := w.desk().Event(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	states, err := w.desk().List(t.Context())
	if err != nil || len(states) != 1 || states[0].Oldest == nil || !states[0].Oldest.Equal(e.ReceivedAt) {
		t.Errorf("list: got %+v, %v, want that %v is the oldest", states, err, e.ReceivedAt)
	}
}

// away is a JetStream that hands out no events, and of which no message can be read.
type away struct{ jetstream.JetStream }

func (a away) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := a.JetStream.Stream(ctx, name)
	return awayStream{s}, err
}

func (a away) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	c, err := a.JetStream.Consumer(ctx, stream, name)
	return awayConsumer{c}, err
}

var errAway = errors.New("the leader is away")

type awayStream struct{ jetstream.Stream }

func (awayStream) GetMsg(context.Context, uint64, ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return nil, errAway
}

type awayConsumer struct{ jetstream.Consumer }

func (awayConsumer) Consume(jetstream.MessageHandler, ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error) {
	return nil, errAway
}

func TestWhatATargetNeedsIsKnownWhileTheOldestEventThatWaitsCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := forward.Config{Targets: targets(t, "http://127.0.0.1:1/", nil)}
	if _, err := forward.New(t.Context(), w.config(w.nats.JS, cfg)); err != nil { // its place is made
		t.Fatal(err)
	}
	seq := w.put(event{typ: "call.cost", session: "s", leg: "l", body: "{}"})
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	f, _ := w.runOn(away{w.nats.JS}, cfg)
	eventually(t, "what is needed is known", func() bool {
		needed, err := f.Needed(t.Context())
		return err == nil && needed == seq
	})
	eventually(t, "it is shown what waits", func() bool { return metric(t, registry, "legato_forward_waiting") == 1 })
}

// blind finds no consumer while it is told so.
type blind struct {
	jetstream.JetStream
	now *atomic.Bool
}

func (b blind) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	if b.now.Load() {
		return nil, errAway
	}
	return b.JetStream.Consumer(ctx, stream, name)
}

// TestWhatWasNotNeededOnceIsNotTakenForThatForEver has a target for which nothing waits, and then nobody knows.
func TestWhatWasNotNeededOnceIsNotTakenForThatForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	js := blind{w.nats.JS, new(atomic.Bool)}
	f, _ := w.runOn(js, forward.Config{Targets: targets(t, "http://127.0.0.1:1/", nil)})
	known := func() bool { _, err := f.Needed(t.Context()); return err == nil }
	eventually(t, "it is known that nothing is needed", known)
	js.now.Store(true)
	eventually(t, "it is not known any more", func() bool { return !known() })
	js.now.Store(false)
	eventually(t, "it is known again", known)
}

func TestANewEventAfterAQuietHourIsNotGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "new" {
			<-hold
		}
	})
	registry := prometheus.NewRegistry()
	const quiet = 12 * time.Second // and as long the rest of the test may take
	only := func(f *forward.Flags) { f.Only = []string{"app=call.cost"} }
	f, _ := w.run(forward.Config{Targets: targets(t, a.server.URL, only), Registerer: registry, Timeout: patience, ReportsFor: quiet})
	t.Cleanup(func() { close(hold) })
	w.put(event{typ: "call.cost", session: "s", leg: "l", body: "old"})
	w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "for somebody else"})
	last := time.Now()
	w.settled(w.desk(), "app")
	eventually(t, "it is quiet", func() bool { return time.Since(last) > quiet })
	seq := w.put(event{typ: "call.cost", session: "s", leg: "l", body: "new"})
	eventually(t, "an event waits for its answer", func() bool { return metric(t, registry, "legato_forward_held") == 1 })
	if needed, err := f.Needed(t.Context()); err != nil || needed != seq {
		t.Errorf("needed: got %d, %v, want %d", needed, err, seq)
	}
	if n := metric(t, registry, "legato_forward_trimmed_total"); n != 0 {
		t.Errorf("the log counts as not kept %v times for an event of some seconds", n)
	}
}

func TestWhatATargetNeedsIsBoundedByItsPatience(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newPort(t)
	registry := prometheus.NewRegistry()
	f, _ := w.run(forward.Config{
		Targets: targets(t, "http://"+p.addr, nil), Registerer: registry, For: 2 * time.Second, ReportsFor: 6 * time.Second,
		Pauses: []time.Duration{time.Minute},
	})
	w.put(event{typ: "call.initiated", session: "s0", leg: "l0", body: "{}"})
	report := w.put(event{typ: "call.cost", session: "s1", leg: "l1", body: "{}"})
	eventually(t, "the command has expired and the report waits", func() bool {
		return metric(t, registry, "legato_forward_events_total", "result", "expired") == 1 && metric(t, registry, "legato_forward_set_aside") == 1
	})
	needed, err := f.Needed(t.Context())
	if err != nil || needed > report {
		t.Errorf("needed: got %d, %v, want %d at most: it is set aside", needed, err, report)
	}
	last := w.put(event{typ: "call.cost", session: "s2", leg: "l2", body: "{}"})
	eventually(t, "it is not waited for any longer", func() bool {
		needed, err := f.Needed(t.Context())
		return err == nil && needed >= last
	})
}

func TestAProxyAnswersWithTheApplicationsAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := make(chan struct{})
	a := newApp(t, func(rw http.ResponseWriter, r request) {
		switch r.body {
		case "slow":
			<-gone
		case "long":
			if _, err := rw.Write(make([]byte, 2<<20)); err != nil {
				return
			}
		default:
			rw.Header().Set("Content-Type", "application/xml")
			rw.WriteHeader(201)
			if _, err := rw.Write([]byte("<Response/>")); err != nil {
				t.Error(err)
			}
		}
	})
	leave := sync.OnceFunc(func() { close(gone) })
	t.Cleanup(leave)
	registry := prometheus.NewRegistry()
	f, _ := w.run(forward.Config{
		Targets: targets(t, a.server.URL, func(f *forward.Flags) {
			f.Modes, f.Only = []string{"app=proxy"}, []string{"app=connection:1"}
		}),
		Timeout: time.Second, Registerer: registry,
	})
	if !f.Proxies() {
		t.Error("there is a proxy")
	}
	answer := func(body, connection string) (forward.Answer, bool) {
		what := event{typ: "call.initiated", connection: connection, session: "s", leg: "l", body: body}
		e := what.entry()
		e.Seq, e.ReceivedAt = w.put(what), time.Now()
		return f.Answer(t.Context(), e)
	}
	for range 2 { // a repetition is handed on again
		got, ok := answer("ok", "1")
		if want := (forward.Answer{Status: 201, ContentType: "application/xml", Body: []byte("<Response/>")}); !ok || !cmp.Equal(got, want) {
			t.Errorf("answer: got %+v, %v", got, ok)
		}
	}
	if got, ok := answer("slow", "1"); !ok || got.Status != http.StatusGatewayTimeout {
		t.Errorf("no answer in time: got %+v, %v", got, ok)
	}
	if got, ok := answer("long", "1"); !ok || got.Status != http.StatusBadGateway {
		t.Errorf("an answer that is too long: got status %d, %v", got.Status, ok)
	}
	if done, failed := metric(t, registry, "legato_forward_events_total", "result", "done"), metric(t, registry, "legato_forward_attempts_total", "result", "failed"); done != 2 || failed != 1 {
		t.Errorf("counted: got %v done and %v failed, want two that were answered, and one of which Telnyx got a 502", done, failed)
	}
	if _, ok := answer("other", "2"); ok {
		t.Error("an event that the filter does not take was answered")
	}
	leave()
	a.server.Close()
	if got, ok := answer("nobody there", "1"); !ok || got.Status != http.StatusGatewayTimeout {
		t.Errorf("nobody there: got %+v, %v", got, ok)
	}
}

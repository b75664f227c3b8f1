package forward_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/forward"
)

// patience bounds every wait of these tests: a loaded machine is slow, not wrong.
const patience = 30 * time.Second

// world is a deployment without its other rooms.
type world struct {
	t    *testing.T
	nats *natsdtest.Server
	fold *fold
}

func newWorld(t *testing.T, opts ...natsdtest.Option) *world {
	t.Helper()
	s := natsdtest.Run(t, opts...)
	if _, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{Forward: true}); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, nats: s, fold: &fold{over: make(map[call.LegID]bool), sessions: make(map[call.ControlID]call.SessionID)}}
}

// fold stands for the fold of the log.
type fold struct {
	mu       sync.Mutex
	over     map[call.LegID]bool
	sessions map[call.ControlID]call.SessionID
	blind    bool
}

func (f *fold) Session(ref call.Ref) call.SessionID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[ref.Control]
}

func (f *fold) Over(_ context.Context, ref call.Ref, _ uint64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blind {
		return false, errors.New("the log is being replayed")
	}
	return f.over[ref.Leg], nil
}

// lagging is a fold that can fall behind: then it answers when whoever asks does not wait any longer.
type lagging struct {
	*fold
	behind atomic.Bool
	asked  chan struct{} // has an element when it was asked while it was behind
}

func (w *world) lagging() *lagging { return &lagging{fold: w.fold, asked: make(chan struct{}, 1)} }

func (f *lagging) Over(ctx context.Context, ref call.Ref, seq uint64) (bool, error) {
	if !f.behind.Load() {
		return f.fold.Over(ctx, ref, seq)
	}
	select {
	case f.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return false, ctx.Err()
}

// awaitAsked waits until it was asked while it was behind.
func (f *lagging) awaitAsked(t *testing.T) {
	t.Helper()
	select {
	case <-f.asked:
	case <-time.After(patience):
		t.Fatal("nobody asks whether the leg is over")
	}
}

func (f *fold) end(leg call.LegID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over[leg] = true
}

// event is one to be put into the log. Its zero fields are filled in.
type event struct {
	typ, connection, session, leg, control string
	body, signature, timestamp             string
	contentType, agent, trace              string
	backfill                               bool
}

func (e event) entry() call.Entry {
	return call.Entry{
		Topic: call.TopicEvent + e.typ,
		Ref: call.Ref{
			Session: call.SessionID(e.session), Leg: call.LegID(e.leg), Control: call.ControlID(e.control),
			Connection: call.ConnectionID(e.connection),
		},
		Signature: e.signature, Timestamp: e.timestamp, ContentType: e.contentType, UserAgent: e.agent, Trace: e.trace,
		Backfill: e.backfill, Data: []byte(e.body),
	}
}

// put stores an event and returns its sequence.
func (w *world) put(event event) uint64 {
	w.t.Helper()
	e := event.entry()
	if e.ID = nuid.Next(); e.Ref.Empty() {
		e.Ref.Session = "of-" + call.SessionID(e.ID) // no event is without one
	}
	ack, err := w.nats.JS.PublishMsg(w.t.Context(), &nats.Msg{Subject: e.Subject(w.nats.Layout.Prefix), Header: e.Header(), Data: e.Data})
	if err != nil {
		w.t.Fatal(err)
	}
	return ack.Sequence
}

// run starts a forwarder; the returned function stops it and waits.
func (w *world) run(cfg forward.Config) (f *forward.Forwarder, stop func()) {
	w.t.Helper()
	return w.runOn(w.nats.JS, cfg)
}

// config fills in what a configuration leaves out.
func (w *world) config(js jetstream.JetStream, cfg forward.Config) forward.Config {
	cfg.JetStream, cfg.Layout = js, w.nats.Layout
	if cfg.Calls == nil {
		cfg.Calls = w.fold
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	cfg.Timeout, cfg.For, cfg.ReportsFor = cmp.Or(cfg.Timeout, 2*time.Second), cmp.Or(cfg.For, time.Minute), cmp.Or(cfg.ReportsFor, time.Hour)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 64)
	return cfg
}

func (w *world) runOn(js jetstream.JetStream, cfg forward.Config) (f *forward.Forwarder, stop func()) {
	w.t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	f, err := forward.New(w.t.Context(), w.config(js, cfg))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			w.t.Error("the forwarder does not stop")
		}
	})
	w.t.Cleanup(stop)
	return f, stop
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}

// request is one that a target has received.
type request struct {
	seq     uint64
	attempt int
	at      time.Time
	body    string
	header  http.Header
}

// app is a target. answer says what it answers; nil: 204.
type app struct {
	t      *testing.T
	server *httptest.Server
	answer func(w http.ResponseWriter, r request)

	mu       sync.Mutex
	requests []request
	changed  chan struct{}
	now, max int // requests under way
}

func newApp(t *testing.T, answer func(http.ResponseWriter, request)) *app {
	t.Helper()
	a := &app{t: t, answer: answer, changed: make(chan struct{})}
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender is gone
	}
	got := request{at: time.Now(), body: string(body), header: r.Header.Clone()}
	got.seq, _ = strconv.ParseUint(r.Header.Get("Legato-Event-Seq"), 10, 64)
	got.attempt, _ = strconv.Atoi(r.Header.Get("Legato-Forward-Attempt"))
	a.mu.Lock()
	a.requests = append(a.requests, got)
	a.now++
	a.max = max(a.max, a.now)
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
	if a.answer == nil {
		w.WriteHeader(http.StatusNoContent)
	} else {
		a.answer(w, got)
	}
	a.mu.Lock()
	a.now--
	a.mu.Unlock()
}

func (a *app) all() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]request(nil), a.requests...)
}

// await waits until ok says that what was received is enough, and returns it.
func (a *app) await(what string, ok func([]request) bool) []request {
	a.t.Helper()
	deadline := time.After(patience)
	for {
		a.mu.Lock()
		got, changed := append([]request(nil), a.requests...), a.changed
		a.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-changed:
		case <-deadline:
			a.t.Fatalf("%s: only %d requests came: %v", what, len(got), seqs(got))
		}
	}
}

func (a *app) awaitCount(n int) []request {
	a.t.Helper()
	return a.await("waiting for "+strconv.Itoa(n), func(r []request) bool { return len(r) >= n })
}

func seqs(rs []request) []uint64 {
	var all []uint64
	for _, r := range rs {
		all = append(all, r.seq)
	}
	return all
}

// targets parses one target named app, and what else flags say.
func targets(t *testing.T, url string, change func(*forward.Flags)) []forward.Target {
	t.Helper()
	f := forward.Flags{Targets: []string{url}}
	if change != nil {
		change(&f)
	}
	all, err := forward.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// eventually waits until a condition holds that nothing tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// settled waits until nothing is left to do for a target.
func (w *world) settled(desk *forward.Desk, target string) forward.State {
	w.t.Helper()
	var s forward.State
	eventually(w.t, "nothing is left to do for "+target, func() bool {
		all, err := desk.List(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, s = range all {
			if s.Name == target {
				return s.Waiting+s.Held+s.SetAside == 0
			}
		}
		return false
	})
	return s
}

func (w *world) desk() *forward.Desk { return forward.NewDesk(w.nats.JS, w.nats.Layout) }

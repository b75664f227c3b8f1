package stream_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) {
	// These tests wait for most of their time. A flag of the command line, parsed by Run, has the last word.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	logStream = "CALL_EVENTS"
	queueName = "legato"
	// soon is how often a test's journal looks at its log.
	soon = 50 * time.Millisecond
	// patience is when a test gives up: much longer than anything takes.
	patience = 60 * time.Second
)

// open opens a journal on the streams that natsdtest makes and closes it when the test ends.
func open(tb testing.TB, js jetstream.JetStream, cfg stream.Config) *stream.Journal {
	tb.Helper()
	cfg.JetStream, cfg.Stream, cfg.Prefix, cfg.Queue = js, logStream, "calls", queueName
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	j, err := stream.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := j.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return j
}

// openSoon opens a journal that notices changes of its log at once.
func openSoon(tb testing.TB, js jetstream.JetStream) *stream.Journal {
	tb.Helper()
	return open(tb, js, stream.Config{}.Paced(soon, 0))
}

// entry returns an event; entries of one number are deliveries of the same.
func entry(n int) call.Entry {
	return call.Entry{
		Topic: call.TopicEvent + "call.initiated", ID: "event-" + strconv.Itoa(n),
		Ref:  call.Ref{Session: "session-1", Leg: "leg-1"},
		Data: fmt.Appendf(nil, `{"n":%d}`, n),
	}
}

func must(tb testing.TB) func(call.Receipt, error) call.Receipt {
	return func(r call.Receipt, err error) call.Receipt {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return r
	}
}

// appendAll appends entries at once and returns what came of each.
func appendAll(ctx context.Context, j *stream.Journal, entries []call.Entry) ([]call.Receipt, []error) {
	receipts, errs := make([]call.Receipt, len(entries)), make([]error, len(entries))
	var wg sync.WaitGroup
	for i := range entries {
		wg.Go(func() { receipts[i], errs[i] = j.Append(ctx, entries[i]) })
	}
	wg.Wait()
	return receipts, errs
}

// fill appends the entries numbered from to to one after the other.
func fill(tb testing.TB, j *stream.Journal, from, to int) {
	tb.Helper()
	for n := from; n <= to; n++ {
		must(tb)(j.Append(tb.Context(), entry(n)))
	}
}

func numbers(from, to int) []call.Entry {
	var entries []call.Entry
	for n := from; n <= to; n++ {
		entries = append(entries, entry(n))
	}
	return entries
}

// stored reads all messages of the log as they are.
func stored(tb testing.TB, js jetstream.JetStream) []*jetstream.RawStreamMsg {
	tb.Helper()
	stream, err := js.Stream(tb.Context(), logStream)
	if err != nil {
		tb.Fatal(err)
	}
	state := stream.CachedInfo().State
	var msgs []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := stream.GetMsg(tb.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// storedIDs returns the ids of the stored entries, sorted.
func storedIDs(tb testing.TB, js jetstream.JetStream) []string {
	tb.Helper()
	var ids []string
	for _, m := range stored(tb, js) {
		ids = append(ids, m.Header.Get(jetstream.MsgIDHeader))
	}
	slices.Sort(ids)
	return ids
}

func idsOf(entries []call.Entry) []string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	return ids
}

// same compares entries, whatever seq and time they were given.
func same(want, got []call.Entry) string {
	return cmp.Diff(want, got, cmpopts.IgnoreFields(call.Entry{}, "Seq", "ReceivedAt", "Foreign"), cmp.Comparer(bytes.Equal))
}

// eventually asks again and again until the answer is yes.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick, timeout := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

// receive waits for a value of a channel.
func receive[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		tb.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// looks counts how often anybody has asked for the log's state.
func looks(tb testing.TB, nc *nats.Conn) *atomic.Int64 {
	tb.Helper()
	var n atomic.Int64
	sub, err := nc.Subscribe("$JS.API.STREAM.INFO."+logStream, func(*nats.Msg) { n.Add(1) })
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = sub.Unsubscribe() })
	return &n
}

// afterLooks waits until the log has been looked at several times more.
func afterLooks(tb testing.TB, n *atomic.Int64) {
	tb.Helper()
	from := n.Load()
	eventually(tb, "several looks at the log", func() bool { return n.Load() >= from+10 })
}

// delivered waits until the server has sent a follower everything up to seq.
func delivered(tb testing.TB, js jetstream.JetStream, seq uint64) {
	tb.Helper()
	stream, err := js.Stream(tb.Context(), logStream)
	if err != nil {
		tb.Fatal(err)
	}
	eventually(tb, "the entries to be sent", func() bool {
		for info := range stream.ListConsumers(tb.Context()).Info() {
			if info.Delivered.Stream >= seq {
				return true
			}
		}
		return false
	})
}

// recorder is a follower that remembers everything.
type recorder struct {
	tb   testing.TB
	busy atomic.Bool

	mu       sync.Mutex
	restarts []call.Log
	entries  []call.Entry // since the last restart
	before   []call.Entry // before it
}

func (r *recorder) enter() func() {
	if !r.busy.CompareAndSwap(false, true) {
		r.tb.Error("the follower was called by two goroutines at once")
	}
	return func() { r.busy.Store(false) }
}

func (r *recorder) Restart(log call.Log) {
	defer r.enter()()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restarts = append(r.restarts, log)
	r.before = append(r.before, r.entries...)
	r.entries = nil
}

func (r *recorder) Fold(e call.Entry) {
	defer r.enter()()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.restarts) == 0:
		r.tb.Errorf("entry %d was folded before the first restart", e.Seq)
	case len(r.entries) > 0 && e.Seq <= r.entries[len(r.entries)-1].Seq:
		r.tb.Errorf("entry %d was folded after entry %d", e.Seq, r.entries[len(r.entries)-1].Seq)
	}
	r.entries = append(r.entries, e)
}

// logs returns the restarts, and all the entries since the last one.
func (r *recorder) logs() ([]call.Log, []call.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.restarts), slices.Clone(r.entries)
}

// discarded returns the entries that were folded before the last restart.
func (r *recorder) discarded() []call.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.before)
}

// await waits for a number of entries since the last of so many restarts, and returns them.
func (r *recorder) await(restarts, entries int) []call.Entry {
	r.tb.Helper()
	var logs []call.Log
	var got []call.Entry
	eventually(r.tb, fmt.Sprintf("%d entries after %d restarts", entries, restarts), func() bool {
		logs, got = r.logs()
		if len(logs) > restarts {
			r.tb.Fatalf("got %d restarts, want %d: %+v", len(logs), restarts, logs)
		}
		return len(logs) == restarts && len(got) >= entries
	})
	if len(got) > entries {
		r.tb.Fatalf("got %d entries, want %d", len(got), entries)
	}
	return got
}

// follow follows the log until the test ends or stop is called.
func follow(tb testing.TB, j *stream.Journal) (r *recorder, stop func()) {
	tb.Helper()
	r = &recorder{tb: tb}
	return r, run(tb, func(ctx context.Context) error { return j.Follow(ctx, r) })
}

// run runs f until the test ends or stop is called, which waits for it.
func run(tb testing.TB, f func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				tb.Errorf("got error %v, want that of the context", err)
			}
		case <-time.After(patience):
			tb.Error("does not end with its context")
		}
	})
	tb.Cleanup(stop)
	return stop
}

// metric returns a metric of a registry by name; a label picks one of several.
func metric(tb testing.TB, registry *prometheus.Registry, name, label string) *dto.Metric {
	tb.Helper()
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				return m
			}
		}
	}
	return &dto.Metric{}
}

// batchSizes returns the histogram of the entries that were written with one acknowledgement.
func batchSizes(tb testing.TB, registry *prometheus.Registry) *dto.Histogram {
	tb.Helper()
	return metric(tb, registry, "legato_log_batch_size", "").GetHistogram()
}

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	all []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p...)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.all)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// link is the network between a connection and a server. The connection outlives
// the server: it finds it again wherever it listens.
type link struct {
	mu      sync.Mutex
	changed *sync.Cond
	addr    string
	mute    bool // nothing arrives, in either direction
	deaf    bool // what the server says is lost
	held    bool // what the server says is late
	budget  int  // bytes until the wire is cut, 0: for ever
	wires   map[*wire]struct{}
}

// connect connects to a server, which must listen, through a link.
func connect(tb testing.TB, s *natsdtest.Server) (*link, jetstream.JetStream) {
	tb.Helper()
	l := &link{wires: make(map[*wire]struct{})}
	l.changed = sync.NewCond(&l.mu)
	l.point(s)
	closed := make(chan struct{})
	var nc *nats.Conn
	// The time-out is for links that lose what is sent; a server that is busy may take longer to greet.
	eventually(tb, "a first connection", func() bool {
		var err error
		nc, err = nats.Connect("nats://127.0.0.1:1", // the link knows better
			nats.SetCustomDialer(l), nats.Timeout(500*time.Millisecond), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0),
			nats.ReconnectBufSize(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
		return err == nil
	})
	tb.Cleanup(func() {
		l.heal()
		nc.Close()
		receive(tb, "the connection to close", closed)
	})
	return l, natsdtest.JetStream(tb, nc)
}

// listening is a server that a link can reach.
func listening(tb testing.TB, opts ...natsdtest.Option) *natsdtest.Server {
	tb.Helper()
	return natsdtest.Run(tb, append(opts, natsdtest.WithListen("127.0.0.1:0"))...)
}

// point leads the link to a server.
func (l *link) point(s *natsdtest.Server) {
	l.set(func() { l.addr = strings.TrimPrefix(s.URL(), "nats://") })
}

func (l *link) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.changed.Broadcast()
}

// lose loses all from now on without anybody being told; loseAnswers only what comes back.
func (l *link) lose()        { l.set(func() { l.mute = true }) }
func (l *link) loseAnswers() { l.set(func() { l.deaf = true }) }

// hold delays what the server says until heal.
func (l *link) hold() { l.set(func() { l.held = true }) }

// heal ends all that was done to the link; what was lost is lost.
func (l *link) heal() { l.set(func() { l.mute, l.deaf, l.held, l.budget = false, false, false, 0 }) }

// cutAfter cuts the wire once so many bytes were written.
func (l *link) cutAfter(n int) { l.set(func() { l.budget = n }) }

// cut closes the wire: the connection has to be made anew, and nothing arrives by the old one.
func (l *link) cut() {
	l.set(func() {
		for w := range l.wires {
			w.dead = true
			_ = w.Conn.Close()
		}
	})
}

// Dial implements nats.CustomDialer.
func (l *link) Dial(network, _ string) (net.Conn, error) {
	l.mu.Lock()
	addr := l.addr
	l.mu.Unlock()
	c, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, link: l}
	l.set(func() { l.wires[w] = struct{}{} })
	return w, nil
}

type wire struct {
	net.Conn
	link *link
	// dead: it was cut. A read that got its bytes before that may see the light only after heal.
	dead bool
}

func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.Conn.Read(p)
		l := w.link
		l.mu.Lock()
		for l.held && err == nil {
			l.changed.Wait()
		}
		lost, dead := l.mute || l.deaf, w.dead
		l.mu.Unlock()
		switch {
		case dead:
			return 0, net.ErrClosed
		case !lost || err != nil:
			return n, err
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	l := w.link
	l.mu.Lock()
	mute, cut := l.mute, 0
	if l.budget > 0 {
		if l.budget -= len(p); l.budget <= 0 {
			cut, l.budget = len(p)+l.budget, 0
		}
	}
	l.mu.Unlock()
	switch {
	case mute:
		return len(p), nil
	case cut > 0:
		n, _ := w.Conn.Write(p[:cut])
		_ = w.Conn.Close()
		return n, net.ErrClosed
	}
	return w.Conn.Write(p)
}

func (w *wire) Close() error {
	w.link.set(func() { delete(w.link.wires, w) })
	return w.Conn.Close()
}

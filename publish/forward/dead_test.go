package forward_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/net/http2"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish/forward"
)

// port is an address on which an application can come and go.
type port struct {
	t    *testing.T
	addr string
}

func newPort(t *testing.T) port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return port{t, l.Addr().String()}
}

// serve starts the application there.
func (p port) serve(a *app) {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(a)
	if err := s.Listener.Close(); err != nil {
		p.t.Fatal(err)
	}
	s.Listener = l
	s.Start()
	p.t.Cleanup(s.Close)
}

func TestADeadTargetIsProbedAndGetsTheLiveCallsWhenItIsBack(t *testing.T) {
	t.Parallel()
	w, a, p := newWorld(t), newApp(t, nil), newPort(t)
	registry := prometheus.NewRegistry()
	f, _ := w.run(forward.Config{
		Targets: targets(t, "http://"+p.addr, nil), Registerer: registry, Pauses: []time.Duration{500 * time.Millisecond, time.Second},
	})
	// 40 calls ring while nobody is there; those of even number hang up before the application is back.
	for i := range 40 {
		w.put(event{typ: "call.initiated", session: fmt.Sprint("s", i), leg: fmt.Sprint("l", i), body: fmt.Sprint("initiated ", i)})
	}
	eventually(t, "the breaker opens", func() bool { return metric(t, registry, "legato_forward_breaker_open") == 1 })
	if !f.Dead() {
		t.Error("it does not say that nobody waits for events")
	}
	for i := 0; i < 40; i += 2 {
		w.fold.end(call.LegID(fmt.Sprint("l", i)))
		w.put(event{typ: "call.hangup", session: fmt.Sprint("s", i), leg: fmt.Sprint("l", i), body: fmt.Sprint("hangup ", i)})
	}
	eventually(t, "what is over is not held", func() bool { return metric(t, registry, "legato_forward_events_total", "result", "stale") == 20 })
	if got := f.Warnings(); len(got) != 1 {
		t.Errorf("warnings: got %q, want one", got)
	}
	attempts := metric(t, registry, "legato_forward_attempts_total", "result", "unreachable")
	start := time.Now()
	eventually(t, "some probes", func() bool {
		return metric(t, registry, "legato_forward_attempts_total", "result", "unreachable") >= attempts+3
	})
	if took := time.Since(start); took < time.Second {
		t.Errorf("three probes in %v: that hammers", took)
	}
	p.serve(a)
	got := a.awaitCount(40)
	w.settled(w.desk(), "app")
	if f.Dead() {
		t.Error("it says that nobody waits for events, and somebody does again")
	}
	if n := len(a.all()); n != 40 {
		t.Errorf("requests: got %d, want 20 live calls and 20 reports, each once", n)
	}
	for i := range 40 {
		kind := "initiated"
		if i%2 == 0 {
			kind = "hangup"
		}
		want := fmt.Sprint(kind, " ", i)
		if !slices.ContainsFunc(got, func(r request) bool { return r.body == want }) {
			t.Errorf("%s did not arrive", want)
		}
	}
	if got := f.Warnings(); len(got) != 0 {
		t.Errorf("warnings: got %q, want none", got)
	}
}

func TestADeadTargetHoldsBoundedWorkAndTheRestMoves(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newPort(t)
	registry := prometheus.NewRegistry()
	w.run(forward.Config{Targets: targets(t, "http://"+p.addr, nil), Registerer: registry, For: 3 * time.Second})
	const events = 4000
	for i := range events {
		w.put(event{typ: []string{"call.initiated", "call.cost"}[i%2], session: fmt.Sprint("s", i), leg: fmt.Sprint("l", i), body: "{}"})
	}
	var most float64
	eventually(t, "every command has expired", func() bool {
		most = max(most, metric(t, registry, "legato_forward_held"))
		return metric(t, registry, "legato_forward_events_total", "result", "expired") == events/2
	})
	if most > 1024 {
		t.Errorf("held: got %v, want 1024 at most", most)
	}
	eventually(t, "nothing is left in the way", func() bool {
		s, err := w.desk().List(t.Context())
		return err == nil && len(s) == 1 && s[0].Waiting+s[0].Held == 0 && s[0].Dead
	})
	if n := metric(t, registry, "legato_forward_attempts_total", "result", "unreachable"); n > 100 {
		t.Errorf("attempts at a dead target: got %v, want few", n)
	}
}

func TestWhatHappensAtADeadTargetIsRecordedWhileTheFoldIsBehind(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newPort(t)
	registry, calls := prometheus.NewRegistry(), w.lagging()
	w.run(forward.Config{Targets: targets(t, "http://"+p.addr, nil), Registerer: registry, Calls: calls})
	for i := range 20 { // to wait for the fold with each, one after another, would take longer than this test waits
		w.put(event{typ: "call.initiated", session: fmt.Sprint("s", i), leg: fmt.Sprint("l", i), body: "{}"})
	}
	eventually(t, "the breaker opens", func() bool { return metric(t, registry, "legato_forward_breaker_open") == 1 })
	calls.behind.Store(true)
	calls.awaitAsked(t)
	w.put(event{typ: "call.cost", session: "s", leg: "l", body: "{}"})
	eventually(t, "the report is set aside", func() bool {
		s, err := w.desk().List(t.Context())
		return err == nil && len(s) == 1 && s[0].SetAside == 1
	})
}

func TestATargetThatAsksForTimeGetsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newApp(t, func(rw http.ResponseWriter, r request) {
		if r.seq == 1 && r.attempt == 1 {
			rw.Header().Set("Retry-After", time.Now().Add(3*time.Second).UTC().Format(http.TimeFormat))
			rw.WriteHeader(429)
		}
	})
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "{}"})
	first := a.awaitCount(1)[0].at
	eventually(t, "the answer is taken in", func() bool {
		s, err := w.desk().List(t.Context())
		return err == nil && len(s) == 1 && s[0].Dead
	})
	w.put(event{typ: "call.initiated", session: "s2", leg: "l2", body: "{}"})
	for _, r := range a.awaitCount(3)[1:] {
		if pause := r.at.Sub(first); pause < 1900*time.Millisecond { // the header has whole seconds
			t.Errorf("event %d came after %v, want two seconds at least", r.seq, pause)
		}
	}
}

func TestWhyATargetCannotBeReachedIsRecordedAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	unknown, err := x509.CreateCertificate(rand.Reader, by, by, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{unknown}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	lines := new(lines)
	_, stop := w.run(forward.Config{
		Targets: targets(t, strings.Replace(server.URL, "https://", "https://user:word@", 1), nil), Logger: slog.New(slog.NewTextHandler(lines, nil)),
	})
	before := time.Now()
	seq := w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	got := w.attempts(seq, before, 5)[0]
	if got.Result != forward.Unreachable || !strings.Contains(got.Error, "x509: ") || strings.Contains(got.Error, "word") {
		t.Errorf("recorded: got %+v, want that it is the certificate", got)
	}
	stop()
	if !strings.Contains(lines.String(), "x509: ") || strings.Contains(lines.String(), "word") {
		t.Errorf("the log does not say why: %s", lines)
	}
}

// A server that stops says on the connection what it has not taken: that goes to another connection, and is one attempt.
func TestWhatAConnectionHasNotTakenGoesToAnother(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	server := httptest.NewUnstartedServer(a)
	l := &leaving{Listener: server.Listener, t: t}
	server.Listener, server.EnableHTTP2 = l, true
	server.StartTLS()
	t.Cleanup(l.gone.Wait)
	t.Cleanup(server.Close)
	_, stop := w.run(forward.Config{Targets: targets(t, server.URL, nil), Timeout: patience}) // two connections are made
	before := time.Now()
	seq := w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	if got := w.attempts(seq, before, 1); got[0].Result != forward.Done || got[0].Number != 1 {
		t.Errorf("recorded: got %+v, want that it was taken", got[0])
	}
	stop()
}

// leaving is a listener whose first connection takes nothing.
type leaving struct {
	net.Listener
	t     *testing.T
	first sync.Once
	gone  sync.WaitGroup
}

func (l *leaving) Accept() (net.Conn, error) {
	l.first.Do(func() {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.t.Error(err)
			return
		}
		l.gone.Go(func() {
			goAway(l.t, tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h2"}}))
		})
	})
	return l.Listener.Accept()
}

// goAway takes nothing of the first request on a connection.
func goAway(t *testing.T, conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Error(err)
		return
	}
	f := http2.NewFramer(conn, conn)
	err := f.WriteSettings()
	for err == nil {
		var frame http2.Frame
		if frame, err = f.ReadFrame(); err != nil {
			return // the other side has gone
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				err = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			}
		}
	}
	t.Error(err)
}

// metric returns the sum of a metric's values that have the labels.
func metric(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
					continue metrics
				}
			}
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

// mute is a JetStream that gives no answer to what is recorded of attempts.
type mute struct {
	jetstream.JetStream
	asked  chan struct{}
	answer chan struct{}
}

func (m *mute) Publish(ctx context.Context, subject string, body []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	select {
	case m.asked <- struct{}{}:
	default:
	}
	<-m.answer
	return m.JetStream.Publish(ctx, subject, body, opts...)
}

// What cannot be recorded for seconds does not look like a process that was stopped, whose commands would be held back.
func TestCommandsGoOnWhileAttemptsCannotBeRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newApp(t, nil)
	js := &mute{w.nats.JS, make(chan struct{}, 1), make(chan struct{})}
	_, stop := w.runOn(js, forward.Config{Targets: targets(t, a.server.URL, nil)})
	w.put(event{typ: "call.dtmf.received", session: "s", leg: "l"})
	a.awaitCount(1)
	select {
	case <-js.asked:
	case <-time.After(patience):
		t.Fatal("nothing is recorded")
	}
	sent := 1
	for since := time.Now(); time.Since(since) < 2*time.Second; {
		w.put(event{typ: "call.dtmf.received", session: "s", leg: "l"})
		sent++
		a.awaitCount(sent)
	}
	close(js.answer)
	stop()
}

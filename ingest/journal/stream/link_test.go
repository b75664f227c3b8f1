package stream_test

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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
	nc, err := nats.Connect("nats://127.0.0.1:1", // the link knows better
		nats.SetCustomDialer(l), nats.Timeout(500*time.Millisecond), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		tb.Fatal(err)
	}
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

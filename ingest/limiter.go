package ingest

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxHeld bounds what the bodies longer than firstBuffer take up together: some 130 of the longest. Shorter ones,
// nearly all, are bounded by the number of connections: 4096 of 16 KiB are 64 MiB.
const maxHeld = 128 << 20

// connLimiter is a listener that limits what its connections take, though anybody may connect. It never
// makes a new connection wait: at the limit the new one takes the place of another. Connections that have not yet
// sent a webhook with a good signature are evicted first, the oldest before the others; so
// idle and slow connections, however many, cost a sender that knows the key nothing.
// A connection whose webhook was received whole is never evicted.
type connLimiter struct {
	net.Listener
	max     int
	evicted func(why string)

	mu    sync.Mutex
	count int
	held  int64
	// Connections from which something is awaited, in the order in which they are evicted.
	strangers, known list.List
}

// Why a connection was closed before its time: labels of a metric.
const (
	evictedForConnection = "connections"
	evictedForBody       = "bodies"
)

func newConnLimiter(listener net.Listener, limit int, evicted func(why string)) *connLimiter {
	return &connLimiter{Listener: listener, max: limit, evicted: evicted}
}

// conn is one connection of a limiter.
type conn struct {
	net.Conn
	limiter *connLimiter
	// heard tells that something was received.
	heard atomic.Bool

	// All below is the limiter's, under its lock.
	gone  bool
	known bool  // a webhook of it was verified
	held  int64 // bytes of a long body
	line  *list.List
	place *list.Element // nil while what it sent is being verified and stored
}

// Accept implements net.Listener.
func (l *connLimiter) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, victim := l.admit(accepted)
		if victim != nil {
			l.hangUp(victim, evictedForConnection)
		}
		if c != nil {
			return c, nil
		}
		_ = accepted.Close() // all places are taken by webhooks that are being stored
	}
}

// admit takes in one more, or none when no room is to be made. The victim lost its place to it.
func (l *connLimiter) admit(accepted net.Conn) (c, victim *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= l.max {
		if victim = l.evict(func(*conn) bool { return true }); victim == nil {
			return nil, nil
		}
	}
	c = &conn{Conn: accepted, limiter: l}
	l.count++
	c.wait(&l.strangers, l.strangers.PushBack)
	return c, victim
}

// evict removes the first in line that fits, nil when none does.
func (l *connLimiter) evict(fits func(*conn) bool) *conn {
	for _, line := range []*list.List{&l.strangers, &l.known} {
		for e := line.Front(); e != nil; e = e.Next() {
			if c := e.Value.(*conn); fits(c) {
				l.remove(c)
				return c
			}
		}
	}
	return nil
}

// hangUp closes a connection that was evicted. Not under the lock: it waits for its reader to wake.
func (l *connLimiter) hangUp(victim *conn, why string) {
	_ = victim.Conn.Close()
	l.evicted(why)
}

func (l *connLimiter) remove(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	l.count--
	l.held -= c.held
	c.held = 0
	c.unwait()
}

// size returns the number of connections.
func (l *connLimiter) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

func (c *conn) wait(line *list.List, push func(any) *list.Element) {
	c.line, c.place = line, push(c)
}

func (c *conn) unwait() {
	if c.place != nil {
		c.line.Remove(c.place)
		c.place = nil
	}
}

// connOf finds the limited connection behind what the HTTP server got from the listener.
func connOf(served net.Conn) *conn {
	if t, ok := served.(*tls.Conn); ok {
		served = t.NetConn()
	}
	c, _ := served.(*conn)
	return c
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.remove(c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets the HTTP server end its side first, so that a sender that is
// still sending gets to read why it was refused.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// hold accounts for n more bytes of a body, and reports whether they may be
// received. Others give way for them, never what is already being stored.
func (c *conn) hold(n int64) bool {
	granted, victims := c.take(n)
	for _, victim := range victims {
		c.limiter.hangUp(victim, evictedForBody)
	}
	return granted
}

func (c *conn) take(n int64) (granted bool, victims []*conn) {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	for !c.gone && l.held+n > maxHeld {
		victim := l.evict(func(other *conn) bool { return other != c && other.held > 0 })
		if victim == nil {
			return false, victims
		}
		victims = append(victims, victim)
	}
	if c.gone {
		return false, victims
	}
	c.held += n
	l.held += n
	return true, victims
}

// release gives back what the body held.
func (c *conn) release() {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held -= c.held
	c.held = 0
}

// busy takes the connection out of line: all that it sent is here.
func (c *conn) busy() {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.unwait()
}

// rest puts it in line again: last of those that are known if what it sent was
// genuine; a stranger whose signature was wrong goes before all others. It holds no body any more, for which it would have
// to give way before its answer is sent.
func (c *conn) rest(genuine bool) {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.gone {
		return
	}
	l.held -= c.held
	c.held = 0
	if c.known = c.known || genuine; c.known {
		c.wait(&l.known, l.known.PushBack)
	} else {
		c.wait(&l.strangers, l.strangers.PushFront)
	}
}

// drain counts the webhooks whose handler runs, and once it is closed lets no more in. It exists beside
// http.Server's own shutdown because that one hangs up on whatever comes late, and a sender deserves its 503.
type drain struct {
	mu      sync.Mutex
	running int
	closed  bool
	empty   chan struct{}
}

func newDrain() *drain { return &drain{empty: make(chan struct{})} }

// enter counts one in and reports whether it may run.
func (d *drain) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.running++
	return true
}

// leave counts out one that entered.
func (d *drain) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
	if d.closed && d.running == 0 {
		close(d.empty)
	}
}

// close lets nobody in any more. It may be called again.
func (d *drain) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed && d.running == 0 {
		close(d.empty)
	}
	d.closed = true
}

// isClosed reports whether close was called.
func (d *drain) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// wait returns when the last one is out of a closed drain, or with ctx's error.
func (d *drain) wait(ctx context.Context) error {
	select {
	case <-d.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newcomerPatience is how long a stop waits for the first request of a connection that has begun to send.
const newcomerPatience = 500 * time.Millisecond

// newcomers are the connections that have not sent a request yet.
type newcomers struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note implements http.Server.ConnState.
func (n *newcomers) note(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state != http.StateNew {
		delete(n.conns, c)
		return
	}
	if n.conns == nil {
		n.conns = make(map[net.Conn]struct{})
	}
	n.conns[c] = struct{}{}
}

// close closes those that fit.
func (n *newcomers) close(fits func(*conn) bool) {
	n.mu.Lock()
	var closing []*conn
	for served := range n.conns {
		if c := connOf(served); c != nil && fits(c) {
			closing = append(closing, c)
		}
	}
	n.mu.Unlock()
	for _, c := range closing {
		_ = c.Close()
	}
}

package ingest

import (
	"container/list"
	"crypto/tls"
	"net"
	"sync"
)

// maxHeld bounds what the bodies longer than firstBuffer take up together: some
// 130 of the longest. Shorter ones, nearly all, are bounded by the number of
// connections: 4096 of 16 KiB are 64 MiB.
const maxHeld = 128 << 20

// crowd is the listener, and keeps what its connections take within bounds
// though anybody may connect. It never makes a new connection wait: at the limit
// the new one takes the place of another. Whoever has not yet sent a webhook
// with a good signature goes first, the longest there before the others; so
// idle and slow connections, however many, cost a sender that knows the key nothing.
// What has been received whole is never cut off.
type crowd struct {
	net.Listener
	most    int
	evicted func(why string)

	mu    sync.Mutex
	count int
	held  int64
	// Connections from which something is awaited, in the order in which they go.
	strangers, known list.List
}

// Why a connection was closed before its time: labels of a metric.
const (
	evictedForConnection = "connections"
	evictedForBody       = "bodies"
)

func newCrowd(listener net.Listener, most int, evicted func(why string)) *crowd {
	return &crowd{Listener: listener, most: most, evicted: evicted}
}

// member is one connection of a crowd.
type member struct {
	net.Conn
	crowd *crowd

	// All below is the crowd's, under its lock.
	gone  bool
	known bool  // a webhook of it was verified
	held  int64 // bytes of a long body
	line  *list.List
	place *list.Element // nil while what it sent is being verified and stored
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		m, victim := c.admit(conn)
		if victim != nil {
			c.hangUp(victim, evictedForConnection)
		}
		if m != nil {
			return m, nil
		}
		_ = conn.Close() // all places are taken by webhooks that are being stored
	}
}

// admit takes in one more, or none when no room is to be made. The victim lost its place to it.
func (c *crowd) admit(conn net.Conn) (m, victim *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= c.most {
		if victim = c.expel(func(*member) bool { return true }); victim == nil {
			return nil, nil
		}
	}
	m = &member{Conn: conn, crowd: c}
	c.count++
	m.wait(&c.strangers, c.strangers.PushBack)
	return m, victim
}

// expel removes the first in line that fits, nil when none does.
func (c *crowd) expel(fits func(*member) bool) *member {
	for _, line := range []*list.List{&c.strangers, &c.known} {
		for e := line.Front(); e != nil; e = e.Next() {
			if m := e.Value.(*member); fits(m) {
				c.remove(m)
				return m
			}
		}
	}
	return nil
}

// hangUp closes a connection that was expelled. Not under the lock: it waits for its reader to wake.
func (c *crowd) hangUp(victim *member, why string) {
	_ = victim.Conn.Close()
	c.evicted(why)
}

func (c *crowd) remove(m *member) {
	if m.gone {
		return
	}
	m.gone = true
	c.count--
	c.held -= m.held
	m.held = 0
	m.unwait()
}

// size returns the number of connections.
func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func (m *member) wait(line *list.List, push func(any) *list.Element) {
	m.line, m.place = line, push(m)
}

func (m *member) unwait() {
	if m.place != nil {
		m.line.Remove(m.place)
		m.place = nil
	}
}

// memberOf finds the member behind what the HTTP server got from the listener.
func memberOf(conn net.Conn) *member {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	m, _ := conn.(*member)
	return m
}

// Close implements net.Conn.
func (m *member) Close() error {
	m.crowd.mu.Lock()
	m.crowd.remove(m)
	m.crowd.mu.Unlock()
	return m.Conn.Close()
}

// CloseWrite lets the HTTP server end its side first, so that a sender that is
// still sending gets to read why it was refused.
func (m *member) CloseWrite() error {
	if c, ok := m.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// hold accounts for n more bytes of a body, and reports whether they may be
// received. Others give way for them, never what is already being stored.
func (m *member) hold(n int64) bool {
	granted, victims := m.take(n)
	for _, victim := range victims {
		m.crowd.hangUp(victim, evictedForBody)
	}
	return granted
}

func (m *member) take(n int64) (granted bool, victims []*member) {
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	for !m.gone && c.held+n > maxHeld {
		victim := c.expel(func(other *member) bool { return other != m && other.held > 0 })
		if victim == nil {
			return false, victims
		}
		victims = append(victims, victim)
	}
	if m.gone {
		return false, victims
	}
	m.held += n
	c.held += n
	return true, victims
}

// release gives back what the body held.
func (m *member) release() {
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held -= m.held
	m.held = 0
}

// busy takes the connection out of line: all that it sent is here.
func (m *member) busy() {
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	m.unwait()
}

// rest puts it in line again: last of those that are known if what it sent was
// genuine; a stranger whose signature was wrong goes before all others.
func (m *member) rest(genuine bool) {
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.gone {
		return
	}
	if m.known = m.known || genuine; m.known {
		m.wait(&c.known, c.known.PushBack)
	} else {
		m.wait(&c.strangers, c.strangers.PushFront)
	}
}

package hostile_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

// mib of a body of 100 MB are written at a time.
var mib = []byte(strings.Repeat("x", 1<<20))

// attack begins everything; what has no end of its own ends with ctx.
func (b *besieger) attack(ctx context.Context) *sync.WaitGroup {
	var all sync.WaitGroup
	first, again := rate.NewLimiter(rate.Limit(b.plan.idleRate), 10), rate.NewLimiter(rate.Limit(b.plan.idleRate)/10, 10)
	for i := range b.plan.idle {
		all.Go(func() { b.idle(ctx, first, again, i%10 > 0) })
	}
	for range b.plan.slow {
		all.Go(func() { b.slow(ctx, "header", b.slowHeader) })
		all.Go(func() { b.slow(ctx, "body", b.slowBody) })
		all.Go(func() { b.slow(ctx, "end of a long body", b.slowEnd) })
		all.Go(func() { b.slow(ctx, "reader", b.slowReader) })
	}
	// Signed once: the sender's own memory and time are not what is measured.
	timestamp, signature := b.world.Sign(time.Now(), bytes.Repeat(mib, 100))
	signedHead := fmt.Sprintf("%sTelnyx-Timestamp: %s\r\nTelnyx-Signature-Ed25519: %s\r\n", unsignedHead, timestamp, signature)
	for range b.plan.huge {
		b.limited.Go(func() { b.huge(ctx, signedHead) })
	}
	const workers = 16
	requests := rate.NewLimiter(rate.Limit(b.plan.mutantRate), 10)
	for w := range workers {
		b.limited.Go(func() { b.mutants(ctx, uint64(w), b.plan.mutants/workers, requests) })
	}
	return &all
}

// idle keeps a connection open and opens it again when it was closed.
func (b *besieger) idle(ctx context.Context, first, again *rate.Limiter, speaks bool) {
	for pace := first; pace.Wait(ctx) == nil; pace = again {
		conn, err := b.dial(ctx)
		if err != nil {
			b.count("idle connections refused")
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		b.mu.Lock()
		b.tally["idle connections"]++
		b.open++
		b.tally["open at once"] = max(b.tally["open at once"], b.open)
		b.mu.Unlock()
		if speaks { // and is then idle for the server's longer time
			_, _ = io.WriteString(conn, "GET /stranger HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		_, _ = io.Copy(io.Discard, conn)
		stop()
		_ = conn.Close()
		b.mu.Lock()
		b.open--
		b.mu.Unlock()
	}
}

// slow repeats a connection on which something goes slowly, at most once a second:
// a flood of new connections is another attack.
func (b *besieger) slow(ctx context.Context, what string, act func(context.Context, net.Conn)) {
	for pace := rate.NewLimiter(1, 1); pace.Wait(ctx) == nil; {
		conn, err := b.dial(ctx)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		b.count("slow: " + what)
		act(ctx, conn)
		stop()
		_ = conn.Close()
	}
}

const (
	// unsignedHead and liarsHead begin a webhook; the second looks signed.
	unsignedHead = "POST /webhooks/telnyx HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	liarsHead    = unsignedHead + "Telnyx-Timestamp: 1772366400\r\nTelnyx-Signature-Ed25519: " +
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n"
)

// trickle writes a piece again and again until the connection is closed.
func trickle(ctx context.Context, conn net.Conn, piece string) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(conn, piece); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *besieger) slowHeader(ctx context.Context, conn net.Conn) {
	_, _ = io.WriteString(conn, unsignedHead+"X-Slow: ")
	trickle(ctx, conn, "x")
}

func (b *besieger) slowBody(ctx context.Context, conn net.Conn) {
	_, _ = io.WriteString(conn, liarsHead+"Transfer-Encoding: chunked\r\n\r\n")
	trickle(ctx, conn, "1\r\nx\r\n")
}

// slowEnd makes the server keep nearly all of a long body.
func (b *besieger) slowEnd(ctx context.Context, conn net.Conn) {
	const length = 900 << 10
	_, _ = fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", liarsHead, length)
	_, _ = conn.Write(mib[:length-1000])
	trickle(ctx, conn, "x")
}

// slowReader asks and asks and reads no answer.
func (b *besieger) slowReader(ctx context.Context, conn net.Conn) {
	_ = conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	trickle(ctx, conn, strings.Repeat("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 20))
}

// huge sends 100 MB in each way that there is.
func (b *besieger) huge(ctx context.Context, signedHead string) {
	const length = 100 << 20
	for kind, head := range map[string]string{"unsigned": unsignedHead, "falsely signed": liarsHead, "signed": signedHead} {
		b.hugeBody(ctx, kind+", length announced", fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, length), "", "")
		b.hugeBody(ctx, kind+", in chunks", head+"Transfer-Encoding: chunked\r\n\r\n", "100000\r\n", "\r\n")
	}
}

func (b *besieger) hugeBody(ctx context.Context, kind, head, before, after string) {
	conn, err := b.dial(ctx)
	if err != nil {
		b.count("100 MB " + kind + ": no connection")
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(legatotest.Patience))
	answer := make(chan string, 1)
	go func() { answer <- statusOn(conn) }()
	_, _ = io.WriteString(conn, head)
	for range 100 {
		pieces := net.Buffers{[]byte(before), mib, []byte(after)}
		if _, err := pieces.WriteTo(conn); err != nil {
			break
		}
	}
	b.count("100 MB " + kind + ": " + <-answer)
}

// statusOn reads an answer and returns its status, or that there was none.
func statusOn(conn net.Conn) string {
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "closed"
	}
	_ = response.Body.Close()
	return response.Status
}

// mutants sends so many requests that are something like a signed webhook.
func (b *besieger) mutants(ctx context.Context, worker uint64, n int, pace *rate.Limiter) {
	rng := rand.New(rand.NewPCG(77, worker))
	// A leg that begins and never ends: what of it is accepted makes no summary.
	call := fake.Generator{Seed: 7000 + worker}.Of(fake.IVR, 1, time.Now())
	body := string(call.Deliveries[0].Body(1, ""))
	for range n {
		if pace.Wait(ctx) != nil {
			return
		}
		b.count("requests, mutated or random: " + b.mutant(ctx, b.mutate(rng, body)))
	}
}

// mutant sends bytes, ends its side, and returns what came back.
func (b *besieger) mutant(ctx context.Context, request string) string {
	conn, err := b.dial(ctx)
	if err != nil {
		return "no connection"
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(legatotest.Patience))
	_, _ = io.WriteString(conn, request)
	_ = conn.CloseWrite()
	return statusOn(conn)
}

// message is a request in the parts that are mutated.
type message struct {
	method, path, version string
	headers               []string
	body                  string
	chunked               bool
}

func (m *message) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s %s\r\n%s\r\n", m.method, m.path, m.version, strings.Join(m.headers, "\r\n"))
	if !m.chunked {
		fmt.Fprintf(&s, "Content-Length: %d\r\n\r\n%s", len(m.body), m.body)
		return s.String()
	}
	s.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	for rest := m.body; rest != ""; {
		n := min(len(rest), 97)
		fmt.Fprintf(&s, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	s.WriteString("0\r\n\r\n")
	return s.String()
}

// mutate returns the bytes of a request: signed and then changed in one to three
// places, or, one in five, changed in its body and then signed; one in ten is
// nothing of that kind.
func (b *besieger) mutate(rng *rand.Rand, body string) string {
	if rng.IntN(10) == 0 {
		return noise(rng)
	}
	signedLast := rng.IntN(5) == 0
	if signedLast {
		body = spoil(rng, body)
	}
	timestamp, signature := b.world.Sign(time.Now(), []byte(body))
	m := &message{
		method: "POST", path: "/webhooks/telnyx", version: "HTTP/1.1", body: body, chunked: rng.IntN(4) == 0,
		headers: []string{
			"Host: " + b.addr, "Content-Type: application/json", "User-Agent: telnyx-webhooks",
			"Telnyx-Timestamp: " + timestamp, "Telnyx-Signature-Ed25519: " + signature,
		},
	}
	if signedLast {
		return m.String()
	}
	for range 1 + rng.IntN(3) {
		switch rng.IntN(6) {
		case 0:
			m.method = pick(rng, "GET", "PUT", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PRI", "post", "P OST", "", garbage(rng, 9))
		case 1:
			m.path = pick(rng, "/", "*", "", "//webhooks/telnyx", "/webhooks/telnyx/", "/webhooks/../webhooks/telnyx", "/webhooks/telnyx?"+garbage(rng, 30),
				"http://x/webhooks/telnyx", "/webhooks/%00", "/%zz", "/"+strings.Repeat("a", rng.IntN(30_000)), garbage(rng, 20))
		case 2:
			m.version = pick(rng, "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "", garbage(rng, 8))
		case 3, 4:
			mutateHeaders(rng, m)
		case 5:
			m.body = spoil(rng, m.body)
		}
	}
	text := m.String()
	if rng.IntN(8) == 0 {
		return spoil(rng, text) // anywhere: the framing too
	}
	return text
}

func mutateHeaders(rng *rand.Rand, m *message) {
	i := rng.IntN(len(m.headers))
	switch rng.IntN(4) {
	case 0:
		m.headers[i] = spoil(rng, m.headers[i])
	case 1:
		m.headers = append(m.headers, m.headers[i])
	case 2:
		m.headers = append(m.headers[:i:i], append([]string{"X-Dropped: 1"}, m.headers[i+1:]...)...)
	case 3:
		m.headers = append(m.headers, pick(rng,
			"Content-Length: -1", "Content-Length: 18446744073709551616", "Content-Length: +5", "Content-Length: 5, 5", "Content-Length: 0x10",
			"Content-Length: 900000", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: \x0bchunked",
			"Expect: 100-continue", "Expect: nonsense", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "Connection: close",
			"Content-Encoding: gzip", "Content-Type: text/plain", "Content-Type: application/json; charset=\"", "Host: y", " folded: x", "no colon",
			"X-Zero: \x00", "Trailer: Telnyx-Timestamp", "X-Large: "+strings.Repeat("y", rng.IntN(30_000)),
			strings.Repeat("X-Many: z\r\n", rng.IntN(2000))+"X-Last: z", "X-Telnyx-Signature: t=1,h=abc"))
	}
}

// spoil changes a text a little or a lot.
func spoil(rng *rand.Rand, text string) string {
	if text == "" {
		return garbage(rng, 10)
	}
	at := rng.IntN(len(text))
	switch rng.IntN(7) {
	case 0:
		return text[:at]
	case 1:
		return text[:at] + garbage(rng, 1) + text[at+1:]
	case 2:
		return text[:at] + garbage(rng, 40) + text[at:]
	case 3:
		return text + text
	case 4:
		return strings.Repeat(pick(rng, "[", `{"data":`, `"`, "9", "\xff"), 1+rng.IntN(20_000)) + text[at:]
	case 5:
		return text[:at] + pick(rng, "null", "{}", "1e999999", `"\ud800"`, "\x00", "\r\n", "true") + text[at:]
	}
	return garbage(rng, len(text))
}

// noise is no HTTP, or that of another version.
func noise(rng *rand.Rand) string {
	return pick(rng, "", "\r\n\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+garbage(rng, 500), garbage(rng, 5000), "GET /\r\n", "POST /webhooks/telnyx HTTP/1.1\r\n",
		strings.Repeat("A", rng.IntN(100_000)), "CONNECT {\"verbose\":true}\r\nPING\r\n")
}

func garbage(rng *rand.Rand, n int) string {
	raw := make([]byte, 1+rng.IntN(n))
	for i := range raw {
		raw[i] = byte(rng.UintN(256))
	}
	return string(raw)
}

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }

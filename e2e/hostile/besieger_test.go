package hostile_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"golang.org/x/time/rate"
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

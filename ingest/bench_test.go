package ingest_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// sink stores everything at once.
type sink struct{}

func (sink) Append(context.Context, call.Entry) (call.Receipt, error) {
	return call.Receipt{Seq: 1}, nil
}
func (sink) Park(context.Context, call.Parked) error { return nil }

// BenchmarkReceive posts a webhook of 1.1 KB over a connection that is kept: HTTP both ways,
// verification and envelope, and a log that costs nothing.
func BenchmarkReceive(b *testing.B) { benchmarkReceive(b, nil) }

// BenchmarkReceiveTraced makes a span of each webhook and sends it nowhere.
func BenchmarkReceiveTraced(b *testing.B) {
	benchmarkReceive(b, sdktrace.NewTracerProvider().Tracer("test"))
}

func benchmarkReceive(b *testing.B, tracer trace.Tracer) {
	key := privateKey(1)
	server, err := ingest.New(ingest.Config{
		Listen: "127.0.0.1:0", Keys: []ed25519.PublicKey{publicKey(key)}, Journal: sink{}, Parking: sink{},
		Now: func() time.Time { return now }, Tracer: tracer,
	})
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	defer func() {
		if err := server.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		if err := <-served; err != nil {
			b.Error(err)
		}
	}()
	body := strings.TrimSuffix(eventBody, "}") + `,"padding":"` + strings.Repeat("x", 900) + `"}`
	timestamp, signature := telnyx.Sign(key, now, []byte(body))
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: legato.test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s: %s\r\n%s: %s\r\n\r\n%s",
		ingest.Path, len(body), telnyx.HeaderTimestamp, timestamp, telnyx.HeaderSignature, signature, body)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for pb.Next() {
			if err := exchange(conn, answers, request); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func exchange(conn net.Conn, answers *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

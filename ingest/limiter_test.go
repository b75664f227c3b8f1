package ingest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = 60 * time.Second

// narrow opens a server that takes few connections.
func narrow(t *testing.T, connections int) *room {
	return open(t, func(cfg *ingest.Config, _ *fakeStore) { cfg.MaxConnections = connections })
}

// dial opens a connection and waits until the server has it, which an answer proves.
func (r *room) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Who is in line and holds a body gives way to another body, and its answer may not be sent yet.
func TestAConnectionInLineHoldsNoBodyThatIsStored(t *testing.T) {
	t.Parallel()
	if held := ingest.HeldAtRest(); held != 0 {
		t.Errorf("it holds %d bytes", held)
	}
}

// strange opens a connection that has had one answer, to something unsigned.
func (r *room) strange(t *testing.T) net.Conn {
	t.Helper()
	conn := r.dial(t)
	if _, err := io.WriteString(conn, "GET /stranger HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := answerOn(t, conn); got.Status != http.StatusNotFound {
		t.Fatalf("status %d to a stranger, want 404", got.Status)
	}
	return conn
}

// post sends a signed webhook over the connection and returns the answer.
func (r *room) post(t *testing.T, conn net.Conn, body string) answer {
	t.Helper()
	if err := r.webhook(t, body).Write(conn); err != nil {
		t.Fatal(err)
	}
	return answerOn(t, conn)
}

func answerOn(t *testing.T, conn net.Conn) answer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

// wantClosed waits until the server has closed the connection.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want a closed connection", err)
	}
}

func eventOf(i int) string { return strings.Replace(eventBody, `"ev-1"`, fmt.Sprintf(`"ev-%d"`, i), 1) }

func TestAtTheLimitTheStrangerThatCameFirstMakesRoom(t *testing.T) {
	r := narrow(t, 3)
	known := r.dial(t)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.post(t, known, eventBody)); diff != "" {
		t.Fatalf("answer (-want +got):\n%s", diff)
	}
	first, second := r.strange(t), r.strange(t)
	third := r.strange(t)
	wantClosed(t, first)
	fourth := r.strange(t)
	wantClosed(t, second)
	// Who has sent a signed webhook was there before all of them, and stays.
	if diff := cmp.Diff(accepted(`{"status":"duplicate"}`), r.post(t, known, eventBody)); diff != "" {
		t.Errorf("answer to the sender that is known (-want +got):\n%s", diff)
	}
	// With none but known senders the one that was silent longest goes.
	for i, conn := range []net.Conn{third, fourth} {
		if got := r.post(t, conn, eventOf(i+2)); got.Status != http.StatusOK {
			t.Fatalf("status %d, want 200", got.Status)
		}
	}
	r.strange(t)
	wantClosed(t, known)
	want := map[string]float64{"connections": 3}
	if diff := cmp.Diff(want, r.counted(t, "legato_webhook_connections_evicted_total")); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
	if got := strings.Count(r.logs.String(), "too many connections"); got != 1 {
		t.Errorf("%d log lines about too many connections, want 1 a minute", got)
	}
}

func TestWhoseSignatureWasWrongGoesBeforeAllOthers(t *testing.T) {
	r := narrow(t, 2)
	quiet := r.strange(t)
	liar := r.dial(t)
	req := r.webhook(t, eventBody)
	req.Header.Set("Telnyx-Timestamp", "1")
	if err := req.Write(liar); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(badSignature, answerOn(t, liar)); diff != "" {
		t.Fatalf("answer (-want +got):\n%s", diff)
	}
	r.strange(t)
	wantClosed(t, liar)
	if got := r.post(t, quiet, eventBody); got.Status != http.StatusOK {
		t.Errorf("status %d, want 200", got.Status)
	}
}

func TestWhatIsBeingStoredIsNotCutOff(t *testing.T) {
	r := open(t, func(cfg *ingest.Config, f *fakeStore) {
		cfg.MaxConnections = 1
		f.entered, f.gate = make(chan struct{}), make(chan struct{})
	})
	busy := r.dial(t)
	if err := r.webhook(t, eventBody).Write(busy); err != nil {
		t.Fatal(err)
	}
	<-r.store.entered
	// The only place is taken by a webhook that is being stored: a further one finds none.
	wantClosed(t, r.dial(t))
	close(r.store.gate)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), answerOn(t, busy)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// TestLongBodiesAreBoundedTogether lets so many bodies trickle that they would
// take more memory than there is for them, and then sends a good one.
func TestLongBodiesAreBoundedTogether(t *testing.T) {
	r := open(t, nil)
	const (
		length = 900 << 10
		sent   = length - 1
		slow   = ingest.MaxHeld/length + 20
	)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTelnyx-Timestamp: 1\r\n"+
		"Telnyx-Signature-Ed25519: x\r\nContent-Length: %d\r\n\r\n", ingest.Path, length)
	body := strings.Repeat("x", sent)
	for range slow {
		conn := r.dial(t)
		// One that has had to go meanwhile cannot be written to.
		_, _ = io.WriteString(conn, head+body)
	}
	large := eventBody + strings.Repeat(" ", 800<<10)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.post(t, r.dial(t), large)); diff != "" {
		t.Errorf("answer to a good sender of a long body (-want +got):\n%s", diff)
	}
	if got := r.counted(t, "legato_webhook_connections_evicted_total"); got["bodies"] < 1 || got["connections"] > 0 {
		t.Errorf("evicted %v, want some for bodies and none for connections", got)
	}
}

func TestLongBodiesAreForgottenOnceTheyAreStored(t *testing.T) {
	r := open(t, nil)
	conn := r.dial(t)
	large := strings.Repeat(" ", 900<<10)
	for i := range ingest.MaxHeld/len(large) + 10 {
		if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.post(t, conn, eventOf(i)+large)); diff != "" {
			t.Fatalf("answer to long body %d of one sender (-want +got):\n%s", i, diff)
		}
	}
}

// TestSlowSendersAreCutOff keeps to the real limits of time: 5 s for headers, 10 s for a request.
func TestSlowSendersAreCutOff(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	head := "POST /webhooks/telnyx HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	signed := head + "Telnyx-Timestamp: 1\r\nTelnyx-Signature-Ed25519: x\r\n"
	for name, tt := range map[string]struct {
		first, again string
		want         int // 0: closed without a word
	}{
		"a connection that says nothing": {},
		"headers that trickle":           {first: head + "X: ", again: "x"},
		"headers without an end":         {first: head, again: "X: y\r\n"},
		"a body that trickles":           {first: signed + "Content-Length: 900\r\n\r\n", again: "x", want: http.StatusRequestTimeout},
		"chunks that trickle":            {first: signed + "Transfer-Encoding: chunked\r\n\r\n", again: "1\r\nx\r\n", want: http.StatusRequestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.dial(t)
			if _, err := io.WriteString(conn, tt.first); err != nil {
				t.Fatal(err)
			}
			trickling := make(chan struct{})
			go func() {
				defer close(trickling)
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := io.WriteString(conn, tt.again); err != nil || tt.again == "" {
						return
					}
				}
			}()
			got := 0
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it was let be")
			}
			if err == nil {
				got = resp.StatusCode
				_ = resp.Body.Close()
			}
			_ = conn.Close()
			<-trickling
			// An answer that meets what is still being sent can be lost.
			if got != 0 && got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}

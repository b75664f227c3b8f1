package ingest_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/ingest"
)

func TestMain(m *testing.M) {
	// These tests wait for most of their time. A flag of the command line, parsed by Run, has the last word.
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func TestNewRefusesAnIncompleteConfiguration(t *testing.T) {
	good := func() ingest.Config {
		store := new(fakeStore)
		return ingest.Config{
			Listen: "127.0.0.1:0", Keys: []ed25519.PublicKey{publicKey(privateKey(1))}, Journal: store, Parking: store,
		}
	}
	registered := prometheus.NewRegistry()
	first := good()
	first.Registerer = registered
	server, err := ingest.New(first)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown of a server that was never served: %v", err)
		}
	})
	for name, spoil := range map[string]func(*ingest.Config){
		"no key":               func(c *ingest.Config) { c.Keys = nil },
		"a key for nothing":    func(c *ingest.Config) { c.SkipVerify = true },
		"too few connections":  func(c *ingest.Config) { c.MaxConnections = -1 },
		"half a key":           func(c *ingest.Config) { c.Keys = append(c.Keys, make([]byte, 16)) },
		"no journal":           func(c *ingest.Config) { c.Journal = nil },
		"no parking":           func(c *ingest.Config) { c.Parking = nil },
		"a negative tolerance": func(c *ingest.Config) { c.Tolerance = -1 },
		"a negative body":      func(c *ingest.Config) { c.MaxBody = -1 },
		"less than none":       func(c *ingest.Config) { c.MaxInFlight = -1 },
		"an address in use":    func(c *ingest.Config) { c.Listen = server.Addr().String() },
		"no address":           func(c *ingest.Config) { c.Listen = "nowhere" },
		"metrics twice":        func(c *ingest.Config) { c.Registerer = registered },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			spoil(&cfg)
			if _, err := ingest.New(cfg); err == nil {
				t.Error("New accepted it")
			}
		})
	}
}

// holding opens a server whose store waits for its gate.
func holding(t *testing.T, places int) *room {
	return open(t, func(cfg *ingest.Config, f *fakeStore) {
		cfg.MaxInFlight = places
		f.entered, f.gate = make(chan struct{}), make(chan struct{})
	})
}

// sendAside sends the request in a goroutine of its own.
func (r *room) sendAside(t *testing.T, req *http.Request) <-chan answer {
	t.Helper()
	answers := make(chan answer, 1)
	go func() {
		defer close(answers)
		resp, err := r.client.Do(req)
		if err != nil {
			t.Errorf("send: %v", err)
			return
		}
		answers <- read(t, resp)
	}()
	return answers
}

func TestTooManyAtOnceAreAnswered503(t *testing.T) {
	r := holding(t, 1)
	first := r.sendAside(t, r.webhook(t, eventBody))
	<-r.store.entered
	if diff := cmp.Diff(overloaded, r.send(t, r.webhook(t, eventBody))); diff != "" {
		t.Errorf("answer to one too many (-want +got):\n%s", diff)
	}
	close(r.store.gate)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), <-first); diff != "" {
		t.Errorf("answer to the first (-want +got):\n%s", diff)
	}
}

func TestShutdownFinishesWhatIsInFlightAndRefusesWhatComesLate(t *testing.T) {
	r := holding(t, 8)
	// Accepted before the request in flight, and silent until the server stops.
	late, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Close() }()
	inFlight := r.sendAside(t, r.webhook(t, eventBody))
	<-r.store.entered

	stopped := make(chan error, 1)
	go func() { stopped <- r.server.Shutdown(context.Background()) }()
	if err := <-r.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	r.served <- nil // for the clean-up

	request := r.webhook(t, eventBody)
	if err := request.Write(late); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(late), request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stopping, read(t, resp)); diff != "" {
		t.Errorf("answer to the late one (-want +got):\n%s", diff)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown returned with a request in flight: %v", err)
	default:
	}
	close(r.store.gate)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), <-inFlight); diff != "" {
		t.Errorf("answer to the one in flight (-want +got):\n%s", diff)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	r := holding(t, 8)
	req := r.webhook(t, eventBody)
	lost := make(chan error, 1)
	go func() {
		resp, err := r.client.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		lost <- err
	}()
	<-r.store.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: got %v, want %v", err, context.Canceled)
	}
	if err := <-lost; err == nil {
		t.Error("the connection outlived the shutdown")
	}
	close(r.store.gate)
}

func TestAppendOutlivesASenderThatHangsUp(t *testing.T) {
	r := holding(t, 8)
	ctx, hangUp := context.WithCancel(t.Context())
	req := r.webhook(t, eventBody).WithContext(ctx)
	gone := make(chan error, 1)
	go func() {
		resp, err := r.client.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		gone <- err
	}()
	<-r.store.entered
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("send: got %v, want %v", err, context.Canceled)
	}
	close(r.store.gate)
	// Shutdown waits for the handler.
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries, _ := r.store.stored(); len(entries) != 1 {
		t.Errorf("%d entries, want 1", len(entries))
	}
	if diff := cmp.Diff(map[string]float64{"stored": 1}, r.counted(t, "legato_webhooks_total")); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

// raw sends bytes that no HTTP client would, ends its side, and returns the
// status line and body of the answer.
func (r *room) raw(t *testing.T, request string) answer {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

func TestBodyThatBreaksOffIsAskedForAgain(t *testing.T) {
	r := open(t, nil)
	head := "POST /webhooks/telnyx HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
		"Telnyx-Timestamp: 1772366400\r\nTelnyx-Signature-Ed25519: x\r\n"
	want := refused(408, "incomplete", "The body did not arrive as announced and in time.")
	for name, rest := range map[string]string{
		"a length that lies":    "Content-Length: 900000\r\n\r\n{}",
		"a chunk that lies":     "Transfer-Encoding: chunked\r\n\r\nFFFF\r\n{}",
		"a chunk that is none":  "Transfer-Encoding: chunked\r\n\r\nno\r\n{}",
		"no last chunk at all ": "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, r.raw(t, head+rest)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionsOfTheServerItselfIsAnotherPath(t *testing.T) {
	r := open(t, nil)
	if diff := cmp.Diff(notFound, r.raw(t, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	r := open(t, nil)
	request := "POST /webhooks/telnyx HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"
	if got := r.raw(t, request).Status; got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", got)
	}
}

func TestALoadBalancersProbeIsAnsweredWithNothingAndNotCounted(t *testing.T) {
	r := open(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url("/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || len(body) > 0 || resp.ContentLength > 0 {
			t.Errorf("%s / is answered %d with %q", method, resp.StatusCode, body)
		}
	}
	for _, name := range []string{"legato_webhooks_total", "legato_webhook_answers_total"} {
		if got := r.counted(t, name); len(got) > 0 {
			t.Errorf("%s has %v", name, got)
		}
	}
}

func TestWebhooksAreTakenAtThePathThatIsWanted(t *testing.T) {
	for _, path := range []string{"/", "/hooks", "/a/b_c/"} {
		r := open(t, func(cfg *ingest.Config, _ *fakeStore) { cfg.Path = path })
		for at, want := range map[string]answer{path: accepted(`{"status":"stored"}`), ingest.Path: elsewhere} {
			req := r.webhook(t, eventBody)
			req.URL.Path = at
			if diff := cmp.Diff(want, r.send(t, req)); diff != "" {
				t.Errorf("answer at %s where webhooks are taken at %s (-want +got):\n%s", at, path, diff)
			}
		}
		if lines := strings.Count(r.logs.String(), "a webhook that Telnyx signed came to another path"); lines != 1 {
			t.Errorf("%d lines tell of the other path", lines)
		}
	}
	for _, path := range []string{"hooks", "/:id", "/*", "/a b", "/a?b", "//a"} {
		if ingest.ValidPath(path) {
			t.Errorf("%s passes for a path", path)
		}
	}
}

func TestOtherKeysCountFromTheNextWebhook(t *testing.T) {
	r := open(t, nil)
	if err := r.server.SetKeys([]ed25519.PublicKey{publicKey(privateKey(2))}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(badSignature, r.send(t, r.webhook(t, eventBody))); diff != "" {
		t.Errorf("answer to the key of before (-want +got):\n%s", diff)
	}
	req := r.webhook(t, eventBody)
	signWith(req, 2, eventBody)
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, req)); diff != "" {
		t.Errorf("answer to the new key (-want +got):\n%s", diff)
	}
	for name, keys := range map[string][]ed25519.PublicKey{"none": nil, "half a one": {make([]byte, 16)}} {
		if err := r.server.SetKeys(keys); err == nil {
			t.Errorf("%s was taken for a key", name)
		}
	}
}

// The HTTP server by itself waits five seconds for such connections.
func TestShutdownIsNotHeldUpByConnectionsThatNeverSentAByte(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, 1)
	for name, r := range map[string]*room{"plain": open(t, nil), "after a handshake": secure(t, dir)} {
		var silent net.Conn
		var err error
		if name == "plain" {
			silent, err = new(net.Dialer).DialContext(t.Context(), "tcp", r.server.Addr().String())
		} else {
			silent, err = (&tls.Dialer{Config: anyone()}).DialContext(t.Context(), "tcp", r.server.Addr().String())
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Close() }()
		// A request on another connection shows that the silent one was accepted.
		req := r.webhook(t, eventBody)
		if name != "plain" {
			req.URL.Scheme = "https"
		}
		r.send(t, req)
		begun := time.Now()
		if err := r.server.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: Shutdown: %v", name, err)
		}
		if took := time.Since(begun); took > 4*time.Second { // net/http alone takes five
			t.Errorf("%s: the stop took %v", name, took)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the silent connection was told something", name)
		}
	}
}

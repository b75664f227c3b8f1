package ingest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// now is the clock of every server under test.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fakeStore is a log and a parking in memory.
type fakeStore struct {
	mu      sync.Mutex
	entries []call.Entry
	parked  []call.Parked
	ids     map[string]uint64
	// fail is what both answer, panics what they throw. Nil: they store.
	fail   error
	panics any
	// entered is told of each call before it waits for gate; nil: they do not wait.
	entered, gate chan struct{}
	// budgets are the times left to each call.
	budgets []time.Duration
}

func (f *fakeStore) begin(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	f.mu.Lock()
	if ok {
		f.budgets = append(f.budgets, time.Until(deadline))
	}
	fail, panics := f.fail, f.panics
	f.mu.Unlock()
	if f.gate != nil {
		f.entered <- struct{}{}
		select {
		case <-f.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if panics != nil {
		panic(panics)
	}
	return fail
}

func (f *fakeStore) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	if err := f.begin(ctx); err != nil {
		return call.Receipt{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq, ok := f.ids[e.ID]; ok {
		return call.Receipt{Seq: seq, Duplicate: true}, nil
	}
	f.entries = append(f.entries, e)
	f.ids[e.ID] = uint64(len(f.entries))
	return call.Receipt{Seq: f.ids[e.ID]}, nil
}

func (f *fakeStore) Park(ctx context.Context, p call.Parked) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parked = append(f.parked, p)
	return nil
}

func (f *fakeStore) stored() ([]call.Entry, []call.Parked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries, f.parked
}

// syncBuffer is a log that a test may read while the server writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// room is a running server with everything around it.
type room struct {
	server   *ingest.Server
	store    *fakeStore
	logs     *syncBuffer
	registry *prometheus.Registry
	key      ed25519.PrivateKey
	client   *http.Client
	served   chan error
}

func privateKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func publicKey(private ed25519.PrivateKey) ed25519.PublicKey {
	return private.Public().(ed25519.PublicKey)
}

// open starts a server; change may alter its configuration and its store first.
func open(t *testing.T, change func(*ingest.Config, *fakeStore)) *room {
	t.Helper()
	r := &room{
		store:    &fakeStore{ids: map[string]uint64{}},
		logs:     new(syncBuffer),
		registry: prometheus.NewRegistry(),
		key:      privateKey(1),
		served:   make(chan error, 1),
	}
	cfg := ingest.Config{
		Listen:     "127.0.0.1:0",
		Keys:       []ed25519.PublicKey{publicKey(privateKey(9)), publicKey(r.key)},
		Journal:    r.store,
		Parking:    r.store,
		Now:        func() time.Time { return now },
		Logger:     slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer: r.registry,
	}
	if change != nil {
		change(&cfg, r.store)
	}
	server, err := ingest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	transport := &http.Transport{DisableCompression: true}
	r.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") },
	}
	go func() { r.served <- server.Serve() }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-r.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *room) url(path string) string { return "http://" + r.server.Addr().String() + path }

// webhook returns a signed request with that body, as Telnyx sends it.
func (r *room) webhook(t *testing.T, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url(ingest.Path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	timestamp, signature := telnyx.Sign(r.key, now, []byte(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "telnyx-webhooks")
	req.Header.Set(telnyx.HeaderTimestamp, timestamp)
	req.Header.Set(telnyx.HeaderSignature, signature)
	return req
}

// answer is what a sender sees.
type answer struct {
	Status                        int
	Type, Allow, RetryAfter, Body string
}

func (r *room) send(t *testing.T, req *http.Request) answer {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

func read(t *testing.T, resp *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	a := answer{
		Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), Allow: resp.Header.Get("Allow"),
		RetryAfter: resp.Header.Get("Retry-After"), Body: string(body),
	}
	documented(t, a)
	return a
}

// inFlight returns the gauge of the webhooks in flight.
func (r *room) inFlight(t *testing.T) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "legato_webhooks_in_flight" {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no gauge tells what is in flight")
	return 0
}

// counted returns every counter of that name that is not zero, by its first label's value.
func (r *room) counted(t *testing.T, name string) map[string]float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if value := metric.GetCounter().GetValue(); value != 0 {
				counts[metric.GetLabel()[0].GetValue()] += value
			}
		}
	}
	return counts
}

// atInfo keeps debug lines from a handler.
type atInfo struct{ slog.Handler }

func (atInfo) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

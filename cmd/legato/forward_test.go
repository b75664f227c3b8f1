package main_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/fake"
)

// gathering is an application that keeps what it gets, and answers each event by its type.
type gathering struct {
	answer func(body string) int

	mu   sync.Mutex
	got  []*http.Request
	body []string
}

func (g *gathering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.got, g.body = append(g.got, r), append(g.body, string(body))
	g.mu.Unlock()
	if status := g.answer(string(body)); status != http.StatusOK {
		http.Error(w, "not this one", status)
	}
}

func (g *gathering) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.got)
}

// legato runs a command to its end.
func legato(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), legatotest.Program(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("legato %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// said waits until a command prints a text, for what is forwarded is recorded a moment later.
func said(t *testing.T, want string, args ...string) string {
	t.Helper()
	var out string
	legatotest.Eventually(t, fmt.Sprintf("legato %s says %q", strings.Join(args, " "), want), func() error {
		if out = legato(t, args...); !strings.Contains(out, want) {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
	return out
}

func TestForwardCommandsShowWhatBecameOfEvents(t *testing.T) {
	t.Parallel()
	var refused atomic.Bool // the first hangup is
	app := &gathering{answer: func(body string) int {
		if strings.Contains(body, `"call.hangup"`) && refused.CompareAndSwap(false, true) {
			return http.StatusBadRequest
		}
		return http.StatusOK
	}}
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), "--forward=ivr="+server.URL+"/in")...)
	nats := "--nats-url=" + s.NATS
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 9}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	hangup := ""
	for i, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
		// One after another: a command is not sent once its leg is over.
		legatotest.Eventually(t, "it is forwarded", func() error {
			if n := app.count(); n <= i {
				return fmt.Errorf("%d of %d", n, i+1)
			}
			return nil
		})
		if d.Type == "call.hangup" && hangup == "" {
			hangup = app.got[i].Header.Get("Legato-Event-Seq")
		}
	}
	list := said(t, "400 refused", "forward", "list", nats)
	if !strings.Contains(list, "ivr  after  "+server.URL+"/in  answers; nothing waits") {
		t.Errorf("list printed\n%s", list)
	}
	show := said(t, "400 refused", "forward", "show", hangup, nats)
	if !strings.Contains(show, "call.hangup") || !strings.Contains(show, "not this one") {
		t.Errorf("show printed\n%s", show)
	}
	if out := said(t, `"result": "refused"`, "forward", "show", hangup, "--json", nats); !strings.Contains(out, `"answer": "not this one\n"`) {
		t.Errorf("show --json printed\n%s", out)
	}
	if out := said(t, "→ivr refused 400", "explain", string(c.Session), nats); strings.Contains(out, "not this one") {
		t.Errorf("explain shows what an application answered:\n%s", out)
	}
	legato(t, "forward", "retry", hangup, nats)
	said(t, "200 done", "forward", "show", hangup, nats)
	if n := app.count(); n != len(c.Deliveries)+1 {
		t.Errorf("the application got %d requests, want %d and one by hand", n, len(c.Deliveries))
	}
	if out, err := exec.CommandContext(t.Context(), legatotest.Program(), "forward", "retry", "99999", nats).CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "the log holds no such event: 99999") {
		t.Errorf("retry of an event that is not there: %v, %s", err, out)
	}
}

func TestListenPostsToALaptopAndSignsAnew(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	for n := range uint64(3) {
		if a := world.Post(t, s.Target(), time.Now(), legatotest.Ringing(n)); a.Status != http.StatusOK {
			t.Fatalf("a webhook was answered %+v", a)
		}
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	app := &gathering{answer: func(string) int { return http.StatusOK }}
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listen := exec.CommandContext(ctx, legatotest.Program(), "listen", "--nats-url="+s.NATS, "--since=1h", "--sign-with="+file, "--forward-to="+server.URL)
	stdout, err := listen.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	listen.Stderr = &said
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for range 3 {
		if !lines.Scan() || !strings.Contains(lines.Text(), "call.initiated") || !strings.Contains(lines.Text(), "200 done") {
			t.Fatalf("listen printed %q", lines.Text())
		}
	}
	cancel()
	_ = listen.Wait()
	if !strings.Contains(said.String(), base64.StdEncoding.EncodeToString(public)) {
		t.Errorf("listen does not say by which key its signatures are checked: %s", said.String())
	}
	verifier := telnyx.NewVerifier([]ed25519.PublicKey{public})
	for i, r := range app.got {
		if err := verifier.Verify(r.Header.Get("Telnyx-Timestamp"), r.Header.Get("Telnyx-Signature-Ed25519"), []byte(app.body[i])); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
}

func TestACommandForACallThatIsForgottenIsStale(t *testing.T) {
	t.Parallel()
	app := &gathering{answer: func(string) int { return http.StatusOK }}
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	world := legatotest.NewTelnyx(t)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward="+server.URL, "--amend-window=2s")
	s := legatotest.Serve(t, world.Env(), flags...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 9}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	first := ""
	for i, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
		if i > 0 {
			continue
		}
		legatotest.Eventually(t, "the first event is forwarded before the call is over", func() error {
			app.mu.Lock()
			defer app.mu.Unlock()
			if len(app.got) == 0 {
				return errors.New("it is not")
			}
			first = app.got[0].Header.Get("Legato-Event-Seq")
			return nil
		})
	}
	legatotest.Eventually(t, "the call is forgotten", func() error {
		if n := legatotest.Scrape(t, s.Admin).Sum("legato_sessions"); n > 0 {
			return fmt.Errorf("%v sessions", n)
		}
		return nil
	})
	nats := "--nats-url=" + s.NATS
	legato(t, "forward", "retry", first, nats)
	said(t, "stale", "forward", "show", first, nats)

	// What comes late for it is not commanded on either: its summary says that it is over.
	before := legatotest.Scrape(t, s.Admin).Sum("legato_forward_events_total", "result", "stale")
	leg := c.Legs[0].Ref
	late := fmt.Sprintf(`{"data":{"record_type":"event","event_type":"call.playback.started","id":"late","occurred_at":%q,`+
		`"payload":{"call_session_id":%q,"call_leg_id":%q,"call_control_id":%q}}}`, time.Now().UTC().Format(time.RFC3339Nano), leg.Session, leg.Leg, leg.Control)
	if a := world.Post(t, s.Target(), time.Now(), []byte(late)); a.Status != http.StatusOK {
		t.Fatalf("the late event was answered %+v", a)
	}
	legatotest.Eventually(t, "the late event is stale", func() error {
		if n := legatotest.Scrape(t, s.Admin).Sum("legato_forward_events_total", "result", "stale"); n != before+1 {
			return fmt.Errorf("%v stale, before %v", n, before)
		}
		return nil
	})
}

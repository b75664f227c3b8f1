package main_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary/schema"
	"github.com/legato-calls/legato/internal/fake"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

func TestServeRefusesToStartAndSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	key := legatotest.ValidPublicKey()
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("KEY-in-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"no public key", nil, nil, "TELNYX_PUBLIC_KEY is not set"},
		{"no API key", []string{"TELNYX_PUBLIC_KEY=" + key}, nil, "TELNYX_API_KEY is not set"},
		{"a public key that is none", []string{"TELNYX_PUBLIC_KEY=not-a-key", "TELNYX_API_KEY=KEY-secret"}, nil, "TELNYX_PUBLIC_KEY: "},
		{"a key and its file", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret", "TELNYX_API_KEY_FILE=" + secretFile}, nil, "both set"},
		{"summaries that leave before their events", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret"}, []string{"--calls-max-age=1h"}, "--calls-max-age"},
		{"a prefix that is no token", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret"}, []string{"--subject-prefix=a.b"}, "--subject-prefix"},
		{"replicas without a cluster", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret"}, []string{"--nats-replicas=3"}, "--nats-url"},
		{"a negative time", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret"}, []string{"--sweep-after=-1s"}, "--sweep-after"},
		{"an application that is no URL", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret"}, []string{"--forward=ivr:3000"}, "--forward: the URL of app"},
		{"a header without an application", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret", "LEGATO_FORWARD_HEADER=app=X: KEY-secret"}, nil, "no target is named \"app\""},
		{"an unknown flag", nil, []string{"--no-such-flag"}, "unknown flag"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=", "--data-dir=" + t.TempDir()}, row.args...)
			ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, legatotest.Program(), args...)
			cmd.Env = append(os.Environ(), row.env...)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("it started:\n%s", out)
			}
			if !strings.Contains(string(out), row.want) {
				t.Errorf("it said %q, want %q in it", out, row.want)
			}
			for _, secret := range []string{"KEY-secret", "KEY-in-a-file", "not-a-key"} {
				if strings.Contains(string(out), secret) {
					t.Errorf("it repeated a secret: %q", out)
				}
			}
		})
	}
}

func TestDemoEndsWithEveryCallCompletedOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, legatotest.Program(), "demo", "--calls=4", "--rate=4").CombinedOutput()
	if err != nil {
		t.Fatalf("the demo failed: %v\n%s", err, out)
	}
	for _, want := range []string{"4 calls with ", "4 sessions completed, each once", "confirmed", "+1202555"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo did not print %q:\n%s", want, out)
		}
	}
}

func TestDemoFailsWhenSummariesAreMissing(t *testing.T) {
	t.Parallel()
	// With every webhook lost there is nothing to summarise.
	ctx, cancel := context.WithTimeout(t.Context(), 2*legatotest.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, legatotest.Program(), "demo", "--calls=2", "--drop=1", "--reorder=0", "--duplicates=0").CombinedOutput()
	if err == nil {
		t.Fatalf("the demo was content:\n%s", out)
	}
	if !strings.Contains(string(out), "0 of 2 sessions have a summary") {
		t.Errorf("the demo did not say what is missing:\n%s", out)
	}
}

func TestVersionAndHealthAndSchemas(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), legatotest.Program(), "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "legato ") || !strings.Contains(string(out), "go1.") {
		t.Errorf("version printed %q, %v", out, err)
	}
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	wantSchemas(t, s)
	address := strings.TrimPrefix(s.Admin, "http://")
	if out, err := exec.CommandContext(t.Context(), legatotest.Program(), "health", "--admin-listen="+address).CombinedOutput(); err != nil {
		t.Errorf("health of a ready service: %v, %s", err, out)
	}
	s.Kill()
	if out, err := exec.CommandContext(t.Context(), legatotest.Program(), "health", "--admin-listen="+address).CombinedOutput(); err == nil {
		t.Errorf("health of a dead service: %s", out)
	}
}

// wantSchemas reads the schemas as a consumer would.
func wantSchemas(t *testing.T, s *legatotest.Server) {
	t.Helper()
	for path, want := range map[string]int{
		"/schemas/leg.v1.json": http.StatusOK, "/schemas/session.v1.json": http.StatusOK,
		"/schemas/": http.StatusNotFound, "/schemas/leg.v2.json": http.StatusNotFound, "/schemas/schema.go": http.StatusNotFound,
	} {
		response, err := http.Get(s.Admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != want {
			t.Errorf("%s: status %d, %v, want %d", path, response.StatusCode, err, want)
		}
		if want != http.StatusOK {
			continue
		}
		kind, _, _ := strings.Cut(filepath.Base(path), ".")
		committed, err := schema.Of(kind)
		if err != nil || string(body) != string(committed) || response.Header.Get("Content-Type") != "application/schema+json" {
			t.Errorf("%s (%s, %v): %.200s", path, response.Header.Get("Content-Type"), err, body)
		}
	}
}

func TestTailPrintsWhatIsPublished(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 9}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	for flag, want := range map[string]string{"--json=false": "busy", "--json": `"outcome":"busy"`} {
		tail := exec.CommandContext(t.Context(), legatotest.Program(), "tail", "--nats-url="+s.NATS, "--all", flag)
		stdout, err := tail.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := tail.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 64<<10)
		n, err := io.ReadAtLeast(stdout, line, 40)
		if err != nil || !strings.Contains(string(line[:n]), want) {
			t.Errorf("tail %s printed %q, %v", flag, line[:n], err)
		}
		_ = tail.Process.Kill()
		_ = tail.Wait()
	}
}

// TestADemoThatLosesWebhooksEndsWithCompleteLegs is what a user would try.
func TestADemoThatLosesWebhooksEndsWithCompleteLegs(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), legatotest.Program(), "demo", "--calls=12", "--rate=12", "--drop=0.3", "--seed=7").CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if !strings.Contains(string(out), "backfill") {
		t.Errorf("nothing came from the history:\n%s", out)
	}
}

// The service is started with the key that simulate prints, so simulate is there first:
// it must not begin to play calls that nobody can take.
func TestSimulateWaitsForItsTarget(t *testing.T) {
	t.Parallel()
	target := legatotest.FreeAddrs(t, 1)[0]
	cmd := legatotest.Command(nil, legatotest.Program(), "simulate", "--target=http://"+target+"/webhooks/telnyx", "--api-listen=",
		"--calls=2", "--rate=100", "--speed=1000", "--duplicates=0", "--reorder=0")
	var out bytes.Buffer
	cmd.Stdout = &out
	p := legatotest.LaunchCmd(t, cmd)
	p.Logged("waiting until something listens at " + target)

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	service := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	served := make(chan struct{})
	go func() { defer close(served); _ = service.Serve(listener) }()
	defer func() { _ = service.Shutdown(context.WithoutCancel(t.Context())); <-served }()
	select {
	case <-p.Done:
	case <-time.After(legatotest.Patience):
		t.Fatalf("simulate did not end:\n%s", p.Text())
	}
	if p.Err != nil || !strings.Contains(out.String(), "played 2 calls") || !strings.Contains(out.String(), " 0 failed") {
		t.Errorf("simulate ended with %v:\n%s%s", p.Err, out.String(), p.Text())
	}
}

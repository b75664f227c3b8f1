package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish"
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
		{"a header without an application", []string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=KEY-secret", "LEGATO_FORWARD_HEADER=app=X: KEY-secret"}, nil, "--forward-header: an item must begin with a target's name"},
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

// TestLoadPrintsWhatMakesItsTablesWithoutAWarehouse asks for each kind of target, of which none has a host.
func TestLoadPrintsWhatMakesItsTablesWithoutAWarehouse(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"postgres://":    "CREATE TABLE IF NOT EXISTS legato.legs",
		"postgresql://":  "CREATE TABLE IF NOT EXISTS legato.legs",
		"clickhouse://":  "ReplacingMergeTree(revision",
		"calls/":         "manifest.json",
		"":               "no target is given",
		"sqlite://calls": `no warehouse is reached by "sqlite://"`,
	} {
		cmd := exec.CommandContext(t.Context(), legatotest.Program(), "load", "--print-schema")
		if target != "" {
			cmd.Args = append(cmd.Args, target)
		}
		out, err := cmd.CombinedOutput()
		if isError := strings.HasPrefix(want, "no "); isError != (err != nil) || !strings.Contains(string(out), want) {
			t.Errorf("load %q --print-schema: %v, and said %.400q, want %q in it", target, err, out, want)
		}
	}
}

func TestHealthAsksNoProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the proxy is asked for %s", r.URL) }))
	defer proxy.Close()
	health := exec.CommandContext(t.Context(), legatotest.Program(), "health", "--admin-listen=legato.invalid:8081")
	health.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	if out, err := health.CombinedOutput(); err == nil {
		t.Errorf("a service that does not exist is ready: %s", out)
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
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
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

// Whoever may publish there may publish anything, and callers choose what they call from.
func TestTailGoesOnAfterWhatIsNoSummaryAndPrintsNoControlCharacter(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	js := legatotest.Dial(t, url)
	if _, err := natsd.Manage(t.Context(), js, layout(t), natsd.Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		`{"kind":"leg"}`, `+12025550123 \x1b[2J`, `{"kind":"leg","connection_id":"17","from":"\u001b[2J\nx","to":"last","reasons":["\u001b"],"revision":2}`,
	} {
		if _, err := js.Publish(t.Context(), "calls.leg.amended._.s.l", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, flags := range [][]string{{"--json"}, {}, {"--connection=17"}} {
		ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
		defer cancel()
		tail := exec.CommandContext(ctx, legatotest.Program(), append([]string{"tail", "--nats-url=" + url, "--all"}, flags...)...)
		var said bytes.Buffer
		tail.Stderr = &said
		stdout, err := tail.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := tail.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && !strings.Contains(lines.Text(), "last") {
			if strings.Contains(lines.Text(), "2025550123") {
				t.Errorf("tail %v prints %q", flags, lines.Text())
			}
		}
		if got := lines.Text(); !strings.Contains(got, "last") || strings.Contains(got, "\x1b") || len(flags) == 0 && !strings.Contains(got, `\x1b[2J\nx → last`) {
			t.Errorf("tail %v prints %q", flags, got)
		}
		_ = tail.Process.Kill()
		_ = tail.Wait()
		if got := said.String(); strings.Count(got, "a message is no summary") != 1 || strings.Contains(got, "2025550123") {
			t.Errorf("tail %v says %q", flags, got)
		}
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

// library is a NATS server with summaries that nobody called for.
type library struct {
	t         *testing.T
	url       string
	publisher *publish.Publisher
}

func newLibrary(t *testing.T) *library {
	t.Helper()
	l := &library{t: t, url: legatotest.ExternalNATS(t)}
	js := legatotest.Dial(t, l.url)
	if _, err := natsd.Manage(t.Context(), js, layout(t), natsd.Limits{}); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.publisher, err = publish.New(t.Context(), js, layout(t)); err != nil {
		t.Fatal(err)
	}
	return l
}

// put stores revision 1 of a leg or session; token is the connection in its subject.
func (l *library) put(ctx context.Context, kind, id, token, connection string, outcome summary.Outcome, padding int) error {
	key := summary.Key{Kind: kind, Session: "s-" + id}
	body := map[string]any{
		"kind": kind, "schema": 1, "revision": 1, "call_session_id": key.Session, "outcome": outcome,
		"published_at": "2026-03-14T15:09:26.535897Z", "client_state": strings.Repeat("x", padding),
	}
	if kind == summary.KindLeg {
		key.Leg = id
		body["call_leg_id"] = id
	}
	if connection != "" {
		body["connection_id"] = connection
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = l.publisher.Publish(ctx, summary.Draft{
		Key: key, Connection: token, Revision: 1, PublishedAt: time.Now(), Body: data, Position: summary.Position{Log: "x", Seq: 1},
	}, summary.Stored{})
	return err
}

func TestTailShowsWhatItIsAskedFor(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	put := func(kind, id, token, connection string, outcome summary.Outcome) {
		t.Helper()
		if err := l.put(t.Context(), kind, id, token, connection, outcome, 0); err != nil {
			t.Fatal(err)
		}
	}
	put(summary.KindLeg, "l1", "11", "11", summary.OutcomeBusy)
	put(summary.KindSession, "l1", "11", "11", summary.OutcomeBusy)
	put(summary.KindLeg, "l2", "22", "22", summary.OutcomeNoAnswer)
	put(summary.KindLeg, "l3", "", "11", summary.OutcomeAnswered) // known only later: the subject does not say so
	put(summary.KindLeg, "l4", "", "", summary.OutcomeBusy)
	between := time.Now()
	put(summary.KindLeg, "l5", "33", "33", summary.OutcomeFailed)
	put(summary.KindSession, "l5", "33", "33", summary.OutcomeFailed)
	put(summary.KindLeg, "l6", "11", "11", summary.OutcomeBusy)
	put(summary.KindSession, "l6", "11", "11", summary.OutcomeBusy)
	tests := []struct {
		name  string
		flags []string
		want  []string
	}{
		{name: "all", flags: []string{"--all"}, want: []string{"leg l1", "session l1", "leg l2", "leg l3", "leg l4", "leg l5", "session l5", "leg l6", "session l6"}},
		{name: "legs", flags: []string{"--all", "--level=leg"}, want: []string{"leg l1", "leg l2", "leg l3", "leg l4", "leg l5", "leg l6"}},
		{name: "sessions", flags: []string{"--all", "--level=session"}, want: []string{"session l1", "session l5", "session l6"}},
		{name: "outcomes", flags: []string{"--all", "--outcome=no_answer", "--outcome=failed", "--level=leg"}, want: []string{"leg l2", "leg l5"}},
		{name: "several outcomes in one flag", flags: []string{"--all", "--outcome=no_answer,failed"}, want: []string{"leg l2", "leg l5", "session l5"}},
		{name: "a connection", flags: []string{"--all", "--connection=11"}, want: []string{"leg l1", "session l1", "leg l3", "leg l6", "session l6"}},
		{name: "connections and an outcome", flags: []string{"--all", "--connection=11", "--connection=22", "--outcome=busy,no_answer", "--level=leg"}, want: []string{"leg l1", "leg l2", "leg l6"}},
		{name: "since an instant", flags: []string{"--since=" + between.UTC().Format(time.RFC3339Nano), "--level=leg"}, want: []string{"leg l5", "leg l6"}},
		{name: "since a while", flags: []string{"--since=1h", "--connection=33"}, want: []string{"leg l5", "session l5"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := readTail(t, len(tt.want), append(tt.flags, "--nats-url="+l.url)...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// readTail returns the first lines that tail prints.
func readTail(t *testing.T, lines int, flags ...string) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	tail := exec.CommandContext(ctx, legatotest.Program(), append([]string{"tail", "--json"}, flags...)...)
	stdout, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = tail.Process.Kill()
		_ = tail.Wait()
	}()
	scanner := bufio.NewScanner(stdout)
	for len(got) < lines && scanner.Scan() {
		var p legatotest.Published
		if err := json.Unmarshal(scanner.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Kind+" "+strings.TrimPrefix(p.Session, "s-"))
	}
	return got
}

func TestReadingRefusesWhatItCannotUnderstand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "legs.csv")
	for _, tt := range []struct{ args, want string }{
		{args: "tail --since=soon", want: `--since: "soon" is neither a duration`},
		{args: "tail --since=-1h", want: "is negative"},
		{args: "tail --since=2999-01-01", want: "lies in the future"},
		{args: "tail --since=1h --all", want: "can't be used together"},
		{args: "tail --outcome=fine", want: "--outcome"},
		{args: "tail --connection=a.b", want: `"a.b" is no connection id`},
		{args: "tail --level=call", want: "--level"},
		{args: "export", want: "--output"},
		{args: "export --output=" + file + " --level=all", want: "--level"},
		{args: "export --output=" + file + ".txt", want: "--format"},
		{args: "export --output=" + file + " --format=xlsx", want: "--format"},
		{args: "export --output=" + file + " --since=1h --until=2h", want: "--until must be later than --since"},
		{args: "export --output=" + file + " --until=never", want: "--until"},
		{args: "export --output=" + file + " --subject-prefix=A.B", want: "--subject-prefix"},
	} {
		out, err := exec.CommandContext(t.Context(), legatotest.Program(), strings.Fields(tt.args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("legato %s: %v, want %q in:\n%s", tt.args, err, tt.want, out)
		}
	}
}

// brake forwards connections to NATS, and stops what comes from there after so many bytes.
func brake(t *testing.T, url string, after int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(upstream, client)
				_ = upstream.Close() // the client is gone
			}()
			go func() { _, _ = io.CopyN(client, upstream, after) }()
		}
	}()
	return "nats://" + listener.Addr().String()
}

func TestAnExportThatWasKilledGoesOn(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	const legs, size = 4000, 8 << 10
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(64)
	for i := range legs {
		group.Go(func() error {
			return l.put(ctx, summary.KindLeg, fmt.Sprintf("l%d", i), "11", "11", summary.OutcomeBusy, size)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	braked := brake(t, l.url, legs*size*3/4)
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			undisturbed, file := filepath.Join(dir, "undisturbed."+format), filepath.Join(dir, "killed."+format)
			export := func(url, file, says string) []byte {
				t.Helper()
				out, err := exec.CommandContext(t.Context(), legatotest.Program(), "export", "--nats-url="+url, "--since=24h", "--output="+file).CombinedOutput()
				if err != nil || !strings.Contains(string(out), says) {
					t.Fatalf("%v, want %q\n%s", err, says, out)
				}
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			want := export(l.url, undisturbed, "exported 400")
			killed := legatotest.Launch(t, nil, legatotest.Program(), "export", "--nats-url="+braked, "--since=24h", "--output="+file)
			legatotest.Eventually(t, "some of the export is on disk", func() error {
				data, err := os.ReadFile(file + ".state")
				if err == nil && !strings.Contains(string(data), `"bytes": `) || strings.Contains(string(data), `"bytes": 0`) {
					return fmt.Errorf("%s", data)
				}
				return err
			})
			killed.Kill()
			if _, err := os.Stat(file); err == nil {
				t.Fatal("the export was whole before it was killed")
			}
			if err := l.put(t.Context(), summary.KindLeg, "late-"+format, "11", "11", summary.OutcomeBusy, 0); err != nil {
				t.Fatal(err)
			}
			if got := export(l.url, file, "had been fetched before"); !bytes.Equal(want, got) {
				t.Errorf("%d bytes are not the %d of an undisturbed export", len(got), len(want))
			}
			left, err := filepath.Glob(file + ".*")
			if err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

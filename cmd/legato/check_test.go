package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/natsd"
)

// checked is one line of legato check.
type checked struct {
	Name, Verdict, Detail, Do string
}

// checkRun runs legato check and returns its lines by name, what it printed and its exit code.
func checkRun(t *testing.T, env []string, args ...string) (lines map[string]checked, printed string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, legatotest.Program(), append([]string{"check", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report struct {
		Verdict string
		Checks  []checked
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("not JSON: %v\n%s%s", err, out, stderr.String())
	}
	lines = make(map[string]checked)
	worst := "ok"
	for _, c := range report.Checks {
		if _, twice := lines[c.Name]; twice {
			t.Errorf("two lines are named %q", c.Name)
		}
		lines[c.Name] = c
		if c.Verdict == "fault" || worst == "ok" {
			worst = c.Verdict
		}
		if (c.Verdict == "ok") != (c.Do == "") {
			t.Errorf("%q is %s and says to do %q", c.Name, c.Verdict, c.Do)
		}
	}
	if report.Verdict != worst {
		t.Errorf("the verdict is %s, the worst line %s", report.Verdict, worst)
	}
	if code = cmd.ProcessState.ExitCode(); (code == 1) != (worst == "fault") {
		t.Errorf("exit %d with the worst line %s", code, worst)
	}
	return lines, string(out) + stderr.String(), code
}

// apart are flags under which several checks and services run beside each other.
func apart(t *testing.T) []string {
	t.Helper()
	return []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=", "--data-dir=" + filepath.Join(t.TempDir(), "data")}
}

// apiThatSays answers every request alike.
func apiThatSays(t *testing.T, code int, header map[string]string, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header()[name] = []string{value}
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v2"
}

func dateOf(offset time.Duration) map[string]string {
	return map[string]string{"Date": time.Now().Add(offset).UTC().Format(http.TimeFormat)}
}

// limitOf is what Telnyx states of a rate limit.
var limitOf = map[string]string{"X-Ratelimit-Limit": "300", "X-Ratelimit-Remaining": "299", "X-Ratelimit-Reset": "60"}

const (
	secretKey      = "KEY-secret-of-a-check"
	secretPassword = "s3cret-of-nats"
)

func TestCheckSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Parallel()
	key := legatotest.ValidPublicKey()
	// taken is an address that somebody else listens on.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	go func() {
		for {
			conn, err := taken.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = w.Write([]byte(`{"status":405,"reason":"method_not_allowed"}`))
	}))
	t.Cleanup(secure.Close)
	nowhere := "http://127.0.0.1:1/v2"
	free, err := natsd.FreeSpace(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name string
		env  []string
		args []string
		line string
		want checked // Detail and Do are parts.
	}{
		{
			name: "a public key of the right shape", line: "public key",
			want: checked{Verdict: "ok", Detail: "1 key of 32 bytes"},
		},
		{
			name: "two public keys, for a rotation", env: []string{"TELNYX_PUBLIC_KEY=" + key + "," + key}, line: "public key",
			want: checked{Verdict: "ok", Detail: "2 keys of 32 bytes"},
		},
		{
			name: "the API key in place of the public key", env: []string{"TELNYX_PUBLIC_KEY=" + secretKey}, line: "public key",
			want: checked{Verdict: "fault", Detail: "is not standard base64", Do: "another thing than the API key"},
		},
		{
			name: "no public key", env: []string{"TELNYX_PUBLIC_KEY="}, line: "public key",
			want: checked{Verdict: "fault", Detail: "TELNYX_PUBLIC_KEY is not set", Do: "Telnyx portal"},
		},
		{
			name: "no API key", env: []string{"TELNYX_API_KEY="}, line: "API key",
			want: checked{Verdict: "fault", Detail: "TELNYX_API_KEY is not set", Do: "file"},
		},
		{
			name: "an API key with a space in it", env: []string{"TELNYX_API_KEY=" + secretKey + " x"}, line: "API key",
			want: checked{Verdict: "fault", Detail: "a space", Do: "Copy the key again"},
		},
		{
			name: "404 for an invented call", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, nil, "{}")}, line: "API key",
			want: checked{Verdict: "ok", Detail: "answers 404"},
		},
		{
			name: "422 for an invented call", args: []string{"--telnyx-base-url=" + apiThatSays(t, 422, nil, "{}")}, line: "API key",
			want: checked{Verdict: "ok", Detail: "answers 422"},
		},
		{
			name: "401", args: []string{"--telnyx-base-url=" + apiThatSays(t, 401, nil, "{}")}, line: "API key",
			want: checked{Verdict: "fault", Detail: "refused: ", Do: "Make a new key"},
		},
		{
			name: "403", args: []string{"--telnyx-base-url=" + apiThatSays(t, 403, nil, "{}")}, line: "API key",
			want: checked{Verdict: "fault", Detail: "answers 403", Do: "Make a new key"},
		},
		{
			name: "429", args: []string{"--telnyx-base-url=" + apiThatSays(t, 429, nil, "{}")}, line: "API key",
			want: checked{Verdict: "warning", Detail: "429", Do: "later"},
		},
		{
			name: "500", args: []string{"--telnyx-base-url=" + apiThatSays(t, 500, nil, "")}, line: "API key",
			want: checked{Verdict: "warning", Detail: "answers 500", Do: "HTTPS_PROXY"},
		},
		{
			name: "a page in place of the API", args: []string{"--telnyx-base-url=" + apiThatSays(t, 200, nil, "<p>hello")}, line: "API key",
			want: checked{Verdict: "warning", Detail: "not_json", Do: "--telnyx-base-url"},
		},
		{
			name: "nobody answers", args: []string{"--telnyx-base-url=" + nowhere}, line: "API key",
			want: checked{Verdict: "warning", Detail: "connection", Do: "--telnyx-base-url"},
		},
		{
			name: "nobody tells the time", args: []string{"--telnyx-base-url=" + nowhere}, line: "clock",
			want: checked{Verdict: "warning", Detail: "not compared", Do: "NTP"},
		},
		{
			name: "the same time", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, nil, "")}, line: "clock",
			want: checked{Verdict: "ok", Detail: "within a second"},
		},
		{
			name: "half an hour behind, and a tolerance that allows it", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, dateOf(30*time.Minute), ""), "--signature-tolerance=2h"}, line: "clock",
			want: checked{Verdict: "warning", Detail: "behind", Do: "NTP"},
		},
		{
			name: "behind by more than half of the tolerance", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, dateOf(30*time.Minute), "")}, line: "clock",
			want: checked{Verdict: "fault", Detail: "behind", Do: "--signature-tolerance"},
		},
		{
			name: "ahead by more than half of the tolerance", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, dateOf(-time.Hour), "")}, line: "clock",
			want: checked{Verdict: "fault", Detail: "ahead of", Do: "NTP"},
		},
		{
			name: "no word of a rate limit", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, nil, "")}, line: "status rate",
			want: checked{Verdict: "ok", Detail: "auto; the answer states no rate limit"},
		},
		{
			name: "a rate limit", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, limitOf, "")}, line: "status rate",
			want: checked{Verdict: "ok", Detail: "auto; 299 of 300 requests are left for the next 1m0s"},
		},
		{
			name: "a rate above the limit", args: []string{"--telnyx-base-url=" + apiThatSays(t, 404, limitOf, ""), "--status-rate=20"}, line: "status rate",
			want: checked{Verdict: "warning", Detail: "20; 299 of 300", Do: "no more than 5 a second"},
		},
		{
			name: "a free port", line: "webhook listener",
			want: checked{Verdict: "ok", Detail: "is free"},
		},
		{
			name: "another program on the port of webhooks", args: []string{"--listen=" + taken.Addr().String()}, line: "webhook listener",
			want: checked{Verdict: "fault", Detail: "taken by another program", Do: "another address"},
		},
		{
			name: "a Legato that speaks TLS on the port of webhooks", args: []string{"--listen=" + secure.Listener.Addr().String()}, line: "webhook listener",
			want: checked{Verdict: "ok", Detail: "by a running Legato"},
		},
		{
			name: "another program on the port for operators", args: []string{"--admin-listen=" + taken.Addr().String()}, line: "admin listener",
			want: checked{Verdict: "fault", Detail: "taken by another program", Do: "another address"},
		},
		{
			name: "another program on the port of the embedded NATS", args: []string{"--nats-listen=" + taken.Addr().String()}, line: "NATS listener",
			want: checked{Verdict: "fault", Detail: "taken by another program", Do: "another address"},
		},
		{
			name: "an address that is none", args: []string{"--listen=nowhere"}, line: "webhook listener",
			want: checked{Verdict: "fault", Detail: "nowhere", Do: "an address of this machine"},
		},
		{
			name: "a data directory that can be made", line: "data directory",
			want: checked{Verdict: "ok", Detail: "can be made"},
		},
		{
			name: "a file in place of the data directory", args: []string{"--data-dir=" + file}, line: "data directory",
			want: checked{Verdict: "fault", Detail: "is no directory", Do: "--data-dir"},
		},
		{
			name: "a log that would be larger than the disk", args: []string{fmt.Sprintf("--events-max-bytes=%d", int64(1)<<60)}, line: "disk",
			want: checked{Verdict: "fault", Detail: "free for", Do: "--events-max-bytes"},
		},
		{
			name: "a log that would be larger than the disk with its copy", args: []string{fmt.Sprintf("--events-max-bytes=%d", free/10*6)}, line: "disk",
			want: checked{Verdict: "fault", Detail: "free for", Do: "half of what there is"},
		},
		{
			name: "the NATS that is built in", line: "NATS version",
			want: checked{Verdict: "ok", Detail: natsd.EmbeddedVersion},
		},
		{
			name: "settings that do not go together", args: []string{"--calls-max-age=1h"}, line: "settings",
			want: checked{Verdict: "fault", Detail: "--calls-max-age", Do: "Change"},
		},
		{
			name: "a prefix that is none", args: []string{"--subject-prefix=a.b"}, line: "subject prefix",
			want: checked{Verdict: "fault", Detail: "a.b", Do: "--subject-prefix"},
		},
		{
			name: "no NATS at the address", args: []string{"--nats-url=nats://user:" + secretPassword + "@127.0.0.1:1"}, line: "NATS",
			want: checked{Verdict: "fault", Detail: "connect to NATS at nats://127.0.0.1:1", Do: "--nats-url"},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			env := append([]string{"TELNYX_PUBLIC_KEY=" + key, "TELNYX_API_KEY=" + secretKey, "TELNYX_BASE_URL=" + nowhere}, row.env...)
			lines, printed, _ := checkRun(t, env, append(apart(t), row.args...)...)
			wantLine(t, lines, row.line, row.want)
			wantNoSecret(t, printed)
		})
	}
}

func wantLine(t *testing.T, lines map[string]checked, name string, want checked) {
	t.Helper()
	got, found := lines[name]
	if !found {
		t.Fatalf("there is no line %q: %+v", name, lines)
	}
	if got.Verdict != want.Verdict || !strings.Contains(got.Detail, want.Detail) || !strings.Contains(got.Do, want.Do) {
		t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
	}
}

func wantNoSecret(t *testing.T, printed string) {
	t.Helper()
	for _, secret := range []string{secretKey, secretPassword} {
		if strings.Contains(printed, secret) {
			t.Errorf("it shows a secret:\n%s", printed)
		}
	}
}

// TestCheckOfARunningServiceFindsNoFault runs it beside the service that it is about, for people.
func TestCheckOfARunningServiceFindsNoFault(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	dir := filepath.Join(t.TempDir(), "data")
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(dir)...)
	args := []string{
		"--listen=" + s.Webhooks, "--admin-listen=" + strings.TrimPrefix(s.Admin, "http://"),
		"--nats-listen=" + strings.TrimPrefix(s.NATS, "nats://"), "--data-dir=" + dir,
	}
	lines, printed, code := checkRun(t, world.Env(), args...)
	if code != 0 {
		t.Errorf("exit %d:\n%s", code, printed)
	}
	for name, detail := range map[string]string{
		"public key": "1 key", "API key": "accepted", "clock": "within a second", "status rate": "auto",
		"webhook listener": "by a running Legato", "admin listener": "by a running Legato", "data directory": "held by a running Legato",
		"NATS": "connected to", "NATS version": natsd.EmbeddedVersion, "NATS cluster": "by itself",
		"JetStream": "enabled, 3 streams", "streams": "CALL_EVENTS, CALLS and CALL_PARKED are as wanted", "account limits": "without limit",
	} {
		wantLine(t, lines, name, checked{Verdict: "ok", Detail: detail})
	}
	if strings.Contains(printed, "KEY-of-a-test") {
		t.Errorf("it shows the API key:\n%s", printed)
	}

	cmd := exec.CommandContext(t.Context(), legatotest.Program(), append([]string{"check"}, args...)...)
	cmd.Env = append(os.Environ(), world.Env()...)
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("for people: %v\n%s", err, out)
	}
	if text := string(out); !strings.HasPrefix(text, "ok       settings ") || strings.Contains(text, "fault ") {
		t.Errorf("for people:\n%s", out)
	}
}

// TestCheckReadsAnExternalNATS holds it against servers that are not as wanted.
func TestCheckReadsAnExternalNATS(t *testing.T) {
	t.Parallel()
	config := func(text string) string {
		path := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--config=" + path
	}
	fresh := legatotest.ExternalNATS(t)
	made := legatotest.ExternalNATS(t)
	streams(t, made, natsd.Limits{})
	foreign := legatotest.ExternalNATS(t)
	if _, err := legatotest.Dial(t, foreign).CreateStream(t.Context(), jetstream.StreamConfig{Name: "CALLS", Subjects: []string{"somebody.else.>"}}); err != nil {
		t.Fatal(err)
	}
	without := legatotest.ExternalNATS(t, config(`accounts { A { users: [ { user: u, password: `+secretPassword+` } ] } }
		no_auth_user: u`))
	limited := legatotest.ExternalNATS(t, config(`accounts { A {
		users: [ { user: u, password: `+secretPassword+` } ], jetstream { max_file: 64M, max_streams: 2 } } }
		no_auth_user: u`))
	small := legatotest.ExternalNATS(t, config(`accounts { A {
		users: [ { user: u, password: `+secretPassword+` } ], jetstream { max_file: 64M } } }
		no_auth_user: u`))
	sized := legatotest.ExternalNATS(t, config(`accounts { A {
		users: [ { user: u, password: `+secretPassword+` } ], jetstream { max_file: 64M, max_bytes_required: true } } }
		no_auth_user: u`))
	taken := legatotest.ExternalNATS(t)
	if _, err := legatotest.Dial(t, taken).CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVERYTHING", Subjects: []string{"calls.>"}}); err != nil {
		t.Fatal(err)
	}
	narrow := legatotest.ExternalNATS(t, config("max_payload: 262144\njetstream { limits { max_ack_pending: 100, duplicate_window: 30s } }"))
	streams(t, narrow, natsd.Limits{})
	queue := jetstream.ConsumerConfig{Durable: "legato", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 100}
	if _, err := legatotest.Dial(t, narrow).CreateConsumer(t.Context(), "CALL_EVENTS", queue); err != nil {
		t.Fatal(err)
	}
	tiny := legatotest.ExternalNATS(t, config("max_payload: 65536"))
	closed := legatotest.ExternalNATS(t, config(`authorization { user: u, password: `+secretPassword+` }`))
	rows := []struct {
		name string
		url  string
		args []string
		line string
		want checked
	}{
		{name: "its version", url: fresh, line: "NATS version", want: checked{Verdict: "ok", Detail: "2."}},
		{name: "an old version", url: oldNATS(t), line: "NATS version", want: checked{Verdict: "warning", Detail: "2.11.4", Do: "2.12"}},
		{name: "no streams yet", url: fresh, line: "streams", want: checked{Verdict: "ok", Detail: "serve makes CALL_EVENTS, CALLS, CALL_PARKED"}},
		{
			name: "no streams, and serve may not make them", url: fresh, args: []string{"--streams=check"}, line: "streams",
			want: checked{Verdict: "fault", Detail: "stream CALLS does not exist", Do: "nats stream add CALLS "},
		},
		{name: "streams as wanted", url: made, args: []string{"--streams=check"}, line: "streams", want: checked{Verdict: "ok", Detail: "as wanted"}},
		{
			name: "streams that serve changes", url: made, args: []string{"--calls-max-age=100h"}, line: "streams",
			want: checked{Verdict: "warning", Detail: "max_age is 72h, want 100h", Do: "serve changes them"},
		},
		{
			name: "streams that serve may not change", url: made, args: []string{"--calls-max-age=100h", "--streams=check"}, line: "streams",
			want: checked{Verdict: "fault", Detail: "max_age is 72h, want 100h", Do: "nats stream edit CALLS --max-age=100h"},
		},
		{
			name: "an account that wants sizes", url: sized, line: "account limits",
			want: checked{Verdict: "fault", Detail: "storage", Do: "--events-max-bytes and --calls-max-bytes"},
		},
		{
			name: "lines with sizes for an account that wants them", url: sized, line: "streams",
			args: []string{"--events-max-bytes=16777216", "--calls-max-bytes=16777216", "--streams=check"},
			want: checked{Verdict: "fault", Detail: "stream CALL_PARKED does not exist", Do: "--max-bytes=1048576"},
		},
		{
			name: "subjects that another stream takes", url: taken, line: "streams",
			want: checked{Verdict: "fault", Detail: "calls.leg.> is taken by stream EVERYTHING (calls.>)", Do: "--subject-prefix"},
		},
		{
			name: "a small payload", url: narrow, line: "max_payload",
			want: checked{Verdict: "warning", Detail: "256", Do: "413"},
		},
		{
			name: "a payload that is too small", url: tiny, line: "max_payload",
			want: checked{Verdict: "fault", Detail: "64", Do: "max_payload to 1 MB"},
		},
		{
			name: "few held tasks", url: narrow, line: "held tasks",
			want: checked{Verdict: "warning", Detail: "100 at once", Do: "max_ack_pending"},
		},
		{
			name: "a short duplicate window", url: narrow, line: "streams",
			want: checked{Verdict: "warning", Detail: "duplicate_window is 30s, want 2m", Do: "Nothing is lost"},
		},
		{
			name: "a stream of somebody else", url: foreign, line: "streams",
			want: checked{Verdict: "fault", Detail: "it holds other subjects", Do: "--subject-prefix"},
		},
		{
			name: "copies without a cluster", url: fresh, args: []string{"--nats-replicas=3"}, line: "NATS cluster",
			want: checked{Verdict: "fault", Detail: "3 copies", Do: "--nats-replicas 1"},
		},
		{
			name: "a server by itself", url: fresh, line: "NATS cluster",
			want: checked{Verdict: "warning", Detail: "a server by itself", Do: "sync_interval: always"},
		},
		{name: "no JetStream for the account", url: without, line: "JetStream", want: checked{Verdict: "fault", Detail: "not enabled", Do: "Enable JetStream"}},
		{
			name: "too few streams allowed", url: limited, line: "account limits",
			want: checked{Verdict: "fault", Detail: "streams 2", Do: "Allow the account 3 streams"},
		},
		{
			name: "less storage than the log is to have", url: small, args: []string{"--events-max-bytes=134217728"}, line: "account limits",
			want: checked{Verdict: "fault", Detail: "storage 61 MiB", Do: "Allow the account more storage"},
		},
		{
			name: "limited storage and an unlimited log", url: small, line: "account limits",
			want: checked{Verdict: "warning", Detail: "storage 61 MiB", Do: "--events-max-bytes"},
		},
		{name: "a password that is wrong", url: strings.Replace(closed, "//", "//u:wrong-"+secretPassword+"@", 1), line: "NATS", want: checked{Verdict: "fault", Detail: "uthorization", Do: "credentials"}},
		{name: "a password that is right", url: strings.Replace(closed, "//", "//u:"+secretPassword+"@", 1), line: "NATS", want: checked{Verdict: "ok", Detail: "connected to"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			env := []string{"TELNYX_PUBLIC_KEY=" + legatotest.ValidPublicKey(), "TELNYX_API_KEY=" + secretKey, "TELNYX_BASE_URL=http://127.0.0.1:1/v2"}
			lines, printed, _ := checkRun(t, env, append(append(apart(t), "--nats-url="+row.url), row.args...)...)
			wantLine(t, lines, row.line, row.want)
			wantNoSecret(t, printed)
		})
	}
	t.Run("and changes nothing", func(t *testing.T) {
		js := legatotest.Dial(t, fresh)
		if info, err := js.AccountInfo(t.Context()); err != nil || info.Streams != 0 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// TestCheckKnowsACluster asks a server that says it belongs to one, though it is alone in it.
func TestCheckKnowsACluster(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t, "--name=east-1", "--cluster_name=east", "--cluster=nats://127.0.0.1:-1", "--routes=nats://127.0.0.1:1")
	env := []string{"TELNYX_PUBLIC_KEY=" + legatotest.ValidPublicKey(), "TELNYX_API_KEY=" + secretKey, "TELNYX_BASE_URL=http://127.0.0.1:1/v2"}
	for replicas, want := range map[string]checked{
		"1": {Verdict: "warning", Detail: "east, but one copy", Do: "--nats-replicas 3"},
		"3": {Verdict: "ok", Detail: "east, 3 copies of each stream"},
	} {
		t.Run(replicas+" copies", func(t *testing.T) {
			t.Parallel()
			lines, _, _ := checkRun(t, env, append(apart(t), "--nats-url="+url, "--nats-replicas="+replicas)...)
			wantLine(t, lines, "NATS cluster", want)
		})
	}
}

// streams makes the streams of a deployment.
func streams(t *testing.T, url string, limits natsd.Limits) {
	t.Helper()
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Manage(t.Context(), legatotest.Dial(t, url), layout, limits); err != nil {
		t.Fatal(err)
	}
}

// oldNATS is a server of an old version, as far as a client sees that: it introduces itself, and nobody answers what it is asked.
func oldNATS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go beOldNATS(conn)
		}
	}()
	return "nats://" + l.Addr().String()
}

func beOldNATS(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, `INFO {"server_id":"OLD","server_name":"old","version":"2.11.4","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
	lines := bufio.NewScanner(conn)
	sid := "1"
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0:
		case words[0] == "PING":
			fmt.Fprint(conn, "PONG\r\n")
		case words[0] == "SUB":
			sid = words[len(words)-1]
		case words[0] == "PUB" && len(words) == 4:
			fmt.Fprintf(conn, "HMSG %s %s 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", words[2], sid)
		}
	}
}

package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

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
		lines, _, _ := checkRun(t, env, append(apart(t), "--nats-url="+url, "--nats-replicas="+replicas)...)
		wantLine(t, lines, "NATS cluster", want)
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

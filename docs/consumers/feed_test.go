package consumers_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// events puts webhooks into the log as Legato does: one that has just come, one that waited, one whose body was changed, one without
// a signature and one from the history. It returns the public key, and what a reader is to say of them.
func events(t *testing.T, s *natsdtest.Server) (publicKey string, want []string) {
	t.Helper()
	key, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range []struct {
		eventType, origin string
		age               time.Duration
		change            func(*call.Entry)
	}{
		{"call.initiated", "telnyx", 0, func(*call.Entry) {}},
		{"call.answered", "telnyx", time.Hour, func(*call.Entry) {}},
		{"call.bridged", "unknown", 0, func(e *call.Entry) { e.Data = bytes.Replace(e.Data, []byte("bridged"), []byte("briged"), 1) }},
		{"call.dtmf.received", "unknown", time.Hour, func(e *call.Entry) { e.Data = append(e.Data, ' ') }},
		{"call.playback.ended", "unknown", 0, func(e *call.Entry) { e.Signature, e.Timestamp = "", "" }},
		{"call.hangup", "history", 0, func(e *call.Entry) { e.Signature, e.Timestamp, e.Backfill = "", "", true }},
	} {
		entry := call.Entry{
			ID: fmt.Sprintf("event-%d", i), Ref: call.Ref{Session: "s", Leg: "l", Connection: "17"}, Topic: call.TopicEvent + e.eventType,
			Timestamp: strconv.FormatInt(time.Now().Add(-e.age).Unix(), 10), Data: fmt.Appendf(nil, `{"data":{"event_type":%q,"id":"event-%d","payload":{"from":"Zoë"}}}`, e.eventType, i),
		}
		entry.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(secret, append([]byte(entry.Timestamp+"|"), entry.Data...)))
		e.change(&entry)
		if _, err := s.JS.PublishMsg(t.Context(), &nats.Msg{Subject: entry.Subject("calls"), Header: entry.Header(), Data: entry.Data}); err != nil {
			t.Fatal(err)
		}
		want = append(want, e.eventType+" "+e.origin)
	}
	return base64.StdEncoding.EncodeToString(key), want
}

// saysOfEvents runs a reader of the raw feed until it has said something of every event.
func saysOfEvents(t *testing.T, s *natsdtest.Server, cmd *exec.Cmd) {
	t.Helper()
	key, want := events(t, s)
	cmd.Env = append(os.Environ(), "NATS_URL="+s.URL(), "TELNYX_PUBLIC_KEY="+key)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	var got []string
	for lines := bufio.NewScanner(out); len(got) < len(want) && lines.Scan(); {
		got = append(got, lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the reader ended with %v\n%s", err, complaints.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTheGoReaderOfTheRawFeedVerifiesTheStoredSignature(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "gofeed")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./gofeed").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	saysOfEvents(t, natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0")), exec.CommandContext(t.Context(), program, "17"))
}

func TestTheNodeReaderOfTheRawFeedVerifiesTheStoredSignature(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "feed.mjs"} {
		place(t, filepath.Join("node", name), dir)
	}
	install(t, dir)
	cmd := exec.CommandContext(t.Context(), "node", "feed.mjs", "17")
	cmd.Dir = dir
	saysOfEvents(t, natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0")), cmd)
}

// Package consumers_test runs the consumers and the SQL of this directory, each
// where what it needs is at hand.
package consumers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/export"
)

func TestNodeConsumerKeepsEachRevisionOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place(t, filepath.Join("node", "package.json"), dir)
	place(t, filepath.Join("node", "consumer.mjs"), dir)
	install(t, dir)
	s := published(t)
	var want []string
	for i := range 3 {
		data, err := summary.Encode(leg(i, 1))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(data))
	}
	data, err := summary.Encode(leg(0, 2))
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, string(data))
	sort.Strings(want)
	// What somebody else may publish: no summaries, and one that stands on two lines.
	foreign := []string{"5", "null", "{}", `"text"`, "half a {", "{\"kind\":\"other\",\n\"call_session_id\":\"s\",\"revision\":1}"}
	for _, body := range foreign {
		if _, err := s.JS.Publish(t.Context(), "calls.session.completed.17.s", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}

	file := filepath.Join(dir, "calls.ndjson")
	// The second run is given everything again, as after a crash before any acknowledgement.
	for run := range 2 {
		cmd := exec.CommandContext(t.Context(), "node", "consumer.mjs", file)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NATS_URL="+s.URL())
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		acknowledged(t, s.JS, 7+len(foreign), ended, &output)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("the consumer failed: %v\n%s", err, output.String())
			}
		case <-time.After(patience):
			t.Fatal("the consumer does not end")
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		if n := strings.Count(output.String(), "not a summary: calls.session.completed.17.s\n"); n != len(foreign)-1 || strings.Contains(output.String(), "trying again") {
			t.Errorf("run %d: the consumer says:\n%s", run+1, output.String())
		}
		var legs []string
		for _, line := range lines {
			if strings.HasPrefix(line, `{"kind":"leg"`) {
				legs = append(legs, line)
			}
		}
		sort.Strings(legs)
		if diff := cmp.Diff(want, legs); diff != "" || len(lines) != 8 {
			t.Errorf("run %d: %d lines, legs (-want +got):\n%s", run+1, len(lines), diff)
		}
		if err := s.JS.DeleteConsumer(t.Context(), s.Layout.Calls, "warehouse-node"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestThePythonConsumerKeepsEachRevisionOnce runs what the consumer does with messages. Its client of NATS, nats-py, is in none of the
// registries that the tests reach: what it does with the server was not run.
func TestThePythonConsumerKeepsEachRevisionOnce(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("python3 is not at hand: %v", err)
	}
	dir := t.TempDir()
	place(t, filepath.Join("python", "consumer.py"), dir)
	var messages strings.Builder
	for _, revision := range []int{2, 1} {
		for i := range 3 {
			data, err := summary.Encode(leg(i, revision))
			if err != nil {
				t.Fatal(err)
			}
			messages.Write(append(data, '\n'))
		}
	}
	script(t, dir, "messages.ndjson", messages.String())
	// Each run is ended as by a crash: what was not synced may be there in part.
	const run = `
import sys
from consumer import Store
store = Store("calls.ndjson")
with open("messages.ndjson", "rb") as messages:
    kept = sum(store.put(line.rstrip(b"\n")) for line in messages)
for body in (b"half", b"[]", b"5", b"null", b'{"kind":"leg"}', b'{"kind":[],"call_session_id":"s","revision":1}'):
    try:
        store.put(body)
        sys.exit("no summary was kept: %r" % body)
    except ValueError:
        pass
store.sync()
print(kept)
store.file.write(b'{"kind":"leg","call_ses')
store.file.flush()
import os
os._exit(0)
`
	for _, want := range []string{"3", "0"} {
		cmd := exec.CommandContext(t.Context(), program, "-W", "error", "-c", strings.Replace(run, "print(kept)", "print(kept, flush=True)", 1))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("kept %s, want %s: %v", got, want, err)
		}
	}
	lines := strings.Split(mustRead(t, filepath.Join(dir, "calls.ndjson")), "\n")
	if want := strings.Split(messages.String(), "\n")[:3]; !cmp.Equal(want, lines[:3]) || len(lines) != 4 {
		t.Errorf("the file has %d lines: %.300s", len(lines), lines)
	}
}

// A pause after a disturbance is the shortest again when something was taken down before it, also what the file has already.
func TestThePythonConsumerPausesNoLongerAfterAMessage(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("python3 is not at hand: %v", err)
	}
	dir := t.TempDir()
	place(t, filepath.Join("python", "consumer.py"), dir)
	// A client of NATS that delivers one message, always the same, and loses its connection.
	const run = `
import asyncio, os, signal, sys
from unittest.mock import AsyncMock, MagicMock
message = MagicMock(data=b'{"kind":"leg","call_session_id":"s","call_leg_id":"l","revision":1}', ack=AsyncMock())
fetch = AsyncMock(side_effect=[[message], ConnectionError("away")] * 3)
js = MagicMock(add_consumer=AsyncMock(), pull_subscribe_bind=AsyncMock(return_value=MagicMock(fetch=fetch)))
nats = MagicMock(connect=AsyncMock(return_value=MagicMock(jetstream=lambda: js, drain=AsyncMock())))
sys.modules.update({"nats": nats, "nats.js": nats.js, "nats.js.api": nats.js.api, "nats.errors": MagicMock(TimeoutError=TimeoutError)})
import consumer
pauses, wait_for = [], asyncio.wait_for
async def paused(event, seconds):
    pauses.append(seconds)
    if len(pauses) < 3:
        event.close()
        raise asyncio.TimeoutError
    os.kill(os.getpid(), signal.SIGTERM)
    await wait_for(event, 60)
asyncio.wait_for = paused
asyncio.run(consumer.main("calls.ndjson"))
print(*pauses, message.ack.await_count)
`
	cmd := exec.CommandContext(t.Context(), program, "-c", run)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != "1.0 1.0 1.0 3" {
		t.Errorf("pauses and messages acknowledged: %s (%v)\n%s", out, err, said.String())
	}
}

// lines is what a process prints.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// eventually polls a condition until it holds, and fails with its last error.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := check(try)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// survives runs a consumer through what happens to a cluster: each time it takes down what is published afterwards.
func survives(t *testing.T, durable string, cmd *exec.Cmd, file string) {
	t.Helper()
	cluster := natsdtest.RunCluster(t)
	var said lines
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "NATS_URL="+cluster.URLs()), &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	js := cluster.JS[0]
	calls := 0
	takes := func(after string) {
		t.Helper()
		calls++
		l := leg(calls, 1)
		data, err := summary.Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		draft := summary.Draft{
			Key: summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID}, Connection: l.ConnectionID, Revision: 1,
			Position: summary.Position{Log: "test", Seq: 1}, PublishedAt: startedAt, Body: data,
		}
		eventually(t, "a summary is published after "+after, func(ctx context.Context) error {
			p, err := publish.New(ctx, js, cluster.Layout)
			if err != nil {
				return err
			}
			_, stored, err := p.Last(ctx, draft.Key)
			if err != nil || stored {
				return err
			}
			_, err = p.Publish(ctx, draft, summary.Stored{})
			return err
		})
		eventually(t, "the consumer takes it down after "+after, func(context.Context) error {
			select {
			case err := <-ended:
				t.Fatalf("after %s the consumer ended: %v\n%s", after, err, said.text())
			default:
			}
			got, err := os.ReadFile(file)
			if err == nil && !bytes.Contains(got, append(data, '\n')) {
				err = fmt.Errorf("it is not in the file\n%s", said.text())
			}
			return err
		})
	}
	takes("the start")
	for _, subject := range []string{"CONSUMER.LEADER.STEPDOWN.CALLS." + durable, "STREAM.LEADER.STEPDOWN.CALLS"} {
		eventually(t, subject, func(ctx context.Context) error {
			_, err := cluster.Conns[0].RequestWithContext(ctx, "$JS.API."+subject, nil)
			return err
		})
		takes(subject)
	}
	for i := range cluster.Conns {
		if i > 0 { // this test's own connection is to the first
			cluster.Restart(t, i)
			takes(fmt.Sprintf("the restart of server %d", i))
		}
	}
	if err := js.DeleteStream(t.Context(), "CALLS"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the consumer says that it is interrupted", func(context.Context) error {
		if !strings.Contains(said.text(), "trying again") {
			return fmt.Errorf("it says %q", said.text())
		}
		return nil
	})
	eventually(t, "CALLS is made anew", func(ctx context.Context) error {
		_, err := natsd.Manage(ctx, js, cluster.Layout, natsd.Limits{Replicas: 3})
		return err
	})
	takes("the stream was made anew")
	if n := strings.Count(said.text(), "\n"); n > 40 {
		t.Errorf("it printed %d lines:\n%s", n, said.text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the consumer ended with %v\n%s", err, said.text())
		}
	case <-time.After(patience):
		t.Error("the consumer does not end")
	}
}

func TestTheGoConsumerSurvivesRestartsStepDownsAndAStreamMadeAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, file := filepath.Join(dir, "consumer"), filepath.Join(dir, "calls.ndjson")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./goconsumer").CombinedOutput(); err != nil {
		t.Fatalf("build the consumer: %v\n%s", err, out)
	}
	survives(t, "warehouse-go", exec.CommandContext(t.Context(), program, file), file)
}

func TestTheNodeConsumerSurvivesRestartsStepDownsAndAStreamMadeAnew(t *testing.T) {
	t.Parallel()
	legatotest.Long(t) // the Go consumer goes through the same
	dir := t.TempDir()
	place(t, filepath.Join("node", "package.json"), dir)
	place(t, filepath.Join("node", "consumer.mjs"), dir)
	install(t, dir)
	file := filepath.Join(dir, "calls.ndjson")
	cmd := exec.CommandContext(t.Context(), "node", "consumer.mjs", file)
	cmd.Dir = dir
	survives(t, "warehouse-node", cmd, file)
}

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

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = 6 * time.Minute

var startedAt = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// leg is a leg of which nearly every type of column has a value.
func leg(i, revision int) summary.Leg {
	at := func(after time.Duration) *summary.Time {
		return summary.At(startedAt.Add(time.Duration(i) * time.Hour).Add(after))
	}
	rate, mos := int64(8000), summary.Number(4.5)
	l := summary.Leg{
		Kind: summary.KindLeg, Schema: summary.Schema, Revision: revision,
		CallSessionID: fmt.Sprintf("session-%d", i), CallLegID: fmt.Sprintf("leg-%d", i), ConnectionID: "1700000000000000042",
		From: "+12025550111", To: "sip:ada@example.com", CallerName: "Ada \"Countess\",\nLovelace", SamplingRate: &rate,
		Outcome: summary.OutcomeAnswered, FirstReceivedAt: *at(0), PublishedAt: *at(time.Minute), StartedAt: at(0), EndedAt: at(time.Minute),
		DurationSeconds: summary.Lasting(60030 * time.Millisecond), TalkSeconds: summary.Lasting(56 * time.Second),
		EndedBy: summary.EndedByHangup, Status: summary.Status{State: summary.StatusConfirmed, Final: true},
		Quality: &summary.Quality{Inbound: &summary.StreamQuality{MOS: &mos}},
		Events: []summary.Event{
			{ID: "e1", Type: "call.initiated", OccurredAt: at(0), ReceivedAt: *at(time.Second)},
			{ID: "e2", Type: "call.hangup", OccurredAt: at(time.Minute), ReceivedAt: *at(time.Minute)},
		},
	}
	if revision > 1 {
		l.Reasons = []summary.Reason{summary.ReasonCost}
		l.Cost = &summary.Cost{Status: "success", Totals: []summary.Amount{{Currency: "USD", Amount: "0.0070"}}}
	}
	return l
}

// published runs a server with three legs, the first of which has two revisions, and their sessions.
func published(t *testing.T) *natsdtest.Server {
	t.Helper()
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	p, err := publish.New(t.Context(), s.JS, s.Layout)
	if err != nil {
		t.Fatal(err)
	}
	put := func(k summary.Key, revision int, body any, prev summary.Stored) summary.Stored {
		t.Helper()
		data, err := summary.Encode(body)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := p.Publish(t.Context(), summary.Draft{
			Key: k, Connection: "1700000000000000042", Revision: revision, Position: summary.Position{Log: "test", Seq: 1}, PublishedAt: startedAt, Body: data,
		}, prev)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	for i := range 3 {
		l := leg(i, 1)
		first := put(summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID}, 1, l, summary.Stored{})
		put(summary.Key{Kind: summary.KindSession, Session: l.CallSessionID}, 1, summary.Session{
			Kind: summary.KindSession, Schema: summary.Schema, Revision: 1, CallSessionID: l.CallSessionID, Outcome: l.Outcome, StatusState: l.Status.State,
			FirstReceivedAt: l.FirstReceivedAt, PublishedAt: l.PublishedAt, StartedAt: l.StartedAt, LegCount: 1, AnsweredLegs: 1, Legs: []summary.SessionLeg{},
		}, summary.Stored{})
		if i == 0 {
			put(first.Key, 2, leg(0, 2), first)
		}
	}
	return s
}

// exported writes legs and sessions of the server into dir, as CSV and as Parquet.
func exported(t *testing.T, s *natsdtest.Server, dir string) {
	t.Helper()
	for _, level := range []string{summary.KindLeg, summary.KindSession} {
		for _, format := range []export.Format{export.CSV, export.Parquet} {
			plan := export.Plan{Level: level, Format: format, Output: filepath.Join(dir, level+"s."+string(format))}
			if _, err := export.Run(t.Context(), s.JS, s.Layout, plan, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// install puts packages of npm into a directory, or those that a package.json there
// names. Without Node, npm or its registry there is nothing to test with.
func install(t *testing.T, dir string, packages ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs packages of npm, which -short leaves out")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not at hand: %v", program, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", append([]string{
		"install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error",
	}, packages...)...)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install %v: %v\n%s", packages, err, out)
	}
}

// place copies a file of this directory to another.
func place(t *testing.T, file, dir string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// node runs a script in dir and returns what it printed.
func node(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	t.Logf("%s", stderr.Bytes())
	return out
}

// acknowledged waits until the Node consumer has acknowledged so many messages.
func acknowledged(t *testing.T, js jetstream.JetStream, messages int, ended <-chan error, output *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		consumer, err := js.Consumer(ctx, "CALLS", "warehouse-node")
		if err == nil && consumer.CachedInfo().AckFloor.Consumer >= uint64(messages) {
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("the consumer ended: %v\n%s", err, output.String())
		case <-ctx.Done():
			t.Fatalf("not everything was acknowledged: %v", err)
		}
	}
}

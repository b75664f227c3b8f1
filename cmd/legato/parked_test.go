package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/parked"
)

// runParked runs `legato parked` to its end.
func runParked(t *testing.T, env []string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, legatotest.Program(), append([]string{"parked"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

type listed struct {
	Seq    uint64 `json:"seq"`
	Reason string `json:"reason"`
	Size   int    `json:"size"`
}

func listParked(t *testing.T, nats string, args ...string) (all []listed) {
	t.Helper()
	stdout, stderr, err := runParked(t, nil, append([]string{"list", "--json", "--nats-url=" + nats}, args...)...)
	if err != nil || stderr != "" {
		t.Fatalf("parked list: %v\n%s", err, stderr)
	}
	for line := range strings.Lines(stdout) {
		var l listed
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// unusable are bodies that no version of this program takes for an event of a call.
var unusable = []struct{ reason, body string }{
	{"api_v1", `{"event_type":"call_hangup","id":"e-1","payload":{"call_leg_id":"leg-1","from":"+12025550111"}}`},
	{"portal", `{"event_type":"call.hangup","webhook_id":"w","payload":{"call_leg_id":"leg-1","to":"+12025550112"}}`},
	{"other_product", `{"data":{"event_type":"message.received","id":"e","payload":{"text":"+12025550113 <é>` + "\u009b" + `"}}}`},
	{"not_json", "CallSid=v3&From=%2B12025550114\x1b[2J\xff"},
}

// send posts a signed body as Telnyx does and returns the status.
func sendBody(t *testing.T, w *legatotest.Telnyx, target, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	timestamp, signature := w.Sign(time.Now(), []byte(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Telnyx-Timestamp", timestamp)
	request.Header.Set("Telnyx-Signature-Ed25519", signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestParkedIsListedAndShown(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	if got := listParked(t, s.NATS); got != nil {
		t.Errorf("an empty store lists %v", got)
	}
	var want []listed
	for i, u := range unusable {
		if status := sendBody(t, world, s.Target(), u.body); status != http.StatusOK {
			t.Fatalf("%s was answered %d", u.reason, status)
		}
		want = append(want, listed{uint64(i + 1), u.reason, len(u.body)})
	}
	if diff := cmp.Diff(want, listParked(t, s.NATS)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:2], listParked(t, s.NATS, "--reason=portal", "--since=1h")); diff != "" {
		t.Errorf("list of a reason (-want +got):\n%s", diff)
	}
	if got := listParked(t, s.NATS, "--since=1ns"); got != nil {
		t.Errorf("list of what was parked just now: %v", got)
	}
	stdout, stderr, err := runParked(t, nil, "list", "--nats-url="+s.NATS, "--limit=3")
	if err != nil || strings.Count(stdout, "\n") != 3 || stderr != "4 parked, 3 shown: 1 api_v1, 1 not_json, 1 other_product, 1 portal\n" {
		t.Errorf("list for a person: %v\n%s%s", err, stdout, stderr)
	}
	if strings.Contains(stdout, "+1202555") {
		t.Errorf("list shows personal data:\n%s", stdout)
	}
	for i, u := range unusable {
		seq := fmt.Sprint(i + 1)
		stdout, stderr, err := runParked(t, nil, "show", seq, "--raw", "--nats-url="+s.NATS)
		if err != nil || stdout != u.body || !strings.Contains(stderr, "personal data") {
			t.Errorf("show --raw of %s: %v, %q, %q", u.reason, err, stdout, stderr)
		}
		stdout, stderr, err = runParked(t, nil, "show", seq, "--nats-url="+s.NATS)
		if err != nil || !strings.Contains(stdout, "2025550"+fmt.Sprint(111+i)) || !strings.Contains(stdout, "Reason: "+u.reason) ||
			!strings.Contains(stdout, "Telnyx-Signature-Ed25519: ") || !strings.Contains(stderr, "personal data") {
			t.Errorf("show of %s: %v, %s%s", u.reason, err, stdout, stderr)
		}
		if u.reason == "not_json" && !strings.Contains(stdout, `2B12025550114\x1b[2J\xff`) {
			t.Errorf("show of %s: %s", u.reason, stdout)
		}
		if strings.ContainsAny(stdout, "\x1b\u009b") || !utf8.ValidString(stdout) {
			t.Errorf("show of %s does something to a terminal: %q", u.reason, stdout)
		}
	}
	for _, args := range [][]string{
		{"show", "99"},
		{"list", "--reason=a.b"},
		{"list", "--limit=-1"},
		{"list", "--subject-prefix=other"},
		{"retry"},
		{"retry", "1", "--all"},
		{"retry", "99"},
		{"retry", "1", "--telnyx-public-key=none"},
	} {
		if stdout, _, err := runParked(t, nil, append(args, "--nats-url="+s.NATS)...); err == nil {
			t.Errorf("parked %v was content:\n%s", args, stdout)
		}
	}
	legatotest.StopsCleanly(t, s)
}

func TestParkedIsRetried(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	for _, u := range unusable {
		sendBody(t, world, s.Target(), u.body)
	}
	store := parked.New(legatotest.Dial(t, s.NATS), layout(t))
	park := func(reason string, body []byte, signed []byte) {
		t.Helper()
		timestamp, signature := world.Sign(time.Now().AddDate(0, 0, -1), signed)
		p := call.Parked{Reason: reason, Signature: signature, Timestamp: timestamp, ContentType: "application/json", Data: body}
		if err := store.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	// A call whose webhooks were all parked, for a reason that does not hold any more.
	c := fake.Generator{Seed: 9}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		body := d.Body(1, "")
		park("other_product", body, body)
	}
	park("bad_id", []byte(`{"data":{"event_type":"call.hangup","id":"x","payload":{"call_leg_id":"forged"}}}`), []byte("other bytes"))
	// Killed between the two steps: the event stands in the log, and in the store.
	if status := sendBody(t, world, s.Target(), string(c.Deliveries[0].Body(1, ""))); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	retry := func(args ...string) (string, error) {
		t.Helper()
		stdout, stderr, err := runParked(t, world.Env(), append([]string{"retry", "--nats-url=" + s.NATS}, args...)...)
		for _, secret := range []string{"+1202555", "KEY-of-a-test"} {
			if strings.Contains(stdout+stderr, secret) {
				t.Errorf("retry shows %q:\n%s%s", secret, stdout, stderr)
			}
		}
		return stdout, err
	}

	before := listParked(t, s.NATS)
	if out, err := retry("--all", "--dry-run"); err == nil || strings.Count(out, "would be stored as event.call.") != len(c.Deliveries) {
		t.Errorf("a dry run: %v\n%s", err, out)
	}
	if diff := cmp.Diff(before, listParked(t, s.NATS)); diff != "" {
		t.Errorf("a dry run changed (-before +after):\n%s", diff)
	}
	out, err := retry("--all")
	if err == nil {
		t.Errorf("retry was content though some cannot be used:\n%s", out)
	}
	for _, want := range []string{
		"stored before as event." + c.Deliveries[0].Type, "stored as event.call.hangup", "signature does not match",
		"unusable webhook: api_v1", "unusable webhook: portal", "unusable webhook: other_product", "unusable webhook: not_json",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("retry did not say %q:\n%s", want, out)
		}
	}
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	var stay []string
	for _, l := range listParked(t, s.NATS) {
		stay = append(stay, l.Reason)
	}
	if diff := cmp.Diff([]string{"api_v1", "portal", "other_product", "not_json", "bad_id"}, stay); diff != "" {
		t.Errorf("what stays parked (-want +got):\n%s", diff)
	}
	// With nothing left to do it is content.
	if out, err := retry("--reason=poison"); err != nil || out != "" {
		t.Errorf("retry of nothing: %v\n%s", err, out)
	}
	legatotest.StopsCleanly(t, s)
}

func layout(t *testing.T) natsd.Layout {
	t.Helper()
	l, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestWorkThatWasGivenUpIsDoneAfterARetry plays a call whose tasks were terminated as
// poison. Its events stand in the log, and within the server's duplicate window.
func TestWorkThatWasGivenUpIsDoneAfterARetry(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	js, names := legatotest.Dial(t, url), layout(t)
	if _, err := natsd.Manage(t.Context(), js, names, natsd.Limits{}); err != nil {
		t.Fatal(err)
	}
	store := parked.New(js, names)
	c := fake.Generator{Seed: 9}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	if len(c.Legs) != 1 {
		t.Fatalf("a call with %d legs", len(c.Legs))
	}
	giveUp(t, world, c, store, stream.Config{Queue: "legato", Config: journal.Config{
		JetStream: js, Stream: names.Events, Prefix: names.Prefix, Logger: slog.New(slog.DiscardHandler),
	}})

	// Nothing but the retry hands out work: the session would settle in an hour, and a leg whose
	// status was never asked for is checked on in three minutes.
	s := legatotest.Serve(t, world.Env(), "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url="+url, "--settle=200ms", "--session-settle=1h")
	stdout, stderr, err := runParked(t, world.Env(), "retry", "--all", "--nats-url="+url)
	if err != nil {
		t.Fatalf("retry: %v\n%s%s", err, stdout, stderr)
	}
	legatotest.Completed(t, url, "calls.leg.completed.*."+string(c.Session)+"."+string(c.Legs[0].Ref.Leg))

	// An entry of Legato's own is put back as well.
	settle := session.Check{Kind: session.CheckSettle, Session: c.Session, Upto: 1 << 60}
	data, err := json.Marshal(settle)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Park(t.Context(), call.Parked{Reason: "poison", Seq: 1, Topic: call.TopicCheck, Ref: settle.Ref(), Data: data}); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, err := runParked(t, world.Env(), "retry", "--reason=poison", "--nats-url="+url); err != nil {
		t.Fatalf("retry: %v\n%s%s", err, stdout, stderr)
	}
	legatotest.Completed(t, url, "calls.session.completed.*."+string(c.Session))
	if got := listParked(t, url); got != nil {
		t.Errorf("still parked: %v", got)
	}
	legatotest.StopsCleanly(t, s)
}

// giveUp puts a call into the log, and ends each of its tasks as a worker does that has failed too often.
func giveUp(t *testing.T, w *legatotest.Telnyx, c fake.Call, store *parked.Store, cfg stream.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	log, err := stream.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.Deliveries {
		body := d.Body(1, "")
		timestamp, signature := w.Sign(time.Now(), body)
		e := call.Entry{
			Topic: call.TopicEvent + d.Type, ID: d.EventID + "/" + d.Type, Ref: c.Legs[0].Ref, Attempt: 1,
			Signature: signature, Timestamp: timestamp, Data: body,
		}
		if _, err := log.Append(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	queue, err := log.Queue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := 0
	err = queue.Work(working, func(task *stream.Task) {
		e := task.Entry()
		if err := store.Park(ctx, call.Parked{
			Reason: "poison", Signature: e.Signature, Timestamp: e.Timestamp, ContentType: "application/json",
			Seq: e.Seq, Topic: e.Topic, Ref: e.Ref, Data: e.Data,
		}); err != nil {
			t.Error(err)
		}
		if err := task.Term(); err != nil {
			t.Error(err)
		}
		if ended++; ended == len(c.Deliveries) {
			stop()
		}
	})
	if ctx.Err() != nil || ended != len(c.Deliveries) {
		t.Fatalf("%d of %d tasks were ended: %v", ended, len(c.Deliveries), err)
	}
	if err := log.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

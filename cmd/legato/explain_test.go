package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish/parked"
)

// explain runs `legato explain` to its end.
func explain(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, legatotest.Program(), append([]string{"explain"}, args...)...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// explained is the story of a call as `legato explain --json` tells it.
func explained(t *testing.T, args ...string) story.Story {
	t.Helper()
	stdout, stderr, err := explain(t, append(args, "--json")...)
	if err != nil {
		t.Fatalf("explain %v: %v\n%s", args, err, stderr)
	}
	return readStory(t, []byte(stdout))
}

func readStory(t *testing.T, body []byte) story.Story {
	t.Helper()
	var s story.Story
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return s
}

// bridgedCall plays a call of two legs and waits for its summaries.
func bridgedCall(t *testing.T, w *legatotest.Telnyx, s *legatotest.Server, seed uint64) fake.Call {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: w.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: seed}.Of(fake.InboundBridged, 1, time.Now().UTC().Add(-5*time.Minute))
	w.Know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	return c
}

func TestACallIsExplained(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	c := bridgedCall(t, world, s, 61)
	bridgedCall(t, world, s, 62) // another, of which nothing may be told
	at := "--nats-url=" + url

	want := explained(t, string(c.Session), at)
	if want.CallSessionID != string(c.Session) || want.Log.Coverage != story.CoverageWhole || len(want.Legs) != len(c.Legs) || want.Session == nil {
		t.Errorf("the story of a call: %+v", want)
	}
	wantTimeline(t, &want, c)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for name, id := range map[string]string{"session": string(c.Session), "leg": string(c.Legs[1].Ref.Leg), "control": string(c.Legs[1].Ref.Control)} {
		want.ID = id
		if diff := cmp.Diff(want, explained(t, id, at), sameStory); diff != "" {
			t.Errorf("by its %s id (-session +this):\n%s", name, diff)
		}
		body, code := legatotest.Ask(t, nc, "legato.call.get", id)
		if code != "" {
			t.Fatalf("by its %s id over NATS: %s", name, code)
		}
		if diff := cmp.Diff(want, readStory(t, body), sameStory); diff != "" {
			t.Errorf("by its %s id (-explain +NATS):\n%s", name, diff)
		}
		if bytes.Contains(body, []byte(c.Legs[0].From)) {
			t.Errorf("a whole number over NATS: %s", body)
		}
	}
	screen, _, err := explain(t, string(c.Session), at)
	if err != nil || strings.Contains(screen, c.Legs[0].From) || !strings.Contains(screen, "····") || !strings.Contains(screen, "▶ session r1 answered, confirmed") {
		t.Errorf("%v\n%s", err, screen)
	}
	for line := range strings.Lines(screen) {
		if n := utf8.RuneCountInString(line); n > 121 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if screen, _, err := explain(t, string(c.Session), at, "--personal"); err != nil || !strings.Contains(screen, c.Legs[0].From) {
		t.Errorf("--personal: %v\n%s", err, screen)
	}
	legatotest.StopsCleanly(t, s)
}

// sameStory compares two stories but for when they were told.
var sameStory = cmp.Options{
	cmpopts.IgnoreFields(story.Story{}, "AsOf"), cmpopts.IgnoreFields(story.Log{}, "Position"), cmpopts.IgnoreUnexported(story.Item{}),
}

// wantTimeline holds a timeline against the webhooks that were sent.
func wantTimeline(t *testing.T, s *story.Story, c fake.Call) {
	t.Helper()
	var want, got []string
	for _, d := range c.Deliveries {
		want = append(want, d.EventID+" "+d.Type)
	}
	statuses, published := 0, 0
	for _, i := range s.Timeline {
		switch i.Kind {
		case story.KindEvent:
			got = append(got, i.Event.ID+" "+i.Event.Type)
		case story.KindStatus:
			if statuses++; !i.Status.Confirms {
				t.Errorf("a status that confirms nothing: %+v", i.Status)
			}
		case story.KindPublished:
			published++
		case story.KindCheck, story.KindMissing, story.KindRedelivery, story.KindBackfill:
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-sent +told):\n%s", diff)
	}
	if statuses != len(c.Legs) || published < len(c.Legs)+1 {
		t.Errorf("%d statuses and %d revisions of %d legs", statuses, published, len(c.Legs))
	}
}

func TestACallWhoseLogIsGoneIsExplainedByItsSummaries(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	c := bridgedCall(t, world, s, 63)
	legatotest.StopsCleanly(t, s)
	js := legatotest.Dial(t, url)
	// What is parked of it is told; of a webhook nobody knows whose it is.
	store := parked.New(js, layout(t))
	for _, p := range []call.Parked{
		{Reason: "poison", Seq: 3, Topic: "event.call.bridged", Ref: c.Legs[0].Ref, Data: []byte("{}")},
		{Reason: "poison", Seq: 4, Topic: "event.call.bridged", Ref: call.Ref{Session: "another"}, Data: []byte("{}")},
		{Reason: "not_json", Data: []byte("x")},
	} {
		if err := store.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	events, err := js.Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	at := "--nats-url=" + url
	if got := explained(t, string(c.Session), at); got.Log.Coverage != story.CoverageWhole {
		t.Errorf("before the log was trimmed it covers %s", got.Log.Coverage)
	}
	// Half of the call is trimmed, and then all of it.
	if err := events.Purge(t.Context(), jetstream.WithPurgeSequence(events.CachedInfo().State.FirstSeq+4)); err != nil {
		t.Fatal(err)
	}
	half := explained(t, string(c.Session), at)
	if half.Log.Coverage != story.CoveragePartial || len(half.Remarks) != 1 {
		t.Errorf("of half a log: %+v, %q", half.Log, half.Remarks)
	}
	wantTimeline(t, &half, c)
	if err := events.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"session": string(c.Session), "leg": string(c.Legs[1].Ref.Leg), "control": string(c.Legs[1].Ref.Control)} {
		got := explained(t, id, at)
		if got.CallSessionID != string(c.Session) || got.Log.Coverage != story.CoverageNone || len(got.Remarks) != 1 {
			t.Errorf("by its %s id: %+v, %q", name, got.Log, got.Remarks)
		}
		if len(got.Parked) != 1 || got.Parked[0].LogSeq != 3 || got.Parked[0].Reason != "poison" {
			t.Errorf("parked of it: %+v", got.Parked)
		}
		wantTimeline(t, &got, c)
	}

	// A service that never saw the call tells it as well, but for the control id, which only bodies name.
	s = legatotest.Serve(t, world.Env(), flags...)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for id, want := range map[string]string{string(c.Session): "", string(c.Legs[1].Ref.Leg): "", string(c.Legs[1].Ref.Control): "404"} {
		body, code := legatotest.Ask(t, nc, "legato.call.get", id)
		if code != want {
			t.Errorf("%s over NATS: %q, want %q", id, code, want)
		}
		if want != "" {
			continue
		}
		got := readStory(t, body)
		if got.Log.Coverage != story.CoverageNone || len(got.Parked) != 1 {
			t.Errorf("%s over NATS: %+v, %v parked", id, got.Log, got.Parked)
		}
		wantTimeline(t, &got, c)
	}
	legatotest.StopsCleanly(t, s)
}

// TestALiveCallIsExplained: what has not come yet is not missing, and what is due is told.
func TestALiveCallIsExplained(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 66}.Of(fake.InboundBridged, 1, time.Now().UTC())
	if out := sender.Send(t.Context(), c.Deliveries[0]); !out.Accepted {
		t.Fatalf("it was not accepted: %+v", out)
	}
	nc, err := nats.Connect(s.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var body []byte
	legatotest.Eventually(t, "the service knows the call", func() error {
		var code string
		if body, code = legatotest.Ask(t, nc, "legato.call.get", string(c.Session)); code != "" {
			return errors.New(code)
		}
		if n := readStory(t, body).Log.Entries; n != 1 {
			return fmt.Errorf("%d entries are copied", n)
		}
		return nil
	})
	got, want := readStory(t, body), explained(t, string(c.Session), "--nats-url="+s.NATS)
	if diff := cmp.Diff(want, got, sameStory); diff != "" {
		t.Errorf("-explain +NATS:\n%s", diff)
	}
	if len(got.Legs) != 1 || got.Legs[0].State != "live" || got.Legs[0].Lacks != nil || got.Session != nil || len(got.Timeline) != 1 {
		t.Errorf("a live call: %+v", got)
	}
	if len(got.Next) != 1 || got.Next[0].What != session.CheckStatus || got.Next[0].At.Sub(got.Timeline[0].At) != 5*time.Minute {
		t.Errorf("what is due: %+v", got.Next)
	}
	screen, _, err := explain(t, string(c.Session), "--nats-url="+s.NATS)
	if err != nil || !strings.Contains(screen, "no summary yet") || !strings.Contains(screen, "next: A status attempt 1, in 4m") {
		t.Errorf("%v\n%s", err, screen)
	}
	legatotest.StopsCleanly(t, s)
}

func TestWhatCannotBeExplained(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	nc, err := nats.Connect(s.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	rows := []struct{ name, id, code, want string }{
		{"an id with a space", "two words", "400", "without spaces"},
		{"an id with a line break", "a\nb", "400", "without spaces"},
		{"no id", "", "400", "without spaces"},
		{"an id that is too long", strings.Repeat("x", 513), "400", "without spaces"},
		{"an id that nobody knows", "5f1c0a20-0000-11f1-9c00-02420a0d0a00", "404", "nothing is known"},
		{"a control id that nobody knows", "v3:abc", "404", "nothing is known"},
		{"a wildcard", "*", "404", "nothing is known"},
		{"a wildcard for all that follows", ">", "404", "nothing is known"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if body, code := legatotest.Ask(t, nc, "legato.call.get", row.id); code != row.code || len(body) > 0 {
				t.Errorf("over NATS: %s %s, want %s", code, body, row.code)
			}
			if stdout, stderr, err := explain(t, "--nats-url="+s.NATS, "--", row.id); err == nil || stdout != "" || !strings.Contains(stderr, row.want) {
				t.Errorf("explain: %v, %q, %q", err, stdout, stderr)
			}
		})
	}
	if _, _, err := explain(t, "x", "--since=-1s", "--nats-url="+s.NATS); err == nil {
		t.Error("a negative --since was taken")
	}
	legatotest.StopsCleanly(t, s)
}

// TestQuestionsOverNATS looks at the service as the nats CLI does.
func TestQuestionsOverNATS(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	emea := legatotest.Serve(t, world.Env(), append(flags, "--subject-prefix=emea")...)
	silent := legatotest.Serve(t, world.Env(), append(flags, "--subject-prefix=silent", "--api=off")...)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	inbox := nats.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	hear := func(n int) (all []*nats.Msg) {
		t.Helper()
		for range n {
			m, err := answers.NextMsg(legatotest.Patience)
			if err != nil {
				t.Fatalf("%d of %d answered: %v", len(all), n, err)
			}
			all = append(all, m)
		}
		return all
	}
	if err := nc.PublishRequest("$SRV.INFO", inbox, nil); err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, m := range hear(3) {
		var info micro.Info
		if err := json.Unmarshal(m.Data, &info); err != nil {
			t.Fatal(err)
		}
		for _, e := range info.Endpoints {
			subjects = append(subjects, info.Name+" "+e.Subject+" "+e.QueueGroup+" "+info.Metadata["subject_prefix"])
		}
	}
	slices.Sort(subjects)
	if diff := cmp.Diff([]string{
		"legato legato.call.get q calls", "legato legato.call.get q calls", "legato-emea legato.emea.call.get q emea",
	}, subjects); diff != "" {
		t.Errorf("$SRV.INFO (-want +got):\n%s", diff)
	}
	if err := nc.PublishRequest("$SRV.PING.legato", inbox, nil); err != nil {
		t.Fatal(err)
	}
	hear(2)

	// Each question is answered once, by one of the replicas of its deployment.
	c := bridgedCall(t, world, a, 64)
	const questions = 20
	for range questions {
		if err := nc.PublishRequest("legato.call.get", inbox, []byte(c.Session)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range hear(questions) {
		if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
			t.Errorf("a replica answered %s", code)
		}
	}
	if _, code := legatotest.Ask(t, nc, "legato.emea.call.get", string(c.Session)); code != "404" {
		t.Errorf("another deployment answered %q", code)
	}
	if _, err := nc.Request("legato.silent.call.get", []byte("x"), legatotest.Patience); err == nil || !strings.Contains(err.Error(), "no responders") {
		t.Errorf("--api=off: %v", err)
	}
	if err := nc.PublishRequest("$SRV.STATS.legato", inbox, nil); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, m := range hear(2) {
		var stats micro.Stats
		if err := json.Unmarshal(m.Data, &stats); err != nil {
			t.Fatal(err)
		}
		asked += stats.Endpoints[0].NumRequests
	}
	if asked != questions {
		t.Errorf("the replicas counted %d questions, want %d", asked, questions)
	}
	if m, err := answers.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("one more answer: %s", m.Data)
	}
	for _, s := range []*legatotest.Server{a, b, emea, silent} {
		legatotest.StopsCleanly(t, s)
	}
	if _, err := nc.Request("legato.call.get", []byte("x"), legatotest.Patience); err == nil || !strings.Contains(err.Error(), "no responders") {
		t.Errorf("after the stop: %v", err)
	}
}

// TestAServiceThatMayNotAnswerGoesOn: the permission is missing, and nothing else is.
func TestAServiceThatMayNotAnswerGoesOn(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "nats.conf")
	err := os.WriteFile(config, []byte(`authorization { users: [
		{ user: service, password: s, permissions: { subscribe: { deny: ["legato.>", "$SRV.>"] } } }
		{ user: other, password: o }
	] }`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	url := legatotest.ExternalNATS(t, "--config="+config)
	as := func(user string) string { return strings.Replace(url, "nats://", "nats://"+user+"@", 1) }
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + as("service:s")}, legatotest.Quick...)...)
	if line := s.Logged("NATS reported an error"); !strings.Contains(line["error"].(string), "Permissions Violation") {
		t.Errorf("it is said as %v", line)
	}
	s.NATS = as("other:o")
	bridgedCall(t, world, s, 65)
	legatotest.StopsCleanly(t, s)
}

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/internal/fake"
)

func TestServeRefusesToStartAndSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	key := validPublicKey()
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
		{"an unknown flag", nil, []string{"--no-such-flag"}, "unknown flag"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=", "--data-dir=" + t.TempDir()}, row.args...)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, binaries.legato, args...)
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

// TestEverySummaryTellsTheTruth plays one call of every kind and holds what is
// published against what was played.
func TestEverySummaryTellsTheTruth(t *testing.T) {
	t.Parallel()
	world := newTelnyx(t)
	s := serve(t, append(world.env(), "LEGATO_LOG_LEVEL=debug"), embeddedFlags(t.TempDir())...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.target(), Sign: world.sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	end := time.Now().UTC().Truncate(time.Microsecond)
	for i, scenario := range fake.Scenarios() {
		c := fake.Generator{Seed: 5}.Of(scenario, uint64(i), end.Add(-5*time.Minute))
		world.know(c)
		for _, d := range c.Deliveries {
			if out := sender.Send(t.Context(), d); !out.Accepted {
				t.Fatalf("%s of a call %s was not accepted: %+v", d.Type, scenario, out)
			}
		}
	}
	for _, c := range world.calls {
		for _, l := range c.Legs {
			m := completed(t, s.nats, "calls.leg.completed.*."+string(c.Session)+"."+string(l.Ref.Leg))
			var got summary.Leg
			if err := json.Unmarshal(m.Data, &got); err != nil {
				t.Fatal(err)
			}
			want := truthOf(c.Scenario, l)
			if diff := cmp.Diff(want, legFacts(&got)); diff != "" {
				t.Errorf("a leg of a call %s (-want +got):\n%s", c.Scenario, diff)
			}
			checkHeaders(t, m, "legato.call.leg.completed.v1", "leg", string(l.Ref.Leg))
		}
		m := completed(t, s.nats, "calls.session.completed.*."+string(c.Session))
		var got summary.Session
		if err := json.Unmarshal(m.Data, &got); err != nil {
			t.Fatal(err)
		}
		if got.LegCount != len(c.Legs) || len(got.Legs) != len(c.Legs) || got.Outcome != wantOutcome[c.Scenario] || got.StatusState != summary.StatusConfirmed {
			t.Errorf("the session of a call %s: %s", c.Scenario, m.Data)
		}
		checkHeaders(t, m, "legato.call.session.completed.v1", "session", string(c.Session))
	}
	world.wantNoSecrets(t, s)
	stopsCleanly(t, s)
}

// wantOutcome is what a call of each kind comes to.
var wantOutcome = map[fake.Scenario]summary.Outcome{
	fake.IVR: summary.OutcomeAnswered, fake.InboundBridged: summary.OutcomeAnswered,
	fake.OutboundBridged: summary.OutcomeAnswered, fake.Queue: summary.OutcomeAnswered,
	fake.Voicemail: summary.OutcomeAnswered, fake.NoAnswer: summary.OutcomeNoAnswer,
	fake.Busy: summary.OutcomeBusy, fake.Canceled: summary.OutcomeCanceled,
	fake.Rejected: summary.OutcomeRejected, fake.Failed: summary.OutcomeFailed,
}

// factsOf is what a fake call knows about a leg.
type factsOf struct {
	Direction, From, To, Control, Connection string
	Outcome                                  summary.Outcome
	Cause, Source, SIPCode                   string
	Start, Answer, End                       time.Time
	Status                                   summary.StatusState
	EndedBy                                  summary.EndedBy
	Duration                                 time.Duration
}

func truthOf(s fake.Scenario, l fake.Leg) factsOf {
	return factsOf{
		Direction: l.Direction, From: l.From, To: l.To, Control: string(l.Ref.Control), Connection: string(l.Ref.Connection),
		Outcome: wantOutcome[s], Cause: l.Cause, Source: l.Source, SIPCode: l.SIPCode,
		Start: l.Start, Answer: l.AnsweredAt, End: l.End, Status: summary.StatusConfirmed,
		EndedBy: summary.EndedByHangup, Duration: l.End.Sub(l.Start),
	}
}

func legFacts(l *summary.Leg) factsOf {
	f := factsOf{
		Direction: l.Direction, From: l.From, To: l.To, Control: l.CallControlID, Connection: l.ConnectionID,
		Outcome: l.Outcome, Start: l.StartedAt.Known(), Answer: l.AnsweredAt.Known(), End: l.EndedAt.Known(),
		Status: l.Status.State, EndedBy: l.EndedBy,
	}
	if l.Hangup != nil {
		f.Cause, f.Source, f.SIPCode = l.Hangup.Cause, l.Hangup.Source, l.Hangup.SIPCode
	}
	f.Duration = f.End.Sub(f.Start)
	return f
}

// completed waits for the one message on a subject.
func completed(t *testing.T, url, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	js := dial(t, url)
	var m *jetstream.RawStreamMsg
	eventually(t, "a message on "+subject, func() error {
		stream, err := js.Stream(t.Context(), "CALLS")
		if err != nil {
			return err
		}
		m, err = stream.GetLastMsgForSubject(t.Context(), subject)
		return err
	})
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(m.Data, &head); err != nil {
		t.Fatal(err)
	}
	schematest.Check(t, head.Kind, m.Data)
	return m
}

func checkHeaders(t *testing.T, m *jetstream.RawStreamMsg, ceType, kind, id string) {
	t.Helper()
	h := m.Header
	want := map[string]string{
		"Content-Type": "application/json", "ce-specversion": "1.0", "ce-datacontenttype": "application/json",
		"ce-type": ceType, "ce-id": h.Get("Nats-Msg-Id"),
	}
	for name, value := range want {
		if h.Get(name) != value {
			t.Errorf("%s: header %s is %q, want %q", m.Subject, name, h.Get(name), value)
		}
	}
	for _, name := range []string{"Nats-Msg-Id", "ce-source", "ce-subject", "ce-time", "ce-dataschema", "Legato-Position"} {
		if h.Get(name) == "" {
			t.Errorf("%s: header %s is missing", m.Subject, name)
		}
	}
	if !strings.Contains(h.Get("Nats-Msg-Id"), kind) || !strings.Contains(h.Get("Nats-Msg-Id"), id) {
		t.Errorf("%s: Nats-Msg-Id is %q", m.Subject, h.Get("Nats-Msg-Id"))
	}
}

func (w *telnyxWorld) know(c fake.Call) {
	for _, l := range c.Legs {
		known := statusCall(l)
		known.Events = historyOf(c, l)
		w.api.Register(known)
	}
	w.calls = append(w.calls, c)
}

// historyOf is what Telnyx has on record of a leg of a call.
func historyOf(c fake.Call, l fake.Leg) (events []fake.HistoryEvent) {
	for _, d := range c.Deliveries {
		if d.LegID == l.Ref.Leg && !d.Duplicate {
			events = append(events, fake.HistoryEvent{ID: d.EventID, Type: d.Type, OccurredAt: d.OccurredAt, Data: d.Data})
		}
	}
	return events
}

func statusCall(l fake.Leg) fake.APICall {
	return fake.APICall{Ref: l.Ref, StartTime: l.Start, EndTime: l.End, Duration: l.Duration, ClientState: l.ClientState}
}

// wantNoSecrets looks for numbers, client_state and keys where they must not be.
func (w *telnyxWorld) wantNoSecrets(t *testing.T, s *server) {
	t.Helper()
	response, err := http.Get(s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"legato_webhooks_total", "legato_log_appends_total", "legato_summaries_total", "legato_sessions", "legato_queue_held"} {
		if !strings.Contains(string(metrics), name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	secrets := []string{"KEY-of-a-test", "+1202555"}
	for _, c := range w.calls {
		for _, l := range c.Legs {
			if l.ClientState != "" {
				secrets = append(secrets, l.ClientState)
			}
		}
	}
	for _, secret := range secrets {
		if strings.Contains(s.text(), secret) {
			t.Errorf("the log shows %q", secret)
		}
		if strings.Contains(string(metrics), secret) {
			t.Errorf("the metrics show %q", secret)
		}
	}
}

func TestStoppedInTheMiddleNothingIsLost(t *testing.T) {
	t.Parallel()
	world := newTelnyx(t)
	flags := embeddedFlags(t.TempDir())
	s := serve(t, world.env(), flags...)
	player := world.player(t, s.target(), 40, 13)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	eventually(t, "100 webhooks are accepted", func() error {
		if n := player.Ledger().Totals().Accepted; n < 100 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	stopsCleanly(t, s)
	s = serve(t, world.env(), again(flags, s)...)
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.wantOnce(t, s.nats, player.Ledger())
}

func TestDemoEndsWithEveryCallCompletedOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, binaries.legato, "demo", "--calls=4", "--rate=4").CombinedOutput()
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, binaries.legato, "demo", "--calls=2", "--drop=1", "--reorder=0", "--duplicates=0").CombinedOutput()
	if err == nil {
		t.Fatalf("the demo was content:\n%s", out)
	}
	if !strings.Contains(string(out), "0 of 2 sessions have a summary") {
		t.Errorf("the demo did not say what is missing:\n%s", out)
	}
}

func TestVersionAndHealthAndSchemas(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), binaries.legato, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "legato ") || !strings.Contains(string(out), "go1.") {
		t.Errorf("version printed %q, %v", out, err)
	}
	world := newTelnyx(t)
	s := serve(t, world.env(), embeddedFlags(t.TempDir())...)
	wantSchemas(t, s)
	address := strings.TrimPrefix(s.admin, "http://")
	if out, err := exec.CommandContext(t.Context(), binaries.legato, "health", "--admin-listen="+address).CombinedOutput(); err != nil {
		t.Errorf("health of a ready service: %v, %s", err, out)
	}
	s.kill()
	if out, err := exec.CommandContext(t.Context(), binaries.legato, "health", "--admin-listen="+address).CombinedOutput(); err == nil {
		t.Errorf("health of a dead service: %s", out)
	}
}

// wantSchemas reads the schemas as a consumer would.
func wantSchemas(t *testing.T, s *server) {
	t.Helper()
	for path, want := range map[string]int{
		"/schemas/leg.v1.json": http.StatusOK, "/schemas/session.v1.json": http.StatusOK,
		"/schemas/": http.StatusNotFound, "/schemas/leg.v2.json": http.StatusNotFound, "/schemas/schema.go": http.StatusNotFound,
	} {
		response, err := http.Get(s.admin + path)
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
	world := newTelnyx(t)
	s := serve(t, world.env(), embeddedFlags(t.TempDir())...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.target(), Sign: world.sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 9}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
	completed(t, s.nats, "calls.session.completed.*."+string(c.Session))
	for flag, want := range map[string]string{"--json=false": "busy", "--json": `"outcome":"busy"`} {
		tail := exec.CommandContext(t.Context(), binaries.legato, "tail", "--nats-url="+s.nats, "--all", flag)
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

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/internal/fake"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestRecommendedPermissionsSeparateSummariesFromRawEvents runs a NATS server with
// the permissions that docs/messages.md recommends for consumers.
func TestRecommendedPermissionsSeparateSummariesFromRawEvents(t *testing.T) {
	t.Parallel()
	page := legatotest.ReadText(t, "docs", "messages.md")
	permissions := regexp.MustCompile(`(?s)\n    permissions: \{.*?\n    \}\n`).FindString(page)
	if permissions == "" {
		t.Fatal("docs/messages.md recommends no permissions")
	}
	config := filepath.Join(t.TempDir(), "nats.conf")
	err := os.WriteFile(config, []byte(`authorization { users: [
		{ user: service, password: s }
		{ user: reader, password: r, `+permissions+` }
	] }`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	url := legatotest.ExternalNATS(t, "--config="+config)
	as := func(user string) string { return strings.Replace(url, "nats://", "nats://"+user+"@", 1) }

	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + as("service:s")}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 3}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
	legatotest.Completed(t, as("service:s"), "calls.session.completed.*."+string(c.Session))
	if found := legatotest.Summaries(t, as("reader:r")); len(found) != 2 {
		t.Errorf("a reader found %d summaries, want those of a leg and a session", len(found))
	}
	file := filepath.Join(t.TempDir(), "legs.ndjson")
	if out, err := exec.CommandContext(t.Context(), legatotest.Program(), "export", "--nats-url="+as("reader:r"), "--output="+file).CombinedOutput(); err != nil || !strings.Contains(string(out), "exported 1 leg ") {
		t.Errorf("a reader cannot export: %v\n%s", err, out)
	}
	if strings.Contains(s.Text(), ":s@") {
		t.Error("the log shows the password of NATS")
	}

	nc, err := nats.Connect(as("reader:r"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.OrderedConsumer(t.Context(), "CALL_EVENTS", jetstream.OrderedConsumerConfig{}); err == nil {
		t.Error("a reader may read the raw events")
	}
	refused := make(chan error, 8)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	if _, err := nc.SubscribeSync("calls.event.>"); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("legato.call.get", []byte(c.Session)); err != nil {
		t.Fatal(err)
	}
	for wanted := map[string]bool{"calls.event.>": true, "legato.call.get": true}; len(wanted) > 0; {
		select {
		case err := <-refused:
			for subject := range wanted {
				if strings.Contains(err.Error(), subject) {
					delete(wanted, subject)
				}
			}
		case <-time.After(legatotest.Patience):
			t.Fatalf("a reader may use %v", wanted)
		}
	}
}

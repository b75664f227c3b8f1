package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/fake"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

// TestEverySummaryTellsTheTruth plays one call of every kind and holds what is
// published against what was played.
func TestEverySummaryTellsTheTruth(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, append(world.Env(), "LEGATO_LOG_LEVEL=debug"), legatotest.EmbeddedFlags(t.TempDir())...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	end := time.Now().UTC().Truncate(time.Microsecond)
	for i, scenario := range fake.Scenarios() {
		c := fake.Generator{Seed: 5}.Of(scenario, uint64(i), end.Add(-5*time.Minute))
		world.Know(c)
		for _, d := range c.Deliveries {
			if out := sender.Send(t.Context(), d); !out.Accepted {
				t.Fatalf("%s of a call %s was not accepted: %+v", d.Type, scenario, out)
			}
		}
	}
	for _, c := range world.Calls {
		for _, l := range c.Legs {
			m := legatotest.Completed(t, s.NATS, "calls.leg.completed.*."+string(c.Session)+"."+string(l.Ref.Leg))
			var got summary.Leg
			if err := json.Unmarshal(m.Data, &got); err != nil {
				t.Fatal(err)
			}
			want := legatotest.TruthOf(c.Scenario, l)
			if diff := cmp.Diff(want, legatotest.LegFacts(&got)); diff != "" {
				t.Errorf("a leg of a call %s (-want +got):\n%s", c.Scenario, diff)
			}
			checkHeaders(t, m, "legato.call.leg.completed.v1", "leg", string(l.Ref.Leg))
		}
		m := legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
		var got summary.Session
		if err := json.Unmarshal(m.Data, &got); err != nil {
			t.Fatal(err)
		}
		if got.LegCount != len(c.Legs) || len(got.Legs) != len(c.Legs) || got.Outcome != legatotest.WantOutcome[c.Scenario] || got.StatusState != summary.StatusConfirmed {
			t.Errorf("the session of a call %s: %s", c.Scenario, m.Data)
		}
		checkHeaders(t, m, "legato.call.session.completed.v1", "session", string(c.Session))
	}
	wantNoSecrets(t, world, s)
	legatotest.StopsCleanly(t, s)
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

// wantNoSecrets looks for numbers, client_state and keys where they must not be.
func wantNoSecrets(t *testing.T, w *legatotest.Telnyx, s *legatotest.Server) {
	t.Helper()
	response, err := http.Get(s.Admin + "/metrics")
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
	for _, c := range w.Calls {
		for _, l := range c.Legs {
			if l.ClientState != "" {
				secrets = append(secrets, l.ClientState)
			}
		}
	}
	for _, secret := range secrets {
		if strings.Contains(s.Text(), secret) {
			t.Errorf("the log shows %q", secret)
		}
		if strings.Contains(string(metrics), secret) {
			t.Errorf("the metrics show %q", secret)
		}
	}
}

func TestStoppedInTheMiddleNothingIsLost(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(t.TempDir())
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 40, 13)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	legatotest.Eventually(t, "100 webhooks are accepted", func() error {
		if n := player.Ledger().Totals().Accepted; n < 100 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	legatotest.StopsCleanly(t, s)
	s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, s.NATS, player.Ledger())
}

// TestTheCollectorHasRoomUnlessItIsToldOtherwise looks at what the runtime says of its own settings.
func TestTheCollectorHasRoomUnlessItIsToldOtherwise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env     []string
		percent func(float64) bool
		limit   float64 // 0: that of the control group that the test runs in, if any
	}{
		"nothing set": {
			// Beside some MiB alive, 256 MiB are more than ten times as much.
			percent: func(p float64) bool { return p > 1000 },
		},
		"GOGC": {
			env:     []string{"GOGC=50"},
			percent: func(p float64) bool { return p == 50 },
		},
		"GOMEMLIMIT": {
			env:     []string{"GOMEMLIMIT=300MiB"},
			percent: func(p float64) bool { return p > 1000 },
			limit:   300 << 20,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := legatotest.Serve(t, append(legatotest.NewTelnyx(t).Env(), c.env...), legatotest.EmbeddedFlags(t.TempDir())...)
			m := legatotest.Scrape(t, s.Admin)
			if percent := m["go_gc_gogc_percent"]; !c.percent(percent) {
				t.Errorf("GOGC is %v %%", percent)
			}
			if limit := m["go_gc_gomemlimit_bytes"]; c.limit != 0 && limit != c.limit {
				t.Errorf("the memory limit is %v bytes", limit)
			}
		})
	}
}

// TestTheCollectorsRoomFollowsTheLiveHeap has a limit that makes collections certain: from the first one on, the
// percentage is that of what was found alive, no more that of Go's smallest heap.
func TestTheCollectorsRoomFollowsTheLiveHeap(t *testing.T) {
	t.Parallel()
	const first = 6400 // 256 MiB of 4 MiB, in percent
	s := legatotest.Serve(t, append(legatotest.NewTelnyx(t).Env(), "GOMEMLIMIT=24MiB"), legatotest.EmbeddedFlags(t.TempDir())...)
	legatotest.Eventually(t, "a percentage below the first one", func() error {
		if percent := legatotest.Scrape(t, s.Admin)["go_gc_gogc_percent"]; percent <= 100 || percent >= first {
			return fmt.Errorf("GOGC is %v %%", percent)
		}
		return nil
	})
}

package main_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/fake"
)

// telnyxWorld is a fake Telnyx: a key, a status API, and the truth about every call that was played.
type telnyxWorld struct {
	key   ed25519.PrivateKey
	api   *fake.API
	url   string
	calls []fake.Call // written by the player before its first delivery, read after the play
}

func newTelnyx(t *testing.T) *telnyxWorld {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &telnyxWorld{key: key, api: fake.NewAPI(fake.APIConfig{APIKey: "KEY-of-a-test"})}
	server := httptest.NewServer(w.api)
	t.Cleanup(server.Close)
	w.url = server.URL + "/v2"
	return w
}

func (w *telnyxWorld) env() []string {
	return []string{
		"TELNYX_PUBLIC_KEY=" + base64.StdEncoding.EncodeToString(w.key.Public().(ed25519.PublicKey)),
		"TELNYX_API_KEY=KEY-of-a-test",
		"TELNYX_BASE_URL=" + w.url,
		"LEGATO_LOG_FORMAT=json",
	}
}

func (w *telnyxWorld) sign(at time.Time, body []byte) (timestamp, signature string) {
	return telnyx.Sign(w.key, at, body)
}

// player plays calls against a webhook URL and remembers the truth about them.
func (w *telnyxWorld) player(t *testing.T, target string, calls int, seed uint64, options ...func(*fake.SenderConfig)) *fake.Player {
	t.Helper()
	sender := fake.SenderConfig{
		Target:   target,
		Sign:     w.sign,
		Attempts: 8, // the outage of a restart is longer than what Telnyx's schedule is known to bridge
	}
	for _, option := range options {
		option(&sender)
	}
	p, err := fake.NewPlayer(fake.PlayerConfig{
		Generator: fake.Generator{Seed: seed},
		Disorder:  fake.Disorder{Duplicates: 0.2, Reorder: 0.2},
		Sender:    sender,
		Calls:     calls, Rate: 25, Speed: 40,
		OnCall: w.know,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// quick shortens the settle times; what is tested does not depend on them.
var quick = []string{"--settle=200ms", "--session-settle=1s"}

func embeddedFlags(dir string) []string {
	return append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=127.0.0.1:0", "--data-dir=" + dir}, quick...)
}

// again are the flags of a restart: webhooks must come in at the same address.
func again(flags []string, s *server) []string {
	return append(append([]string(nil), flags...), "--listen="+s.webhooks)
}

// summaries reads everything that stands in the stream of summaries.
func summaries(t *testing.T, url string) map[string][]published {
	t.Helper()
	found := make(map[string][]published)
	for _, m := range stored(t, dial(t, url), "CALLS") {
		var p published
		if err := json.Unmarshal(m.Data(), &p); err != nil {
			t.Fatal(err)
		}
		schematest.Check(t, p.Kind, m.Data())
		p.subject = m.Subject()
		id := p.Session + "/" + p.Leg
		found[id] = append(found[id], p)
	}
	return found
}

// stored reads all messages of a stream.
func stored(t *testing.T, js jetstream.JetStream, name string) []jetstream.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	var all []jetstream.Msg
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("read the stream %s: %v", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		if meta.Sequence.Stream >= state.LastSeq {
			return all
		}
	}
}

// dial connects to a NATS server until the end of the test.
func dial(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

type published struct {
	subject  string
	Kind     string `json:"kind"`
	Revision int    `json:"revision"`
	Session  string `json:"call_session_id"`
	Leg      string `json:"call_leg_id"`
	Outcome  string `json:"outcome"`
	Legs     int    `json:"leg_count"`
	Events   []struct {
		ID string `json:"id"`
	} `json:"events"`
	Status struct {
		State    string `json:"state"`
		Final    bool   `json:"final"`
		Attempts int    `json:"attempts"`
	} `json:"status"`
}

// wantOnce checks that every call whose hangups were accepted has exactly one
// completed summary for each leg and its session, that revisions count up without a gap, and that
// nobody is summarised who was not played.
func (w *telnyxWorld) wantOnce(t *testing.T, url string, ledgers ...*fake.Ledger) {
	t.Helper()
	fates := make(map[string]fake.Fate)
	for _, l := range ledgers {
		maps.Copy(fates, l.Fates())
	}
	want := make(map[string]bool)
	for _, c := range w.calls {
		whole := true
		for _, d := range c.Deliveries {
			if d.Type == "call.hangup" && !d.Duplicate {
				if fates[d.EventID].Accepted > 0 {
					want[string(c.Session)+"/"+string(d.LegID)] = true
				} else {
					whole = false
				}
			}
		}
		if whole {
			want[string(c.Session)+"/"] = true
		}
	}
	if len(want) < len(w.calls) {
		t.Fatalf("only %d of the summaries of %d calls are due: the play itself failed", len(want), len(w.calls))
	}
	eventually(t, "every leg and session is completed", func() error {
		found := summaries(t, url)
		for id := range want {
			if len(found[id]) == 0 {
				return fmt.Errorf("no summary of %s", id)
			}
		}
		return nil
	})
	for id, revisions := range summaries(t, url) {
		if !want[id] {
			t.Errorf("a summary of %s, whose hangup was not accepted", id)
		}
		for i, p := range revisions {
			if p.Revision != i+1 {
				t.Errorf("%s: message %d has revision %d", id, i+1, p.Revision)
			}
			if got := strings.Contains(p.subject, ".completed."); got != (i == 0) {
				t.Errorf("%s: revision %d stands on %s", id, p.Revision, p.subject)
			}
		}
	}
}

func TestKilledInTheMiddleEveryAnsweredLegIsCompletedOnce(t *testing.T) {
	t.Parallel()
	world := newTelnyx(t)
	flags := embeddedFlags(t.TempDir())
	s := serve(t, world.env(), flags...)
	player := world.player(t, s.target(), 60, 11)
	s = playThroughKills(t, world, player, s, flags)
	world.wantOnce(t, s.nats, player.Ledger())
	stopsCleanly(t, s)
}

func TestKilledInTheMiddleOnAnExternalNATS(t *testing.T) {
	t.Parallel()
	url := externalNATS(t)
	world := newTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, quick...)
	s := serve(t, world.env(), flags...)
	player := world.player(t, s.target(), 60, 12)
	s = playThroughKills(t, world, player, s, flags)
	world.wantOnce(t, url, player.Ledger())
	stopsCleanly(t, s)
}

// playThroughKills plays to the end while the service is killed twice at moments
// that chance chooses, and started again.
func playThroughKills(t *testing.T, w *telnyxWorld, player *fake.Player, s *server, flags []string) *server {
	t.Helper()
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	// 60 calls at 25 a second begin within 2.4 s and are over some 5 s later.
	accepted := 0
	for range 2 {
		accepted += 40 + rand.N(80)
		eventually(t, fmt.Sprintf("%d webhooks are accepted", accepted), func() error {
			if n := player.Ledger().Totals().Accepted; n < accepted {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		s.kill()
		s = serve(t, w.env(), again(flags, s)...)
	}
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	return s
}

func stopsCleanly(t *testing.T, s *server) {
	t.Helper()
	took, err := s.terminate()
	if err != nil {
		t.Errorf("the service ended with %v", err)
	}
	if took > 15*time.Second {
		t.Errorf("the service took %v to stop", took)
	}
}

// externalNATS runs a nats-server of its own process.
func externalNATS(t *testing.T, flags ...string) string {
	t.Helper()
	path, err := natsServerOnce()
	if err != nil {
		t.Fatal(err)
	}
	// nats-server tells its port only in a file; it is read back from there.
	dir := t.TempDir()
	launch(t, nil, path, append([]string{
		"--addr=127.0.0.1", "--port=-1", "--jetstream", "--store_dir=" + t.TempDir(), "--ports_file_dir=" + dir,
	}, flags...)...)
	var url string
	eventually(t, "nats-server listens", func() error {
		url, err = portsFile(dir)
		return err
	})
	if _, _, err := net.SplitHostPort(strings.TrimPrefix(url, "nats://")); err != nil {
		t.Fatalf("nats-server listens at %q", url)
	}
	return url
}

// portsFile reads the client URL that nats-server wrote into its directory.
func portsFile(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", errors.New("no ports file yet")
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return "", err
	}
	var ports struct {
		NATS []string `json:"nats"`
	}
	if err := json.Unmarshal(data, &ports); err != nil {
		return "", err
	}
	if len(ports.NATS) == 0 {
		return "", errors.New("no client port yet")
	}
	return ports.NATS[0], nil
}

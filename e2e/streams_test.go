package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
)

// external starts a service on a NATS server of its own process.
func external(t *testing.T, world *legatotest.Telnyx, url string, more ...string) (s *legatotest.Server, flags []string) {
	t.Helper()
	flags = append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	flags = append(flags, more...)
	return legatotest.Serve(t, world.Env(), flags...), flags
}

// rings delivers a call.
func rings(t *testing.T, world *legatotest.Telnyx, s *legatotest.Server, number uint64) fake.Call {
	t.Helper()
	c := fake.Generator{Seed: 31}.Of(fake.Busy, number, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		world.Deliver(t, s.Target(), d.Body(1, s.Target()))
	}
	return c
}

func TestWithoutItsSummariesAServiceSaysSoStopsInTimeAndFinishesLater(t *testing.T) {
	t.Parallel()
	for _, comes := range []string{"with a start", "by itself"} {
		t.Run(comes, func(t *testing.T) {
			t.Parallel()
			url := legatotest.ExternalNATS(t)
			world := legatotest.NewTelnyx(t)
			s, flags := external(t, world, url)
			js := legatotest.Dial(t, url)
			if err := js.DeleteStream(t.Context(), "CALLS"); err != nil {
				t.Fatal(err)
			}
			c := rings(t, world, s, 1)
			says(t, s.Admin, http.StatusServiceUnavailable, "stream CALLS does not exist")
			if comes == "with a start" {
				legatotest.StopsCleanly(t, s)
				s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
			} else {
				layout, err := natsd.NewLayout(natsd.DefaultPrefix)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := natsd.Manage(t.Context(), js, layout, natsd.Limits{}); err != nil {
					t.Fatal(err)
				}
				s.Ready()
			}
			legatotest.Completed(t, url, "calls.session.completed.*."+string(c.Session))
			legatotest.StopsCleanly(t, s)
		})
	}
}

func TestASealedStreamIsSaidAndAServiceStops(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"CALLS", "CALL_EVENTS"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := legatotest.ExternalNATS(t)
			world := legatotest.NewTelnyx(t)
			s, _ := external(t, world, url)
			stream, err := legatotest.Dial(t, url).Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			config.Sealed = true
			if _, err := legatotest.Dial(t, url).UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			says(t, s.Admin, http.StatusServiceUnavailable, "stream "+name+": sealed is true")
			s.Logged("a stream was changed while the service runs")
			legatotest.StopsCleanly(t, s)
		})
	}
}

// Only a person can rid an embedded server of a sealed stream, and only while it runs: a start waits for that.
func TestAStartWaitsForASealedStreamOfItsOwnServerToBeRemoved(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(t.TempDir())
	s := legatotest.Serve(t, world.Env(), flags...)
	before := world.Player(t, s.Target(), 1, 41)
	if err := before.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, s.NATS, before.Ledger())
	stream, err := legatotest.Dial(t, s.NATS).Stream(t.Context(), "CALLS")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Sealed = true
	if _, err := legatotest.Dial(t, s.NATS).UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	legatotest.StopsCleanly(t, s)
	waits := legatotest.Launch(t, world.Env(), legatotest.Program(), append([]string{"serve"}, flags...)...)
	url := waits.Logged("NATS is not usable yet")["nats"].(string)
	says(t, strings.TrimSuffix(waits.Logged("watch")["health"].(string), "/readyz"), http.StatusServiceUnavailable, "stream CALLS: sealed is true")
	if err := legatotest.Dial(t, url).DeleteStream(t.Context(), "CALLS"); err != nil {
		t.Fatal(err)
	}
	target := "http://" + waits.Logged("taking webhooks")["listen"].(string) + "/webhooks/telnyx"
	after := world.Player(t, target, 1, 42)
	if err := after.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, before.Ledger(), after.Ledger())
}

func TestEditsOfAStreamAreSaidWithinAMinute(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url)
	js := legatotest.Dial(t, url)
	stream, err := js.Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	says(t, s.Admin, http.StatusOK, "ready")
	config := stream.CachedInfo().Config
	config.MaxMsgs, config.MaxAge = 100_000, 30*time.Hour
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	says(t, s.Admin, http.StatusOK, "stream CALL_EVENTS: max_age is 30h, want 24h")
	for !strings.Contains(s.Text(), "max_msgs was -1, is 100000") {
		if time.Since(begun) > time.Minute {
			t.Fatal("the change is not said")
		}
		s.Logged("a stream was changed while the service runs")
	}
}

// A queue that an operator has paused hands nothing out.
func TestAPausedQueueIsNotReady(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url)
	js := legatotest.Dial(t, url)
	if _, err := js.PauseConsumer(t.Context(), "CALL_EVENTS", "legato", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	c := rings(t, world, s, 2)
	says(t, s.Admin, http.StatusServiceUnavailable, "is paused")
	if got := legatotest.Scrape(t, s.Admin).Sum("legato_failing_seconds", `part="queue"`); got <= 0 {
		t.Errorf("legato_failing_seconds of the queue is %v", got)
	}
	if _, err := js.ResumeConsumer(t.Context(), "CALL_EVENTS", "legato"); err != nil {
		t.Fatal(err)
	}
	s.Ready()
	legatotest.Completed(t, url, "calls.session.completed.*."+string(c.Session))
}

// Other programs of the account may have used up its consumers when the follower has to be made again.
func TestAFollowerThatCannotBeMadeIsNotReady(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte(`accounts { A {
		users: [ { user: u, password: p } ], jetstream { max_consumers: 3 } } }
		no_auth_user: u`), 0o600); err != nil {
		t.Fatal(err)
	}
	url := legatotest.ExternalNATS(t, "--config="+config)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url)
	js := legatotest.Dial(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	stream, err := js.Stream(ctx, "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	// The service makes its consumer again as soon as it is gone: until it comes too late.
	taken := make(map[string]bool)
	legatotest.Eventually(t, "all consumers are taken", func() error {
		others := 0
		for name := range stream.ConsumerNames(ctx).Name() {
			if name == "legato" || taken[name] {
				continue
			}
			others++
			if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return err
			}
		}
		for {
			c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{InactiveThreshold: time.Hour})
			if err != nil {
				break
			}
			taken[c.CachedInfo().Name] = true
		}
		if others > 0 || len(taken) == 0 {
			return fmt.Errorf("%d of others were there, and %d are taken", others, len(taken))
		}
		return nil
	})
	c := rings(t, world, s, 3)
	says(t, s.Admin, http.StatusServiceUnavailable, "the log cannot be followed for")
	if got := legatotest.Scrape(t, s.Admin).Sum("legato_failing_seconds", `part="follow"`); got <= 0 {
		t.Errorf("legato_failing_seconds of the follower is %v", got)
	}
	if !strings.Contains(s.Get(t, "/readyz"), "maximum consumers") {
		t.Errorf("the cause is not told: %s", s.Get(t, "/readyz"))
	}
	for name := range taken {
		if err := stream.DeleteConsumer(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	s.Ready()
	legatotest.Completed(t, url, "calls.session.completed.*."+string(c.Session))
	legatotest.StopsCleanly(t, s)
}

func TestReplicasSayWhichOfTheirSettingsDiffer(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	a, flags := external(t, world, url)
	b, _ := external(t, world, url, "--include=dtmf", "--sweep-after=7m", "--forward=crm=https://crm.test/a-secret-of-a-test")
	for _, s := range []*legatotest.Server{a, b} {
		said := s.Logged("another replica has other settings")
		if got, want := fmt.Sprint(said["settings"]), "[--forward --include --sweep-after]"; got != want {
			t.Errorf("it is said of %s, want %s", got, want)
		}
		says(t, s.Admin, http.StatusOK, "replicas have different settings: --forward, --include, --sweep-after")
	}
	same := legatotest.Serve(t, world.Env(), flags...)
	if lines := same.Logged("another replica has other settings"); lines == nil {
		t.Error("a third replica does not hear of it")
	}
	for _, s := range []*legatotest.Server{a, b, same} {
		if lines := strings.Count(s.Text(), "another replica has other settings"); lines != 1 {
			t.Errorf("%d lines tell of it", lines)
		}
	}
	for _, m := range legatotest.Stored(t, legatotest.Dial(t, url), "CALL_EVENTS") {
		if strings.Contains(string(m.Data()), "a-secret") {
			t.Error("the log has a value")
		}
	}
}

// The clock of the log is that of the server that leads it. A heartbeat says what time its replica has: here one that
// says so ten minutes late.
func TestAClockOfTheLogThatIsNotOnesOwnIsSaid(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url)
	js := legatotest.Dial(t, url)
	var beat struct {
		Replica string    `json:"replica"`
		At      time.Time `json:"at"`
	}
	legatotest.Eventually(t, "a heartbeat", func() error {
		stream, err := js.Stream(t.Context(), "CALL_EVENTS")
		if err != nil {
			return err
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), "calls.internal.probe")
		if err != nil {
			return err
		}
		return json.Unmarshal(m.Data, &beat)
	})
	beat.At = time.Now().Add(-10 * time.Minute)
	body, err := json.Marshal(beat)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "calls.internal.probe", body); err != nil {
		t.Fatal(err)
	}
	if got := s.Logged("the log's clock differs from this machine's")["ahead"]; got != "10m0s" {
		t.Errorf("it is %v ahead", got)
	}
}

// A server's operator may allow less than Legato would use by itself: it makes do with that. A long call is completed in
// what a message may have, and nothing is parked.
func TestALongCallIsCompletedWithinTheServersLimits(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte(`max_payload: 131072
		jetstream { limits { max_ack_pending: 100, max_request_batch: 16, duplicate_window: 30s } }
		accounts { A { users: [ { user: u, password: p } ], jetstream { max_file: 200MB, max_bytes_required: true } } }
		no_auth_user: u`), 0o600); err != nil {
		t.Fatal(err)
	}
	url := legatotest.ExternalNATS(t, "--config="+config)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url, "--events-max-bytes=67108864", "--calls-max-bytes=67108864")
	c := fake.Generator{Seed: 31}.Of(fake.Busy, 7, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	world.Deliver(t, s.Target(), c.Deliveries[0].Body(1, s.Target()))
	ref := c.Legs[0].Ref
	for n := range 60 {
		body, err := json.Marshal(map[string]any{"data": map[string]any{
			"record_type": "event", "event_type": "call.ai_gather.ended", "id": fmt.Sprintf("long-%d", n),
			"occurred_at": time.Now().UTC().Add(-time.Minute), "payload": map[string]any{
				"call_session_id": ref.Session, "call_leg_id": ref.Leg, "call_control_id": ref.Control, "status": "valid",
				"message_history": []map[string]string{{"role": "user", "content": strings.Repeat("what was said ", 600)}},
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		world.Deliver(t, s.Target(), body)
	}
	world.Deliver(t, s.Target(), c.Deliveries[1].Body(1, s.Target()))
	m := legatotest.Completed(t, url, "calls.leg.completed.*.*."+string(ref.Leg))
	if size := len(m.Data); size > 128<<10 || size < 16<<10 {
		t.Errorf("the summary of a long leg has %d bytes", size)
	}
	legatotest.Completed(t, url, "calls.session.completed.*."+string(c.Session))
	for _, m := range legatotest.Stored(t, legatotest.Dial(t, url), "CALL_PARKED") {
		t.Errorf("%s was parked", m.Subject())
	}
	s.Logged("the server allows fewer tasks to be held at once")
	legatotest.StopsCleanly(t, s)
}

// passedOn are the headers of a message that docs/consumers/README.md says to keep: of NATS's own the id alone. The
// others were conditions of the first publication, or tell where a copy came from.
func passedOn(h nats.Header) nats.Header {
	kept := make(nats.Header)
	for name, values := range h {
		if !strings.HasPrefix(name, "Nats-") || name == jetstream.MsgIDHeader {
			kept[name] = values
		}
	}
	return kept
}

// TestAllMessagesCanBePassedOnTheDocumentedWay copies what a run has published: by a consumer that publishes anew, by
// a stream that has it as its source, and by a subscriber to what that stream republishes. With all their headers
// many would be refused.
func TestAllMessagesCanBePassedOnTheDocumentedWay(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url)
	player := world.Player(t, s.Target(), 40, 51)
	if err := player.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, player.Ledger())
	world.Deliver(t, s.Target(), []byte(`{"data":{"record_type":"event","event_type":"message.received","id":"x","payload":{}}}`))
	var burst sync.WaitGroup
	for n := range uint64(200) { // at once, so that they are appended in batches
		burst.Go(func() {
			if _, err := world.TryPost(t, s.Target(), time.Now(), legatotest.Ringing(n)); err != nil {
				t.Error(err)
			}
		})
	}
	burst.Wait()
	legatotest.StopsCleanly(t, s) // what is copied is whole

	js := legatotest.Dial(t, url)
	stream := func(cfg jetstream.StreamConfig) {
		t.Helper()
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"anew", "naive", "republished"} {
		stream(jetstream.StreamConfig{Name: strings.ToUpper(name), Subjects: []string{name + ".>"}})
	}
	var all []jetstream.Msg
	var sources []*jetstream.StreamSource
	for _, name := range []string{"CALLS", "CALL_EVENTS", "CALL_PARKED"} {
		all = append(all, legatotest.Stored(t, js, name)...)
		sources = append(sources, &jetstream.StreamSource{Name: name})
	}
	republished, err := js.Conn().SubscribeSync("core.>")
	if err != nil {
		t.Fatal(err)
	}
	stream(jetstream.StreamConfig{Name: "ARCHIVE", Sources: sources, RePublish: &jetstream.RePublish{Source: ">", Destination: "core.>"}})
	for range all {
		m, err := republished.NextMsg(legatotest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		subject := "republished." + strings.TrimPrefix(m.Subject, "core.")
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: passedOn(m.Header), Data: m.Data}); err != nil {
			t.Fatalf("a republished message of %s is refused: %v", m.Subject, err)
		}
	}
	refused := 0
	for _, m := range all {
		if m.Headers().Get(jetstream.ExpectedStreamHeader) != "" {
			t.Errorf("a message of %s names its stream in a condition, so that no other takes a copy", m.Subject())
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "anew." + m.Subject(), Header: passedOn(m.Headers()), Data: m.Data()}); err != nil {
			t.Fatalf("a message of %s is refused: %v", m.Subject(), err)
		}
		_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "naive." + m.Subject(), Header: m.Headers(), Data: m.Data()})
		if _, ok := errors.AsType[*jetstream.APIError](err); ok {
			refused++
		}
	}
	want := subjects(all)
	for _, name := range []string{"ANEW", "ARCHIVE", "REPUBLISHED"} {
		legatotest.Eventually(t, "all are in "+name, func() error {
			got := subjects(legatotest.Stored(t, js, name))
			if !slices.Equal(got, want) {
				return fmt.Errorf("%d of %d messages", len(got), len(want))
			}
			return nil
		})
	}
	t.Logf("%d messages, %d of them refused with all their headers", len(all), refused)
}

// subjects are those of messages, without the token that tells copies apart, sorted.
func subjects(all []jetstream.Msg) []string {
	var found []string
	for _, m := range all {
		found = append(found, strings.TrimPrefix(strings.TrimPrefix(m.Subject(), "anew."), "republished."))
	}
	slices.Sort(found)
	return found
}

// domainServer runs a nats-server with a JetStream of its own domain in this process.
func domainServer(t *testing.T, domain string, leaf server.LeafNodeOpts) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: domain, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, JetStreamDomain: domain, StoreDir: t.TempDir(), LeafNode: leaf,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(legatotest.Patience) {
		t.Fatal("the server is not ready")
	}
	return s
}

// prints runs a command until it prints a line with some text.
func prints(t *testing.T, args []string, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	run := exec.CommandContext(ctx, legatotest.Program(), args...)
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = run.Wait() }()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), want) {
			return
		}
	}
	t.Errorf("%v did not print %s", args, want)
}

// TestEveryCommandFindsTheStreamsInTheirDomain connects to a leaf node that has a JetStream of its own: what forgets
// the domain finds an empty one.
func TestEveryCommandFindsTheStreamsInTheirDomain(t *testing.T) {
	t.Parallel()
	at, err := url.Parse("nats-leaf://" + legatotest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	hub := domainServer(t, "hub", server.LeafNodeOpts{Host: "127.0.0.1", Port: port})
	leaf := domainServer(t, "edge", server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{at}}}})
	legatotest.Eventually(t, "the leaf node is connected", func() error {
		if leaf.NumLeafNodes() == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	application := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(application.Close)

	world := legatotest.NewTelnyx(t)
	domain := []string{"--nats-url=" + leaf.ClientURL(), "--nats-js-domain=hub"}
	s, _ := external(t, world, leaf.ClientURL(), "--nats-js-domain=hub", "--forward="+application.URL)
	c := rings(t, world, s, 1)
	world.Deliver(t, s.Target(), []byte(`{"data":{"record_type":"event","event_type":"message.received","id":"x","payload":{}}}`))
	legatotest.Completed(t, hub.ClientURL(), "calls.session.completed.*."+string(c.Session))
	file := filepath.Join(t.TempDir(), "legs.ndjson")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"check", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, "are as wanted"},
		{[]string{"export", "--output=" + file}, "exported 1 leg "},
		{[]string{"explain", string(c.Session)}, "session r1 busy"},
		{[]string{"parked", "list"}, "other_product"},
		{[]string{"forward", "list"}, "app"},
	} {
		// Beside much else the servers may not answer in a command's time.
		legatotest.Eventually(t, tt.args[0], func() error {
			run := exec.CommandContext(t.Context(), legatotest.Program(), append(tt.args, domain...)...)
			run.Env = append(os.Environ(), world.Env()...)
			out, err := run.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		})
	}
	for _, args := range [][]string{{"tail", "--all"}, {"listen", "--since=1h", "--forward-to=" + application.URL}} {
		prints(t, append(args, domain...), string(c.Session))
	}
	names := legatotest.Dial(t, leaf.ClientURL()).StreamNames(t.Context(), jetstream.WithStreamListSubject(">"))
	for name := range names.Name() {
		t.Errorf("the stream %s was made in the domain of the leaf node", name)
	}
	legatotest.StopsCleanly(t, s)
}

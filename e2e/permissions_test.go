package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

// permissions are those that a page of the documents recommends.
func permissions(t *testing.T, page string) string {
	t.Helper()
	found := regexp.MustCompile(`(?s)\n    permissions: \{.*?\n    \}\n`).FindString(legatotest.ReadText(t, "docs", page))
	if found == "" {
		t.Fatalf("%s recommends no permissions", page)
	}
	return found
}

// natsOf runs a NATS server that knows these users, and returns its URL for a user with a password.
func natsOf(t *testing.T, users ...string) func(user string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "nats.conf")
	err := os.WriteFile(config, []byte("authorization { users: [\n"+strings.Join(users, "\n")+"\n] }"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	url := legatotest.ExternalNATS(t, "--config="+config)
	return func(user string) string { return strings.Replace(url, "nats://", "nats://"+user+"@", 1) }
}

// TestTheServiceNeedsNoMoreThanIsListed runs it, forwarding and all, as a user that may do what
// docs/configuration.md says, and less.
func TestTheServiceNeedsNoMoreThanIsListed(t *testing.T) {
	t.Parallel()
	listed := permissions(t, "configuration.md")
	as := natsOf(t, "{ user: all, password: a }", "{ user: service, password: s, "+listed+" }")
	application := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(application.Close)
	world := legatotest.NewTelnyx(t)
	s, flags := external(t, world, as("service:s"), "--forward="+application.URL)
	c := rings(t, world, s, 1)
	world.Post(t, s.Target(), time.Now(), []byte(`{"data":{"record_type":"event","event_type":"message.received","id":"x","payload":{}}}`))
	legatotest.Completed(t, as("all:a"), "calls.session.completed.*."+string(c.Session))
	for _, command := range [][]string{
		{"check"}, {"explain", string(c.Session)}, {"parked", "list"}, {"parked", "retry", "--all", "--dry-run"}, {"forward", "list"}, {"forward", "show", "1"},
	} {
		run := exec.CommandContext(t.Context(), legatotest.Program(), append(command, "--nats-url="+as("service:s"))...)
		run.Env = append(os.Environ(), world.Env()...)
		// What is not permitted is refused, or waited for in vain; that there is nothing to show or to retry is no matter here.
		if out, err := run.CombinedOutput(); regexp.MustCompile("(?i)permission|deadline|timeout").Match(out) {
			t.Errorf("%v: %v\n%s", command, err, out)
		}
	}
	legatotest.StopsCleanly(t, s)
	s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	rings(t, world, s, 2)
	if text := s.Text(); strings.Contains(text, "ermissions") {
		t.Errorf("something was not permitted:\n%s", text)
	}
	legatotest.StopsCleanly(t, s)
}

// A user that may read the queue and not acknowledge does all work again and again.
func TestWithoutThePermissionToAcknowledgeAServiceIsNotReadyAndSaysWhyOnceAMinute(t *testing.T) {
	t.Parallel()
	as := natsOf(t, "{ user: all, password: a }", `{ user: service, password: s, permissions: { publish: { deny: ["$JS.ACK.>"] } } }`)
	world := legatotest.NewTelnyx(t)
	s := &legatotest.Server{Process: legatotest.Launch(t, world.Env(), legatotest.Program(), append([]string{
		"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + as("service:s"),
	}, legatotest.Quick...)...)}
	s.Webhooks = s.Logged("taking webhooks")["listen"].(string)
	s.Admin = strings.TrimSuffix(s.Logged("watch")["health"].(string), "/readyz")
	for n := range uint64(5) {
		rings(t, world, s, n)
	}
	says(t, s.Admin, http.StatusServiceUnavailable, "NATS has refused acknowledgements for")
	if got := legatotest.Scrape(t, s.Admin).Sum("legato_failing_seconds", `part="queue"`); got <= 0 {
		t.Errorf("legato_failing_seconds of the queue is %v", got)
	}
	if lines := strings.Count(s.Text(), "$JS.ACK."); lines != 1 {
		t.Errorf("%d lines tell of it in the first minute:\n%s", lines, s.Text())
	}
	check := exec.CommandContext(t.Context(), legatotest.Program(), "check", "--nats-url="+as("service:s"))
	check.Env = append(os.Environ(), world.Env()...)
	out, err := check.CombinedOutput()
	if err == nil || !regexp.MustCompile(`(?s)fault +acknowledgements .*Permissions Violation.*publish to \$JS\.ACK\.CALL_EVENTS\.>`).Match(out) {
		t.Errorf("check: %v\n%s", err, out)
	}
	legatotest.StopsCleanly(t, s)
}

// TestRecommendedPermissionsSeparateSummariesFromRawEvents runs a NATS server with
// the permissions that docs/messages.md recommends for consumers.
func TestRecommendedPermissionsSeparateSummariesFromRawEvents(t *testing.T) {
	t.Parallel()
	as := natsOf(t, "{ user: service, password: s }", "{ user: reader, password: r, "+permissions(t, "messages.md")+" }")

	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + as("service:s")}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
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

// shortCall is one of two webhooks.
func shortCall(seed uint64) fake.Call {
	return fake.Generator{Seed: seed}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
}

// play sends the webhooks of a call.
func play(t *testing.T, world *legatotest.Telnyx, s *legatotest.Server, c fake.Call) {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	world.Know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
}

// TestAReaderInAnAccountOfItsOwnCanOnlyRead runs a NATS server with the accounts that docs/messages.md recommends.
func TestAReaderInAnAccountOfItsOwnCanOnlyRead(t *testing.T) {
	t.Parallel()
	page := legatotest.ReadText(t, "docs", "messages.md")
	accounts := regexp.MustCompile(`(?s)\n    accounts \{.*?\n    \}\n`).FindString(page)
	if accounts == "" {
		t.Fatal("docs/messages.md recommends no accounts")
	}
	t.Run("as documented", func(t *testing.T) {
		t.Parallel()
		refused, err := readsInItsAccount(t, accounts)
		if err != nil {
			t.Error(err)
		}
		for what, err := range refused {
			if err == nil {
				t.Errorf("a reader may %s", what)
			}
		}
	})
	// Each line is needed.
	for _, line := range regexp.MustCompile(`(?m)^ *\{ service: .*\n?(?: *to: .*)?$`).FindAllString(accounts, -1) {
		t.Run("without "+strings.TrimSpace(line), func(t *testing.T) {
			t.Parallel()
			if _, err := readsInItsAccount(t, strings.Replace(accounts, line, "", 1)); err == nil {
				t.Error("a reader reads all the same")
			}
		})
	}
}

// readsInItsAccount has a reader read a call's summaries, and returns what keeps it from that; what else it tries, and
// what came of that, is refused.
func readsInItsAccount(t *testing.T, accounts string) (refused map[string]error, err error) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte("SERVICE_PASSWORD: s\nREADER_PASSWORD: r\n"+accounts), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := legatotest.NATSServer()
	if err != nil {
		t.Fatal(err)
	}
	if exec.CommandContext(t.Context(), path, "-t", "--config="+config).Run() != nil {
		return nil, errors.New("the server refuses an import of what is not exported")
	}
	url := legatotest.ExternalNATS(t, "--config="+config)
	as := func(user string) string { return strings.Replace(url, "nats://", "nats://"+user+"@", 1) }
	world := legatotest.NewTelnyx(t)
	s, _ := externalWith(t, world.Env(), as("legato:s"))
	own := legatotest.Dial(t, as("legato:s"))
	if _, err := own.CreateConsumer(t.Context(), "CALLS", jetstream.ConsumerConfig{Durable: "warehouse", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	c := shortCall(3)
	play(t, world, s, c)
	legatotest.Completed(t, as("legato:s"), "calls.session.completed.*."+string(c.Session))
	stored := len(legatotest.Summaries(t, as("legato:s")))

	nc, err := nats.Connect(as("warehouse:r"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, "legato")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "CALLS", "warehouse")
	if err != nil {
		return nil, err
	}
	batch, err := consumer.Fetch(stored, jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		return nil, err
	}
	got := 0
	for m := range batch.Messages() {
		if err := m.DoubleAck(t.Context()); err != nil {
			return nil, err
		}
		got++
	}
	switch info, err := consumer.Info(t.Context()); {
	case err != nil:
		return nil, err
	case got != stored || info.NumAckPending != 0:
		return nil, fmt.Errorf("of %d summaries %d were read, and %d of them not acknowledged", stored, got, info.NumAckPending)
	}

	// What is refused has no answer.
	if js, err = jetstream.NewWithDomain(nc, "legato", jetstream.WithDefaultTimeout(time.Second)); err != nil {
		t.Fatal(err)
	}
	refused = make(map[string]error)
	_, refused["make a consumer"] = js.CreateConsumer(t.Context(), "CALLS", jetstream.ConsumerConfig{Durable: "mine"})
	_, refused["read the log"] = js.OrderedConsumer(t.Context(), "CALL_EVENTS", jetstream.OrderedConsumerConfig{})
	_, refused["look at the stream"] = js.Stream(t.Context(), "CALLS")
	refused["remove its consumer"] = js.DeleteConsumer(t.Context(), "CALLS", "warehouse")
	_, refused["publish to the stream"] = js.Publish(t.Context(), "calls.session.completed._.some-call", []byte("not Legato's"))
	_, refused["ask about a call"] = nc.RequestWithContext(t.Context(), "legato.call.get", []byte(c.Session))
	// Published without asking for an answer, it stays in the reader's account.
	for _, subject := range []string{"calls.session.completed._.some-call", "calls.event._.call.hangup"} {
		if err := nc.Publish(subject, []byte("not Legato's")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	stream, err := own.Stream(t.Context(), "CALLS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != uint64(stored) {
		t.Errorf("the summaries are %d messages, after a reader published; %d were Legato's", n, stored)
	}
	return refused, nil
}

// What others publish on the service's subjects, of calls to come, keeps no call from its summaries and parks nothing: it
// is harmless here, and counts as not there.
func TestMessagesThatLegatoDidNotWriteKeepNoCallFromItsSummaries(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	s, _ := externalWith(t, world.Env(), url)
	js := legatotest.Dial(t, url)
	put := func(subject, body string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"calls.event._.call.hangup", "calls.event.7.call.initiated", "calls.internal.check", "calls.internal.status", "calls.internal.repair"} {
		put(subject, "not Legato's")
		put(subject, "{}")
	}
	var sessions []string
	for seed := range uint64(5) {
		c := shortCall(seed)
		for _, verb := range []string{"completed", "amended"} {
			put("calls.session."+verb+"._."+string(c.Session), "not Legato's")
			put("calls.leg."+verb+".7."+string(c.Session)+"."+string(c.Legs[0].Ref.Leg), `{"kind":"leg"}`)
		}
		// A whole webhook that no sender has signed.
		put("calls.event._.call.hangup", string(c.Deliveries[0].Body(1, s.Target())))
		play(t, world, s, c)
		sessions = append(sessions, string(c.Session))
	}
	for _, session := range sessions {
		legatotest.Eventually(t, "the summaries of session "+session, func() error {
			completed := 0
			for _, m := range legatotest.Stored(t, js, "CALLS") {
				if m.Headers().Get("Legato-Revision") == "1" && strings.Contains(m.Subject(), session) {
					completed++
				}
			}
			if completed != 2 {
				return fmt.Errorf("%d are completed, want those of a leg and the session", completed)
			}
			return nil
		})
	}
	for _, m := range legatotest.Stored(t, js, "CALL_PARKED") {
		t.Errorf("%s was parked", m.Subject())
	}
	metrics := legatotest.Scrape(t, s.Admin)
	if n := metrics.Sum("legato_log_foreign_total"); n != 15 {
		t.Errorf("of the log's messages %v are counted as not written by Legato, want 15", n)
	}
	if n := metrics.Sum("legato_summaries_foreign_total"); n < 10 {
		t.Errorf("of the summaries %v are counted as not written by Legato, want 10 at least", n)
	}
	s.Logged("the log's stream has messages that Legato did not write; they are passed over: somebody else may publish there")
	legatotest.StopsCleanly(t, s)
}

// The copy of the one process's log is made in order, so what somebody else published into it would stop it for good, and
// forwarding with it: the server inside lets nobody else.
func TestNobodyElsePublishesIntoTheLogOfTheOneProcess(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	refused := make(chan error, 16)
	nc, err := nats.Connect(s.NATS, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	subjects := []string{"calls.event._.call.hangup", "calls.internal.check", "calls.internal.status", "calls.internal.repair", "calls.internal.probe"}
	for _, subject := range subjects {
		if err := nc.Publish(subject, []byte("not Legato's")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("publishing on %s: %v", subject, err)
			}
		case <-time.After(legatotest.Patience):
			t.Fatalf("publishing on %s is not refused", subject)
		}
	}
	c := shortCall(1)
	play(t, world, s, c)
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	legatotest.Eventually(t, "the webhooks are copied", func() error {
		n := 0
		for _, m := range legatotest.Stored(t, legatotest.Dial(t, s.NATS), "CALL_EVENTS") {
			if strings.HasPrefix(m.Subject(), "calls.event.") {
				n++
			}
		}
		if n != len(c.Deliveries) {
			return fmt.Errorf("%d of %d are", n, len(c.Deliveries))
		}
		return nil
	})
	legatotest.StopsCleanly(t, s)
}

// What is parked can be put back by whoever reaches the embedded server. It may have been parked by anybody, too.
func TestNothingThatNobodyHasSignedIsPutIntoTheLogOfTheOneProcess(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	c := shortCall(1)
	play(t, world, s, c)
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	js := legatotest.Dial(t, s.NATS)
	nc := js.Conn()
	var own *jetstream.RawStreamMsg // an entry that is not signed, and is Legato's
	legatotest.Eventually(t, "the answer about the leg is copied", func() error {
		for _, m := range legatotest.Stored(t, js, "CALL_EVENTS") {
			if meta, err := m.Metadata(); err == nil && m.Subject() == "calls.internal.status" {
				own = &jetstream.RawStreamMsg{Sequence: meta.Sequence.Stream, Data: m.Data(), Header: m.Headers()}
				maps.DeleteFunc(own.Header, func(name string, _ []string) bool { return !strings.HasPrefix(name, "Legato-") })
				return nil
			}
		}
		return errors.New("it is not there")
	})
	body := []byte(`{"data":{"record_type":"event","id":"made","event_type":"call.hangup","occurred_at":"2026-01-01T00:00:00Z",` +
		`"payload":{"call_leg_id":"made-leg","call_session_id":"made-session"}}}`)
	made := nats.Header{"Nats-Msg-Id": {"made"}, "Legato-Session": {"made-session"}, "Legato-Leg": {"made-leg"}}
	with := func(base nats.Header, names ...string) nats.Header {
		h := maps.Clone(base)
		for i := 0; i < len(names); i += 2 {
			h[names[i]] = []string{names[i+1]}
		}
		return h
	}
	ownSeq := fmt.Sprint(own.Sequence)
	for name, m := range map[string]*nats.Msg{
		"an entry by itself":       {Subject: "legato.log.append", Header: with(made, "Legato-Topic", "event.call.hangup"), Data: body},
		"an answer by itself":      {Subject: "legato.log.append", Header: with(made, "Legato-Topic", "internal.status"), Data: body},
		"an entry for a sequence":  {Subject: "legato.parked.retry", Header: with(made, "Legato-Topic", "event.call.hangup"), Data: body},
		"a webhook":                {Subject: "calls.parked.no_type", Header: with(made, "Nats-Msg-Id", "1", "Telnyx-Timestamp", "1773500966", "Telnyx-Signature-Ed25519", "bWFkZQ=="), Data: body},
		"of the history":           {Subject: "calls.parked.no_type", Header: with(made, "Nats-Msg-Id", "2", "Legato-Source", "backfill"), Data: body},
		"of the history, an entry": {Subject: "calls.parked.poison", Header: with(own.Header, "Nats-Msg-Id", "3", "Legato-Source", "backfill", "Legato-Topic", "event.call.hangup", "Legato-Sequence", ownSeq), Data: body},
		"an answer":                {Subject: "calls.parked.poison", Header: with(made, "Nats-Msg-Id", "4", "Legato-Topic", "internal.status"), Data: body},
		"an answer of a place":     {Subject: "calls.parked.poison", Header: with(own.Header, "Nats-Msg-Id", "5", "Legato-Topic", "internal.status", "Legato-Sequence", ownSeq), Data: body},
		"an answer of another":     {Subject: "calls.parked.poison", Header: with(own.Header, "Nats-Msg-Id", "6", "Legato-Topic", "internal.check", "Legato-Sequence", ownSeq), Data: own.Data},
	} {
		if strings.HasPrefix(m.Subject, "calls.parked.") {
			ack, err := js.PublishMsg(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			m = &nats.Msg{Subject: "legato.parked.retry", Data: fmt.Append(nil, ack.Sequence)}
		}
		answer, err := nc.RequestMsg(m, legatotest.Patience)
		if err == nil && answer.Header.Get("Nats-Service-Error") == "" && !strings.Contains(string(answer.Data), `"left":false`) {
			t.Errorf("%s is taken: %s", name, answer.Data)
		}
	}
	// What the log has itself can be worked on again.
	again := with(own.Header, "Nats-Msg-Id", "7", "Legato-Topic", "internal.status", "Legato-Sequence", ownSeq)
	ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "calls.parked.poison", Header: again, Data: own.Data})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := nc.Request("legato.parked.retry", fmt.Append(nil, ack.Sequence), legatotest.Patience)
	if err != nil || !strings.Contains(string(answer.Data), `"left":true`) {
		t.Fatalf("an answer that the log has is not put back: %v, %+v", err, answer)
	}
	legatotest.Eventually(t, "what was put back is copied", func() error {
		var ids []string
		for _, m := range legatotest.Stored(t, js, "CALL_EVENTS") {
			if id := m.Headers().Get("Nats-Msg-Id"); strings.HasPrefix(id, "retry/") || bytes.Equal(m.Data(), body) {
				ids = append(ids, m.Subject()+" "+id)
			}
		}
		if want := fmt.Sprintf("calls.internal.status retry/%d/internal.status", ack.Sequence); !slices.Equal(ids, []string{want}) {
			return fmt.Errorf("it has %q, want %s alone", ids, want)
		}
		return nil
	})
	legatotest.StopsCleanly(t, s)
}

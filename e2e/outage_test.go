package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

// refusals posts webhooks that are refused while the log is away, and returns how
// long the quickest took. They are numbered: one that was refused may have been stored all the same.
func refusals(t *testing.T, w *legatotest.Telnyx, target string, from, to uint64) time.Duration {
	t.Helper()
	quickest := time.Hour
	for i := from; i <= to; i++ {
		var a legatotest.Answer
		legatotest.Eventually(t, "there is a place for a webhook", func() error {
			if a = w.Post(t, target, time.Now(), legatotest.Ringing(i)); a.Reason == "overloaded" {
				return errors.New("those that wait for the log have all of them")
			}
			return nil
		})
		if a.Status != http.StatusServiceUnavailable || a.RetryAfter == "" || a.Reason != "log_unavailable" {
			t.Fatalf("a webhook was answered %+v", a)
		}
		quickest = min(quickest, a.Took)
	}
	return quickest
}

// readyz asks for readiness.
func readyz(admin string) (status int, body string, err error) {
	response, err := http.Get(admin + "/readyz")
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(text)), err
}

// says waits until readiness has a status and says something.
func says(t *testing.T, admin string, status int, want string) string {
	t.Helper()
	var text string
	legatotest.Eventually(t, fmt.Sprintf("readiness is %d and says %q", status, want), func() error {
		got, body, err := readyz(admin)
		if err != nil {
			return err
		}
		if text = body; got != status || !strings.Contains(body, want) {
			return fmt.Errorf("%d %s", got, body)
		}
		return nil
	})
	return text
}

// accepted waits until so many events of a play were answered 200.
func accepted(t *testing.T, p *fake.Player, n int) {
	t.Helper()
	legatotest.Eventually(t, fmt.Sprintf("%d webhooks are accepted", n), func() error {
		if got := p.Ledger().Totals().Accepted; got < n {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
}

// wantEveryEvent checks that each event that was answered 200 is in the newest summary of its leg.
func wantEveryEvent(t *testing.T, w *legatotest.Telnyx, url string, ledger *fake.Ledger) {
	t.Helper()
	want := make(map[string][]string)
	n := 0
	fates := ledger.Fates()
	for _, c := range w.Calls {
		for _, d := range c.Deliveries {
			if !d.Duplicate && d.LegID != "" && fates[d.EventID].Accepted > 0 {
				id := string(c.Session) + "/" + string(d.LegID)
				want[id] = append(want[id], d.EventID)
				n++
			}
		}
	}
	if n == 0 {
		t.Fatal("no event was accepted")
	}
	legatotest.Eventually(t, fmt.Sprintf("all %d accepted events are in summaries", n), func() error {
		found := legatotest.Summaries(t, url)
		for id, events := range want {
			if len(found[id]) == 0 {
				return fmt.Errorf("no summary of %s", id)
			}
			newest := found[id][len(found[id])-1]
			for _, e := range events {
				if !slices.ContainsFunc(newest.Events, func(have struct {
					ID string `json:"id"`
				},
				) bool {
					return have.ID == e
				}) {
					return fmt.Errorf("event %s is not in revision %d of %s", e, newest.Revision, id)
				}
			}
		}
		return nil
	})
}

func TestNATSFrozenKilledAndStartedAgainWhileWebhooksCome(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	n := legatotest.StartNATS(t, legatotest.FreeAddr(t), "--jetstream", "--store_dir="+t.TempDir())
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=nats://" + n.Addr}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 80, 31)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()

	accepted(t, player, 40)
	n.Freeze()
	took := refusals(t, world, s.Target(), 1, 3)
	t.Logf("frozen: the quickest of 3 refusals took %v", took)
	// After 1.5 s, as a test of the ingest package holds; a busy machine takes its time with the rest. Waiting for NATS
	// itself would take as long as it is frozen.
	if took > 5*time.Second {
		t.Errorf("with NATS frozen the quickest refusal took %v", took)
	}
	t.Logf("frozen: %s", says(t, s.Admin, http.StatusServiceUnavailable, "the log has not been writable"))
	n.Thaw()
	s.Ready()

	accepted(t, player, player.Ledger().Totals().Accepted+40)
	n.Kill()
	t.Logf("killed: %s", says(t, s.Admin, http.StatusServiceUnavailable, "not connected to NATS at "+n.URL))
	took = refusals(t, world, s.Target(), 4, 8)
	t.Logf("killed: the quickest of 5 refusals took %v", took)
	if took > 1500*time.Millisecond {
		t.Errorf("with NATS gone the quickest refusal took %v: as long as with one that is silent", took)
	}
	n.Start()
	s.Ready()
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, n.URL, player.Ledger())
	wantEveryEvent(t, world, n.URL, player.Ledger())
	legatotest.StopsCleanly(t, s)
}

// starting is a `legato serve` that is not up yet.
func starting(t *testing.T, env []string, flags ...string) *legatotest.Server {
	t.Helper()
	s := &legatotest.Server{Process: legatotest.Launch(t, env, legatotest.Program(), append([]string{"serve"}, flags...)...)}
	s.Admin = strings.TrimSuffix(s.Logged("watch")["health"].(string), "/readyz")
	return s
}

func TestNATSThatIsNotThereAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	// Somebody listens there who is no NATS yet, and counts.
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	knocks := make(chan struct{}, 64)
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				close(knocks)
				return
			}
			_ = c.Close()
			knocks <- struct{}{}
		}
	}()
	world := legatotest.NewTelnyx(t)
	addr, listen := door.Addr().String(), legatotest.FreeAddr(t)
	begun := time.Now()
	s := starting(t, world.Env(), append([]string{
		"--listen=" + listen, "--admin-listen=127.0.0.1:0", "--nats-url=nats://legato:a-secret@" + addr,
	}, legatotest.Quick...)...)
	for range 5 {
		select {
		case <-knocks:
		case <-time.After(legatotest.Patience):
			t.Fatal("it has given up to connect")
		}
	}
	text := says(t, s.Admin, http.StatusServiceUnavailable, "connect to NATS at nats://"+addr)
	t.Logf("before NATS: %s", text)
	if c, err := net.Dial("tcp", listen); err == nil {
		_ = c.Close()
		t.Error("webhooks are listened for, though there is no log")
	}
	if lines := strings.Count(s.Text(), "NATS is not reachable"); lines < 1 || lines > 1+int(time.Since(begun)/time.Minute) {
		t.Errorf("in %v it was said %d times that NATS is not reachable", time.Since(begun), lines)
	}
	_ = door.Close()
	n := legatotest.StartNATS(t, addr, "--user=legato", "--pass=a-secret", "--jetstream", "--store_dir="+t.TempDir())
	s.Webhooks = s.Logged("taking webhooks")["listen"].(string)
	s.Ready()
	world.Deliver(t, s.Target(), legatotest.Ringing(1))
	// Stopped while it waits for the next one, it ends well as well.
	legatotest.StopsCleanly(t, s)
	n.Kill()
	waiting := starting(t, world.Env(), "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=nats://legato:a-secret@"+addr)
	says(t, waiting.Admin, http.StatusServiceUnavailable, "connect to NATS at nats://"+addr)
	legatotest.StopsCleanly(t, waiting)
	for _, p := range []*legatotest.Process{s.Process, waiting.Process} {
		if strings.Contains(p.Text(), "a-secret") {
			t.Error("the log shows the password of NATS")
		}
	}
	if strings.Contains(text, "a-secret") {
		t.Error("readiness shows the password of NATS")
	}
}

func TestAClusterWithoutAQuorumIsWaitedFor(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	routes := []string{legatotest.FreeAddr(t), legatotest.FreeAddr(t), legatotest.FreeAddr(t)}
	node := func(i int) *legatotest.NATSProcess {
		return legatotest.StartNATS(t, legatotest.FreeAddr(t), "--jetstream", "--store_dir="+t.TempDir(), fmt.Sprintf("--name=n%d", i),
			"--cluster_name=legato", "--cluster=nats://"+routes[i], "--routes=nats://"+strings.Join(routes, ",nats://"))
	}
	first := node(0)
	world := legatotest.NewTelnyx(t)
	s := starting(t, world.Env(), append([]string{
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + first.URL,
	}, legatotest.Quick...)...)
	t.Logf("without a quorum: %s", says(t, s.Admin, http.StatusServiceUnavailable, "make the streams"))
	s.Logged("NATS is not usable yet")
	node(1)
	node(2)
	s.Webhooks = s.Logged("taking webhooks")["listen"].(string)
	s.Ready()
	world.Deliver(t, s.Target(), legatotest.Ringing(1))
	legatotest.StopsCleanly(t, s)
}

func TestNATSThatCannotDoIsRefusedClearly(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, config string
		flags        []string
		want         string
	}{
		{"without JetStream", `no_auth_user: legato
			accounts { A { users: [ { user: legato, password: s } ] } }`, nil, "jetstream not enabled"},
		{"an account without JetStream", `jetstream: enabled, no_auth_user: legato
			accounts { A { users: [ { user: legato, password: s } ] } }`, nil, "not enabled for account"},
		{"an account that may have one stream", `jetstream: enabled, no_auth_user: legato
			accounts { A { jetstream: { max_streams: 1 }, users: [ { user: legato, password: s } ] } }`, nil, "maximum number of streams"},
		{"more replicas than servers", `jetstream: enabled, no_auth_user: legato
			accounts { A { jetstream: enabled, users: [ { user: legato, password: s } ] } }`, []string{"--nats-replicas=3"}, "replicas"},
		{"a password that is wrong", `jetstream: enabled
			accounts { A { jetstream: enabled, users: [ { user: legato, password: s } ] } }`, nil, "Authorization"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := legatotest.StartNATS(t, legatotest.FreeAddr(t), "--store_dir="+t.TempDir(), "--config="+config(t, row.config))
			p := legatotest.Launch(t, legatotest.NewTelnyx(t).Env(), legatotest.Program(), append([]string{
				"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + n.URL,
			}, row.flags...)...)
			select {
			case <-p.Done:
			case <-time.After(legatotest.Patience):
				t.Fatalf("it goes on:\n%s", p.Text())
			}
			if p.Err == nil || !strings.Contains(p.Text(), row.want) {
				t.Errorf("it ended with %v, want %q:\n%s", p.Err, row.want, p.Text())
			}
		})
	}
}

// config writes the configuration of a nats-server.
func config(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatIsToldWhileTheServiceIsDownIsFoundAfterwards stops the service in the
// middle of calls and lets their other webhooks go into the void. After a start the legs
// are found over at once, and the history completes them.
func TestWhatIsToldWhileTheServiceIsDownIsFoundAfterwards(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	world := legatotest.NewTelnyx(t)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--gap-repair-after=1s")
	s := legatotest.Serve(t, world.Env(), flags...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	ends := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Second)
	for i := range 6 {
		c := fake.Generator{Seed: 31}.Of(fake.InboundBridged, uint64(i), ends)
		c = fake.Generator{Seed: 31}.Of(fake.InboundBridged, uint64(i), ends.Add(-c.Length))
		world.Know(c)
		for _, d := range c.Deliveries {
			// Of each leg the beginning is told; of every other one its answer is lost as well.
			if d.Type == call.TypeInitiated || d.Type == call.TypeAnswered && i%2 == 0 {
				if out := sender.Send(t.Context(), d); !out.Accepted {
					t.Fatalf("%s was not accepted: %+v", d.Type, out)
				}
			}
		}
	}
	legatotest.StopsCleanly(t, s)
	down := time.Now()
	legatotest.Eventually(t, "the service has been down for longer than it ever is silent", func() error {
		if since := time.Since(down); since < 21*time.Second {
			return fmt.Errorf("only for %v", since)
		}
		return nil
	})
	s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	back := time.Now()
	legatotest.Eventually(t, "every leg is completed, and then complete", func() error {
		found := legatotest.Summaries(t, s.NATS)
		for _, c := range world.Calls {
			for _, l := range c.Legs {
				if err := complete(t, s.NATS, found[string(c.Session)+"/"+string(l.Ref.Leg)], &l); err != nil {
					return err
				}
			}
			if len(found[string(c.Session)+"/"]) == 0 {
				return fmt.Errorf("no summary of session %s", c.Session)
			}
		}
		return nil
	})
	t.Logf("%d legs were found over and completed %v after the start", len(world.Calls)*2, time.Since(back).Round(time.Millisecond))
	for id, revisions := range legatotest.Summaries(t, s.NATS) {
		for i, p := range revisions {
			if p.Revision != i+1 || strings.Contains(p.Subject, ".completed.") != (i == 0) {
				t.Errorf("%s: message %d is revision %d on %s", id, i+1, p.Revision, p.Subject)
			}
		}
	}
	for _, c := range world.Calls {
		for _, l := range c.Legs {
			// A list of active calls may have been asked for before; it is no request about the leg.
			if n := world.API.Requests(l.Ref.Control); n != 1 {
				t.Errorf("the status of a leg was asked for %d times", n)
			}
			if n := world.API.HistoryRequests(l.Ref.Leg); n != 1 {
				t.Errorf("the history of a leg was asked for %d times", n)
			}
		}
	}
	wantNoSecrets(t, world, s)
	legatotest.StopsCleanly(t, s)
}

// complete reports what the newest summary of a leg lacks.
func complete(t *testing.T, url string, revisions []legatotest.Published, l *fake.Leg) error {
	t.Helper()
	if len(revisions) == 0 {
		return fmt.Errorf("no summary of leg %s", l.Ref.Leg)
	}
	m := legatotest.Completed(t, url, revisions[len(revisions)-1].Subject)
	var got summary.Leg
	if err := json.Unmarshal(m.Data, &got); err != nil {
		t.Fatal(err)
	}
	switch {
	case len(got.Notes) > 0:
		return fmt.Errorf("leg %s: %v", got.CallLegID, got.Notes)
	case got.EndedBy != summary.EndedByHangup || got.Hangup == nil || got.Hangup.Cause != l.Cause:
		return fmt.Errorf("leg %s ended by %s, hangup %+v", got.CallLegID, got.EndedBy, got.Hangup)
	case got.Revision > 1 && !slices.Contains(got.Reasons, summary.ReasonBackfill):
		return fmt.Errorf("leg %s: reasons %v", got.CallLegID, got.Reasons)
	case got.EndedAt.Known().Sub(l.End).Abs() > time.Second || got.AnsweredAt.Known().Sub(l.AnsweredAt).Abs() > time.Second:
		return fmt.Errorf("leg %s: answered %v, ended %v", got.CallLegID, got.AnsweredAt, got.EndedAt)
	}
	for _, e := range got.Events {
		if e.Type == call.TypeHangup && !e.Backfill {
			return fmt.Errorf("leg %s: its hangup is said to have been delivered", got.CallLegID)
		}
	}
	return nil
}

func TestWithoutGapRepairTheHistoryIsNotAsked(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), "--gap-repair=off", "--gap-repair-after=1ms")...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 32}.Of(fake.IVR, 0, time.Now().UTC().Truncate(time.Microsecond).Add(-5*time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		if d.Type != call.TypeAnswered {
			sender.Send(t.Context(), d)
		}
	}
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	if n := world.API.HistoryRequests(c.Legs[0].Ref.Leg); n != 0 {
		t.Errorf("the history was asked for %d times", n)
	}
	legatotest.StopsCleanly(t, s)
}

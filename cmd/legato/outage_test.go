package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legato-calls/legato/internal/fake"
)

// natsProcess is a nats-server that can be stopped and come back where it was.
type natsProcess struct {
	*process
	t    *testing.T
	addr string
	url  string
	args []string
}

// startNATS runs a nats-server with JetStream on a port that stays its own.
func startNATS(t *testing.T, addr string, flags ...string) *natsProcess {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n := &natsProcess{t: t, addr: addr, url: "nats://" + addr}
	n.args = append([]string{"--addr=" + host, "--port=" + port}, flags...)
	n.start()
	return n
}

func (n *natsProcess) start() {
	n.t.Helper()
	path, err := natsServerOnce()
	if err != nil {
		n.t.Fatal(err)
	}
	n.process = launch(n.t, nil, path, n.args...)
	eventually(n.t, "nats-server listens", func() error {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// freeze stops the process where it stands: its sockets stay open and say nothing.
func (n *natsProcess) freeze() { n.signal(syscall.SIGSTOP) }
func (n *natsProcess) thaw()   { n.signal(syscall.SIGCONT) }

func (n *natsProcess) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answer is what a webhook was answered.
type answer struct {
	status     int
	retryAfter string
	reason     string
	took       time.Duration
}

// post sends one webhook, once, signed as at a time.
func (w *telnyxWorld) post(t *testing.T, target string, signedAt time.Time, body []byte) answer {
	t.Helper()
	a, err := w.tryPost(t, target, signedAt, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *telnyxWorld) tryPost(t *testing.T, target string, signedAt time.Time, body []byte) (answer, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	timestamp, signature := w.sign(signedAt, body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Telnyx-Timestamp", timestamp)
	request.Header.Set("Telnyx-Signature-Ed25519", signature)
	begun := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), took: time.Since(begun)}
	var problem struct {
		Reason string `json:"reason"`
	}
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
		return answer{}, err
	}
	a.reason = problem.Reason
	return a, nil
}

// ringing is the first webhook of some call that goes no further.
func ringing(n uint64) []byte {
	c := fake.Generator{Seed: 77}.Of(fake.Busy, n, time.Now().UTC())
	return c.Deliveries[0].Body(1, "http://127.0.0.1/")
}

// refusals posts webhooks that are refused while the log is away, and returns how
// long the quickest took. They are numbered: one that was refused may have been stored all the same.
func (w *telnyxWorld) refusals(t *testing.T, target string, from, to uint64) time.Duration {
	t.Helper()
	quickest := time.Hour
	for i := from; i <= to; i++ {
		a := w.post(t, target, time.Now(), ringing(i))
		if a.status != http.StatusServiceUnavailable || a.retryAfter == "" || a.reason != "log_unavailable" {
			t.Fatalf("a webhook was answered %+v", a)
		}
		quickest = min(quickest, a.took)
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
	eventually(t, fmt.Sprintf("readiness is %d and says %q", status, want), func() error {
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
	eventually(t, fmt.Sprintf("%d webhooks are accepted", n), func() error {
		if got := p.Ledger().Totals().Accepted; got < n {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
}

// wantEveryEvent checks that each event that was answered 200 is in the newest summary of its leg.
func (w *telnyxWorld) wantEveryEvent(t *testing.T, url string, ledger *fake.Ledger) {
	t.Helper()
	want := make(map[string][]string)
	n := 0
	fates := ledger.Fates()
	for _, c := range w.calls {
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
	eventually(t, fmt.Sprintf("all %d accepted events are in summaries", n), func() error {
		found := summaries(t, url)
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
	n := startNATS(t, freeAddr(t), "--jetstream", "--store_dir="+t.TempDir())
	world := newTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=nats://" + n.addr}, quick...)
	s := serve(t, world.env(), flags...)
	player := world.player(t, s.target(), 80, 31)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()

	accepted(t, player, 40)
	n.freeze()
	took := world.refusals(t, s.target(), 1, 3)
	t.Logf("frozen: the quickest of 3 refusals took %v", took)
	if took > 1900*time.Millisecond {
		t.Errorf("with NATS frozen the quickest refusal took %v", took)
	}
	t.Logf("frozen: %s", says(t, s.admin, http.StatusServiceUnavailable, "the log has not been writable"))
	n.thaw()
	s.ready()

	accepted(t, player, player.Ledger().Totals().Accepted+40)
	n.kill()
	t.Logf("killed: %s", says(t, s.admin, http.StatusServiceUnavailable, "not connected to NATS at "+n.url))
	took = world.refusals(t, s.target(), 4, 8)
	t.Logf("killed: the quickest of 5 refusals took %v", took)
	if took > 500*time.Millisecond {
		t.Errorf("with NATS gone the quickest refusal took %v", took)
	}
	n.start()
	s.ready()
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.wantOnce(t, n.url, player.Ledger())
	world.wantEveryEvent(t, n.url, player.Ledger())
	stopsCleanly(t, s)
}

// starting is a `legato serve` that is not up yet.
func starting(t *testing.T, env []string, flags ...string) *server {
	t.Helper()
	s := &server{process: launch(t, env, binaries.legato, append([]string{"serve"}, flags...)...)}
	s.admin = strings.TrimSuffix(s.logged("watch")["health"].(string), "/readyz")
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
	world := newTelnyx(t)
	addr, listen := door.Addr().String(), freeAddr(t)
	begun := time.Now()
	s := starting(t, world.env(), append([]string{
		"--listen=" + listen, "--admin-listen=127.0.0.1:0", "--nats-url=nats://legato:a-secret@" + addr,
	}, quick...)...)
	for range 5 {
		select {
		case <-knocks:
		case <-time.After(patience):
			t.Fatal("it has given up to connect")
		}
	}
	text := says(t, s.admin, http.StatusServiceUnavailable, "connect to NATS at nats://"+addr)
	t.Logf("before NATS: %s", text)
	if c, err := net.Dial("tcp", listen); err == nil {
		_ = c.Close()
		t.Error("webhooks are listened for, though there is no log")
	}
	if lines := strings.Count(s.text(), "NATS is not reachable"); lines != 1+int(time.Since(begun)/time.Minute) {
		t.Errorf("in %v it was said %d times that NATS is not reachable", time.Since(begun), lines)
	}
	_ = door.Close()
	n := startNATS(t, addr, "--user=legato", "--pass=a-secret", "--jetstream", "--store_dir="+t.TempDir())
	s.webhooks = s.logged("taking webhooks")["listen"].(string)
	s.ready()
	if a := world.post(t, s.target(), time.Now(), ringing(1)); a.status != http.StatusOK {
		t.Errorf("a webhook was answered %+v", a)
	}
	// Stopped while it waits for the next one, it ends well as well.
	stopsCleanly(t, s)
	n.kill()
	waiting := starting(t, world.env(), "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=nats://legato:a-secret@"+addr)
	says(t, waiting.admin, http.StatusServiceUnavailable, "connect to NATS at nats://"+addr)
	stopsCleanly(t, waiting)
	for _, p := range []*process{s.process, waiting.process} {
		if strings.Contains(p.text(), "a-secret") {
			t.Error("the log shows the password of NATS")
		}
	}
	if strings.Contains(text, "a-secret") {
		t.Error("readiness shows the password of NATS")
	}
}

func TestAClusterWithoutAQuorumIsWaitedFor(t *testing.T) {
	t.Parallel()
	routes := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	node := func(i int) *natsProcess {
		return startNATS(t, freeAddr(t), "--jetstream", "--store_dir="+t.TempDir(), fmt.Sprintf("--name=n%d", i),
			"--cluster_name=legato", "--cluster=nats://"+routes[i], "--routes=nats://"+strings.Join(routes, ",nats://"))
	}
	first := node(0)
	world := newTelnyx(t)
	s := starting(t, world.env(), append([]string{
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + first.url,
	}, quick...)...)
	t.Logf("without a quorum: %s", says(t, s.admin, http.StatusServiceUnavailable, "make the streams"))
	s.logged("NATS is not usable yet")
	node(1)
	node(2)
	s.webhooks = s.logged("taking webhooks")["listen"].(string)
	s.ready()
	if a := world.post(t, s.target(), time.Now(), ringing(1)); a.status != http.StatusOK {
		t.Errorf("a webhook was answered %+v", a)
	}
	stopsCleanly(t, s)
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
			n := startNATS(t, freeAddr(t), "--store_dir="+t.TempDir(), "--config="+config(t, row.config))
			p := launch(t, newTelnyx(t).env(), binaries.legato, append([]string{
				"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + n.url,
			}, row.flags...)...)
			select {
			case <-p.done:
			case <-time.After(patience):
				t.Fatalf("it goes on:\n%s", p.text())
			}
			if p.err == nil || !strings.Contains(p.text(), row.want) {
				t.Errorf("it ended with %v, want %q:\n%s", p.err, row.want, p.text())
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

package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
)

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
	world.Post(t, s.Target(), time.Now(), []byte(`{"data":{"record_type":"event","event_type":"message.received","id":"x","payload":{}}}`))
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
		run := exec.CommandContext(t.Context(), legatotest.Program(), append(tt.args, domain...)...)
		run.Env = append(os.Environ(), world.Env()...)
		if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%v: %v\n%s", tt.args, err, out)
		}
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

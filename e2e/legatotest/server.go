package legatotest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Get reads a page of the admin listener.
func (s *Server) Get(t *testing.T, path string) string {
	t.Helper()
	response, err := http.Get(s.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Server is a running `legato serve`.
type Server struct {
	*Process
	Webhooks, Admin, NATS string
}

// Serve starts `legato serve` and waits until it is ready.
func Serve(tb testing.TB, env []string, flags ...string) *Server {
	tb.Helper()
	return ServeWith(tb, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), env...) }, flags...)
}

// ServeWith starts `legato serve` as change says.
func ServeWith(tb testing.TB, change func(*exec.Cmd), flags ...string) *Server {
	tb.Helper()
	cmd := exec.Command(Program(), append([]string{"serve"}, flags...)...)
	change(cmd)
	s := &Server{Process: LaunchCmd(tb, cmd)}
	s.Webhooks = s.Logged("taking webhooks")["listen"].(string)
	s.NATS = s.Logged("publishing summaries")["nats"].(string)
	s.Admin = strings.TrimSuffix(s.Logged("watch")["health"].(string), "/readyz")
	s.Ready()
	return s
}

// Target is the URL that webhooks are posted to.
func (s *Server) Target() string { return "http://" + s.Webhooks + "/webhooks/telnyx" }

// Ready waits until the service says that it is.
func (s *Server) Ready() {
	s.tb.Helper()
	Eventually(s.tb, "the service gets ready", func() error {
		response, err := http.Get(s.Admin + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %d", response.StatusCode)
		}
		return nil
	})
}

// Quick shortens the settle times; what is tested does not depend on them.
var Quick = []string{"--settle=200ms", "--session-settle=1s"}

// EmbeddedFlags are those of a service with its own NATS and its data in dir, on free ports and with short settle times.
func EmbeddedFlags(dir string) []string {
	return append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=127.0.0.1:0", "--data-dir=" + dir}, Quick...)
}

// Again are the flags of a restart: webhooks must come in at the same address.
func Again(flags []string, s *Server) []string {
	return append(append([]string(nil), flags...), "--listen="+s.Webhooks)
}

// StopsCleanly ends the service, and fails the test when it ends with an error or takes longer than is promised.
func StopsCleanly(t *testing.T, s *Server) {
	t.Helper()
	took, err := s.Terminate()
	if err != nil {
		t.Errorf("the service ended with %v", err)
	}
	if took > 15*time.Second {
		t.Errorf("the service took %v to stop", took)
	}
}

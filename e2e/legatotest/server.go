package legatotest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
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

// Metrics are the samples of a scrape, by name and labels as they are written.
type Metrics map[string]float64

// Scrape reads /metrics.
func Scrape(t *testing.T, admin string) Metrics {
	t.Helper()
	response, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	m := make(Metrics)
	for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
		line := scanner.Text()
		space := strings.LastIndexByte(line, ' ')
		if space < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		m[line[:space]] = value
	}
	return m
}

// Sum adds up a metric's samples that have all of these labels.
func (m Metrics) Sum(name string, labels ...string) float64 {
	var total float64
	for sample, value := range m {
		base, rest, _ := strings.Cut(sample, "{")
		if base == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			total += value
		}
	}
	return total
}

// Balance returns what does not balance in a scrape of one process. It is to be
// empty whenever no webhook is in flight.
func (m Metrics) Balance() error {
	taken := m.Sum("legato_webhooks_total", `result="stored"`) + m.Sum("legato_webhooks_total", `result="duplicate"`) +
		m.Sum("legato_webhooks_total", `result="parked"`)
	logged := m.Sum("legato_log_appends_total", `kind="event"`, `result="stored"`)
	duplicates := m.Sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`)
	parked := m.Sum("legato_webhooks_parked_total")
	if taken != logged+duplicates+parked {
		return fmt.Errorf("webhooks taken: %v, logged %v + duplicates %v + parked %v", taken, logged, duplicates, parked)
	}
	over, completed, pending := m["legato_legs_over_total"], m["legato_legs_completed_total"], m["legato_legs_pending"]
	if over != completed+pending {
		return fmt.Errorf("legs over: %v, completed %v + pending %v", over, completed, pending)
	}
	return nil
}

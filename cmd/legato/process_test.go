package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// binaries are built once: the tests of this package run what users run.
var binaries struct {
	dir    string
	legato string
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "legato-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries.dir, binaries.legato = dir, filepath.Join(dir, "legato")
		if out, err := exec.Command("go", "build", "-o", binaries.legato, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build legato: %v\n%s", err, out)
			return 1
		}
		code := m.Run()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

var natsServerOnce = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries.dir, "nats-server")
	out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// patience bounds every wait for a process; a loaded machine is slow, not wrong.
const patience = 60 * time.Second

// process is a running program whose JSON log is read line by line.
type process struct {
	tb   testing.TB
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu    sync.Mutex
	log   bytes.Buffer
	lines []map[string]any
	grown chan struct{}
	// tee receives each line as well; nil: nobody does.
	tee io.Writer
}

// launch starts a program. It is killed at the end of the test if it still runs.
func launch(tb testing.TB, env []string, path string, args ...string) *process {
	tb.Helper()
	return launchCmd(tb, program(env, path, args...))
}

func program(env []string, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

func launchCmd(tb testing.TB, cmd *exec.Cmd) *process {
	tb.Helper()
	p := spawnCmd(tb, nil, cmd)
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", strings.Join(cmd.Args, " "), p.text())
		}
	})
	return p
}

// spawn starts a program that the caller ends.
func spawn(tb testing.TB, tee io.Writer, env []string, path string, args ...string) *process {
	tb.Helper()
	return spawnCmd(tb, tee, program(env, path, args...))
}

func spawnCmd(tb testing.TB, tee io.Writer, cmd *exec.Cmd) *process {
	tb.Helper()
	p := &process{tb: tb, tee: tee, cmd: cmd, done: make(chan struct{}), grown: make(chan struct{}, 1)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.done)
		scanner := bufio.NewScanner(stderr)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			p.line(scanner.Text())
		}
		p.err = p.cmd.Wait()
	}()
	return p
}

func (p *process) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.WriteString(text + "\n")
	if p.tee != nil {
		_, _ = io.WriteString(p.tee, text+"\n")
	}
	var fields map[string]any
	if json.Unmarshal([]byte(text), &fields) != nil {
		fields = map[string]any{"msg": text}
	}
	p.lines = append(p.lines, fields)
	select {
	case p.grown <- struct{}{}:
	default:
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// logged waits for the first log line whose message contains text.
func (p *process) logged(text string) map[string]any {
	p.tb.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		for _, fields := range p.lines {
			if msg, _ := fields["msg"].(string); strings.Contains(msg, text) {
				p.mu.Unlock()
				return fields
			}
		}
		p.mu.Unlock()
		select {
		case <-p.grown:
		case <-p.done:
			p.tb.Fatalf("the process ended (%v) before it logged %q:\n%s", p.err, text, p.text())
		case <-deadline:
			p.tb.Fatalf("the process did not log %q in %v:\n%s", text, patience, p.text())
		}
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate asks the process to stop and returns how long it took and its error.
func (p *process) terminate() (time.Duration, error) {
	p.tb.Helper()
	start := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		p.tb.Fatalf("the process did not stop in %v:\n%s", patience, p.text())
	}
	return time.Since(start), p.err
}

// server is a running `legato serve`.
type server struct {
	*process
	webhooks, admin, nats string
}

// serve starts `legato serve` and waits until it is ready.
func serve(tb testing.TB, env []string, flags ...string) *server {
	tb.Helper()
	return serveWith(tb, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), env...) }, flags...)
}

// serveWith starts `legato serve` as change says.
func serveWith(tb testing.TB, change func(*exec.Cmd), flags ...string) *server {
	tb.Helper()
	cmd := exec.Command(binaries.legato, append([]string{"serve"}, flags...)...)
	change(cmd)
	s := &server{process: launchCmd(tb, cmd)}
	s.webhooks = s.logged("taking webhooks")["listen"].(string)
	s.nats = s.logged("publishing summaries")["nats"].(string)
	s.admin = strings.TrimSuffix(s.logged("watch")["health"].(string), "/readyz")
	s.ready()
	return s
}

func (s *server) target() string { return "http://" + s.webhooks + "/webhooks/telnyx" }

// ready waits until the service says that it is.
func (s *server) ready() {
	s.tb.Helper()
	eventually(s.tb, "the service gets ready", func() error {
		response, err := http.Get(s.admin + "/readyz")
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

// eventually polls a condition until it holds, and fails with its last error.
func eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("%s: not within %v: %v", what, patience, err)
		}
	}
}

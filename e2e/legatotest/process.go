package legatotest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for a process; a loaded machine is slow, not wrong.
const Patience = 60 * time.Second

// Process is a running program whose JSON log is read line by line.
type Process struct {
	tb   testing.TB
	Cmd  *exec.Cmd
	Done chan struct{}
	Err  error

	mu    sync.Mutex
	log   bytes.Buffer
	lines []map[string]any
	grown chan struct{}
	// tee receives each line as well; nil: nobody does.
	tee io.Writer
}

// Launch starts a program. It is killed at the end of the test if it still runs.
func Launch(tb testing.TB, env []string, path string, args ...string) *Process {
	tb.Helper()
	return LaunchCmd(tb, Command(env, path, args...))
}

// Command is a program with variables beside those of this process.
func Command(env []string, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// LaunchCmd starts a command. It is killed at the end of the test if it still runs.
func LaunchCmd(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := spawnCmd(tb, nil, cmd)
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", strings.Join(cmd.Args, " "), p.Text())
		}
	})
	return p
}

// Spawn starts a program that the caller ends.
func Spawn(tb testing.TB, tee io.Writer, env []string, path string, args ...string) *Process {
	tb.Helper()
	return spawnCmd(tb, tee, Command(env, path, args...))
}

func spawnCmd(tb testing.TB, tee io.Writer, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{tb: tb, tee: tee, Cmd: cmd, Done: make(chan struct{}), grown: make(chan struct{}, 1)}
	stderr, err := p.Cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.Done)
		scanner := bufio.NewScanner(stderr)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			p.line(scanner.Text())
		}
		p.Err = p.Cmd.Wait()
	}()
	return p
}

func (p *Process) line(text string) {
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

// Text is the log so far.
func (p *Process) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Logged waits for the first log line whose message contains text.
func (p *Process) Logged(text string) map[string]any {
	p.tb.Helper()
	deadline := time.After(Patience)
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
		case <-p.Done:
			p.tb.Fatalf("the process ended (%v) before it logged %q:\n%s", p.Err, text, p.Text())
		case <-deadline:
			p.tb.Fatalf("the process did not log %q in %v:\n%s", text, Patience, p.Text())
		}
	}
}

// Kill ends the process as a crash does.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.Done
}

// Terminate asks the process to stop and returns how long it took and its error.
func (p *Process) Terminate() (time.Duration, error) {
	p.tb.Helper()
	start := time.Now()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatal(err)
	}
	select {
	case <-p.Done:
	case <-time.After(Patience):
		p.tb.Fatalf("the process did not stop in %v:\n%s", Patience, p.Text())
	}
	return time.Since(start), p.Err
}

// Eventually polls a condition until it holds, and fails with its last error.
func Eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
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
			tb.Fatalf("%s: not within %v: %v", what, Patience, err)
		}
	}
}

// Said returns the first log line of that message, which must be there.
func Said(p *Process, msg string) map[string]any {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fields := range p.lines {
		if fields["msg"] == msg {
			return fields
		}
	}
	p.tb.Fatalf("nothing says %q", msg)
	return nil
}

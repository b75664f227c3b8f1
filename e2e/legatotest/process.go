// Package legatotest is the harness of tests that run the real program: it builds legato once, starts and stops it,
// starts nats-servers of their own processes, plays Telnyx, and reads what was published.
package legatotest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
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

// busy has room for one test more than there are CPUs: each waits at times.
var busy = make(chan struct{}, runtime.GOMAXPROCS(0)+1)

// Busy is called first by a test that keeps a CPU busy for seconds. It waits for its turn: the others, which wait for
// most of their time, would wait in vain beside many such. The turn ends with the test, or before by release.
func Busy(t *testing.T) (release func()) {
	t.Helper()
	busy <- struct{}{}
	release = sync.OnceFunc(func() { <-busy })
	t.Cleanup(release)
	return release
}

// Long leaves out what takes longest: it waits for minutes that no setting makes shorter, or plays long what others
// play short. It is asked for by a variable, as CI does.
func Long(t *testing.T) {
	t.Helper()
	if os.Getenv(long) == "" {
		t.Skipf("takes long: %s=1 asks for it", long)
	}
}

// Slow leaves a test out under -short.
func Slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes longer than ten seconds, and -short leaves such out")
	}
}

// InstallNode puts packages of npm into a folder, or those that a package.json there names. Without Node, npm or its
// registry there is nothing to test with, and the test is skipped.
func InstallNode(t *testing.T, dir string, packages ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs packages of npm, which -short leaves out")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not at hand: %v", program, err)
		}
	}
	// Without a registry npm says so soon; beside much else it only takes its time.
	ctx, cancel := context.WithTimeout(t.Context(), 3*Patience)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", append([]string{
		"install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error",
	}, packages...)...)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install %v: %v\n%s", packages, err, out)
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

// built are the programs of this run of tests, in a directory that is removed at its end.
var built struct{ dir, legato string }

// Program is the path of the program as users build it.
func Program() string { return built.legato }

// Main builds the program, runs the tests of a package, and returns the exit code; a goroutine that is left behind
// fails them. Tests that run the real program mostly wait for it, so more of them run at once than there are CPUs.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "legato-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.dir, built.legato = dir, filepath.Join(dir, "legato")
	if out, err := exec.Command("go", "build", stripped, "-o", built.legato, programPackage).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build legato: %v\n%s", err, out)
		return 1
	}
	// A flag of the command line, parsed by Run, has the last word.
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

const (
	programPackage = "github.com/legato-calls/legato/cmd/legato"
	// stripped leaves out what only a debugger reads, as the image does: half of the time to link it.
	stripped = "-ldflags=-s -w"
	// parallel is how many tests run at once by default. On two cores twelve take as long, and what they post times out.
	parallel = 6
	// long is the variable that has everything tested.
	long = "E2E_LONG"
)

// RaceProgram builds the program as this test was built: with the race detector where it has it.
var RaceProgram = sync.OnceValues(func() (string, error) {
	if info, ok := debug.ReadBuildInfo(); !ok || !raceOf(info) {
		return built.legato, nil
	}
	path := filepath.Join(built.dir, "legato-race")
	if out, err := exec.Command("go", "build", "-race", stripped, "-o", path, programPackage).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build legato with the race detector: %w\n%s", err, out)
	}
	return path, nil
})

func raceOf(info *debug.BuildInfo) bool {
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// Commands are the names of the program's commands, as its help lists them: "parked list".
func Commands(tb testing.TB) []string {
	tb.Helper()
	_, list, _ := strings.Cut(Help(tb, ""), "\nCommands:\n")
	var names []string
	for _, line := range regexp.MustCompile(`(?m)^  (\w+(?: \w+)?)  `).FindAllStringSubmatch(list, -1) {
		names = append(names, line[1])
	}
	if len(names) < 10 {
		tb.Fatalf("the help lists only %q", names)
	}
	return names
}

// Help is what a command prints about itself.
func Help(tb testing.TB, command string) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), Program(), append(strings.Fields(command), "--help")...).Output()
	if err != nil {
		tb.Fatalf("legato %s --help: %v", command, err)
	}
	return string(out)
}

// BenchHelp is what the program that measures prints about itself.
func BenchHelp(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "run", Path(tb, "cmd", "legato-bench"), "--help").Output()
	if err != nil {
		tb.Fatalf("legato-bench --help: %v", err)
	}
	return string(out)
}

// AllHelp is the help of all commands, and of the program that measures.
func AllHelp(tb testing.TB) string {
	tb.Helper()
	all := []string{BenchHelp(tb)}
	for _, command := range Commands(tb) {
		all = append(all, Help(tb, command))
	}
	return strings.Join(all, "")
}

// Path returns the path of a file of this repository, from its root on.
func Path(tb testing.TB, elem ...string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, elem...)...)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod in or above the working directory")
		}
		dir = parent
	}
}

// ReadText reads a file of this repository, from its root on.
func ReadText(tb testing.TB, elem ...string) string {
	tb.Helper()
	data, err := os.ReadFile(Path(tb, elem...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

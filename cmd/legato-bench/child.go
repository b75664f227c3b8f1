package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
	telnyxfake "github.com/legato-calls/legato/internal/fake"
)

// stopPatience bounds the stop of a target, above what serve takes at most.
const stopPatience = 30 * time.Second

// target is a running process that is measured.
type target struct {
	targetHello
	name    string
	beside  *target // its NATS, where it brings none
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	replies *json.Decoder
	process procfs.Proc
	log     string
	// startup is the time from the start of the process until it was ready.
	startup time.Duration
}

// usage is what a process has taken so far, by the operating system.
type usage struct {
	cpu       time.Duration
	rss, peak float64 // MiB
}

// launchTarget starts a target with its data in dir, and more flags of the service, and waits until it is ready. One
// that is external is the service with a NATS server in a process of its own, which is started first.
func (b *benchRun) launchTarget(ctx context.Context, name, dir string, flags ...string) (*target, error) {
	form, external := strings.CutSuffix(name, bench.External)
	if !external {
		return b.launch(ctx, name, dir, flags...)
	}
	beside, err := b.launch(ctx, targetNATS, filepath.Join(dir, "nats"))
	if err != nil {
		return nil, err
	}
	t, err := b.launch(ctx, form, dir, append(flags, "--nats-url="+beside.NATS)...)
	if err != nil {
		return nil, errors.Join(err, beside.stop())
	}
	t.name, t.beside, t.NATS = name, beside, beside.NATS
	return t, nil
}

func (b *benchRun) launch(ctx context.Context, name, dir string, flags ...string) (*target, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	words := []string{program, targetWord, name}
	if name == bench.Baseline {
		// A constant rate of status requests would be what is measured, and not the build.
		words, flags = append(strings.Fields(b.Baseline), targetPipeline), append(flags, "--status-rate=1000000")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory of %s: %w", name, err)
	}
	t := &target{name: name, log: filepath.Join(dir, "log.json")}
	// It stops when its standard input ends, so also when this process dies.
	words = append(append(words,
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=127.0.0.1:0", "--data-dir="+filepath.Join(dir, "data"),
		"--telnyx-public-key="+telnyxfake.PublicKey(b.key), "--telnyx-api-key=bench", "--telnyx-base-url=http://"+b.api.addr+"/v2",
	), flags...)
	t.cmd = exec.Command(words[0], words[1:]...) //nolint:noctx // stop ends it, in order
	// Defaults are what is measured, not what this environment sets.
	t.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(v, "LEGATO_") || strings.HasPrefix(v, "TELNYX_") || slices.Contains([]string{"GOGC", "GOMEMLIMIT", "AUTOMEMLIMIT"}, name)
	})
	log, err := os.OpenFile(t.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	t.cmd.Stderr = log
	if t.stdin, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	t.replies = json.NewDecoder(bufio.NewReader(stdout))
	if err := t.ready(ctx, began); err != nil {
		return nil, errors.Join(fmt.Errorf("%s does not get ready: %w%s", name, err, t.lastWords()), t.kill())
	}
	return t, nil
}

// ready waits for the addresses and, where there is one, for the readiness probe.
func (t *target) ready(ctx context.Context, began time.Time) error {
	stop := context.AfterFunc(ctx, func() { _ = t.cmd.Process.Kill() })
	defer stop()
	err := t.replies.Decode(&t.targetHello)
	if err != nil {
		return fmt.Errorf("it ended without telling its addresses: %w", err)
	}
	if t.process, err = procfs.NewProc(t.cmd.Process.Pid); err != nil {
		return fmt.Errorf("read its CPU time: %w", err)
	}
	for t.Admin != "" {
		ok, err := isReady(ctx, t.Admin)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.startup = time.Since(began)
	return nil
}

func isReady(ctx context.Context, admin string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK, err
}

// usage asks the operating system. What stands beside the target is counted with it.
func (t *target) usage() (usage, error) {
	var beside usage
	if t.beside != nil {
		var err error
		if beside, err = t.beside.usage(); err != nil {
			return usage{}, err
		}
	}
	stat, err := t.process.Stat()
	if err != nil {
		return usage{}, fmt.Errorf("read the CPU time of process %d: %w", t.process.PID, err)
	}
	status, err := t.process.NewStatus()
	if err != nil {
		return usage{}, fmt.Errorf("read the memory of process %d: %w", t.process.PID, err)
	}
	const mib = 1 << 20
	return usage{
		cpu: time.Duration(stat.CPUTime()*float64(time.Second)) + beside.cpu,
		rss: float64(status.VmRSS)/mib + beside.rss, peak: float64(status.VmHWM)/mib + beside.peak,
	}, nil
}

// ask gives the target a command.
func (t *target) ask(command string) (targetReply, error) {
	var reply targetReply
	if _, err := io.WriteString(t.stdin, command+"\n"); err != nil {
		return reply, fmt.Errorf("ask for %s: %w%s", command, err, t.lastWords())
	}
	if err := t.replies.Decode(&reply); err != nil {
		return reply, fmt.Errorf("ask for %s: %w%s", command, err, t.lastWords())
	}
	if reply.Error != "" {
		return reply, fmt.Errorf("ask for %s: %s", command, reply.Error)
	}
	return reply, nil
}

// lastWords are the end of the log of a target that failed: of its warnings and errors, where it has any.
func (t *target) lastWords() string {
	data, err := os.ReadFile(t.log)
	if err != nil || len(data) == 0 {
		return ""
	}
	var warnings []byte
	for line := range bytes.Lines(data) {
		if !bytes.Contains(line, []byte(`"level":"INFO"`)) {
			warnings = append(warnings, line...)
		}
	}
	if len(warnings) > 0 {
		data = warnings
	}
	const enough = 2000
	return "; the end of its log:\n" + string(data[max(0, len(data)-enough):])
}

// stop lets the target end in order.
func (t *target) stop() error {
	late := time.AfterFunc(stopPatience, func() { _ = t.cmd.Process.Kill() })
	defer late.Stop()
	_ = t.stdin.Close() // that it is gone already, Wait tells
	if err := t.cmd.Wait(); err != nil {
		return fmt.Errorf("stop what was measured: %w%s", err, t.lastWords())
	}
	if t.beside != nil {
		return t.beside.stop()
	}
	return nil
}

// kill ends the target as a crash does.
func (t *target) kill() error {
	if err := t.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill what was measured: %w", err)
	}
	_ = t.cmd.Wait() // that it was killed is no news
	return nil
}

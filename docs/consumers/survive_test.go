package consumers_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

// lines is what a process prints.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// eventually polls a condition until it holds, and fails with its last error.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := check(try)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// survives runs a consumer through what happens to a cluster: each time it takes down what is published afterwards.
func survives(t *testing.T, durable string, cmd *exec.Cmd, file string) {
	t.Helper()
	cluster := natsdtest.RunCluster(t)
	var said lines
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "NATS_URL="+cluster.URLs()), &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	js := cluster.JS[0]
	calls := 0
	takes := func(after string) {
		t.Helper()
		calls++
		l := leg(calls, 1)
		data, err := summary.Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		draft := summary.Draft{
			Key: summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID}, Connection: l.ConnectionID, Revision: 1,
			Position: summary.Position{Log: "test", Seq: 1}, PublishedAt: startedAt, Body: data,
		}
		eventually(t, "a summary is published after "+after, func(ctx context.Context) error {
			p, err := publish.New(ctx, js, cluster.Layout)
			if err != nil {
				return err
			}
			_, stored, err := p.Last(ctx, draft.Key)
			if err != nil || stored {
				return err
			}
			_, err = p.Publish(ctx, draft, summary.Stored{})
			return err
		})
		eventually(t, "the consumer takes it down after "+after, func(context.Context) error {
			select {
			case err := <-ended:
				t.Fatalf("after %s the consumer ended: %v\n%s", after, err, said.text())
			default:
			}
			got, err := os.ReadFile(file)
			if err == nil && !bytes.Contains(got, append(data, '\n')) {
				err = fmt.Errorf("it is not in the file\n%s", said.text())
			}
			return err
		})
	}
	takes("the start")
	for _, subject := range []string{"CONSUMER.LEADER.STEPDOWN.CALLS." + durable, "STREAM.LEADER.STEPDOWN.CALLS"} {
		eventually(t, subject, func(ctx context.Context) error {
			_, err := cluster.Conns[0].RequestWithContext(ctx, "$JS.API."+subject, nil)
			return err
		})
		takes(subject)
	}
	for i := range cluster.Conns {
		if i > 0 { // this test's own connection is to the first
			cluster.Restart(t, i)
			takes(fmt.Sprintf("the restart of server %d", i))
		}
	}
	if err := js.DeleteStream(t.Context(), "CALLS"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the consumer says that it is interrupted", func(context.Context) error {
		if !strings.Contains(said.text(), "trying again") {
			return fmt.Errorf("it says %q", said.text())
		}
		return nil
	})
	eventually(t, "CALLS is made anew", func(ctx context.Context) error {
		_, err := natsd.Manage(ctx, js, cluster.Layout, natsd.Limits{Replicas: 3})
		return err
	})
	takes("the stream was made anew")
	if n := strings.Count(said.text(), "\n"); n > 40 {
		t.Errorf("it printed %d lines:\n%s", n, said.text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the consumer ended with %v\n%s", err, said.text())
		}
	case <-time.After(patience):
		t.Error("the consumer does not end")
	}
}

func TestTheGoConsumerSurvivesRestartsStepDownsAndAStreamMadeAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, file := filepath.Join(dir, "consumer"), filepath.Join(dir, "calls.ndjson")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./goconsumer").CombinedOutput(); err != nil {
		t.Fatalf("build the consumer: %v\n%s", err, out)
	}
	survives(t, "warehouse-go", exec.CommandContext(t.Context(), program, file), file)
}

func TestTheNodeConsumerSurvivesRestartsStepDownsAndAStreamMadeAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place(t, filepath.Join("node", "package.json"), dir)
	place(t, filepath.Join("node", "consumer.mjs"), dir)
	install(t, dir)
	file := filepath.Join(dir, "calls.ndjson")
	cmd := exec.CommandContext(t.Context(), "node", "consumer.mjs", file)
	cmd.Dir = dir
	survives(t, "warehouse-node", cmd, file)
}

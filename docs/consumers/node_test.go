package consumers_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
)

func TestNodeConsumerKeepsEachRevisionOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place(t, filepath.Join("node", "package.json"), dir)
	place(t, filepath.Join("node", "consumer.mjs"), dir)
	install(t, dir)
	s := published(t)
	var want []string
	for i := range 3 {
		data, err := summary.Encode(leg(i, 1))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(data))
	}
	data, err := summary.Encode(leg(0, 2))
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, string(data))
	sort.Strings(want)

	file := filepath.Join(dir, "calls.ndjson")
	// The second run is given everything again, as after a crash before any acknowledgement.
	for run := range 2 {
		cmd := exec.CommandContext(t.Context(), "node", "consumer.mjs", file)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NATS_URL="+s.URL())
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		acknowledged(t, s.JS, ended, &output)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("the consumer failed: %v\n%s", err, output.String())
			}
		case <-time.After(patience):
			t.Fatal("the consumer does not end")
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		var legs []string
		for _, line := range lines {
			if strings.HasPrefix(line, `{"kind":"leg"`) {
				legs = append(legs, line)
			}
		}
		sort.Strings(legs)
		if diff := cmp.Diff(want, legs); diff != "" || len(lines) != 7 {
			t.Errorf("run %d: %d lines, legs (-want +got):\n%s", run+1, len(lines), diff)
		}
		if err := s.JS.DeleteConsumer(t.Context(), s.Layout.Calls, "warehouse-node"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestThePythonConsumerKeepsEachRevisionOnce runs what the consumer does with messages. Its client of NATS, nats-py, is in none of the
// registries that the tests reach: what it does with the server was not run.
func TestThePythonConsumerKeepsEachRevisionOnce(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("python3 is not at hand: %v", err)
	}
	dir := t.TempDir()
	place(t, filepath.Join("python", "consumer.py"), dir)
	var messages strings.Builder
	for _, revision := range []int{2, 1} {
		for i := range 3 {
			data, err := summary.Encode(leg(i, revision))
			if err != nil {
				t.Fatal(err)
			}
			messages.Write(append(data, '\n'))
		}
	}
	script(t, dir, "messages.ndjson", messages.String())
	// Each run is ended as by a crash: what was not synced may be there in part.
	const run = `
import sys
from consumer import Store
store = Store("calls.ndjson")
with open("messages.ndjson", "rb") as messages:
    kept = sum(store.put(line.rstrip(b"\n")) for line in messages)
for body in (b"half", b"[]", b'{"kind":"leg"}'):
    try:
        store.put(body)
        sys.exit("no summary was kept: %r" % body)
    except ValueError:
        pass
store.sync()
print(kept)
store.file.write(b'{"kind":"leg","call_ses')
store.file.flush()
import os
os._exit(0)
`
	for _, want := range []string{"3", "0"} {
		cmd := exec.CommandContext(t.Context(), program, "-W", "error", "-c", strings.Replace(run, "print(kept)", "print(kept, flush=True)", 1))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("kept %s, want %s: %v", got, want, err)
		}
	}
	lines := strings.Split(mustRead(t, filepath.Join(dir, "calls.ndjson")), "\n")
	if want := strings.Split(messages.String(), "\n")[:3]; !cmp.Equal(want, lines[:3]) || len(lines) != 4 {
		t.Errorf("the file has %d lines: %.300s", len(lines), lines)
	}
}

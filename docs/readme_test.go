package docs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func readme(t *testing.T) string {
	t.Helper()
	return readText(t, filepath.Join(root, "README.md"))
}

// block is the n-th block of the README with that kind of text.
func block(t *testing.T, kind string, n int) string {
	t.Helper()
	parts := strings.Split(readme(t), "```"+kind+"\n")
	if len(parts) <= n+1 {
		t.Fatalf("the README has no block %d of %s", n, kind)
	}
	text, _, _ := strings.Cut(parts[n+1], "```")
	return text
}

// wanted are the summaries that the flow which the README names must end in, by "leg ID" and "session ID".
func wanted(t *testing.T) map[string]map[string]any {
	t.Helper()
	flow := regexp.MustCompile(`testdata/flows/\w+\.txtar`).FindString(readme(t))
	archive, err := txtar.ParseFile(filepath.Join(root, flow))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]map[string]any)
	for _, file := range archive.Files {
		if key, ok := strings.CutPrefix(file.Name, "want/"); ok && key != "messages" {
			var body map[string]any
			if err := json.Unmarshal(file.Data, &body); err != nil {
				t.Fatalf("%s: %v", file.Name, err)
			}
			found[key] = body
		}
	}
	return found
}

func TestReadmeIsAtMost150Lines(t *testing.T) {
	t.Parallel()
	if n := strings.Count(readme(t), "\n"); n > 150 {
		t.Errorf("it has %d lines: what only some readers need has a page of its own", n)
	}
}

func TestReadmeShowsASummaryOfAFlow(t *testing.T) {
	t.Parallel()
	var shown map[string]any
	if err := json.Unmarshal([]byte(block(t, "json", 0)), &shown); err != nil {
		t.Fatal(err)
	}
	// A flow writes these two down for each message, not in the last leg.
	delete(shown, "revision")
	delete(shown, "reasons")
	want := leaves("", wanted(t)[fmt.Sprint("leg ", shown["call_leg_id"])])
	if len(want) == 0 {
		t.Fatalf("the flow has no leg %v", shown["call_leg_id"])
	}
	for path, is := range leaves("", shown) {
		if was := want[path]; is != was {
			t.Errorf("the README shows %s as %v, the flow as %v", path, is, was)
		}
	}
}

// leaves are the texts, numbers and booleans in a JSON value by their place.
func leaves(at string, value any) map[string]any {
	out := map[string]any{}
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			maps.Copy(out, leaves(at+"/"+key, v))
		}
	case []any:
		for i, v := range value {
			maps.Copy(out, leaves(fmt.Sprint(at, "/", i), v))
		}
	default:
		out[at] = value
	}
	return out
}

// TestReadmeShowsWhatTailPrints publishes the summaries of the flow at the times that the README shows, and runs tail.
func TestReadmeShowsWhatTailPrints(t *testing.T) {
	t.Parallel()
	shown := block(t, "text", 0)
	const session, legA, legB = "5f1c0a02-0000-11f1-9c00-02420a0d0a00", "5f1c0a02-0a01-11f1-9c00-02420a0d0a01", "5f1c0a02-0a02-11f1-9c00-02420a0d0a02"
	messages := []struct {
		key, subject string
		revision     int
		reasons      []string
	}{
		{"leg " + legA, "calls.leg.completed.1700000000000000042." + session + "." + legA, 1, nil},
		{"leg " + legB, "calls.leg.completed.1700000000000000042." + session + "." + legB, 1, nil},
		{"session " + session, "calls.session.completed.1700000000000000042." + session, 1, nil},
		{"leg " + legA, "calls.leg.amended.1700000000000000042." + session + "." + legA, 2, []string{"recording", "cost"}},
	}
	lines := strings.Split(strings.TrimSpace(shown), "\n")
	if len(lines) != len(messages) {
		t.Fatalf("the README shows %d lines", len(lines))
	}
	server := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	summaries := wanted(t)
	for i, m := range messages {
		body := maps.Clone(summaries[m.key])
		if body == nil {
			t.Fatalf("the flow has no %s", m.key)
		}
		clock, _, _ := strings.Cut(lines[i], " ")
		body["published_at"], body["revision"] = "2026-03-02T"+clock+"Z", m.revision
		if m.reasons != nil {
			body["reasons"] = m.reasons
		}
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.JS.Publish(t.Context(), m.subject, data); err != nil {
			t.Fatal(err)
		}
	}

	// tail ends with the first line that is missing.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tail := exec.CommandContext(ctx, legatotest.Program(), "tail", "--all", "--nats-url="+server.URL())
	tail.Env = append(os.Environ(), "TZ=UTC", "NO_COLOR=1")
	out, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	printed := make([]byte, len(shown))
	_, err = io.ReadFull(out, printed)
	_ = tail.Process.Kill()
	_ = tail.Wait()
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(shown, string(printed)); diff != "" {
		t.Errorf("the README shows (-), tail prints (+):\n%s", diff)
	}
}

// TestReadmeShowsALadder holds the README's ladder against what explain draws of the call.
func TestReadmeShowsALadder(t *testing.T) {
	t.Parallel()
	drawn := readText(t, filepath.Join(root, "testdata", "ladders", "bridged_call.txt"))
	if shown := block(t, "text", 1); !strings.Contains(drawn, shown) {
		t.Errorf("the README shows what is no part of the ladder:\n%s", shown)
	}
}

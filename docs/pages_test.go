// Package docs_test holds the documents against the program, the tree and each other.
package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"golang.org/x/tools/txtar"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const root = ".."

// pages are the documents about the program as it is, by their path from the root. The
// changelog is none of them: it names what is gone.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/decisions/*.md", "docs/consumers/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(paths) == 0 {
			t.Errorf("there is no %s", pattern)
		}
		for _, path := range paths {
			found[strings.TrimPrefix(filepath.ToSlash(path), root+"/")] = readText(t, path)
		}
	}
	return found
}

var (
	flagInText    = regexp.MustCompile("`(--[a-z][a-z-]+)")
	commandLine   = regexp.MustCompile(`(?m)(?:^ {4,}|&& )(?:go run \./cmd/)?legato(?:-bench)? +[a-z-][^&|\n]*`)
	flagInCommand = regexp.MustCompile(`--[a-z][a-z-]+`)
	variable      = regexp.MustCompile(`\b(?:LEGATO|TELNYX)_[A-Z_]*[A-Z]\b`)
	metric        = regexp.MustCompile(`\blegato_[a-z_]+`)
	logLine       = regexp.MustCompile("log: `([^`]+)`")
	link          = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	treePath      = regexp.MustCompile(`(?m)(?:^|[\s` + "`" + `(])(?:\./)?((?:cmd|internal|ingest|enrich|publish|testdata|docs|deploy|\.ci|\.github)(?:/[\w.-]+)+)`)
)

// TestPagesNameOnlyWhatExists holds the documents against the command line, the tree, the code's words and each other.
func TestPagesNameOnlyWhatExists(t *testing.T) {
	t.Parallel()
	help, code := legatotest.AllHelp(t), sources(t)
	for page, text := range pages(t) {
		flags := flagInCommand.FindAllString(strings.Join(commandLine.FindAllString(text, -1), "\n"), -1)
		for _, flag := range flagInText.FindAllStringSubmatch(text, -1) {
			flags = append(flags, flag[1])
		}
		for _, flag := range flags {
			if !regexp.MustCompile(`(?m)^ .*` + flag + `(?:[=\s,]|$)`).MatchString(help) {
				t.Errorf("%s names the flag %s, which no command has", page, flag)
			}
		}
		for _, name := range variable.FindAllString(text, -1) {
			if !strings.Contains(help, "($"+name+")") {
				t.Errorf("%s names the variable %s, which no command reads", page, name)
			}
		}
		for _, name := range metric.FindAllString(text, -1) {
			if !strings.Contains(code, `"`+name+`"`) {
				t.Errorf("%s names the metric %s, which does not exist", page, name)
			}
		}
		for _, line := range logLine.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(code, line[1]) {
				t.Errorf("%s quotes the log line %q, which nobody writes", page, line[1])
			}
		}
		for _, path := range treePath.FindAllStringSubmatch(text, -1) {
			if name := strings.TrimRight(path[1], ".-"); !exists(t, name) {
				t.Errorf("%s names the path %s, which does not exist", page, path[1])
			}
		}
	}
	if text := readText(t, "telnyx.md"); !strings.Contains(text, ingest.Path) {
		t.Errorf("docs/telnyx.md does not name %s", ingest.Path)
	}
}

// exists reports whether the tree has a file or directory of that name, or a package such a function.
func exists(t *testing.T, name string) bool {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, name)); err == nil {
		return true
	}
	dir, base := filepath.Split(name)
	pkg, function, _ := strings.Cut(base, ".")
	return functions(t, filepath.Join(root, dir, pkg))[function]
}

// TestLinksLeadToHeadingsThatExist follows every link from one document to another.
func TestLinksLeadToHeadingsThatExist(t *testing.T) {
	t.Parallel()
	followed := 0
	for page, text := range pages(t) {
		for _, target := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(target[1], "://") {
				continue
			}
			followed++
			file, anchor, _ := strings.Cut(target[1], "#")
			path := filepath.Join(root, filepath.Dir(page), file)
			if file == "" {
				path = filepath.Join(root, page)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s links to %s: %v", page, target[1], err)
				continue
			}
			if anchor != "" && (info.IsDir() || !slices.Contains(headings(readText(t, path)), anchor)) {
				t.Errorf("%s links to %s, and there is no such heading", page, target[1])
			}
		}
	}
	if followed < 50 {
		t.Errorf("only %d links were followed", followed)
	}
}

// headings are the anchors of a page's headings, as GitHub makes them.
func headings(page string) (all []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

// TestProseIsAtMost120ColumnsWide leaves out tables, code, and what cannot be broken.
func TestProseIsAtMost120ColumnsWide(t *testing.T) {
	t.Parallel()
	for page, text := range pages(t) {
		text, _, _ = strings.Cut(text, "<!-- written by go test") // the comments of code have lines of their own
		fenced := false
		number := 0
		for line := range strings.Lines(text) {
			number++
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			free := fenced || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") || !strings.Contains(line, " ")
			if n := utf8.RuneCountInString(line); n > 120 && !free {
				t.Errorf("%s:%d has %d columns: %.60s…", page, number, n, line)
			}
		}
	}
}

// sources is the program's own Go code, tests left out.
func sources(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestIssueFormsAreForms holds them to what GitHub wants: it shows a form with a fault to nobody.
func TestIssueFormsAreForms(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, ".github", "ISSUE_TEMPLATE", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are %d forms: %v", len(files), err)
	}
	for _, file := range files {
		var form struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes struct{ Label, Value string }
			}
		}
		if err := yaml.Unmarshal([]byte(readText(t, file)), &form); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s lacks name, description or body", file)
		}
		seen := make(map[string]bool)
		for i, field := range form.Body {
			if field.Type == "markdown" && field.Attributes.Value != "" {
				continue
			}
			if field.Attributes.Label == "" || field.ID == "" || seen[field.ID] {
				t.Errorf("%s: field %d has no label, or no id of its own", file, i+1)
			}
			seen[field.ID] = true
		}
	}
}

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
	drawn := readText(t, filepath.Join(root, "testdata", "ladders.txtar"))
	if shown := block(t, "text", 1); !strings.Contains(drawn, shown) {
		t.Errorf("the README shows what is no part of the ladder:\n%s", shown)
	}
}

// Package docs_test holds the documents against the program, the tree and each other.
package docs_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/ingest"
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

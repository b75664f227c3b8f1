package main_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/legato-calls/legato/ingest"
)

// TestDocsNameOnlyWhatExists holds the pages for people against the command line,
// the tree, the code's words and each other.
func TestDocsNameOnlyWhatExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	help, code := helpTexts(t), sources(t, root)
	for _, page := range []string{"docs/telnyx.md", "docs/operations.md", "CONTRIBUTING.md"} {
		text := readText(t, filepath.Join(root, page))
		for _, flag := range regexp.MustCompile("`(--[a-z][a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(regexp.QuoteMeta(flag[1]) + `[=\s,]`).MatchString(help) {
				t.Errorf("%s names the flag %s, which no command has", page, flag[1])
			}
		}
		for _, name := range regexp.MustCompile(`\b(?:LEGATO|TELNYX)_[A-Z_]*[A-Z]\b`).FindAllString(text, -1) {
			if !strings.Contains(help, "($"+name+")") {
				t.Errorf("%s names the variable %s, which no command reads", page, name)
			}
		}
		for _, metric := range regexp.MustCompile(`\blegato_[a-z_]+`).FindAllString(text, -1) {
			if !strings.Contains(code, `"`+metric+`"`) {
				t.Errorf("%s names the metric %s, which does not exist", page, metric)
			}
		}
		for _, line := range regexp.MustCompile("log: `([^`]+)`").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(code, line[1]) {
				t.Errorf("%s quotes the log line %q, which nobody writes", page, line[1])
			}
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), link[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, link[1], err)
			}
		}
	}
	if text := readText(t, filepath.Join(root, "docs", "telnyx.md")); !strings.Contains(text, ingest.Path) {
		t.Errorf("docs/telnyx.md does not name %s", ingest.Path)
	}
}

// sources is the program's own Go code, tests left out.
func sources(t *testing.T, root string) string {
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

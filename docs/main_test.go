// Package docs_test holds the documents against the program, the tree and each other.
package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// bin has the programs that the documents speak of, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "legato-docs-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		if out, err := exec.Command("go", "build", "-o", bin, "../cmd/...").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// help is what a command ("legato parked list") prints about itself.
func help(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, words[0]), append(words[1:], "--help")...).Output()
	if err != nil {
		t.Fatalf("%s --help: %v", command, err)
	}
	return string(out)
}

// commands are the names of all commands, as the help lists them.
func commands(t *testing.T) []string {
	t.Helper()
	_, list, _ := strings.Cut(help(t, "legato"), "\nCommands:\n")
	var names []string
	for _, line := range regexp.MustCompile(`(?m)^  (\w+(?: \w+)?)  `).FindAllStringSubmatch(list, -1) {
		names = append(names, "legato "+line[1])
	}
	if len(names) < 10 {
		t.Fatalf("the help lists only %q", names)
	}
	return append(names, "legato-bench")
}

var allHelp struct {
	sync.Once
	text string
}

// helpOfAll is the help of all commands in one text.
func helpOfAll(t *testing.T) string {
	t.Helper()
	allHelp.Do(func() {
		for _, command := range commands(t) {
			allHelp.text += help(t, command)
		}
	})
	return allHelp.text
}

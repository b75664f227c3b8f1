package legatotest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

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

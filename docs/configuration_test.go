package docs_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// option is a flag as the help of a command prints it.
type option struct{ env, value string }

var (
	optionStart = regexp.MustCompile(`(?m)^  (?:    |-\w, )--([a-z][a-z-]*)(?:=("[^"]*"|\S+))?`)
	optionEnv   = regexp.MustCompile(`\(\$([A-Z_]+)\)`)
)

// options reads the flags out of the help of a command.
func options(help string) map[string]option {
	found := make(map[string]option)
	starts := optionStart.FindAllStringSubmatchIndex(help, -1)
	for i, at := range starts {
		end := len(help)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		o := option{}
		if at[4] >= 0 {
			o.value = help[at[4]:at[5]]
		}
		if env := optionEnv.FindStringSubmatch(help[at[0]:end]); env != nil {
			o.env = env[1]
		}
		found[help[at[2]:at[3]]] = o
	}
	delete(found, "help")
	return found
}

// row is a flag as a table explains it.
type row struct{ env, value string }

// tables reads the rows of every table, by the command that its heading names; those under a heading that
// names none stand under "".
func tables(t *testing.T, page string) map[string]map[string]row {
	t.Helper()
	all := map[string]map[string]row{"": {}}
	command, columns := "", []string(nil)
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			command = ""
			if name := regexp.MustCompile("^### `(.+)`$").FindStringSubmatch(line); name != nil {
				command = name[1]
				all[command] = map[string]row{}
			}
		}
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[0] == "flag" {
			columns = cells
			continue
		}
		cell := func(column string) string {
			if i := slices.Index(columns, column); i >= 0 {
				return cells[i]
			}
			return ""
		}
		flags, envs := strings.Split(cells[0], ", "), strings.Split(cell("environment"), ", ")
		for i, flag := range flags {
			name := strings.Trim(flag, "`-")
			if _, twice := all[command][name]; twice {
				t.Errorf("--%s stands twice under %q", name, command)
			}
			r := row{value: cell("default")}
			if i < len(envs) {
				r.env = strings.Trim(envs[i], "`")
			}
			all[command][name] = r
		}
	}
	return all
}

// TestConfigurationExplainsEveryFlagAsTheProgramHasIt holds the tables against the help of every command, both ways.
func TestConfigurationExplainsEveryFlagAsTheProgramHasIt(t *testing.T) {
	t.Parallel()
	explained := tables(t, readText(t, "configuration.md"))
	used := make(map[string]bool)
	help := map[string]string{"legato-bench": legatotest.BenchHelp(t)}
	for _, command := range legatotest.Commands(t) {
		help["legato "+command] = legatotest.Help(t, command)
	}
	for command, text := range help {
		has := options(text)
		for name, o := range has {
			r, own := explained[command][name]
			if !own {
				var shared bool
				if r, shared = explained[""][name]; !shared {
					t.Errorf("%s --%s is not explained", command, name)
					continue
				}
				used[name] = true
			}
			if r.env != o.env {
				t.Errorf("%s --%s reads %q, the page says %q", command, name, o.env, r.env)
			}
			if !sameDefault(o.value, r.value) {
				t.Errorf("%s --%s has the default %s, the page says %s", command, name, o.value, r.value)
			}
		}
		for name := range explained[command] {
			if _, known := has[name]; !known {
				t.Errorf("the page explains --%s, which %s does not have", name, command)
			}
		}
		delete(explained, command)
	}
	for name := range explained[""] {
		if !used[name] {
			t.Errorf("the page explains --%s, which no command has", name)
		}
	}
	delete(explained, "")
	for command := range maps.Keys(explained) {
		t.Errorf("the page explains %s, which does not exist", command)
	}
}

// sameDefault compares a default as the help prints it with a cell. A placeholder in capitals, an empty text and a list are
// no default that the help prints whole; what they mean the page says in words.
func sameDefault(printed, cell string) bool {
	value := strings.Trim(printed, `"`)
	words := !strings.HasPrefix(cell, "`")
	switch {
	case value == "" || strings.ToUpper(value) == value && strings.ContainsAny(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") || strings.HasSuffix(value, ",..."):
		return words && cell != ""
	case value == "0" && words:
		return cell != ""
	}
	return cell == "`"+value+"`"
}

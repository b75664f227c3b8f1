// Package deploy_test holds the files of this directory, the image and the release against the program and each
// other. Whether they are valid for the programs that read them is for those programs' validators.
package deploy_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"
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

// checked is one line of legato check.
type checked struct{ Name, Verdict, Detail string }

// check runs legato check and returns its lines by name.
func check(t *testing.T, env []string, args ...string) map[string]checked {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), legatotest.Program(), append([]string{"check", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError // a fault
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report struct{ Checks []checked }
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, out)
	}
	lines := make(map[string]checked)
	for _, c := range report.Checks {
		lines[c.Name] = c
	}
	return lines
}

// wantLine wants a line with that verdict and that text in its detail.
func wantLine(t *testing.T, lines map[string]checked, name, verdict, detail string) {
	t.Helper()
	if got := lines[name]; got.Verdict != verdict || !strings.Contains(got.Detail, detail) {
		t.Errorf("%s: got %+v, want %s with %q", name, got, verdict, detail)
	}
}

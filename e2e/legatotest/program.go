package legatotest

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// built are the programs of this run of tests, in a directory that is removed at its end.
var built struct{ dir, legato string }

// Program is the path of the program as users build it.
func Program() string { return built.legato }

// Main builds the program, runs the tests of a package, and returns the exit code; a goroutine that is left behind
// fails them. Tests that run the real program mostly wait for it, so more of them run at once than there are CPUs.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "legato-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.dir, built.legato = dir, filepath.Join(dir, "legato")
	if out, err := exec.Command("go", "build", "-o", built.legato, programPackage).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build legato: %v\n%s", err, out)
		return 1
	}
	// A flag of the command line, parsed by Run, has the last word.
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

const (
	programPackage = "github.com/legato-calls/legato/cmd/legato"
	// parallel is how many tests run at once by default.
	parallel = 6
)

// RaceProgram builds the program as this test was built: with the race detector where it has it.
var RaceProgram = sync.OnceValues(func() (string, error) {
	if info, ok := debug.ReadBuildInfo(); !ok || !raceOf(info) {
		return built.legato, nil
	}
	path := filepath.Join(built.dir, "legato-race")
	if out, err := exec.Command("go", "build", "-race", "-o", path, programPackage).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build legato with the race detector: %w\n%s", err, out)
	}
	return path, nil
})

func raceOf(info *debug.BuildInfo) bool {
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

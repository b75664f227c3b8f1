package legatotest

import (
	"os"
	"path/filepath"
	"testing"
)

// Path returns the path of a file of this repository, from its root on.
func Path(tb testing.TB, elem ...string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, elem...)...)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod in or above the working directory")
		}
		dir = parent
	}
}

// ReadText reads a file of this repository, from its root on.
func ReadText(tb testing.TB, elem ...string) string {
	tb.Helper()
	data, err := os.ReadFile(Path(tb, elem...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

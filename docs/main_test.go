// Package docs_test holds the documents against the program, the tree and each other.
package docs_test

import (
	"os"
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

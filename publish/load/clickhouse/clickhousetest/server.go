// Package clickhousetest runs ClickHouse for a test: chDB, which is its engine in a process of Node, behind its HTTP interface.
package clickhousetest

import (
	"bufio"
	"bytes"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed bridge.mjs
var bridge []byte

// Run starts an engine with a store of its own, and returns its address. It ends with the test. Without a folder in which npm
// has installed chdb, named by CHDB_DIR, the test is skipped and says so: that is half a gigabyte, not installed for the occasion.
func Run(tb testing.TB) (url string) {
	tb.Helper()
	modules := os.Getenv("CHDB_DIR")
	if modules == "" {
		tb.Skip("no statement was run by ClickHouse: CHDB_DIR does not name a directory in which npm has installed chdb")
	}
	dir := tb.TempDir()
	script := filepath.Join(dir, "bridge.mjs")
	if err := os.WriteFile(script, bridge, 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), "node", script, modules, filepath.Join(dir, "store"))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill() // the store goes with the test
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("ClickHouse:\n%s", complaints.Bytes())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("ClickHouse does not start: %v\n%s", err, complaints.Bytes())
	}
	return strings.TrimSpace(line)
}

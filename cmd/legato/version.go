package main

import (
	"fmt"
	"runtime"

	"github.com/legato-calls/legato/internal/service"
)

type versionCmd struct{}

// Run prints one line.
func (versionCmd) Run(c *console) error {
	_, err := fmt.Fprintf(c.stdout, "legato %s (commit %s, %s, %s/%s)\n", service.Release(), service.Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

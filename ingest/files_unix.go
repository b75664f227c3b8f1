//go:build unix

package ingest

import (
	"math"
	"syscall"
)

// openFiles returns how many files, sockets among them, this process may have open.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	return int(min(uint64(limit.Cur), math.MaxInt)) //nolint:unconvert // the type differs among systems
}

// Package filelock holds a file against other processes. The kernel drops the lock with the process, so that a crash leaves
// nothing to clean up. Where the system has no such lock, it holds nothing: there one process at a time is the operator's care.
package filelock

import "errors"

// ErrHeld is returned while another process holds the file.
var ErrHeld = errors.New("another process holds it")

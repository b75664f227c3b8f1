//go:build !linux && !darwin

package natsd

import (
	"errors"
	"runtime"
)

// dirLock guards nothing on systems without flock: there, one process a data directory is the operator's care.
type dirLock struct{}

func lockDir(string) (*dirLock, error) { return &dirLock{}, nil }

func (*dirLock) release() error { return nil }

func freeSpace(string) (int64, error) {
	return 0, errors.New("not known how to ask on " + runtime.GOOS + ": give the limit of the log in bytes")
}

func nearestExisting(dir string) string { return dir }

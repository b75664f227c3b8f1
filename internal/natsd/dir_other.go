//go:build !linux && !darwin

package natsd

import (
	"errors"
	"runtime"
)

func freeSpace(string) (int64, error) {
	return 0, errors.New("not known how to ask on " + runtime.GOOS + ": give the limit of the log in bytes")
}

func nearestExisting(dir string) string { return dir }

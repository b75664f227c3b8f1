//go:build linux || darwin

package export

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile keeps a second export away from the files of a first one. The kernel drops it with the process.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

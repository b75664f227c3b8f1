//go:build linux || darwin

package files

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock holds a file until it is closed. It fails with ErrHeld at once when another process holds it.
func Lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

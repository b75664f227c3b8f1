// Package files makes files last, and holds them against other processes. The kernel drops a lock with its process, so that a
// crash leaves nothing to clean up. Where the system has no such lock, it holds nothing: there one process at a time is the
// operator's care.
package files

import (
	"errors"
	"os"
	"path/filepath"
)

// ErrHeld is returned while another process holds the file.
var ErrHeld = errors.New("another process holds it")

// Put makes a file last under its name, whole or not at all: until it is whole it stands at temp, in the same file system.
func Put(temp, path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder last.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	// Some systems cannot sync a folder; the files themselves are on disk.
	_ = dir.Sync()
	return dir.Close()
}

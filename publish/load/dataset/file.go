package dataset

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// tempDir is where files are written until they are whole. Readers of folders pass over names that begin so.
const tempDir = "_tmp"

// Owner and group: the rows have phone numbers.
const (
	fileMode = 0o640
	dirMode  = 0o750
)

// fileName is what data files are named: the commit that they came with, and some letters that make the name unique.
var fileName = regexp.MustCompile(`^[0-9]{10}-[0-9a-f]{8}\.parquet$`)

// newName returns a name that no file had before.
func newName(commit int64) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%010d-%s.parquet", commit, hex.EncodeToString(b[:]))
}

// put makes a file last under its name, relative to dir, whole or not at all.
func put(dir, name string, data []byte) error {
	temp := filepath.Join(dir, tempDir, filepath.Base(name))
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
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
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Join(dir, name)))
}

// syncFile makes a file last.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir makes the names in a folder last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	// Some systems cannot sync a folder; the files themselves are on disk.
	_ = dir.Sync()
	return dir.Close()
}

// orphans returns the data files below dir that are not among the names.
func orphans(dir string, named map[string]bool) (found []string, err error) {
	for _, kind := range kinds {
		err := filepath.WalkDir(filepath.Join(dir, "kind="+kind), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() || !fileName.MatchString(d.Name()) {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err == nil && !named[filepath.ToSlash(name)] {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

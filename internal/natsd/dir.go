package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/legato-calls/legato/internal/files"
)

// ErrDirInUse is wrapped by the error of Start when another process, or another
// server of this process, runs on the data directory.
var ErrDirInUse = errors.New("data directory is in use")

// lockName is the file in the data directory that a running server holds locked.
// nats-server itself guards nothing: two of them on one directory corrupt it.
const lockName = "legato.lock"

// stoppedName is the file in the data directory that says that the server there was stopped in order, and that all it has
// written is on the disk.
const stoppedName = "legato.stopped"

// markStopped says that a server was stopped in order.
func markStopped(dir string) error {
	path := filepath.Join(dir, stoppedName)
	return files.Put(path+".new", path, nil, 0o600)
}

// dropIndexes removes what the server has noted of its streams, index.db, unless it was stopped in order, and returns of
// how many. A note is written every two minutes and at a stop, whole or not at all, and the messages that it tells of are
// synced later: with the power their end may go, and the note stay. The server would take them for deleted, and number
// the next message behind them. Without a note it reads what messages there are, as it mostly does anyway after such an
// end, since a note that is older than its messages is of no use to it; and it puts back consumers that are beyond them.
func dropIndexes(dir string) (dropped int, err error) {
	switch err := os.Remove(filepath.Join(dir, stoppedName)); {
	case err == nil:
		// It must not come back with the power, beside what is noted from now on.
		return 0, files.SyncDir(dir)
	case !errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("start embedded NATS: %w", err)
	}
	indexes, err := fs.Glob(os.DirFS(dir), server.JetStreamStoreDir+"/*/streams/*/msgs/index.db")
	for _, index := range indexes {
		if err := os.Remove(filepath.Join(dir, index)); err != nil {
			return 0, fmt.Errorf("start embedded NATS: %w", err)
		}
	}
	return len(indexes), err
}

// Shares of the disk, in percent, that the streams of an embedded server may
// take. The rest stays free, since a disk that ran full once stops JetStream
// for good: 40 for the copy of the log, which itself takes as much, 14 and 1 leave
// 5 for block rounding, indexes and everybody else.
const (
	eventsShare = 40
	callsShare  = 14
	parkedShare = 1
)

// DiskLimits returns limits of the streams' sizes for an embedded server with its data in dir: 40, 14 and 1 percent
// of what is free there and what the server already uses, so that the limits do not shrink as it fills. It fails
// when dir, or else its nearest existing parent, cannot be examined.
func DiskLimits(dir string) (Limits, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Limits{}, fmt.Errorf("disk space for NATS: %w", err)
	}
	used, free, err := usage(abs)
	if err != nil {
		return Limits{}, err
	}
	// Divide first, so that multiplying cannot overflow.
	percent := (free + used) / 100
	return Limits{
		EventsMaxBytes: percent * eventsShare,
		CallsMaxBytes:  percent * callsShare,
		ParkedMaxBytes: percent * parkedShare,
		Approximate:    Approximate{Events: true, Calls: true, Parked: true},
	}, nil
}

// FreeSpace returns how many bytes a process may still write to the disk of a directory, or of
// its nearest existing parent.
func FreeSpace(dir string) (int64, error) { return freeSpace(nearestExisting(dir)) }

// DirState is what InspectDir found.
type DirState struct {
	// Exists tells that the directory is there; otherwise it can be made.
	Exists bool
	// InUse tells that a running server holds it.
	InUse bool
	// Used and Free are in bytes: what the server takes there, and what is left of the disk.
	Used, Free int64
}

// InspectDir looks at a data directory and leaves it as it is. It fails when
// dir, or else its nearest existing parent, cannot be written to or examined.
func InspectDir(dir string) (DirState, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return DirState{}, fmt.Errorf("NATS data directory: %w", err)
	}
	var state DirState
	switch info, err := os.Stat(abs); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return state, fmt.Errorf("NATS data directory: %w", err)
	case !info.IsDir():
		return state, fmt.Errorf("NATS data directory %s is no directory", abs)
	default:
		state.Exists = true
	}
	if err := probeWrite(nearestExisting(abs)); err != nil {
		return state, err
	}
	if state.InUse, err = heldDir(abs); err != nil {
		return state, err
	}
	state.Used, state.Free, err = usage(abs)
	return state, err
}

// usage returns what lies below dir, and what is free on its disk.
func usage(dir string) (used, free int64, err error) {
	if used, err = dirSize(dir); err != nil {
		return 0, 0, fmt.Errorf("size of NATS data directory: %w", err)
	}
	if free, err = freeSpace(nearestExisting(dir)); err != nil {
		return used, 0, fmt.Errorf("free disk space of %s: %w", dir, err)
	}
	return used, free, nil
}

// heldDir reports whether a server holds dir. It takes the lock for a moment
// where nobody does; a server that starts at just that moment fails as if dir were held.
func heldDir(dir string) (bool, error) {
	if _, err := os.Stat(filepath.Join(dir, lockName)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := lockDir(dir)
	if errors.Is(err, ErrDirInUse) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, lock.release()
}

// dirLock is an exclusive lock on a data directory.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open lock of NATS data directory: %w", err)
	}
	err = files.Lock(f)
	if err == nil {
		return &dirLock{file: f}, nil
	}
	if errors.Is(err, files.ErrHeld) {
		err = fmt.Errorf("%w: another process holds %s", ErrDirInUse, path)
	} else {
		err = fmt.Errorf("lock %s: %w", path, err)
	}
	return nil, errors.Join(err, f.Close())
}

// release gives the directory free. The file stays: removing it would let two processes lock two files of one name.
func (l *dirLock) release() error { return l.file.Close() }

// dirSize adds up the files below dir, 0 when there is no dir.
func dirSize(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				total += info.Size()
			}
		}
		// A running server removes files while they are counted.
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

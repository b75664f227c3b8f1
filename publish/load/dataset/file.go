package dataset

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/internal/files"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/parquetfile"
)

// pageRows bounds what a file has in memory uncompressed.
const pageRows = 1536

// part are the rows of a commit that go into one file.
type part struct {
	// hour is when the hour began that its rows are of, in Unix time.
	hour   int64
	folder string
	// temp is where the file is until it has its name.
	temp string
	file file
	// to is nil once the file is whole.
	to *os.File
}

// folderOf is the folder of an hour, relative to the dataset.
func folderOf(kind string, hour int64) string {
	at := time.Unix(hour, 0).UTC()
	return path.Join("kind="+kind, at.Format("date=2006-01-02"), at.Format("hour=15"))
}

// table is how the rows of a kind are written.
type table struct {
	kind string
	flat *flat.Table
	// columns identifies the schema.
	columns string
	// received is the place of first_received_at among them.
	received int
	// cells has room for the row in hand.
	cells []flat.Value
	// open is the file that is written, nil when there is none, and ended are those that wait for the commit.
	open  *part
	ended []*part
	// out writes the files, one after another: its buffers are large. Nil: it has to be made.
	out *parquetfile.Writer
}

func newTable(kind string) (*table, error) {
	of, err := flat.Of(kind)
	if err != nil {
		return nil, err
	}
	t := &table{kind: kind, flat: of, columns: parquetfile.Fingerprint(of, true), cells: make([]flat.Value, len(of.Columns())), received: -1}
	for i, c := range of.Columns() {
		if c.Name == "first_received_at" {
			t.received = i
		}
	}
	if t.received < 0 {
		return nil, errors.New("a " + kind + " does not say when it was received")
	}
	return t, nil
}

// hour is when the hour began in which the row in hand has to stand, in Unix time: that in which its first event was received.
func (t *table) hour() int64 {
	return time.UnixMicro(t.cells[t.received].Int).Truncate(time.Hour).Unix()
}

// begin opens a file, once there is no other.
func (t *table) begin(p *part) (err error) {
	if p.to, err = os.OpenFile(p.temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode); err != nil {
		return err
	}
	if t.out == nil {
		t.out = parquetfile.New(p.to, t.flat, true)
		t.out.PageRows = pageRows
	} else {
		t.out.Reset(p.to)
	}
	t.open = p
	return nil
}

// add writes the row in hand, which stands in its batch at a place, into the open file. One that cannot be written is noted
// among the refused.
func (t *table) add(place int, r *load.Row, refused map[int]string) error {
	err := t.out.Write(r.Cells)
	if bad, ok := errors.AsType[*parquetfile.RowError](err); ok {
		refused[place], r.Cells = bad.Error(), nil
		return nil
	}
	if err != nil {
		return err
	}
	t.open.file.Rows++
	r.Release()
	return nil
}

// end makes the open file whole, if there is one. It is removed when it has no rows.
func (t *table) end() error {
	p := t.open
	if p == nil {
		return nil
	}
	err := t.out.Close()
	if err == nil {
		p.file.Bytes, err = p.to.Seek(0, 1)
	}
	if err := errors.Join(err, p.to.Close()); err != nil {
		return err
	}
	t.open, p.to = nil, nil
	if p.file.Rows == 0 {
		return os.Remove(p.temp)
	}
	t.ended = append(t.ended, p)
	return nil
}

// forget gives up the files of a commit. The next process, or Open, removes them.
func (t *table) forget() {
	if t.open != nil {
		// What is being encoded has to end before the file is closed.
		t.out.Reset(io.Discard)
		_ = t.open.to.Close() // it is given up
	}
	t.open, t.ended = nil, nil
}

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
	return files.Put(filepath.Join(dir, tempDir, filepath.Base(name)), filepath.Join(dir, name), data, fileMode)
}

// syncFile makes a file last.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
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

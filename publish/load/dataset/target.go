package dataset

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/internal/filelock"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/parquetfile"
)

const (
	// batchMessages and batchBytes bound what is in memory: a row has some 5 KB of cells beside its body.
	batchMessages, batchBytes = 4000, 12 << 20
	// linger is how old news may be: a file for each batch is small when calls are few.
	linger = 2 * time.Second
	// encoders is how many files are written beside each other.
	encoders = 2
)

// lockName is the file that the process which writes holds.
const lockName = ".legato.lock"

// rejectedDir has a file for each message that could not be loaded.
const rejectedDir = "rejected"

var kinds = []string{summary.KindLeg, summary.KindSession}

// Target is a dataset of Parquet files.
type Target struct {
	dir    string
	tables map[string]*table
	lock   *os.File
	// manifest is what the folder's says; nil when that is not known.
	manifest *manifest
	// rejected are messages that were set aside since the last commit.
	rejected []load.Origin
	// unmergeable are files that could not be merged: they are not tried again.
	unmergeable map[string]bool
	now         func() time.Time
}

// table is how the rows of a kind are written.
type table struct {
	kind string
	flat *flat.Table
	// received is the column of first_received_at.
	received int
	// columns identifies the schema.
	columns string
	writers sync.Pool
}

// New returns a target for a folder, which need not exist.
func New(dir string) (*Target, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	t := &Target{dir: abs, tables: make(map[string]*table), unmergeable: make(map[string]bool), now: time.Now}
	for _, kind := range kinds {
		of, err := flat.Of(kind)
		if err != nil {
			return nil, err
		}
		received := slices.IndexFunc(of.Columns(), func(c flat.Column) bool { return c.Name == "first_received_at" })
		t.tables[kind] = &table{kind: kind, flat: of, received: received, columns: parquetfile.Fingerprint(of, true)}
	}
	return t, nil
}

// Batches implements load.Batching.
func (t *Target) Batches() load.Batches {
	return load.Batches{Messages: batchMessages, Bytes: batchBytes, Linger: linger, Every: true}
}

// Open takes the folder for this process, and removes what a killed one left. It implements load.Target.
func (t *Target) Open(context.Context) (identity string, err error) {
	if t.lock == nil {
		if err := t.take(); err != nil {
			return "", err
		}
	}
	// What lies there was never whole.
	temp := filepath.Join(t.dir, tempDir)
	if err := errors.Join(os.RemoveAll(temp), os.Mkdir(temp, dirMode)); err != nil {
		return "", err
	}
	if t.manifest, err = readManifest(t.dir); err != nil {
		return "", err
	}
	named := make(map[string]bool)
	if t.manifest != nil {
		for _, f := range t.manifest.Files {
			named[f.Path] = true
		}
		for _, r := range t.manifest.Replaced {
			named[r.Path] = true
		}
	}
	left, err := orphans(t.dir, named)
	if err != nil {
		return "", fmt.Errorf("look for files without a manifest: %w", err)
	}
	if t.manifest == nil {
		if len(left) > 0 {
			t.release()
			return "", fmt.Errorf("%s has Parquet files and no %s: %w", t.dir, manifestName, load.ErrConfig)
		}
		m := &manifest{Version: manifestVersion, ID: rand.Text(), Streams: []*source{}, Files: []file{}, Replaced: []replaced{}}
		if err := m.write(t.dir); err != nil {
			return "", fmt.Errorf("write the manifest: %w", err)
		}
		t.manifest = m
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return "", err
		}
	}
	return t.manifest.ID, nil
}

// take makes the folder and holds it.
func (t *Target) take() error {
	if err := os.MkdirAll(t.dir, dirMode); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(t.dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return err
	}
	if err := filelock.Lock(f); err != nil {
		if errors.Is(err, filelock.ErrHeld) {
			err = fmt.Errorf("another loader writes into %s; this one takes over when that one ends", t.dir)
		}
		return errors.Join(err, f.Close())
	}
	t.lock = f
	return nil
}

func (t *Target) release() {
	if t.lock != nil {
		_ = t.lock.Close() // the lock ends in any case
		t.lock = nil
	}
}

// Close implements load.Target.
func (t *Target) Close(context.Context) error {
	t.release()
	return nil
}

// part are the rows of a batch that go into one file.
type part struct {
	folder string
	table  *table
	rows   []load.Row
	// temp is where the file is until it has its name.
	temp string
	file file
}

// Load implements load.Target.
func (t *Target) Load(ctx context.Context, rows []load.Row) (applied int, err error) {
	if t.manifest == nil {
		return 0, errors.New("not open")
	}
	var origins []load.Origin
	parts := make(map[string]*part)
	for _, r := range rows {
		if t.manifest.has(r.Origin) {
			continue
		}
		origins = append(origins, r.Origin)
		of := t.tables[r.Key.Kind]
		at := time.UnixMicro(r.Cells[of.received].Int).UTC()
		folder := path.Join("kind="+of.kind, at.Format("date=2006-01-02"), at.Format("hour=15"))
		if parts[folder] == nil {
			parts[folder] = &part{folder: folder, table: of}
		}
		parts[folder].rows = append(parts[folder].rows, r)
	}
	if len(origins) == 0 {
		return 0, nil
	}
	next := t.manifest.next(append(origins, t.rejected...))
	if err := t.write(ctx, parts, next); err != nil {
		if refusal, ok := errors.AsType[*parquetfile.RowError](err); ok {
			return 0, &load.Refusal{Reason: refusal.Error()}
		}
		t.manifest = nil // what the folder's says is not known
		return 0, err
	}
	t.manifest, t.rejected = next, nil
	if err := t.tidy(ctx); err != nil {
		t.manifest = nil
		return 0, fmt.Errorf("merge files: %w", err)
	}
	return len(origins), nil
}

// write writes the files of a batch and the manifest that names them.
func (t *Target) write(ctx context.Context, parts map[string]*part, next *manifest) error {
	ordered := make([]*part, 0, len(parts))
	for _, p := range parts {
		p.file.Path = path.Join(p.folder, newName(next.Commit))
		p.temp = filepath.Join(t.dir, tempDir, path.Base(p.file.Path))
		ordered = append(ordered, p)
	}
	slices.SortFunc(ordered, func(a, b *part) int { return cmp.Compare(a.folder, b.folder) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(encoders)
	for _, p := range ordered {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return p.encode()
		})
	}
	err := group.Wait()
	if err != nil {
		for _, p := range ordered {
			_ = os.Remove(p.temp) // what remains is removed by the next process
		}
		return err
	}
	for _, p := range ordered {
		p.file.At = t.now().UTC()
		next.Files = append(next.Files, p.file)
	}
	return t.commit(ordered, next)
}

// encode writes the rows into a file.
func (p *part) encode() (err error) {
	f, err := os.OpenFile(p.temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, ok := p.table.writers.Get().(*parquetfile.Writer)
	if ok {
		w.Reset(f)
	} else {
		w = parquetfile.New(f, p.table.flat, true)
	}
	for _, r := range p.rows {
		if err := w.Write(r.Cells); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	p.table.writers.Put(w)
	p.file.Kind, p.file.Rows, p.file.Columns = p.table.kind, int64(len(p.rows)), p.table.columns
	if p.file.Bytes, err = f.Seek(0, 1); err != nil {
		return err
	}
	return f.Sync()
}

// commit gives the files their names, and then puts the manifest in its place.
func (t *Target) commit(parts []*part, next *manifest) error {
	for _, p := range parts {
		folder := filepath.Join(t.dir, filepath.FromSlash(p.folder))
		if err := t.makeFolder(p.folder); err != nil {
			return err
		}
		if err := os.Rename(p.temp, filepath.Join(t.dir, filepath.FromSlash(p.file.Path))); err != nil {
			return err
		}
		if err := syncDir(folder); err != nil {
			return err
		}
	}
	if err := next.write(t.dir); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// makeFolder makes the folder of an hour last.
func (t *Target) makeFolder(folder string) error {
	at := t.dir
	for step := range slices.Values(splitPath(folder)) {
		next := filepath.Join(at, step)
		err := os.Mkdir(next, dirMode)
		switch {
		case errors.Is(err, os.ErrExist):
		case err != nil:
			return err
		default:
			if err := syncDir(at); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

func splitPath(p string) []string {
	dir, last := path.Split(p)
	if dir == "" {
		return []string{last}
	}
	return append(splitPath(path.Clean(dir)), last)
}

// rejected is a message that was set aside, as it is kept.
type rejectedMessage struct {
	Stream     string    `json:"stream"`
	Created    time.Time `json:"stream_created"`
	Seq        uint64    `json:"seq"`
	Subject    string    `json:"subject"`
	Reason     string    `json:"reason"`
	RejectedAt time.Time `json:"rejected_at"`
	// Body is the message byte for byte, in base64.
	Body []byte `json:"body"`
}

// Reject implements load.Target.
func (t *Target) Reject(_ context.Context, messages []load.Rejected) error {
	if t.manifest == nil {
		return errors.New("not open")
	}
	if err := os.Mkdir(filepath.Join(t.dir, rejectedDir), dirMode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, m := range messages {
		// The same message has the same name, however often it comes.
		name := fmt.Sprintf("%s-%d-%d.json", m.Stream, m.Created.UnixMicro(), m.Seq)
		data, err := json.Marshal(rejectedMessage{m.Stream, m.Created, m.Seq, m.Subject, m.Reason, t.now().UTC(), m.Body})
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(t.dir, rejectedDir, name)); err == nil {
			continue
		}
		if err := put(t.dir, filepath.Join(rejectedDir, name), append(data, '\n')); err != nil {
			return fmt.Errorf("keep a rejected message: %w", err)
		}
		t.rejected = append(t.rejected, m.Origin)
	}
	return nil
}

package dataset

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/internal/filelock"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/parquetfile"
)

const (
	// batchMessages and batchBytes bound what is in memory: the batch that is gathered, the one that is written, and once more what its
	// rows are in the columns. With half of it each file would cost a tenth more, with twice of it there would be too much.
	batchMessages, batchBytes = 2000, 4 << 20
	// linger is how old news may be: a file for each batch is small when calls are few.
	linger = 2 * time.Second
	// commitMessages are committed together while many come: a commit waits for the disk a few times.
	commitMessages = 16_000
)

// lockName is the file that the process which writes holds.
const lockName = ".legato.lock"

// rejectedDir has a file for each message that could not be loaded.
const rejectedDir = "rejected"

var kinds = []string{summary.KindLeg, summary.KindSession}

// Target is a dataset of Parquet files.
type Target struct {
	dir    string
	reader *load.Reader
	tables map[string]*table
	lock   *os.File
	// manifest is what the folder's says; nil when that is not known.
	manifest *manifest
	// next is the manifest with what is written and not committed yet, which the parts are; nil when there is nothing.
	next  *manifest
	parts []*part
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
	// columns identifies the schema.
	columns string
	// out writes the files of this kind, one after another: its buffers are large. Nil: it has to be made.
	out *parquetfile.Writer
	// cells has room for the row in hand.
	cells []flat.Value
}

// writer returns the writer, which writes into a file.
func (t *table) writer(f *os.File) *parquetfile.Writer {
	if t.out == nil {
		t.out = parquetfile.New(f, t.flat, true)
	} else {
		t.out.Reset(f)
	}
	return t.out
}

// New returns a target for a folder, which need not exist.
func New(dir string) (*Target, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	reader, err := load.NewReader()
	if err != nil {
		return nil, err
	}
	t := &Target{dir: abs, reader: reader, tables: make(map[string]*table), unmergeable: make(map[string]bool), now: time.Now}
	for _, kind := range kinds {
		of, err := flat.Of(kind)
		if err != nil {
			return nil, err
		}
		t.tables[kind] = &table{kind: kind, flat: of, columns: parquetfile.Fingerprint(of, true), cells: make([]flat.Value, len(of.Columns()))}
	}
	return t, nil
}

// Batches implements load.Batching.
func (t *Target) Batches() load.Batches {
	return load.Batches{Messages: batchMessages, Bytes: batchBytes, Linger: linger, Commit: commitMessages, Every: true}
}

// Open takes the folder for this process, and removes what a killed one left. It implements load.Target.
func (t *Target) Open(context.Context) (identity string, err error) {
	if t.lock == nil {
		if err := t.take(); err != nil {
			return "", err
		}
	}
	t.next, t.parts, t.rejected = nil, nil, nil
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

// hour is what one file of a batch is of.
type hour struct {
	kind string
	// began is when it began, in Unix time.
	began int64
}

// hourOf returns the hour in which a row has to stand: that in which its first event was received. Of a row that will be found
// to be none it is any hour.
func hourOf(r *load.Row) hour {
	at, err := time.Parse(time.RFC3339Nano, gjson.Get(r.Body, "first_received_at").Str)
	if err != nil {
		at = time.Unix(0, 0)
	}
	return hour{r.Key.Kind, at.Truncate(time.Hour).Unix()}
}

func (h hour) folder() string {
	at := time.Unix(h.began, 0).UTC()
	return path.Join("kind="+h.kind, at.Format("date=2006-01-02"), at.Format("hour=15"))
}

// part are the rows of a batch that go into one file.
type part struct {
	folder string
	table  *table
	rows   []*load.Row
	// places are those of the rows in the batch, refused why some of them are none, by place.
	places  []int
	refused map[int]string
	// origins are the messages whose rows are in the file.
	origins []load.Origin
	// temp is where the file is until it has its name.
	temp string
	file file
}

// Load implements load.Target.
func (t *Target) Load(ctx context.Context, rows []load.Row) (applied int, err error) {
	if t.manifest == nil {
		return 0, errors.New("not open")
	}
	next := t.next
	if next == nil {
		next = t.manifest
	}
	byHour := make(map[hour]*part)
	for i := range rows {
		if next.has(rows[i].Origin) {
			continue
		}
		h := hourOf(&rows[i])
		p := byHour[h]
		if p == nil {
			p = &part{folder: h.folder(), table: t.tables[h.kind]}
			p.file.Path = path.Join(p.folder, newName(t.manifest.Commit+1))
			p.temp = filepath.Join(t.dir, tempDir, path.Base(p.file.Path))
			byHour[h] = p
		}
		p.rows, p.places = append(p.rows, &rows[i]), append(p.places, i)
	}
	if len(byHour) == 0 {
		return 0, nil
	}
	parts := slices.SortedFunc(maps.Values(byHour), func(a, b *part) int { return cmp.Compare(a.folder, b.folder) })
	if err := t.encode(ctx, parts); err != nil {
		return 0, err
	}
	var origins []load.Origin
	var written []*part
	for _, p := range parts {
		if p.file.Rows == 0 {
			_ = os.Remove(p.temp) // what remains is removed by the next process
			continue
		}
		origins, written = append(origins, p.origins...), append(written, p)
		p.origins = nil
	}
	if len(written) > 0 {
		t.next, t.parts = t.manifest.before(next, origins), append(t.parts, written...)
	}
	return len(origins), refusal(parts)
}

// Commit implements load.Batching: it makes the files last, puts the manifest that names them in its place, and merges what is small.
func (t *Target) Commit(ctx context.Context) error {
	if t.manifest == nil {
		return errors.New("not open")
	}
	err := t.commitParts()
	if err == nil {
		if err = t.tidy(ctx); err != nil {
			err = fmt.Errorf("merge files: %w", err)
		}
	}
	if err != nil {
		t.manifest = nil // what the folder's says is not known
	}
	return err
}

func (t *Target) commitParts() error {
	next := t.next
	switch {
	case len(t.rejected) > 0 && next == nil:
		next = t.manifest.next(t.rejected)
	case len(t.rejected) > 0:
		next = t.manifest.before(next, t.rejected)
	case next == nil:
		return nil
	}
	for _, p := range t.parts {
		p.file.At = t.now().UTC()
		next.Files = append(next.Files, p.file)
	}
	if err := t.commit(t.parts, next); err != nil {
		return err
	}
	t.manifest, t.next, t.parts, t.rejected = next, nil, nil, nil
	return nil
}

// encode writes the files, those of legs beside those of sessions.
func (t *Target) encode(ctx context.Context, parts []*part) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, of := range t.tables {
		group.Go(func() error {
			for _, p := range parts {
				if p.table != of {
					continue
				}
				err := ctx.Err()
				if err == nil {
					err = p.encode(t.reader)
				}
				if err != nil {
					of.out = nil // it is in the middle of a file
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// refusal is the error of rows that are none; nil when all are.
func refusal(parts []*part) error {
	all := load.Refusal{Rows: make(map[int]string)}
	for _, p := range parts {
		for i, reason := range p.refused {
			all.Reason, all.Rows[i] = reason, reason
		}
	}
	if len(all.Rows) == 0 {
		return nil
	}
	return &all
}

// encode writes the rows into a file.
func (p *part) encode(reader *load.Reader) (err error) {
	f, err := os.OpenFile(p.temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, cells := p.table.writer(f), p.table.cells
	for i, r := range p.rows {
		reason := reader.Read(r, cells)
		if reason == nil {
			err := w.Write(cells)
			if bad, ok := errors.AsType[*parquetfile.RowError](err); ok {
				reason = bad
			} else if err != nil {
				return err
			}
		}
		if reason == nil {
			p.origins = append(p.origins, r.Origin)
			r.Release()
			continue
		}
		r.Cells = nil // the next row has them
		if p.refused == nil {
			p.refused = make(map[int]string)
		}
		p.refused[p.places[i]] = reason.Error()
	}
	if err := w.Close(); err != nil {
		return err
	}
	p.file.Kind, p.file.Rows, p.file.Columns = p.table.kind, int64(len(p.origins)), p.table.columns
	p.rows, p.places = nil, nil
	p.file.Bytes, err = f.Seek(0, 1)
	return err
}

// commit gives the files their names, and then puts the manifest in its place.
func (t *Target) commit(parts []*part, next *manifest) error {
	var group errgroup.Group
	for _, p := range parts {
		group.Go(func() error { return syncFile(p.temp) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	folders := make(map[string]bool)
	for _, p := range parts {
		folder := filepath.Join(t.dir, filepath.FromSlash(p.folder))
		if !folders[folder] {
			if err := t.makeFolder(p.folder); err != nil {
				return err
			}
			folders[folder] = true
		}
		if err := os.Rename(p.temp, filepath.Join(t.dir, filepath.FromSlash(p.file.Path))); err != nil {
			return err
		}
	}
	for folder := range folders {
		group.Go(func() error { return syncDir(folder) })
	}
	if err := group.Wait(); err != nil {
		return err
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
		if _, err := os.Stat(filepath.Join(t.dir, rejectedDir, name)); err != nil {
			if err := put(t.dir, filepath.Join(rejectedDir, name), append(data, '\n')); err != nil {
				return fmt.Errorf("keep a rejected message: %w", err)
			}
		}
		t.rejected = append(t.rejected, m.Origin)
	}
	return nil
}

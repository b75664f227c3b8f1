// Package dataset keeps a folder of Parquet files current: kind=leg|session/date=YYYY-MM-DD/hour=HH/*.parquet, by the hour,
// in UTC, in which the log took the first event of the leg or session.
//
// In go the batches of package load; out come nested Parquet files, each message a row, and the manifest that says which
// files are in.
//
// What it guarantees:
//   - A batch is in the dataset when the manifest that names its files has taken the place of the one before, and not earlier:
//     a reader of the manifest sees all of it or nothing.
//   - Each message is in once. The manifest names the messages that are in, too, so one that is delivered again is known. One that
//     has the place of another, which the stream has lost with its end, is told from that by when it was stored.
//   - A file has its name only when it is whole, and is never changed. One that was merged into another stays for some minutes.
//   - Small files are merged; those of a past hour are merged until they are large.
//   - One process writes at a time. Others wait until it ends.
//
// What is killed leaves files that no manifest names; the next process removes them.
package dataset

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/files"
	"github.com/legato-calls/legato/publish/load"
)

const (
	// batchMessages and batchBytes bound the messages in memory: those that are gathered, and those that are written.
	batchMessages, batchBytes = 500, 1 << 20
	// linger is how old news may be: a file for each commit is small when calls are few.
	linger = 2 * time.Second
	// commitMessages are committed together while many come: a commit waits for the disk a few times, and each file that it has says
	// anew what each of some 200 columns is.
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
	// next is the manifest with what is written and not committed yet; nil when there is nothing.
	next *manifest
	// rejected are messages that were set aside since the last commit.
	rejected []load.Origin
	// unmergeable are files that could not be merged: they are not tried again.
	unmergeable map[string]bool
	now         func() time.Time
	log         *slog.Logger
}

// New returns a target for a folder, which need not exist. Log may be nil.
func New(dir string, log *slog.Logger) (*Target, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	reader, err := load.NewReader()
	if err != nil {
		return nil, err
	}
	t := &Target{dir: abs, reader: reader, tables: make(map[string]*table), unmergeable: make(map[string]bool), now: time.Now, log: log}
	for _, kind := range kinds {
		if t.tables[kind], err = newTable(kind); err != nil {
			return nil, err
		}
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
	t.forget()
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
	if err := files.Lock(f); err != nil {
		if errors.Is(err, files.ErrHeld) {
			err = fmt.Errorf("another loader writes into %s; %w", t.dir, load.ErrStandby)
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
	t.forget()
	t.release()
	return nil
}

// forget gives up what is not committed.
func (t *Target) forget() {
	t.manifest, t.next, t.rejected = nil, nil, nil
	for _, of := range t.tables {
		of.forget()
	}
}

// Load implements load.Target.
func (t *Target) Load(ctx context.Context, rows []load.Row) (applied int, err error) {
	if t.manifest == nil {
		return 0, errors.New("not open")
	}
	if t.next == nil {
		t.next = t.manifest.next()
	}
	news := t.news(rows)
	refused := make(map[string]map[int]string)
	group, ctx := errgroup.WithContext(ctx)
	for kind, places := range news {
		of, bad := t.tables[kind], make(map[int]string)
		refused[kind] = bad
		group.Go(func() error { return t.write(ctx, of, rows, places, bad) })
	}
	if err := group.Wait(); err != nil {
		t.forget() // what the files have is not known
		return 0, err
	}
	in := make([]load.Origin, 0, len(rows))
	all := load.Refusal{Rows: make(map[int]string)}
	for kind, places := range news {
		for _, i := range places {
			if reason, bad := refused[kind][i]; bad {
				all.Reason, all.Rows[i] = reason, reason
				continue
			}
			in = append(in, rows[i].Origin)
		}
	}
	t.next.add(in)
	if len(all.Rows) > 0 {
		return len(in), &all
	}
	return len(in), nil
}

// news are the places of rows that are not in yet, by kind.
func (t *Target) news(rows []load.Row) map[string][]int {
	news := make(map[string][]int)
	type message struct {
		stream  string
		created int64
		seq     uint64
		at      int64
	}
	seen := make(map[message]bool, len(rows))
	for i := range rows {
		origin := &rows[i].Origin
		t.regain(t.next, *origin)
		of := message{origin.Stream, origin.Created.UnixNano(), origin.Seq, origin.At.UnixNano()}
		if !seen[of] && !t.next.has(*origin) {
			seen[of] = true
			news[rows[i].Key.Kind] = append(news[rows[i].Key.Kind], i)
		}
	}
	return news
}

// regain has a manifest take a message that stands where the stream has lost another one.
func (t *Target) regain(m *manifest, origin load.Origin) {
	if m.regain(origin) {
		t.log.Warn("the stream has lost its end; what stands there now is loaded, too", "stream", origin.Stream, "seq", origin.Seq)
	}
}

// write writes rows of a kind, those at the places, and notes by place why some are none. Those of other hours than that of the open
// file come last, hour by hour.
func (t *Target) write(ctx context.Context, of *table, rows []load.Row, places []int, refused map[int]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	later := make(map[int64][]int)
	for _, i := range places {
		if err := t.reader.Read(&rows[i], of.cells); err != nil {
			refused[i] = err.Error()
			continue
		}
		hour := of.hour()
		if of.open == nil {
			if err := t.begin(of, hour); err != nil {
				return err
			}
		}
		if hour != of.open.hour {
			rows[i].Cells = nil // the next row has them
			later[hour] = append(later[hour], i)
			continue
		}
		if err := of.add(i, &rows[i], refused); err != nil {
			return err
		}
	}
	for _, hour := range slices.Sorted(maps.Keys(later)) {
		if err := t.begin(of, hour); err != nil {
			return err
		}
		for _, i := range later[hour] {
			if err := t.reader.Read(&rows[i], of.cells); err != nil {
				return err // it was read before
			}
			if err := of.add(i, &rows[i], refused); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin ends the open file of a kind, and opens one for the rows of an hour.
func (t *Target) begin(of *table, hour int64) error {
	if err := of.end(); err != nil {
		return err
	}
	p := &part{hour: hour, folder: folderOf(of.kind, hour)}
	p.file = file{Path: path.Join(p.folder, newName(t.next.Commit)), Kind: of.kind, Columns: of.columns}
	p.temp = filepath.Join(t.dir, tempDir, path.Base(p.file.Path))
	return of.begin(p)
}

// Commit implements load.Committing: it makes the files last, puts the manifest that names them in its place, and merges what is small.
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
		t.forget() // what the folder's manifest says is not known
	}
	return err
}

func (t *Target) commitParts() error {
	var group errgroup.Group
	for _, of := range t.tables {
		group.Go(of.end)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var parts []*part
	for _, kind := range kinds {
		parts = append(parts, t.tables[kind].ended...)
		t.tables[kind].ended = nil
	}
	if len(parts) == 0 && len(t.rejected) == 0 {
		t.next = nil
		return nil
	}
	next := t.next
	if next == nil {
		next = t.manifest.next()
	}
	for _, origin := range t.rejected {
		t.regain(next, origin)
	}
	next.add(t.rejected)
	for _, p := range parts {
		p.file.At = t.now().UTC()
		next.Files = append(next.Files, p.file)
	}
	if err := t.commit(parts, next); err != nil {
		return err
	}
	t.manifest, t.next, t.rejected = next, nil, nil
	return nil
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
		group.Go(func() error { return files.SyncDir(folder) })
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
	for step := range strings.SplitSeq(folder, "/") {
		next := filepath.Join(at, step)
		err := os.Mkdir(next, dirMode)
		switch {
		case errors.Is(err, os.ErrExist):
		case err != nil:
			return err
		default:
			if err := files.SyncDir(at); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
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
		// The same message has the same name, however often it comes. When it was stored tells it from one that the stream has lost.
		name := fmt.Sprintf("%s-%d-%d-%d.json", m.Stream, m.Created.UnixMicro(), m.Seq, m.At.UnixMicro())
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

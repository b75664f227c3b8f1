package disk

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/legato-calls/legato/internal/call"
)

// Keys: entries stand under their sequence, what is noted of the log under names.
const (
	entryKey = 'e'
	noteKey  = 'n'
	keySize  = 1 + 8
)

// Notes. They are written when the log begins and not again: a table of entries and notes would overlap all later ones.
const (
	noteFormat = "format" // of the directory: a number
	noteID     = "id"     // of the log: its presence says that the directory is whole
	noteFirst  = "first"  // the first sequence that the log had
)

// floorFile has what a start goes by, beside the store: it is written all the time, and what the power takes of it is
// found out again.
const floorFile = "floor.json"

// passed is up to where nothing needs to be done again after a start, and the life of the stream of summaries that this
// was said of; empty: of whichever there is.
type passed struct {
	Floor     uint64 `json:"floor"`
	Summaries string `json:"summaries"`
}

const (
	// format is the one that this release writes.
	format = 1
	// memory is what pebble gathers in memory before it writes a table, for some 10 ms of a processor, which webhooks
	// must not feel; memories is how many may wait for a slow disk. cacheBytes is what it keeps of tables: the log is
	// read once, at the start.
	memory, memories, cacheBytes = 2 << 20, 8, 1 << 20
	// most is how many entries are read at once, mostBytes the size at which fewer are.
	most, mostBytes = 512, 1 << 20
)

// errFailed is the error of a store that has failed once: pebble does not go on after a failed write.
var errFailed = errors.New("the log's disk has failed (is the disk full?); it needs a restart")

// store is a directory with the entries of the log.
type store struct {
	db     *pebble.DB
	dir    string
	failed atomic.Pointer[error]
}

// openStore opens or makes a directory.
func openStore(dir string, log *slog.Logger) (*store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the log's directory: %w", err)
	}
	s := &store{dir: dir}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		Logger: quiet{s, log}, MemTableSize: memory, MemTableStopWritesThreshold: memories, Cache: cache, MaxOpenFiles: 64,
		// Entries come in order and are dropped in order: tables never overlap, and moving them down costs nothing.
		FormatMajorVersion: pebble.FormatNewest,
	}
	for i := range opts.Levels {
		// What is written will be read once, if ever; the disk is dearer in CPU than in room.
		opts.Levels[i].Compression = func() *block.CompressionProfile { return block.NoCompression }
		opts.Levels[i].BlockSize = 32 << 10
	}
	var err error
	if s.db, err = pebble.Open(dir, opts); err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", dir, err)
	}
	return s, nil
}

// quiet passes on what pebble says. A failed write, after which it does not go on, does not end the process here.
type quiet struct {
	s   *store
	log *slog.Logger
}

// Infof implements pebble.Logger: some lines for each table are of no use to an operator.
func (quiet) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (q quiet) Errorf(format string, args ...any) {
	q.log.Log(context.Background(), slog.LevelError, "the log's store", "detail", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger.
func (q quiet) Fatalf(format string, args ...any) {
	q.s.fail(fmt.Errorf(format, args...))
	q.Errorf(format, args...)
}

func (s *store) fail(err error) {
	err = fmt.Errorf("%w: %w", errFailed, err)
	s.failed.CompareAndSwap(nil, &err)
}

// failure is why nothing can be written any more; nil: it can.
func (s *store) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// write commits what fill puts into a batch, and syncs.
func (s *store) write(fill func(*pebble.Batch) error) error {
	return s.try(func() (err error) {
		b := s.db.NewBatch()
		defer func() { err = errors.Join(err, b.Close()) }()
		if err := fill(b); err != nil {
			return err
		}
		return b.Commit(pebble.Sync)
	})
}

// try changes the store. pebble panics where it cannot write its own log.
func (s *store) try(change func() error) (err error) {
	if err := s.failure(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			s.fail(fmt.Errorf("%v", p))
			err = s.failure()
		}
	}()
	if err := change(); err != nil {
		return err
	}
	// pebble returns no error after a fatal one: it expects the process to have ended.
	return s.failure()
}

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{entryKey}, seq) }

// append writes entries, whose sequences follow each other, and syncs.
func (s *store) append(entries []*call.Entry, buf *[]byte) error {
	return s.write(func(b *pebble.Batch) error {
		for _, e := range entries {
			*buf = appendRecord((*buf)[:0], e)
			op := b.SetDeferred(keySize, len(*buf))
			op.Key[0] = entryKey
			binary.BigEndian.PutUint64(op.Key[1:], e.Seq)
			copy(op.Value, *buf)
			if err := op.Finish(); err != nil {
				return err
			}
		}
		return nil
	})
}

// read returns entries from a sequence on, as many as are read at once.
func (s *store) read(from uint64) (entries []*call.Entry, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(from), UpperBound: []byte{entryKey + 1}})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size := 0
	for valid := it.First(); valid && len(entries) < most && size < mostBytes; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return entries, fmt.Errorf("read the log: %w", err)
		}
		e, err := readRecord(binary.BigEndian.Uint64(it.Key()[1:]), value)
		if err != nil {
			return entries, err
		}
		entries, size = append(entries, &e), size+len(value)
	}
	return entries, it.Error()
}

// glance returns entries from a sequence on as read does, to be looked at and not kept: they share their memory.
func (s *store) glance(from uint64) (entries []*call.Entry, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(from), UpperBound: []byte{entryKey + 1}})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var heads, bodies []byte
	records := make([]record, 0, most)
	ends := make([][2]int, 0, most)
	for valid := it.First(); valid && len(records) < most && len(bodies) < mostBytes; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		r, err := parseRecord(binary.BigEndian.Uint64(it.Key()[1:]), value)
		if err != nil {
			return nil, err
		}
		heads, bodies = append(heads, value[:r.head]...), append(bodies, value[r.head:]...)
		records, ends = append(records, r), append(ends, [2]int{len(heads), len(bodies)})
	}
	text, all, head, body := string(heads), make([]call.Entry, len(records)), 0, 0
	entries = make([]*call.Entry, len(records))
	for i := range records {
		all[i] = records[i].entry(text[head:ends[i][0]])
		all[i].Data = bodies[body:ends[i][1]]
		entries[i], head, body = &all[i], ends[i][0], ends[i][1]
	}
	return entries, it.Error()
}

// newest hands the entries to do, the last one first and without their bodies, as long as that wants more.
func (s *store) newest(do func(*call.Entry) bool) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(0), UpperBound: []byte{entryKey + 1}})
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for valid := it.Last(); valid; valid = it.Prev() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		r, err := parseRecord(binary.BigEndian.Uint64(it.Key()[1:]), value)
		if err != nil {
			return err
		}
		if e := r.entry(string(value[:r.head])); !do(&e) {
			return nil
		}
	}
	return it.Error()
}

// pick returns the entries at some sequences, which rise: all of them, or the first ones, of about so many bytes.
func (s *store) pick(seqs []uint64, bytes int) (entries []*call.Entry, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(seqs[0]), UpperBound: key(seqs[len(seqs)-1] + 1)})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size := 0
	for i, seq := range seqs {
		if size >= bytes {
			break
		}
		found := false
		if i > 0 && seq == seqs[i-1]+1 {
			found = it.Next()
		} else {
			found = it.SeekGE(key(seq))
		}
		if !found || binary.BigEndian.Uint64(it.Key()[1:]) != seq {
			return nil, errors.Join(fmt.Errorf("the log lacks its entry %d", seq), it.Error())
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		e, err := readRecord(seq, value)
		if err != nil {
			return nil, err
		}
		entries, size = append(entries, &e), size+len(value)
	}
	return entries, nil
}

// bounds returns the first and the last sequence that is kept; an empty log has first one above last.
func (s *store) bounds() (first, last uint64, err error) {
	if first, err = s.number(noteFirst, 1); err != nil {
		return 0, 0, err
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(first), UpperBound: []byte{entryKey + 1}})
	if err != nil {
		return 0, 0, fmt.Errorf("read the log: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	last = first - 1
	if it.First() {
		first = binary.BigEndian.Uint64(it.Key()[1:])
	}
	if it.Last() {
		last = binary.BigEndian.Uint64(it.Key()[1:])
	}
	return first, last, it.Error()
}

// drop removes all entries before a sequence: whole tables, without reading them or merging them with others. What is
// begun is finished, whatever ctx says.
func (s *store) drop(ctx context.Context, seq uint64) error {
	return s.try(func() error {
		return s.db.Excise(context.WithoutCancel(ctx), pebble.KeyRange{Start: key(0), End: key(seq)})
	})
}

func note(name string) []byte { return append([]byte{noteKey}, name...) }

// noted returns what was noted under a name; empty: nothing was.
func (s *store) noted(name string) (string, error) {
	v, closer, err := s.db.Get(note(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the log's %s: %w", name, err)
	}
	defer closer.Close()
	return string(v), nil
}

// number returns a number that was noted, and otherwise what it is by itself.
func (s *store) number(name string, otherwise uint64) (uint64, error) {
	v, err := s.noted(name)
	switch {
	case err != nil:
		return 0, err
	case v == "":
		return otherwise, nil
	case len(v) != 8:
		return 0, fmt.Errorf("read the log's %s: %w", name, errRecord)
	}
	return binary.BigEndian.Uint64([]byte(v)), nil
}

// begin notes what log the directory has, in a table of its own.
func (s *store) begin(id string, first uint64) error {
	if err := s.try(s.db.Flush); err != nil {
		return err
	}
	err := s.write(func(b *pebble.Batch) error {
		number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
		return errors.Join(b.Set(note(noteFormat), number(format), nil), b.Set(note(noteFirst), number(first), nil),
			b.Set(note(noteID), []byte(id), nil))
	})
	if err != nil {
		return err
	}
	return s.try(s.db.Flush)
}

// passed returns what was noted of the floor last; zero where that is lost.
func (s *store) passed() (p passed) {
	if text, err := os.ReadFile(filepath.Join(s.dir, floorFile)); err != nil || json.Unmarshal(text, &p) != nil {
		return passed{}
	}
	return p
}

// pass notes the floor.
func (s *store) pass(p passed) error {
	path := filepath.Join(s.dir, floorFile)
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("note the log's floor: %w", err)
	}
	return nil
}

// close ends the store. One that has failed is left as it is: it would wait for what never comes.
func (s *store) close() error {
	if s.failed.Load() != nil {
		return nil
	}
	return s.db.Close()
}

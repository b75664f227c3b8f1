package dataset

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/publish/load"
)

// manifestName is the file that says what is in the dataset.
const manifestName = "manifest.json"

// manifest says what is in the dataset. Each commit puts a new one in the place of the one before.
type manifest struct {
	// Version is that of this form.
	Version int `json:"version"`
	// ID is the identity of the dataset.
	ID string `json:"id"`
	// Commit counts the manifests.
	Commit int64 `json:"commit"`
	// Streams tell which messages are in, by stream.
	Streams []*source `json:"streams"`
	// Files hold the rows, in the order in which they came in.
	Files []file `json:"files"`
	// Replaced are files whose rows are in others. They stay for those who read an earlier manifest.
	Replaced []replaced `json:"replaced"`
}

// manifestVersion is the form that this package reads and writes.
const manifestVersion = 1

// file is a file of the dataset.
type file struct {
	// Path is relative to the dataset, with slashes.
	Path string `json:"path"`
	Kind string `json:"kind"`
	Rows int64  `json:"rows"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
	// Columns identifies its schema: files of one schema can be merged.
	Columns string `json:"columns"`
	// At is when it came in.
	At time.Time `json:"at"`
}

// replaced is a file that readers may still have open.
type replaced struct {
	Path string    `json:"path"`
	At   time.Time `json:"at"`
}

// source is a stream that rows came from.
type source struct {
	Stream  string    `json:"stream"`
	Created time.Time `json:"created"`
	// Sequences are the messages that are in, as spans from first to last.
	Sequences spans `json:"sequences"`
	// Marks say how late those can have been stored, in order: what has one of these sequences and is later is another message.
	// None: the manifest is of a release that did not know them, and nothing is known.
	Marks []mark `json:"marks,omitempty"`
}

// mark says that of the messages that are in, up to a sequence, none was stored later.
type mark struct {
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
}

const (
	// marksApart is how much later a mark is than the one before. A server that has lost the end of a stream was away for longer.
	marksApart = time.Second
	// maxMarks are kept. A batch has one, and while the loader keeps up it comes every two seconds: what a killed loader held comes
	// again after 20 seconds, well within them.
	maxMarks = 64
)

// again reports whether a message stands where an earlier one stood, which the stream has lost.
func (s *source) again(o load.Origin) bool {
	i := slices.IndexFunc(s.Marks, func(m mark) bool { return m.Seq >= o.Seq })
	return i >= 0 && o.At.After(s.Marks[i].At)
}

// cut forgets what is in from a sequence on.
func (s *source) cut(from uint64) {
	var before spans
	for _, span := range s.Sequences {
		if span[0] < from {
			before = append(before, [2]uint64{span[0], min(span[1], from-1)})
		}
	}
	s.Sequences = before
	if i := slices.IndexFunc(s.Marks, func(m mark) bool { return m.Seq >= from }); i >= 0 {
		s.Marks = append(slices.Clone(s.Marks[:i]), mark{from - 1, s.Marks[i].At})
	}
}

// mark notes that messages up to a sequence are in, of which none was stored later than at.
func (s *source) mark(seq uint64, at time.Time) {
	last := len(s.Marks) - 1
	if last >= 0 && seq <= s.Marks[last].Seq {
		return // it has one
	}
	s.Marks = slices.Clone(s.Marks)
	switch {
	case last < 0 || at.Sub(s.Marks[last].At) >= marksApart:
		s.Marks = append(s.Marks, mark{seq, at})
	case at.After(s.Marks[last].At):
		s.Marks[last] = mark{seq, at}
	default: // clocks of several servers differ
		s.Marks[last].Seq = seq
	}
	s.Marks = s.Marks[max(0, len(s.Marks)-maxMarks):]
}

// spans are numbers: disjoint spans from first to last, both included, in order and not adjacent.
type spans [][2]uint64

// has reports whether a number is in.
func (s spans) has(n uint64) bool {
	i, found := slices.BinarySearchFunc(s, n, func(span [2]uint64, n uint64) int {
		switch {
		case span[1] < n:
			return -1
		case span[0] > n:
			return 1
		}
		return 0
	})
	return found && i < len(s)
}

// with returns s and the numbers.
func (s spans) with(numbers []uint64) spans {
	all := slices.Clone(s)
	for _, n := range numbers {
		all = append(all, [2]uint64{n, n})
	}
	slices.SortFunc(all, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	var united spans
	for _, span := range all {
		if last := len(united) - 1; last >= 0 && span[0] <= united[last][1]+1 {
			united[last][1] = max(united[last][1], span[1])
			continue
		}
		united = append(united, span)
	}
	return united
}

// of returns what is known of a stream, nil when nothing is.
func (m *manifest) of(origin load.Origin) *source {
	for _, s := range m.Streams {
		if s.Stream == origin.Stream && s.Created.Equal(origin.Created) {
			return s
		}
	}
	return nil
}

// has reports whether a message is in.
func (m *manifest) has(origin load.Origin) bool {
	s := m.of(origin)
	return s != nil && s.Sequences.has(origin.Seq)
}

// regain reports whether a message stands where the stream has lost an earlier one. What is in from there on is then not in any more:
// of the messages that take those places, none is.
func (m *manifest) regain(origin load.Origin) bool {
	s := m.of(origin)
	if s == nil || !s.again(origin) {
		return false
	}
	s.cut(origin.Seq)
	return true
}

// next returns a manifest that follows m, which remains as it is.
func (m *manifest) next() *manifest {
	n := *m
	n.Commit++
	n.Files, n.Replaced = slices.Clone(m.Files), slices.Clone(m.Replaced)
	n.Streams = nil
	for _, s := range m.Streams {
		n.Streams = append(n.Streams, new(*s))
	}
	return &n
}

// add notes that messages are in.
func (m *manifest) add(origins []load.Origin) {
	for len(origins) > 0 {
		first := origins[0]
		s := m.of(first)
		if s == nil {
			s = &source{Stream: first.Stream, Created: first.Created}
			m.Streams = append(m.Streams, s)
		}
		var numbers []uint64
		var others []load.Origin
		var newest time.Time
		for _, o := range origins {
			if o.Stream != first.Stream || !o.Created.Equal(first.Created) {
				others = append(others, o)
				continue
			}
			numbers = append(numbers, o.Seq)
			if o.At.After(newest) {
				newest = o.At
			}
		}
		s.mark(slices.Max(numbers), newest)
		s.Sequences, origins = s.Sequences.with(numbers), others
	}
}

// readManifest returns the manifest of a dataset, nil when it has none.
func readManifest(dir string) (*manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	m := new(manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s is no manifest (%w): %w", manifestName, err, load.ErrConfig)
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("%s is of version %d, and %d is known: %w", manifestName, m.Version, manifestVersion, load.ErrConfig)
	}
	return m, nil
}

// write puts the manifest in the place of the one before.
func (m *manifest) write(dir string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return put(dir, manifestName, append(data, '\n'))
}

// Statements returns the SQL by which DuckDB reads a dataset, for a person who runs it.
func Statements(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(duckDB, "DIR", strings.ReplaceAll(abs, "'", "''")), nil
}

// duckDB reads the manifest once, so that all views show the same moment until it is read again. read_parquet takes a variable
// that is a list of names, and not an expression of one.
const duckDB = `-- What is in the dataset, as the manifest says at this moment. Run it again to see what came since.
SET VARIABLE legato_files = (
  SELECT files FROM read_json('DIR/manifest.json', maximum_object_size = 1073741824,
    columns = {files: 'STRUCT(path VARCHAR, kind VARCHAR)[]'}));
SET VARIABLE legato_leg_files = (
  SELECT list_transform(list_filter(getvariable('legato_files'), lambda f: f.kind = 'leg'), lambda f: 'DIR/' || f.path));
SET VARIABLE legato_session_files = (
  SELECT list_transform(list_filter(getvariable('legato_files'), lambda f: f.kind = 'session'), lambda f: 'DIR/' || f.path));

-- Every revision of each leg and session is a row.
CREATE OR REPLACE VIEW leg_revisions AS SELECT * FROM read_parquet(getvariable('legato_leg_files'),
  union_by_name = true, hive_partitioning = true, hive_types_autocast = false);
CREATE OR REPLACE VIEW session_revisions AS SELECT * FROM read_parquet(getvariable('legato_session_files'),
  union_by_name = true, hive_partitioning = true, hive_types_autocast = false);

-- The newest revision of each.
CREATE OR REPLACE VIEW legs AS SELECT * FROM leg_revisions
  QUALIFY row_number() OVER (PARTITION BY call_leg_id ORDER BY revision DESC, published_at DESC) = 1;
CREATE OR REPLACE VIEW sessions AS SELECT * FROM session_revisions
  QUALIFY row_number() OVER (PARTITION BY call_session_id ORDER BY revision DESC, published_at DESC) = 1;
`

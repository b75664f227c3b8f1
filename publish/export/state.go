package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// state is how far an export came, in FILE.state. Up to Bytes, FILE.part is on disk.
type state struct {
	// Stream, Created and Last are the snapshot: the stream as it stood when the export began.
	Stream  string    `json:"stream"`
	Created time.Time `json:"created"`
	Last    uint64    `json:"last"`

	// The plan, with the times that it meant then.
	Level         string `json:"level"`
	Format        Format `json:"format"`
	Since         Bound  `json:"since"`
	Until         Bound  `json:"until"`
	QuoteFormulas bool   `json:"quote_formulas,omitempty"`
	Nested        bool   `json:"nested,omitempty"`

	// Seq is the last message that stands in FILE.part, Rows and Bytes how much that is.
	Seq   uint64 `json:"seq"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
	// Gone counts what had left the stream before it could be read.
	Gone int64 `json:"gone"`
	// Fetched tells that FILE.part is whole.
	Fetched bool `json:"fetched"`
}

// goOn returns the state of an unfinished export of this plan, and whether there
// is one. It fails when there is one of another plan or of another stream.
func goOn(p Plan, stream string, created time.Time, last uint64) (state, bool, error) {
	data, err := os.ReadFile(p.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, false, fmt.Errorf("read how far the last export came: %w", err)
	}
	refuse := func(why string) (state, bool, error) {
		return state{}, false, fmt.Errorf("%s is of an export that was not finished, %s; remove it to begin anew", p.statePath(), why)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return refuse("and cannot be read")
	}
	switch {
	case s.Level != p.Level || s.Format != p.Format || s.Since.Text != p.Since.Text || s.Until.Text != p.Until.Text,
		s.QuoteFormulas != p.QuoteFormulas, s.Nested != p.Nested:
		return refuse(fmt.Sprintf("with other arguments (level %s, format %s, since %q, until %q)", s.Level, s.Format, s.Since.Text, s.Until.Text))
	case s.Stream != stream:
		return refuse("from stream " + s.Stream)
	case !s.Created.Equal(created) || s.Last > last:
		return refuse("and stream " + stream + " was made anew since")
	}
	return s, true, nil
}

// save replaces FILE.state.
func (s state) save(p Plan) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("note how far the export came: %w", err)
	}
	temp := p.statePath() + ".tmp"
	if err := writeSynced(temp, append(data, '\n')); err != nil {
		return fmt.Errorf("note how far the export came: %w", err)
	}
	if err := os.Rename(temp, p.statePath()); err != nil {
		return fmt.Errorf("note how far the export came: %w", err)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// fileMode keeps personal data from others.
const fileMode = 0o600

// syncDir makes a rename last.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	// Some systems cannot sync a directory; the file itself is on disk.
	_ = dir.Sync()
	return dir.Close()
}

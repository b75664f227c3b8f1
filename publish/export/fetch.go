package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/files"
	"github.com/legato-calls/legato/internal/natsd"
)

// A checkpoint costs two syncs of the disk, its absence the repetition of what
// came since: one comes when so many bytes are in, or so much time has passed.
const (
	checkpointBytes = 8 << 20
	checkpointEvery = 2 * time.Second
)

// spool is FILE.part: what was fetched, a body a line.
type spool struct {
	plan  Plan
	file  *os.File
	out   *bufio.Writer
	state state
	// noted is what FILE.state says, since when.
	noted     int64
	notedLast time.Time
}

// openSpool opens FILE.part, cut to what FILE.state vouches for. The state is taken back to the
// beginning when there is less than that. It fails when another export has it open.
func openSpool(p Plan, s state) (*spool, error) {
	f, err := os.OpenFile(p.partPath(), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open what was fetched: %w", err)
	}
	fail := func(err error) (*spool, error) {
		return nil, errors.Join(fmt.Errorf("open what was fetched: %w", err), f.Close())
	}
	switch err := files.Lock(f); {
	case errors.Is(err, files.ErrHeld):
		return fail(ErrInUse)
	case err != nil:
		return fail(err)
	}
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	// Between opening and locking the export before may have finished and moved its file away.
	if now, err := os.Stat(p.partPath()); err != nil || !os.SameFile(info, now) {
		return fail(ErrInUse)
	}
	if info.Size() < s.Bytes {
		s.Seq, s.Rows, s.Bytes, s.Gone, s.Fetched = 0, 0, 0, 0, false
	}
	if err := f.Truncate(s.Bytes); err != nil {
		return fail(err)
	}
	if _, err := f.Seek(s.Bytes, io.SeekStart); err != nil {
		return fail(err)
	}
	return &spool{plan: p, file: f, out: bufio.NewWriterSize(f, 1<<20), state: s, noted: s.Bytes, notedLast: time.Now()}, nil
}

// fetch appends the messages that are wanted to the spool.
func (s *spool) fetch(ctx context.Context, from *source, wanted []uint64, seen func(rows int64)) error {
	if len(wanted) > 0 {
		err := from.read(ctx, natsd.Scan{From: wanted[0], Last: s.state.Last}, func(m *jetstream.RawStreamMsg) error {
			for len(wanted) > 0 && wanted[0] < m.Sequence {
				wanted = wanted[1:]
				s.state.Gone++
			}
			if len(wanted) == 0 {
				return errEnough
			}
			if wanted[0] > m.Sequence {
				return nil // superseded, or outside the time
			}
			wanted = wanted[1:]
			if s.plan.Where == nil || s.plan.Where(m.Data) {
				if err := s.append(m); err != nil {
					return err
				}
			}
			if s.state.Rows%reportEvery == 0 {
				seen(s.state.Rows)
			}
			if len(wanted) == 0 {
				return errEnough
			}
			return nil
		})
		if err != nil {
			// What came so far is kept: an interrupted export goes on there.
			return errors.Join(err, s.checkpoint())
		}
	}
	s.state.Gone += int64(len(wanted))
	s.state.Fetched = true
	return s.checkpoint()
}

func (s *spool) append(m *jetstream.RawStreamMsg) error {
	body := m.Data
	if !gjson.ValidBytes(body) {
		return fmt.Errorf("message %d of %s is not JSON", m.Sequence, s.state.Stream)
	}
	if bytes.Contains(body, []byte(`\u0000`)) { // of an earlier release; a database refuses the whole file for it
		body = []byte(call.PrintableJSON(string(body)))
	}
	if bytes.IndexByte(body, '\n') >= 0 {
		var line bytes.Buffer
		if err := json.Compact(&line, body); err != nil {
			return fmt.Errorf("message %d of %s: %w", m.Sequence, s.state.Stream, err)
		}
		body = line.Bytes()
	}
	_, err := s.out.Write(body)
	if err == nil {
		err = s.out.WriteByte('\n')
	}
	if err != nil {
		return fmt.Errorf("keep what was fetched: %w", err)
	}
	s.state.Seq, s.state.Rows, s.state.Bytes = m.Sequence, s.state.Rows+1, s.state.Bytes+int64(len(body))+1
	// The clock is not read for each message.
	if s.state.Bytes-s.noted >= checkpointBytes || s.state.Rows%100 == 0 && time.Since(s.notedLast) >= checkpointEvery {
		return s.checkpoint()
	}
	return nil
}

// checkpoint puts FILE.part on disk, and then notes it in FILE.state.
func (s *spool) checkpoint() error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("keep what was fetched: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("keep what was fetched: %w", err)
	}
	s.noted, s.notedLast = s.state.Bytes, time.Now()
	return s.state.save(s.plan)
}

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
	if err := files.Put(p.statePath()+".tmp", p.statePath(), append(data, '\n'), fileMode); err != nil {
		return fmt.Errorf("note how far the export came: %w", err)
	}
	return nil
}

// fileMode keeps personal data from others.
const fileMode = 0o600

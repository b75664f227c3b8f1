// Package export writes the newest revision of every leg, or of every session,
// from the stream of summaries into a file.
//
// In goes a [Plan]; out comes the file, as NDJSON (bodies as they were published),
// CSV or Parquet (a row each, in the columns of package flat; in nested Parquet lists are lists).
//
// What it guarantees:
//   - The file appears under its name only when it is whole.
//   - It shows the stream as it stood when the export began: what is published
//     meanwhile is left out. Rows are in the order of the stream.
//   - Killed and run again with the same plan it gives the file that an
//     undisturbed run would have given. What it needs for that lies beside the file, as FILE.state and FILE.part.
//   - Memory does not grow with the bodies: some 100 bytes for each leg or session, at most.
//
// What has left the stream by its age before it was read is missing from the
// file, and counted. It does not know what a summary means.
//
// It works in three steps. The survey reads the headers, and tells which message is the
// newest of its leg or session. The fetch reads the bodies and appends the newest ones to FILE.part,
// noting in FILE.state how far it came. The last step writes them in their format.
package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/files"
	"github.com/legato-calls/legato/internal/natsd"
)

// ErrInUse is wrapped by the error of an export whose file another one is making.
var ErrInUse = errors.New("another export to this file is running")

// Step is what an export is doing.
type Step string

// Steps, in order.
const (
	// Survey reads the headers of the stream.
	Survey Step = "surveying"
	// Fetch reads the bodies that are wanted.
	Fetch Step = "fetching"
	// Write writes them in their format.
	Write Step = "writing"
)

// Watch is called with how far a step has come: done of all, which is 0 where it is not known.
type Watch func(step Step, done, all int64)

// reportEvery is how many messages go by between two reports.
const reportEvery = 1000

// Result is what an export did.
type Result struct {
	// Rows are in the file.
	Rows int64
	// Gone had left the stream before they could be read.
	Gone int64
	// Resumed is how many rows an earlier run had fetched.
	Resumed int64
}

// Run makes the file of a plan, or goes on making it where an earlier run of the
// same plan ended. It fails with ErrInUse while another export makes the same file, and when an
// unfinished export of another plan lies there. What it has fetched when it fails, or when ctx ends, is kept for the next run.
func Run(ctx context.Context, js jetstream.JetStream, layout natsd.Layout, p Plan, watch Watch) (Result, error) {
	if watch == nil {
		watch = func(Step, int64, int64) {}
	}
	if err := p.check(); err != nil {
		return Result{}, err
	}
	s, err := begin(ctx, js, layout, p)
	if err != nil {
		return Result{}, err
	}
	part, err := openSpool(p, s)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = part.file.Close() }() // all that counts was synced
	result := Result{Resumed: part.state.Rows}
	if !part.state.Fetched {
		if err := part.collect(ctx, newSource(js, layout, p.Level), watch); err != nil {
			return result, err
		}
	}
	result.Rows, result.Gone = part.state.Rows, part.state.Gone
	return result, part.finish(ctx, watch)
}

// begin takes the snapshot, unless an earlier run has.
func begin(ctx context.Context, js jetstream.JetStream, layout natsd.Layout, p Plan) (state, error) {
	stream, err := js.Stream(ctx, layout.Calls)
	if err != nil {
		return state{}, fmt.Errorf("look up stream %s: %w", layout.Calls, err)
	}
	info := stream.CachedInfo()
	s, found, err := goOn(p, layout.Calls, info.Created, info.State.LastSeq)
	if err != nil || found {
		return s, err
	}
	return state{
		Stream: layout.Calls, Created: info.Created, Last: info.State.LastSeq,
		Level: p.Level, Format: p.Format, Since: p.Since, Until: p.Until, QuoteFormulas: p.QuoteFormulas, Nested: p.Nested,
	}, nil
}

// collect fetches what is not in the spool yet.
func (s *spool) collect(ctx context.Context, from *source, watch Watch) error {
	// The snapshot stands before anything is read: the next run has the same.
	if err := s.checkpoint(); err != nil {
		return err
	}
	wanted, err := from.survey(ctx, s.state, func(done int64) { watch(Survey, done, 0) })
	if err != nil {
		return err
	}
	all := s.state.Rows + int64(len(wanted))
	watch(Fetch, s.state.Rows, all)
	return s.fetch(ctx, from, wanted, func(rows int64) { watch(Fetch, rows, all) })
}

// finish writes the file from the spool and clears away what was beside it.
func (s *spool) finish(ctx context.Context, watch Watch) error {
	whole := s.plan.partPath()
	if s.plan.Format != NDJSON {
		whole = s.plan.tempPath()
		if err := s.convert(ctx, whole, watch); err != nil {
			return err
		}
	}
	if err := os.Rename(whole, s.plan.Output); err != nil {
		return fmt.Errorf("put the export in its place: %w", err)
	}
	if err := files.SyncDir(filepath.Dir(s.plan.Output)); err != nil {
		return fmt.Errorf("put the export in its place: %w", err)
	}
	// The state first: alone it would make the next export repeat this one.
	for _, path := range []string{s.plan.statePath(), s.plan.partPath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clear away what the export needed: %w", err)
		}
	}
	return nil
}

// Format is the form of the file.
type Format string

// Formats.
const (
	NDJSON  Format = "ndjson"
	CSV     Format = "csv"
	Parquet Format = "parquet"
)

// FormatOf returns the format that a file's name ends in.
func FormatOf(file string) (Format, error) {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".ndjson", ".jsonl":
		return NDJSON, nil
	case ".csv":
		return CSV, nil
	case ".parquet":
		return Parquet, nil
	}
	return "", fmt.Errorf("%s ends in none of .ndjson, .jsonl, .csv and .parquet: name the format", filepath.Base(file))
}

// Bound is an end of a span of time. The zero value is open.
type Bound struct {
	// Text is what was asked for, as "24h": an export that goes on is known by it.
	Text string `json:"text,omitempty"`
	// At is the instant that it meant when the export began.
	At time.Time `json:"at,omitzero"`
}

// Plan says what to export.
type Plan struct {
	// Level is summary.KindLeg or summary.KindSession.
	Level string
	// Since and Until bound when a revision was published: from Since on, before Until.
	Since, Until Bound
	// Format is that of the file.
	Format Format
	// Where keeps a body; nil: all are kept. No unfinished export remembers it: it is for a file that is made at once.
	Where func(body []byte) bool
	// Output is the file. One that exists is replaced in the end.
	Output string
	// QuoteFormulas puts an apostrophe before texts in CSV that a spreadsheet takes for formulas. Numbers begin with a +.
	QuoteFormulas bool
	// Nested writes lists in Parquet as lists, not as JSON text.
	Nested bool
}

func (p Plan) check() error {
	switch {
	case p.Level != summary.KindLeg && p.Level != summary.KindSession:
		return fmt.Errorf("no summary is a %.32q", p.Level)
	case p.Format != NDJSON && p.Format != CSV && p.Format != Parquet:
		return fmt.Errorf("no format is named %.32q", p.Format)
	case p.Nested && p.Format != Parquet:
		return fmt.Errorf("only Parquet has nested lists, and the format is %s", p.Format)
	case p.Output == "":
		return errors.New("no file to export to")
	case !p.Until.At.IsZero() && !p.Until.At.After(p.Since.At):
		return errors.New("the export would end before it begins")
	}
	return nil
}

// What lies beside the file while it is made.
func (p Plan) statePath() string { return p.Output + ".state" }
func (p Plan) partPath() string  { return p.Output + ".part" }
func (p Plan) tempPath() string  { return p.Output + ".tmp" }

package export

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

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
	// Output is the file. One that exists is replaced in the end.
	Output string
	// QuoteFormulas puts an apostrophe before texts in CSV that a spreadsheet takes for formulas. Numbers begin with a +.
	QuoteFormulas bool
}

func (p Plan) check() error {
	switch {
	case p.Level != summary.KindLeg && p.Level != summary.KindSession:
		return fmt.Errorf("no summary is a %.32q", p.Level)
	case p.Format != NDJSON && p.Format != CSV && p.Format != Parquet:
		return fmt.Errorf("no format is named %.32q", p.Format)
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

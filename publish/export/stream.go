package export

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish"
)

// source is the stream of summaries, as one export reads it.
type source struct {
	js      jetstream.JetStream
	stream  string
	subject string
}

func newSource(js jetstream.JetStream, layout natsd.Layout, level string) *source {
	return &source{js: js, stream: layout.Calls, subject: layout.Prefix + "." + level + ".>"}
}

// errEnough ends a reading early.
var errEnough = errors.New("enough")

// read hands the messages of a scan to do, until do returns errEnough or there are no more.
func (s *source) read(ctx context.Context, scan natsd.Scan, do func(*jetstream.RawStreamMsg) error) error {
	scan.Stream, scan.Subjects = s.stream, []string{s.subject}
	if err := scan.Each(ctx, s.js, do); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// survey returns the sequences of the messages that the export still has to
// fetch, in order: of each leg or session the newest within the snapshot. Every revision is stored on
// condition of the one before, so the last is the newest.
func (s *source) survey(ctx context.Context, from state, seen func(done int64)) ([]uint64, error) {
	newest := make(map[[16]byte]uint64)
	scan := natsd.Scan{Since: from.Since.At, Last: from.Last, HeadersOnly: true}
	if from.Seq > 0 {
		scan.From = from.Seq + 1
	}
	var done int64
	err := s.read(ctx, scan, func(m *jetstream.RawStreamMsg) error {
		if done++; done%reportEvery == 0 {
			seen(done)
		}
		if from.Since.At.After(m.Time) || !from.Until.At.IsZero() && !m.Time.Before(from.Until.At) {
			return nil
		}
		of, ok := publish.ParseSubject(m.Subject)
		if ok {
			_, ok = of.Wrote(m.Header)
		}
		if !ok {
			return nil // what somebody else has put there supersedes nothing
		}
		newest[digest(of.Key)] = m.Sequence
		return nil
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Values(newest)), nil
}

// digest makes of a key one of fixed size: there may be millions.
func digest(key summary.Key) [16]byte {
	sum := sha256.Sum256([]byte(key.Session + "." + key.Leg))
	return [16]byte(sum[:16])
}

// csvEncoder writes RFC 4180, with a line of names and empty cells for null.
type csvEncoder struct {
	out     *csv.Writer
	record  []string
	names   []string
	columns []flat.Column
	quote   bool
}

// newCSV returns an encoder that, with quote, lets no text begin a formula.
func newCSV(w io.Writer, columns []flat.Column, quote bool) *csvEncoder {
	e := &csvEncoder{out: csv.NewWriter(w), record: make([]string, len(columns)), columns: columns, quote: quote}
	for _, c := range columns {
		e.names = append(e.names, c.Name)
	}
	return e
}

// head writes the names once.
func (e *csvEncoder) head() error {
	names := e.names
	if e.names = nil; names == nil {
		return nil
	}
	return e.out.Write(names)
}

func (e *csvEncoder) Write(row []flat.Value) error {
	if err := e.head(); err != nil {
		return err
	}
	for i, v := range row {
		e.record[i] = v.Text
		if e.quote && e.columns[i].Type == flat.Text && beginsFormula(v.Text) {
			e.record[i] = "'" + v.Text
		}
	}
	return e.out.Write(e.record)
}

// beginsFormula reports whether spreadsheets take a cell for a formula, some of which run programs or send data away.
func beginsFormula(cell string) bool {
	return cell != "" && strings.IndexByte("=+-@\t\r", cell[0]) >= 0
}

func (e *csvEncoder) Close() error {
	if err := e.head(); err != nil {
		return err
	}
	e.out.Flush()
	return e.out.Error()
}

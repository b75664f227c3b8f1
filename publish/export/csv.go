package export

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

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

func (e *csvEncoder) write(row []flat.Value) error {
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

func (e *csvEncoder) close() error {
	if err := e.head(); err != nil {
		return err
	}
	e.out.Flush()
	return e.out.Error()
}

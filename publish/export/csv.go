package export

import (
	"encoding/csv"
	"io"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

// csvEncoder writes RFC 4180, with a line of names and empty cells for null.
type csvEncoder struct {
	out    *csv.Writer
	record []string
	names  []string
}

func newCSV(w io.Writer, columns []flat.Column) *csvEncoder {
	e := &csvEncoder{out: csv.NewWriter(w), record: make([]string, len(columns))}
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
	}
	return e.out.Write(e.record)
}

func (e *csvEncoder) close() error {
	if err := e.head(); err != nil {
		return err
	}
	e.out.Flush()
	return e.out.Error()
}

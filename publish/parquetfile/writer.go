package parquetfile

import (
	"fmt"
	"io"
	"strconv"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

// A row group is held in memory until it is written; it ends at whichever comes first.
const (
	groupRows  = 50_000
	groupBytes = 64 << 20
)

// columnRows is how many rows are gathered before each column takes its values at one go. The writer ends pages between
// such writes only.
const columnRows = 64

// Writer writes one file.
type Writer struct {
	out    *parquet.GenericWriter[any]
	fields []field
	// values are those of the rows gathered, by leaf.
	values   [][]parquet.Value
	gathered int
	// rows and bytes are in the row group so far.
	rows, bytes int
}

// New returns a writer of rows of a table. With nested lists are written as such. Close must be called.
func New(w io.Writer, table *flat.Table, nested bool) *Writer {
	fields, leaves := fieldsOf(table.Columns(), nested, 0, 0)
	return &Writer{
		out:    parquet.NewGenericWriter[any](w, append(options(), schemaOf(fields))...),
		fields: fields,
		values: make([][]parquet.Value, leaves),
	}
}

// Reset lets a writer that was closed begin another file.
func (w *Writer) Reset(to io.Writer) {
	w.out.Reset(to)
	w.gathered, w.rows, w.bytes = 0, 0, 0
	for leaf := range w.values {
		w.values[leaf] = w.values[leaf][:0]
	}
}

func options() []parquet.WriterOption {
	return []parquet.WriterOption{
		parquet.Compression(&parquet.Zstd),
		parquet.KeyValueMetadata("legato.schema", strconv.Itoa(summary.Schema)),
	}
}

// Write adds a row. When it fails because a list is not as its columns are, the writer goes on without that row; any other
// error is one of the file's.
func (w *Writer) Write(row []flat.Value) error {
	if err := w.gather(w.fields, row, 0, 0); err != nil {
		w.forget()
		return &RowError{err}
	}
	w.gathered++
	w.rows++
	if w.gathered < columnRows && w.rows < groupRows && w.bytes < groupBytes {
		return nil
	}
	return w.pass()
}

// RowError is a row that was not written, though others can be.
type RowError struct{ err error }

// Error implements error. It shows nothing of the content.
func (e *RowError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *RowError) Unwrap() error { return e.err }

// pass hands what was gathered to the columns, and ends a row group that is full.
func (w *Writer) pass() error {
	for i, c := range w.out.ColumnWriters() {
		if _, err := c.WriteRowValues(w.values[i]); err != nil {
			return err
		}
		w.values[i] = w.values[i][:0]
	}
	w.gathered = 0
	if w.rows < groupRows && w.bytes < groupBytes {
		return nil
	}
	w.rows, w.bytes = 0, 0
	return w.out.Flush()
}

// Close writes what is left. It does not close what it writes to.
func (w *Writer) Close() error {
	if w.gathered > 0 {
		if err := w.pass(); err != nil {
			return err
		}
	}
	return w.out.Close()
}

// gather appends the values of a row, or of an element of a list. Its repetition level is that of the first values, its
// definition level that of a value which is null.
func (w *Writer) gather(fields []field, row []flat.Value, repetition, definition int) error {
	for i := range fields {
		f := &fields[i]
		if f.list != nil {
			if err := w.gatherList(f, row[i], repetition, definition); err != nil {
				return fmt.Errorf("%s: %w", f.column.Name, err)
			}
			continue
		}
		value, ok := w.cell(f.column.Type, row[i])
		level := definition
		if ok {
			level++
		}
		w.values[f.leaf] = append(w.values[f.leaf], value.Level(repetition, level, f.leaf))
	}
	return nil
}

// gatherList appends the elements of a list. A list that is null has the definition level of what it is in, one that is empty the next,
// and an element the one after that.
func (w *Writer) gatherList(f *field, v flat.Value, repetition, definition int) (err error) {
	none := definition
	if v.Known {
		none++
		next := repetition
		if f.list.elements != nil {
			err = f.list.elements.Each(v.Text, f.list.scratch, func(int) error {
				at := next
				next = f.list.repetition
				return w.gather(f.list.fields, f.list.scratch, at, definition+2)
			})
		} else {
			gjson.Parse(v.Text).ForEach(func(_, text gjson.Result) bool {
				w.bytes += len(text.Str)
				w.values[f.leaf] = append(w.values[f.leaf], bytesOf(text.Str).Level(next, definition+2, f.leaf))
				next = f.list.repetition
				return true
			})
		}
		if err != nil || next != repetition {
			return err
		}
	}
	for leaf := f.leaf; leaf < f.leaf+f.list.leaves; leaf++ {
		w.values[leaf] = append(w.values[leaf], parquet.NullValue().Level(repetition, none, leaf))
	}
	return nil
}

// cell is a value of a type; false when it is null.
func (w *Writer) cell(typ flat.Type, v flat.Value) (parquet.Value, bool) {
	if !v.Known {
		return parquet.NullValue(), false
	}
	switch typ {
	case flat.Integer, flat.Timestamp:
		return parquet.Int64Value(v.Int), true
	case flat.Decimal:
		// What does not fit is null; the totals have it as text.
		if n, ok := flat.Millionths(v.Text); ok {
			return parquet.Int64Value(n), true
		}
		return parquet.NullValue(), false
	case flat.Number:
		return parquet.DoubleValue(v.Number), true
	case flat.Boolean:
		return parquet.BooleanValue(v.Int == 1), true
	case flat.Text, flat.JSON:
	}
	w.bytes += len(v.Text)
	return bytesOf(v.Text), true
}

// bytesOf is a text without a copy: the columns copy what they are given.
func bytesOf(text string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(text), len(text)))
}

// forget takes back what was gathered of a row that is not whole.
func (w *Writer) forget() {
	for leaf, values := range w.values {
		rows, last := 0, 0
		for i := range values {
			if values[i].RepetitionLevel() == 0 {
				rows, last = rows+1, i
			}
		}
		if rows > w.gathered {
			w.values[leaf] = values[:last]
		}
	}
}

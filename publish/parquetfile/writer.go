// Package parquetfile writes summaries into Parquet files.
//
// In go rows of package flat; out comes a file with a typed column for each of theirs. Flat files have lists and maps as
// JSON text, nested ones have lists as LIST<STRUCT> or LIST<STRING>, made from the types of package summary; maps stay
// JSON text.
//
// What it guarantees:
//   - Every column, and every field of an element, is optional, so that a file can be read together with one of a version that knows more.
//   - Money is DECIMAL(18,6), exact or null.
//   - A row that is refused leaves nothing behind.
//   - Memory is bounded by a row group.
//
// It knows neither streams nor folders.
package parquetfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

// A row group is held in memory until it is written; it ends at whichever comes first.
const (
	groupRows  = 50_000
	groupBytes = 64 << 20
)

// pageBytes is how much a page has. The compressor of one that has more than 128 KiB, which this is well below with the rows that are
// passed at one go, keeps 8 MiB of history.
const pageBytes = 96 << 10

// pages hold what was written of a row group. By itself each of some 200 columns would take 32 KiB for the few bytes that it has.
var pages = parquet.NewChunkBufferPool(4 << 10)

// columnRows is how many rows are gathered before each column takes its values at one go. The writer ends pages between
// such writes only.
const columnRows = 64

// Writer writes one file. While rows are gathered, those before them are encoded.
type Writer struct {
	// PageRows bounds, roughly, the rows of a page, which are in memory as they are; of pages that are ended the compressed form is. Zero:
	// only their bytes do.
	PageRows int

	out    *parquet.GenericWriter[any]
	fields []field
	// rowBatch has the rows gathered, and spare is the one that is encoded, until encoded tells how that went. Nil: none is.
	rowBatch
	spare   rowBatch
	encoded chan error
	// pendingNulls counts, by field, the last of the rows that were encoded in which it is null: its columns do not have them yet. Most fields
	// of a table are null in all rows of a file, which so costs each of their leaves one page, and not one for so many rows.
	pendingNulls []int
	// rows and bytes are in the row group so far, paged are those of the rows whose pages are ended.
	rows, bytes, paged int
}

// rowBatch are rows that each column takes at one go.
type rowBatch struct {
	// values are those of the rows, by leaf.
	values [][]parquet.Value
	// absent counts, by field, the last of the rows in which it is null: they are not in values. Most fields of a row
	// are null, and a list that is null is so in each of its leaves.
	absent   []int
	gathered int
}

func newRowBatch(fields, leaves int) rowBatch {
	return rowBatch{values: make([][]parquet.Value, leaves), absent: make([]int, fields)}
}

func (b *rowBatch) empty() {
	for leaf := range b.values {
		b.values[leaf] = b.values[leaf][:0]
	}
	clear(b.absent)
	b.gathered = 0
}

// New returns a writer of rows of a table. With nested lists are written as such. Close must be called.
func New(w io.Writer, table *flat.Table, nested bool) *Writer {
	fields, leaves := fieldsOf(table.Columns(), nested, 0, 0)
	return &Writer{
		out:          parquet.NewGenericWriter[any](w, append(options(), schemaOf(fields))...),
		fields:       fields,
		rowBatch:     newRowBatch(len(fields), leaves),
		spare:        newRowBatch(len(fields), leaves),
		pendingNulls: make([]int, len(fields)),
	}
}

// Reset lets a writer that was closed, or has failed, begin another file.
func (w *Writer) Reset(to io.Writer) {
	_ = w.await() // of the file that is given up
	w.out.Reset(to)
	w.rows, w.bytes, w.paged = 0, 0, 0
	clear(w.pendingNulls)
	w.empty()
}

// pageCodec is what pages are compressed with.
var pageCodec = new(codec)

func options() []parquet.WriterOption {
	return []parquet.WriterOption{
		parquet.Compression(pageCodec),
		parquet.PageBufferSize(pageBytes),
		parquet.ColumnPageBuffers(pages),
		parquet.KeyValueMetadata("legato.schema", strconv.Itoa(summary.Schema)),
	}
}

// Write adds a row, whose texts must not change any more. When it fails because a list is not as its columns are, the
// writer goes on without that row; any other error is one of the file's, perhaps of rows before this one.
func (w *Writer) Write(row []flat.Value) error {
	for i := range w.fields {
		if !row[i].Known {
			w.absent[i]++
			continue
		}
		w.present(i, &w.fields[i])
		if err := w.gather(&w.fields[i], &row[i], 0, 0); err != nil {
			w.forget()
			return &RowError{err}
		}
	}
	w.gathered++
	w.rows++
	if w.gathered < columnRows && w.rows < groupRows && w.bytes < groupBytes {
		return nil
	}
	return w.pass()
}

// nulls are the values of a leaf in rows in which its field is null.
var nulls [1024]parquet.Value

// present appends the values of the rows in which a field is null.
func (b *rowBatch) present(i int, f *field) {
	if b.absent[i] == 0 {
		return
	}
	for leaf := f.leaf; leaf < f.leaf+f.leaves(); leaf++ {
		b.values[leaf] = append(b.values[leaf], nulls[:b.absent[i]]...)
	}
	b.absent[i] = 0
}

// RowError is a row that was not written, though others can be.
type RowError struct{ err error }

// Error implements error. It shows nothing of the content.
func (e *RowError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *RowError) Unwrap() error { return e.err }

// pass has what was gathered encoded once what was before it is, and a row group that is full ended.
func (w *Writer) pass() error {
	if err := w.await(); err != nil {
		return err
	}
	ends := nothing
	switch {
	case w.rows >= groupRows || w.bytes >= groupBytes:
		ends, w.rows, w.bytes, w.paged = group, 0, 0, 0
	case w.PageRows > 0 && w.rows-w.paged >= w.PageRows:
		ends, w.paged = page, w.rows
	}
	w.rowBatch, w.spare = w.spare, w.rowBatch
	w.encoded = make(chan error, 1)
	go func(b *rowBatch, encoded chan<- error) { encoded <- w.encode(b, ends) }(&w.spare, w.encoded)
	return nil
}

// await waits until what was passed is encoded.
func (w *Writer) await() error {
	if w.encoded == nil {
		return nil
	}
	err := <-w.encoded
	w.encoded = nil
	w.spare.empty()
	return err
}

// ending is what ends with some rows.
type ending int

const (
	nothing ending = iota
	page
	group
)

// encode hands rows to the columns, and ends the pages or the row group.
func (w *Writer) encode(b *rowBatch, ends ending) error {
	columns := w.out.ColumnWriters()
	for i := range w.fields {
		f := &w.fields[i]
		if b.absent[i] == b.gathered {
			w.pendingNulls[i] += b.gathered
			continue
		}
		b.present(i, f)
		for leaf := f.leaf; leaf < f.leaf+f.leaves(); leaf++ {
			if err := writeNulls(columns[leaf], w.pendingNulls[i]); err != nil {
				return err
			}
			if _, err := columns[leaf].WriteRowValues(b.values[leaf]); err != nil {
				return err
			}
		}
		w.pendingNulls[i] = 0
	}
	switch ends {
	case page:
		for _, column := range columns {
			if err := column.Flush(); err != nil {
				return err
			}
		}
	case group:
		if err := w.writePendingNulls(); err != nil {
			return err
		}
		return w.out.Flush()
	case nothing:
	}
	return nil
}

// writePendingNulls writes the values that the columns do not have yet.
func (w *Writer) writePendingNulls() error {
	columns := w.out.ColumnWriters()
	for i := range w.fields {
		f := &w.fields[i]
		for leaf := f.leaf; leaf < f.leaf+f.leaves(); leaf++ {
			if err := writeNulls(columns[leaf], w.pendingNulls[i]); err != nil {
				return err
			}
		}
	}
	clear(w.pendingNulls)
	return nil
}

// writeNulls writes the values of a leaf in rows in which its field is null.
func writeNulls(column *parquet.ColumnWriter, rows int) error {
	for rows > 0 {
		some := min(rows, len(nulls))
		if _, err := column.WriteRowValues(nulls[:some]); err != nil {
			return err
		}
		if rows -= some; some < len(nulls) {
			return nil
		}
		// The library keeps the room that the longest page had, of each column.
		if err := column.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what is left. It does not close what it writes to.
func (w *Writer) Close() error {
	if w.gathered > 0 {
		if err := w.pass(); err != nil {
			return err
		}
	}
	if err := w.await(); err != nil {
		return err
	}
	if err := w.writePendingNulls(); err != nil {
		return err
	}
	return w.out.Close()
}

// gather appends the values of a field. Its repetition level is that of the first of them, its definition level that of a
// value which is null.
func (w *Writer) gather(f *field, v *flat.Value, repetition, definition int) error {
	if f.list != nil {
		if err := w.gatherList(f, v, repetition, definition); err != nil {
			return fmt.Errorf("%s: %w", f.column.Name, err)
		}
		return nil
	}
	var value parquet.Value
	if v.Known {
		var ok bool
		if value, ok = w.cell(f.column.Type, v); ok {
			definition++
		}
	}
	w.append(f.leaf, value, repetition, definition)
	return nil
}

// append appends a value of a leaf.
func (w *Writer) append(leaf int, value parquet.Value, repetition, definition int) {
	values := append(w.values[leaf], value)
	last := &values[len(values)-1]
	last.SetRepetitionLevel(repetition)
	last.SetDefinitionLevel(definition)
	w.values[leaf] = values
}

// gatherList appends the elements of a list. A list that is null has the definition level of what it is in, one that is empty the next,
// and an element the one after that.
func (w *Writer) gatherList(f *field, v *flat.Value, repetition, definition int) (err error) {
	none := definition
	if v.Known {
		none++
		next := repetition
		if f.list.elements != nil {
			err = f.list.elements.Each(v.Text, f.list.scratch, func(int) error {
				at := next
				next = f.list.repetition
				for i := range f.list.fields {
					if err := w.gather(&f.list.fields[i], &f.list.scratch[i], at, definition+2); err != nil {
						return err
					}
				}
				return nil
			})
		} else {
			gjson.Parse(v.Text).ForEach(func(_, text gjson.Result) bool {
				w.bytes += len(text.Str)
				w.append(f.leaf, bytesOf(text.Str), next, definition+2)
				next = f.list.repetition
				return true
			})
		}
		if err != nil || next != repetition {
			return err
		}
	}
	for leaf := f.leaf; leaf < f.leaf+f.leaves(); leaf++ {
		w.append(leaf, parquet.Value{}, repetition, none)
	}
	return nil
}

// cell is a value that is known; false when it is null all the same.
func (w *Writer) cell(typ flat.Type, v *flat.Value) (parquet.Value, bool) {
	switch typ {
	case flat.Integer, flat.Timestamp:
		return parquet.Int64Value(v.Int), true
	case flat.Decimal:
		// What does not fit is null; the totals have it as text.
		if n, ok := flat.Millionths(v.Text); ok {
			return parquet.Int64Value(n), true
		}
		return parquet.Value{}, false
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
	for i := range w.fields {
		f := &w.fields[i]
		for leaf := f.leaf; leaf < f.leaf+f.leaves(); leaf++ {
			values := w.values[leaf]
			rows, last := w.absent[i], 0
			for at := range values {
				if values[at].RepetitionLevel() == 0 {
					rows, last = rows+1, at
				}
			}
			switch {
			case rows <= w.gathered: // the row had not come to this leaf
			case w.absent[i] == 0:
				w.values[leaf] = values[:last]
			case leaf == f.leaf+f.leaves()-1:
				w.absent[i]--
			}
		}
	}
}

// Fingerprint is a short text that files of a table have in common when they can be merged.
func Fingerprint(table *flat.Table, nested bool) string {
	fields, _ := fieldsOf(table.Columns(), nested, 0, 0)
	sum := sha256.Sum256([]byte(schemaOf(fields).String()))
	return hex.EncodeToString(sum[:6])
}

// Merge writes the rows of files of one schema into a file, in order, and returns how many there are.
func Merge(to io.Writer, paths []string) (rows int64, err error) {
	var groups []parquet.RowGroup
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		defer func() { _ = f.Close() }() // it was only read
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		file, err := parquet.OpenFile(f, info.Size(), parquet.SkipBloomFilters(true))
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		groups = append(groups, file.RowGroups()...)
	}
	if len(groups) == 0 {
		return 0, errors.New("no rows to merge")
	}
	schema := groups[0].Schema()
	all, err := parquet.MergeRowGroups(groups, schema)
	if err != nil {
		return 0, err
	}
	out := parquet.NewGenericWriter[any](to, append(options(), schema, parquet.MaxRowsPerRowGroup(groupRows))...)
	if rows, err = out.WriteRowGroup(all); err != nil {
		return rows, err
	}
	return rows, out.Close()
}

// codec compresses pages with Zstandard, and reads them as the library does. The compressors of the library keep a history of
// megabytes, which no page of ours ever fills; those of its default level need more time and memory than this one's for files
// that are four percent smaller.
type codec struct {
	parquetzstd.Codec
	compressors sync.Pool
}

// window is how far back a compressor looks: over a page.
const window = 128 << 10

// Encode implements compress.Codec.
func (c *codec) Encode(to, page []byte) ([]byte, error) {
	z, ok := c.compressors.Get().(*zstd.Encoder)
	if !ok {
		var err error
		if z, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false)); err != nil {
			return nil, err
		}
	}
	defer c.compressors.Put(z)
	return z.EncodeAll(page, to[:0]), nil
}

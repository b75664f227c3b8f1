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

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"

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

// columnRows is how many rows are gathered before each column takes its values at one go: as many as a processor's
// cache has room for the values of. The writer ends pages between such writes only.
const columnRows = 32

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
	// pendingNulls counts, by field, the last of the rows that were encoded in which it is null: its columns do not
	// have them yet. Most fields of a table are null in all rows of a file, which so costs each of their leaves one
	// page, and not one for so many rows.
	pendingNulls []int
	// rows and bytes are in the row group so far, paged are those of the rows whose pages are ended.
	rows, bytes, paged int
}

// New returns a writer of rows of a table. With nested lists are written as such. Close must be called.
func New(w io.Writer, table *flat.Table, nested bool) *Writer {
	fields, _ := fieldsOf(table.Columns(), nested, 0, 0)
	all := number(fields, 0)
	return &Writer{
		out:          parquet.NewGenericWriter[any](w, append(options(), schemaOf(fields))...),
		fields:       fields,
		rowBatch:     newRowBatch(all),
		spare:        newRowBatch(all),
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
		// The bounds of pages stand in the column index. Arrow does not repeat them in the pages either.
		parquet.DataPageStatistics(false),
		parquet.KeyValueMetadata("legato.schema", strconv.Itoa(summary.Schema)),
	}
}

// Write adds a row, whose texts must not change any more. When it fails because a list is not as its columns are, the
// writer goes on without that row; any other error is one of the file's, perhaps of rows before this one.
func (w *Writer) Write(row []flat.Value) error {
	if err := w.add(w.fields, row); err != nil {
		return &RowError{err}
	}
	w.rows++
	if w.gathered < columnRows && w.rows < groupRows && w.bytes+w.rowBatch.bytes < groupBytes {
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

// pass has what was gathered encoded once what was before it is, and a row group that is full ended.
func (w *Writer) pass() error {
	if err := w.await(); err != nil {
		return err
	}
	w.bytes += w.rowBatch.bytes
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
		if b.columns[f.place].taken == 0 {
			w.pendingNulls[i] += b.gathered
			continue
		}
		for leaf := f.leaf; leaf < f.leaf+f.leaves(); leaf++ {
			if err := writeNulls(columns[leaf], w.pendingNulls[i]); err != nil {
				return err
			}
		}
		w.pendingNulls[i] = 0
		if err := b.write(columns, f, nulls[:b.gathered]); err != nil {
			return err
		}
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

// write hands the values of a field to its leaves, given those of what it is in.
func (b *rowBatch) write(columns []*parquet.ColumnWriter, f *field, in []parquet.Value) error {
	values, fields := b.of(f, in), f.fields()
	if len(fields) == 0 {
		_, err := columns[f.leaf].WriteRowValues(values)
		return err
	}
	for i := range fields {
		if err := b.write(columns, &fields[i], values); err != nil {
			return err
		}
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

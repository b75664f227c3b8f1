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

package parquetfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

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

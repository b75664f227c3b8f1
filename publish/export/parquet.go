package export

import (
	"fmt"
	"io"
	"reflect"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

// A row group is held in memory until it is written; it ends at whichever comes first.
const (
	groupRows  = 50_000
	groupBytes = 64 << 20
)

// parquetEncoder writes a Parquet file. Every column is optional: so a file
// can be read together with one of a version that knows more fields.
type parquetEncoder struct {
	out     *parquet.GenericWriter[any]
	columns []flat.Column
	row     parquet.Row
	// rows and bytes are in the row group so far.
	rows, bytes int
}

func newParquet(w io.Writer, columns []flat.Column) *parquetEncoder {
	return &parquetEncoder{
		out: parquet.NewGenericWriter[any](w, schemaOf(columns), parquet.Compression(&parquet.Zstd),
			parquet.KeyValueMetadata("legato.schema", strconv.Itoa(summary.Schema))),
		columns: columns,
		row:     make(parquet.Row, len(columns)),
	}
}

// schemaOf returns the schema of the columns. It is made from a struct, because
// a parquet.Group would sort them by name.
func schemaOf(columns []flat.Column) *parquet.Schema {
	fields := make([]reflect.StructField, len(columns))
	for i, c := range columns {
		typ, options := reflect.TypeFor[string](), ",optional"
		switch c.Type {
		case flat.Integer:
			typ = reflect.TypeFor[int64]()
		case flat.Number:
			typ = reflect.TypeFor[float64]()
		case flat.Boolean:
			typ = reflect.TypeFor[bool]()
		case flat.Timestamp:
			typ, options = reflect.TypeFor[int64](), ",optional,timestamp(microsecond:utc)"
		case flat.Decimal:
			typ, options = reflect.TypeFor[int64](), ",optional,decimal(6:18)"
		case flat.Text, flat.JSON:
		}
		fields[i] = reflect.StructField{
			Name: fmt.Sprintf("C%d", i), Type: typ, Tag: reflect.StructTag(`parquet:"` + c.Name + options + `"`),
		}
	}
	return parquet.NewSchema("legato", parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface()))
}

func (e *parquetEncoder) write(row []flat.Value) error {
	for i, v := range row {
		cell, level := parquet.NullValue(), 0
		if v.Known {
			level = 1
			switch e.columns[i].Type {
			case flat.Text, flat.JSON:
				cell = parquet.ByteArrayValue([]byte(v.Text))
				e.bytes += len(v.Text)
			case flat.Integer, flat.Timestamp:
				cell = parquet.Int64Value(v.Int)
			case flat.Decimal:
				// What does not fit is null; the totals have it as text.
				if n, ok := flat.Millionths(v.Text); ok {
					cell = parquet.Int64Value(n)
				} else {
					level = 0
				}
			case flat.Number:
				cell = parquet.DoubleValue(v.Number)
			case flat.Boolean:
				cell = parquet.BooleanValue(v.Int == 1)
			}
		}
		e.row[i] = cell.Level(0, level, i)
	}
	if _, err := e.out.WriteRows([]parquet.Row{e.row}); err != nil {
		return err
	}
	if e.rows++; e.rows == groupRows || e.bytes >= groupBytes {
		e.rows, e.bytes = 0, 0
		return e.out.Flush()
	}
	return nil
}

func (e *parquetEncoder) close() error { return e.out.Close() }

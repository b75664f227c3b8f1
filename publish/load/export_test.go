package load

import "github.com/legato-calls/legato/enrich/summary/flat"

// Clean is what a body is before it is read.
var Clean = clean

// Parse reads one message.
func Parse(origin Origin, data []byte) (Row, error) {
	read, err := NewReader()
	if err != nil {
		return Row{}, err
	}
	row, err := rowOf(origin, data)
	if err != nil {
		return Row{}, err
	}
	return row, read.Read(&row, make([]flat.Value, len(read.Columns(row.Key.Kind))))
}

package load

import (
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

// Clean is what a body is before it is read.
var Clean = clean

// Idle notes what the loader notes when no message has come for a second.
func (l *Loader) Idle() { l.state.idle() }

// Parse reads one message.
func Parse(origin Origin, header nats.Header, data []byte) (Row, error) {
	read, err := NewReader()
	if err != nil {
		return Row{}, err
	}
	row, err := rowOf(origin, header, data)
	if err != nil {
		return Row{}, err
	}
	return row, read.Read(&row, make([]flat.Value, len(read.Columns(row.Key.Kind))))
}

package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// recordVersion is the first byte of a record. A record of another form gets another.
const recordVersion = 1

// Flags of a record.
const (
	flagBackfill = 1 << iota
	flagForeign  // taken over from a stream
)

// errRecord is the error of bytes that are no record.
var errRecord = errors.New("it is no record of the log that this release knows")

// appendRecord appends the bytes of an entry, all but its sequence.
func appendRecord(b []byte, e *call.Entry) []byte {
	b = append(b, recordVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(e.ReceivedAt.UnixNano()))
	var flags byte
	if e.Backfill {
		flags |= flagBackfill
	}
	if e.Foreign {
		flags |= flagForeign
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(max(e.Attempt, 0)))
	for _, s := range [...]string{
		e.Topic, e.ID, string(e.Ref.Session), string(e.Ref.Leg), string(e.Ref.Control), string(e.Ref.Connection),
		e.Signature, e.Timestamp, e.ContentType, e.UserAgent, e.Trace,
	} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return append(b, e.Data...)
}

// readRecord reads an entry back. It keeps nothing of b. The text is one, which all fields of the entry are parts of.
func readRecord(seq uint64, b []byte) (call.Entry, error) {
	const fixed = 1 + 8 + 1
	if len(b) < fixed || b[0] != recordVersion {
		return call.Entry{}, fmt.Errorf("read entry %d: %w", seq, errRecord)
	}
	e := call.Entry{
		Seq: seq, ReceivedAt: time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))).UTC(), Backfill: b[9]&flagBackfill != 0,
		Foreign: b[9]&flagForeign != 0,
	}
	attempt, n := binary.Uvarint(b[fixed:])
	if n <= 0 {
		return call.Entry{}, fmt.Errorf("read entry %d: %w", seq, errRecord)
	}
	e.Attempt = int(attempt)
	b = b[fixed+n:]
	// Where each text begins and ends, before any is copied.
	var spans [11][2]int
	at := 0
	for i := range spans {
		size, n := binary.Uvarint(b[at:])
		if n <= 0 || uint64(len(b)-at-n) < size {
			return call.Entry{}, fmt.Errorf("read entry %d: %w", seq, errRecord)
		}
		spans[i] = [2]int{at + n, at + n + int(size)}
		at = spans[i][1]
	}
	text := string(b[:at])
	part := func(i int) string { return text[spans[i][0]:spans[i][1]] }
	e.Topic, e.ID = call.KnownTopic(part(0)), part(1)
	e.Ref = call.Ref{
		Session: call.SessionID(part(2)), Leg: call.LegID(part(3)),
		Control: call.ControlID(part(4)), Connection: call.ConnectionID(part(5)),
	}
	e.Signature, e.Timestamp, e.ContentType, e.UserAgent, e.Trace = part(6), part(7), part(8), part(9), part(10)
	e.Data = append(make([]byte, 0, len(b)-at), b[at:]...)
	return e, nil
}

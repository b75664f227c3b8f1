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
	r, err := parseRecord(seq, b)
	if err != nil {
		return call.Entry{}, err
	}
	e := r.entry(string(b[:r.head]))
	e.Data = append(make([]byte, 0, len(b)-r.head), b[r.head:]...)
	return e, nil
}

// record is where everything stands in the bytes of an entry.
type record struct {
	seq     uint64
	at      int64
	flags   byte
	attempt int
	// head is how long it is without the body, texts are where the texts in it begin and end.
	head  int
	texts [11][2]int
}

func parseRecord(seq uint64, b []byte) (r record, err error) {
	const fixed = 1 + 8 + 1
	broken := func() (record, error) { return record{}, fmt.Errorf("read entry %d: %w", seq, errRecord) }
	if len(b) < fixed || b[0] != recordVersion {
		return broken()
	}
	attempt, n := binary.Uvarint(b[fixed:])
	if n <= 0 {
		return broken()
	}
	r.seq, r.at, r.flags, r.attempt, r.head = seq, int64(binary.BigEndian.Uint64(b[1:])), b[9], int(attempt), fixed+n
	for i := range r.texts {
		size, n := binary.Uvarint(b[r.head:])
		if n <= 0 || uint64(len(b)-r.head-n) < size {
			return broken()
		}
		r.texts[i] = [2]int{r.head + n, r.head + n + int(size)}
		r.head = r.texts[i][1]
	}
	return r, nil
}

// entry returns the entry without its body. Its texts are parts of head.
func (r *record) entry(head string) call.Entry {
	part := func(i int) string { return head[r.texts[i][0]:r.texts[i][1]] }
	return call.Entry{
		Seq: r.seq, ReceivedAt: time.Unix(0, r.at).UTC(), Backfill: r.flags&flagBackfill != 0, Foreign: r.flags&flagForeign != 0,
		Attempt: r.attempt, Topic: call.KnownTopic(part(0)), ID: part(1),
		Ref: call.Ref{
			Session: call.SessionID(part(2)), Leg: call.LegID(part(3)),
			Control: call.ControlID(part(4)), Connection: call.ConnectionID(part(5)),
		},
		Signature: part(6), Timestamp: part(7), ContentType: part(8), UserAgent: part(9), Trace: part(10),
	}
}

package load

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish"
)

// Reader reads what rows say. It is safe for concurrent use.
type Reader struct {
	kinds map[string]shape
}

// shape is the table of a kind, and where in it stands what identifies a row.
type shape struct {
	table                                *flat.Table
	kind, schema, revision, session, leg int
}

// NewReader returns a reader. It fails when the columns are not what they have to be.
func NewReader() (*Reader, error) {
	read := &Reader{kinds: make(map[string]shape)}
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		table, err := flat.Of(kind)
		if err != nil {
			return nil, err
		}
		s := shape{table: table, leg: -1}
		for i, c := range table.Columns() {
			switch c.Name {
			case "kind":
				s.kind = i
			case "schema":
				s.schema = i
			case "revision":
				s.revision = i
			case "call_session_id":
				s.session = i
			case "call_leg_id":
				s.leg = i
			}
		}
		read.kinds[kind] = s
	}
	return read, nil
}

// rowOf makes a row of a message, which is not read yet. Its errors show nothing of the content.
func rowOf(origin Origin, header nats.Header, data []byte) (Row, error) {
	of, ok := publish.ParseSubject(origin.Subject)
	if !ok {
		return Row{}, errors.New("the subject is none of a summary")
	}
	if len(data) == 0 {
		return Row{}, errors.New("the message is empty")
	}
	said, ok := of.Wrote(header)
	if !ok {
		return Row{}, errors.New("the headers are none of a summary")
	}
	// Not copied: the message stays in memory until it is acknowledged, and nobody writes into it.
	return Row{Key: of.Key, Body: clean(unsafe.String(unsafe.SliceData(data), len(data))), Origin: origin, data: data, said: int64(said)}, nil
}

// Columns returns the columns of a kind of summary.
func (read *Reader) Columns(kind string) []flat.Column { return read.kinds[kind].table.Columns() }

// Read sets the cells of a row, and its revision. Cells has a value for each column of the kind. It fails when the body is no summary, or
// not that of the row; the error names fields and never what is in them.
func (read *Reader) Read(r *Row, cells []flat.Value) error {
	s := read.kinds[r.Key.Kind]
	if err := s.table.Row(r.Body, cells); err != nil {
		return err
	}
	// A row stands where the subject says: what it says of itself must agree.
	switch leg := s.leg >= 0; {
	case cells[s.kind].Text != r.Key.Kind:
		return errors.New("kind is not that of the subject")
	case cells[s.schema].Int != summary.Schema:
		return fmt.Errorf("schema is %d, and only %d is known", cells[s.schema].Int, summary.Schema)
	case cells[s.session].Text != r.Key.Session:
		return errors.New("call_session_id is not that of the subject")
	case leg && cells[s.leg].Text != r.Key.Leg:
		return errors.New("call_leg_id is not that of the subject")
	case cells[s.revision].Int < 1:
		return errors.New("revision is less than 1")
	case r.said != 0 && cells[s.revision].Int != r.said:
		return errors.New("revision is not that of the header")
	}
	r.Cells, r.Revision = cells, cells[s.revision].Int
	return nil
}

// clean returns a body in which every target can store every text: U+FFFD stands for what is not UTF-8, for U+0000, which
// PostgreSQL does not take, and for half a surrogate pair. Legato itself writes none of these.
func clean(body string) string {
	if !utf8.ValidString(body) {
		body = strings.ToValidUTF8(body, "\uFFFD")
	}
	if !strings.Contains(body, `\u`) {
		return body
	}
	const replacement = `\ufffd`
	var out strings.Builder
	out.Grow(len(body))
	for i := 0; i < len(body); {
		if body[i] != '\\' || i+1 >= len(body) {
			out.WriteByte(body[i])
			i++
			continue
		}
		unit, ok := escaped(body[i:])
		switch {
		case !ok: // another escape
			out.WriteString(body[i : i+2])
			i += 2
		case unit == 0 || 0xDC00 <= unit && unit <= 0xDFFF:
			out.WriteString(replacement)
			i += len(replacement)
		case 0xD800 <= unit && unit <= 0xDBFF:
			low, ok := escaped(body[i+len(replacement):])
			if !ok || low < 0xDC00 || low > 0xDFFF {
				out.WriteString(replacement)
				i += len(replacement)
				continue
			}
			out.WriteString(body[i : i+2*len(replacement)])
			i += 2 * len(replacement)
		default:
			out.WriteString(body[i : i+len(replacement)])
			i += len(replacement)
		}
	}
	return out.String()
}

// escaped reads the UTF-16 unit of an escape \uXXXX that a text begins with.
func escaped(text string) (unit uint32, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(text[2:6]) {
		unit <<= 4
		switch {
		case '0' <= c && c <= '9':
			unit |= uint32(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			unit |= uint32(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return unit, true
}

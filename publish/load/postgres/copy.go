package postgres

import (
	"io"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load"
)

// lines is what COPY reads: it asks fill for the next piece whenever it has nothing left.
type lines struct {
	// fill appends lines. It returns false when there are no more.
	fill func(to []byte) ([]byte, bool)
	buf  []byte
	rest []byte
}

// Read implements io.Reader. It fills p as far as there is something: what it returns is a message to the server each time.
func (l *lines) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(l.rest) == 0 {
			var more bool
			if l.buf, more = l.fill(l.buf[:0]); !more {
				break
			}
			l.rest = l.buf
		}
		copied := copy(p[n:], l.rest)
		n, l.rest = n+copied, l.rest[copied:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

const null = `\N`

// appendCell appends a value in the text format of COPY.
func appendCell(to []byte, c flat.Column, v flat.Value) []byte {
	switch {
	case !v.Known:
		return append(to, null...)
	case c.Type == flat.Integer:
		return appendInt(to, v.Int)
	case c.Type == flat.JSON && c.Texts():
		return appendArray(to, v.Text)
	}
	return appendText(to, v.Text)
}

// appendText appends a text with the escapes of COPY.
func appendText(to []byte, text string) []byte {
	for {
		i := strings.IndexAny(text, "\\\n\r\t")
		if i < 0 {
			return append(to, text...)
		}
		to = append(to, text[:i]...)
		switch text[i] {
		case '\n':
			to = append(to, `\n`...)
		case '\r':
			to = append(to, `\r`...)
		case '\t':
			to = append(to, `\t`...)
		default:
			to = append(to, `\\`...)
		}
		text = text[i+1:]
	}
}

// appendArray appends a JSON list of texts as a literal of text[].
func appendArray(to []byte, list string) []byte {
	var literal strings.Builder
	literal.WriteByte('{')
	for i, element := range gjson.Parse(list).Array() {
		if i > 0 {
			literal.WriteByte(',')
		}
		literal.WriteByte('"')
		literal.WriteString(arrayEscapes.Replace(element.String()))
		literal.WriteByte('"')
	}
	literal.WriteByte('}')
	return appendText(to, literal.String())
}

var arrayEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func appendInt(to []byte, n int64) []byte { return strconv.AppendInt(to, n, 10) }

// scratch has room for an element.
func (l list) scratch() []flat.Value { return make([]flat.Value, len(l.Elements.Columns())) }

// append appends a line for each element of the list in a row. It fails with a load.Refusal when an element is not as the columns are.
func (l list) append(to []byte, r load.Row, scratch []flat.Value) ([]byte, error) {
	columns := l.Elements.Columns()
	err := l.Elements.Each(r.Cells[l.Column].Text, scratch, func(i int) error {
		to = append(to, r.Key.Kind...)
		to = append(to, '\t')
		to = append(to, r.ID()...)
		to = append(to, '\t')
		to = append(appendInt(to, int64(i)+1), '\t')
		to = append(to, r.Key.Session...)
		to = append(to, '\t')
		if r.Key.Leg == "" {
			to = append(to, null...)
		} else {
			to = append(to, r.Key.Leg...)
		}
		for c, v := range scratch {
			to = append(to, '\t')
			to = appendCell(to, columns[c], v)
		}
		to = append(to, '\n')
		return nil
	})
	if err != nil {
		return to, &load.Refusal{Reason: l.Table + ": " + err.Error()}
	}
	return to, nil
}

package flat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// This file walks JSON once, finds whether it is any, and makes nothing. A place that is negative stands for what is no JSON.

// errSyntax is of a body that is no JSON.
var errSyntax = errors.New("not JSON")

// object reads the fields of the object at a place into row, and returns where the object ends.
func (t *Table) object(json string, at int, in *place, row []Value) (end int, err error) {
	expected := 0
	at = space(json, at+1)
	if is(json, at, '}') {
		return at + 1, nil
	}
	for {
		if !is(json, at, '"') {
			return 0, errSyntax
		}
		var key string
		if key, at = textAt(json, at); at < 0 {
			return 0, errSyntax
		}
		if at = space(json, at); !is(json, at, ':') {
			return 0, errSyntax
		}
		if at = space(json, at+1); at == len(json) {
			return 0, errSyntax
		}
		var p *place
		p, expected = in.field(key, expected)
		switch {
		case p == nil || json[at] == 'n':
			at = past(json, at)
		case len(p.order) > 0:
			if json[at] != '{' {
				return 0, fmt.Errorf("%s is no object", key)
			}
			at, err = t.object(json, at, p, row)
		default:
			c := &t.columns[p.column]
			if row[p.column], at, err = read(c.Type, json, at); err != nil {
				err = fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		switch {
		case err != nil:
			return 0, err
		case at < 0:
			return 0, errSyntax
		}
		at = space(json, at)
		if is(json, at, '}') {
			return at + 1, nil
		}
		if !is(json, at, ',') {
			return 0, errSyntax
		}
		at = space(json, at+1)
	}
}

// is reports whether a byte stands at a place.
func is(json string, at int, b byte) bool { return at < len(json) && json[at] == b }

// read reads the value at a place, and returns where it ends.
func read(typ Type, json string, at int) (v Value, end int, err error) {
	fits, first := false, json[at]
	v.Known = true
	if first == '"' {
		v.Text, end = textAt(json, at)
	} else {
		if end = past(json, at); end >= 0 {
			v.Text = json[at:end]
		}
	}
	if end < 0 {
		return Value{}, 0, errSyntax
	}
	switch typ {
	case Text:
		fits = first == '"'
	case Decimal:
		fits, v.Known = first == '"', isDecimal(v.Text)
	case Timestamp:
		if first == '"' {
			at, err := time.Parse(time.RFC3339Nano, v.Text)
			fits, v.Int = err == nil, at.UnixMicro()
		}
	case Integer:
		if v.Int, err = strconv.ParseInt(v.Text, 10, 64); err != nil { // 8.0, and 1e3
			number := gjson.Parse(v.Text)
			v.Int = number.Int()
			fits = isNumber(first) && float64(v.Int) == number.Num
		} else {
			fits = first != '"'
		}
	case Number:
		if isNumber(first) {
			fits = true
			v.Number, _ = strconv.ParseFloat(v.Text, 64) // what is too large is infinite
		}
	case Boolean:
		fits = first == 't' || first == 'f'
		if first == 't' {
			v.Int = 1
		}
	case JSON:
		fits = first == '[' || first == '{'
	}
	if !fits {
		// Not the value: it may be somebody's number.
		return Value{}, 0, fmt.Errorf("is not of type %v", typ)
	}
	return v, end, nil
}

func isNumber(first byte) bool { return first == '-' || '0' <= first && first <= '9' }

// space returns the first place from at on that is no white space.
func space(json string, at int) int {
	for at < len(json) && (json[at] == ' ' || json[at] == '\n' || json[at] == '\t' || json[at] == '\r') {
		at++
	}
	return at
}

// textAt returns the text whose opening quote is at a place, and where it ends.
func textAt(json string, at int) (text string, end int) {
	for i := at + 1; i < len(json); i++ {
		switch c := json[i]; {
		case c == '"':
			return json[at+1 : i], i + 1
		case c == '\\':
			if end = pastText(json, at); end < 0 {
				return "", end
			}
			return gjson.Parse(json[at:end]).Str, end
		case c < ' ':
			return "", -1
		}
	}
	return "", -1
}

// pastText returns where the text ends whose opening quote is at a place.
func pastText(json string, at int) int {
	for at++; at < len(json); at++ {
		switch c := json[at]; {
		case c == '"':
			return at + 1
		case c < ' ':
			return -1
		case c == '\\':
			at++
			if !escape(json, at) {
				return -1
			}
		}
	}
	return -1
}

// escape reports whether an escape goes on at a place, behind its backslash.
func escape(json string, at int) bool {
	if at >= len(json) {
		return false
	}
	if json[at] != 'u' {
		return strings.IndexByte(`"\/bfnrt`, json[at]) >= 0
	}
	for i := at + 1; i <= at+4; i++ {
		if i >= len(json) || !isHex(json[i]) {
			return false
		}
	}
	return true
}

func isHex(b byte) bool { return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' }

// past returns where the value at a place ends.
func past(json string, at int) int {
	switch first := json[at]; {
	case first == '"':
		return pastText(json, at)
	case first == '{' || first == '[':
		return pastMany(json, at)
	case isNumber(first):
		return pastNumber(json, at)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(json[at:], word) {
			return at + len(word)
		}
	}
	return -1
}

// pastMany returns where the object or list at a place ends.
func pastMany(json string, at int) int {
	last, named := byte(']'), false
	if json[at] == '{' {
		last, named = '}', true
	}
	at = space(json, at+1)
	if is(json, at, last) {
		return at + 1
	}
	for {
		if named {
			if !is(json, at, '"') {
				return -1
			}
			if at = pastText(json, at); at < 0 {
				return -1
			}
			if at = space(json, at); !is(json, at, ':') {
				return -1
			}
			at = space(json, at+1)
		}
		if at == len(json) {
			return -1
		}
		if at = past(json, at); at < 0 {
			return -1
		}
		at = space(json, at)
		if is(json, at, last) {
			return at + 1
		}
		if !is(json, at, ',') {
			return -1
		}
		at = space(json, at+1)
	}
}

// pastNumber returns where the number at a place ends.
func pastNumber(json string, at int) int {
	if is(json, at, '-') {
		at++
	}
	whole := at
	if at = pastDigits(json, at); at < 0 || json[whole] == '0' && at > whole+1 {
		return -1
	}
	if is(json, at, '.') {
		if at = pastDigits(json, at+1); at < 0 {
			return -1
		}
	}
	if is(json, at, 'e') || is(json, at, 'E') {
		if at++; is(json, at, '+') || is(json, at, '-') {
			at++
		}
		return pastDigits(json, at)
	}
	return at
}

// pastDigits returns where the digits at a place end, of which there has to be one.
func pastDigits(json string, at int) int {
	first := at
	for at < len(json) && '0' <= json[at] && json[at] <= '9' {
		at++
	}
	if at == first {
		return -1
	}
	return at
}

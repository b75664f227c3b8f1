package flat

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
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
		var p *place
		if p, at, expected = in.key(json, at, expected); at < 0 {
			return 0, errSyntax
		}
		if at = space(json, at); at == len(json) {
			return 0, errSyntax
		}
		switch {
		case p == nil || json[at] == 'n':
			at = past(json, at)
		case len(p.order) > 0:
			if json[at] != '{' {
				return 0, fmt.Errorf("%s is no object", p.name)
			}
			at, err = t.object(json, at, p, row)
		default:
			c := &t.columns[p.column]
			if at, err = read(c.Type, json, at, &row[p.column]); err != nil {
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

// key reads the key at a place, and returns the field that it names, nil where there is none, and where its colon
// ends. The search begins with the field from, and the next one with the field that is returned as next.
func (p *place) key(json string, at, from int) (field *place, end, next int) {
	// Legato writes the fields in order, and no space: then the key need not be taken apart.
	if at+8 < len(json) {
		first := eight(json, at+1)
		for i := from; i < len(p.order); i++ {
			if f := p.order[i]; first&f.mask == f.first && strings.HasPrefix(json[at:], f.quoted) {
				return f, at + len(f.quoted), i + 1
			}
		}
	}
	if !is(json, at, '"') {
		return nil, -1, from
	}
	key, at := textAt(json, at)
	if at < 0 {
		return nil, -1, from
	}
	if at = space(json, at); !is(json, at, ':') {
		return nil, -1, from
	}
	return p.fields[key], at + 1, from
}

// eight returns the eight bytes from a place on as a number, the first of them lowest.
func eight(json string, at int) uint64 {
	b := json[at : at+8]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// is reports whether a byte stands at a place.
func is(json string, at int, b byte) bool { return at < len(json) && json[at] == b }

// read reads the value at a place into v, and returns where it ends.
func read(typ Type, json string, at int, v *Value) (end int, err error) {
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
		return 0, errSyntax
	}
	switch typ {
	case Text:
		fits = first == '"'
	case Decimal:
		fits, v.Known = first == '"', isDecimal(v.Text)
	case Timestamp:
		if first == '"' {
			v.Int, fits = instant(v.Text)
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
		fits, v.Int = first == 't' || first == 'f', 0
		if first == 't' {
			v.Int = 1
		}
	case JSON:
		fits = first == '[' || first == '{'
	}
	if !fits {
		// Not the value: it may be somebody's number.
		return 0, fmt.Errorf("is not of type %v", typ)
	}
	return end, nil
}

// instant returns a time of RFC 3339 in microseconds since 1970; false where the text is none.
func instant(text string) (int64, bool) {
	// As Legato writes them, without what time.Parse has to be ready for.
	const form = "2006-01-02T15:04:05.000000Z"
	if len(text) == len(form) && text[4] == '-' && text[7] == '-' && text[10] == 'T' && text[13] == ':' && text[16] == ':' && text[19] == '.' && text[26] == 'Z' {
		year, month, day := digits(text[0:4]), digits(text[5:7]), digits(text[8:10])
		hour, minute, second, fraction := digits(text[11:13]), digits(text[14:16]), digits(text[17:19]), digits(text[20:26])
		if min(year, month-1, day-1, hour, minute, second, fraction) >= 0 && month <= 12 && day <= 28 && hour < 24 && minute < 60 && second < 60 {
			return (daysBefore(year, month)+day-1)*86_400_000_000 + ((hour*60+minute)*60+second)*1_000_000 + fraction, true
		}
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	return at.UnixMicro(), err == nil
}

// digits is the number that a text has; it is negative where there is another character.
func digits(text string) (n int64) {
	for i := range len(text) {
		d := int64(text[i]) - '0'
		if d < 0 || d > 9 {
			return math.MinInt32
		}
		n = n*10 + d
	}
	return n
}

// daysBefore is how many days are between the beginning of 1970 and that of a month.
func daysBefore(year, month int64) int64 {
	// Years that begin in March have the day that is not always there at their end.
	if month -= 3; month < 0 {
		month, year = month+12, year-1
	}
	year += 400 // not negative
	return year*365 + year/4 - year/100 + year/400 + (month*153+2)/5 - 865_565
}

func isNumber(first byte) bool { return first == '-' || '0' <= first && first <= '9' }

// space returns the first place from at on that is no white space.
func space(json string, at int) int {
	for at < len(json) && (json[at] == ' ' || json[at] == '\n' || json[at] == '\t' || json[at] == '\r') {
		at++
	}
	return at
}

// plain returns the first place from at on of what cannot stand in a text by itself: a quote, a backslash or a
// control character.
func plain(json string, at int) int {
	// Eight bytes at once: a byte that is too small borrows from its highest bit. What is above the first one may be
	// found wrongly.
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; at+8 <= len(json); at += 8 {
		some := eight(json, at)
		quote, slash := some^each*'"', some^each*'\\'
		if found := ((some - each*' ') | (quote - each) | (slash - each)) &^ some & high; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(json) && json[at] != '"' && json[at] != '\\' && json[at] >= ' ' {
		at++
	}
	return at
}

// textAt returns the text whose opening quote is at a place, and where it ends.
func textAt(json string, at int) (text string, end int) {
	i := plain(json, at+1)
	if is(json, i, '"') {
		return json[at+1 : i], i + 1
	}
	if end = pastText(json, at); end < 0 {
		return "", end
	}
	return gjson.Parse(json[at:end]).Str, end
}

// pastText returns where the text ends whose opening quote is at a place.
func pastText(json string, at int) int {
	for at++; ; at++ {
		at = plain(json, at)
		switch {
		case is(json, at, '"'):
			return at + 1
		case !is(json, at, '\\'):
			return -1
		}
		if at++; !escape(json, at) {
			return -1
		}
	}
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

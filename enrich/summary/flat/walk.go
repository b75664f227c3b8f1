package flat

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// This file walks JSON that gjson has found valid, once, and without making anything: where it looks for a byte, there is one.

// object reads the fields of the object at a place into row, and returns where the object ends.
func (t *Table) object(json string, at int, in *place, row []Value) (end int, err error) {
	expected := 0
	at = space(json, at+1)
	for json[at] != '}' {
		if json[at] == ',' {
			at = space(json, at+1)
		}
		var key string
		key, at = textAt(json, at)
		at = space(json, space(json, at)+1) // behind the colon
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
		if err != nil {
			return 0, err
		}
		at = space(json, at)
	}
	return at + 1, nil
}

// read reads the value at a place, and returns where it ends.
func read(typ Type, json string, at int) (v Value, end int, err error) {
	fits, first := false, json[at]
	v.Known = true
	if first == '"' {
		v.Text, end = textAt(json, at)
	} else {
		end = past(json, at)
		v.Text = json[at:end]
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
	for at < len(json) && json[at] <= ' ' {
		at++
	}
	return at
}

// textAt returns the text whose opening quote is at a place, and where it ends.
func textAt(json string, at int) (text string, end int) {
	quote := at + 1 + strings.IndexByte(json[at+1:], '"')
	if text = json[at+1 : quote]; strings.IndexByte(text, '\\') < 0 {
		return text, quote + 1
	}
	end = pastText(json, at)
	return gjson.Parse(json[at:end]).Str, end
}

// pastText returns where the text ends whose opening quote is at a place.
func pastText(json string, at int) int {
	for at++; json[at] != '"'; at++ {
		if json[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// past returns where the value at a place ends.
func past(json string, at int) int {
	switch json[at] {
	case '"':
		return pastText(json, at)
	case '{', '[':
	default: // a number, true, false or null
		for at < len(json) && json[at] > ' ' && json[at] != ',' && json[at] != '}' && json[at] != ']' {
			at++
		}
		return at
	}
	depth := 0
	for {
		switch json[at] {
		case '"':
			at = pastText(json, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		}
		at++
	}
}

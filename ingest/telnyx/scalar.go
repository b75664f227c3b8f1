package telnyx

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"
)

// present notes that a field was there and not null; its value does not matter.
type present bool

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (p *present) UnmarshalJSON(value []byte) error {
	if string(value) != "null" {
		*p = true
	}
	return nil
}

// errUnread is why a value of the wire is passed over: it is of a type or form that is not expected. Everything else is
// read all the same.
var errUnread = errors.New("telnyx: a value that cannot be read")

// isUnset reports whether a value states nothing: null or the empty text.
func isUnset(value []byte) bool {
	return len(value) == 0 || string(value) == "null" || string(value) == `""`
}

// flag is a yes or no that comes as true and false, or as text.
type flag struct{ stated, yes bool }

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread, and then leaves the flag as it was.
func (f *flag) UnmarshalJSON(value []byte) error {
	switch string(bytes.Trim(value, `"`)) {
	case "true":
		*f = flag{stated: true, yes: true}
	case "false":
		*f = flag{stated: true}
	default:
		if !isUnset(value) {
			return errUnread
		}
	}
	return nil
}

// noun returns the answer, nil when there is none.
func (f flag) noun() *bool {
	if !f.stated {
		return nil
	}
	return &f.yes
}

// text is a value that comes as text or as a number: the text, or the number as
// it was written, digit for digit.
type text string

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread, and then leaves the text as it was.
func (t *text) UnmarshalJSON(value []byte) error {
	if isUnset(value) {
		return nil
	}
	switch first := value[0]; {
	case first == '"':
		if inner := value[1 : len(value)-1]; isVerbatim(inner) {
			*t = text(inner)
			return nil
		}
		var s string
		if json.Unmarshal(value, &s) != nil {
			return errUnread
		}
		*t = text(s)
	case first == '-' || isDigit(first):
		*t = text(value)
	default:
		return errUnread
	}
	return nil
}

// id is an id, which is text; one that came as a whole number is its digits.
type id string

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread, and then leaves the id as it was.
func (i *id) UnmarshalJSON(value []byte) error {
	var t text
	if err := t.UnmarshalJSON(value); err != nil {
		return err
	}
	if len(value) > 0 && value[0] != '"' && !areDigits(string(t)) && t != "" {
		return errUnread
	}
	*i = id(t)
	return nil
}

// readObject reads an object into what into points at. One that states something, and nothing that is known, is unread.
func readObject[T comparable](value []byte, into *T) error {
	var none T
	if err := json.Unmarshal(value, into); err != nil || *into != none {
		return err
	}
	if states(value) {
		return errUnread
	}
	return nil
}

// parsed reads a value that comes as text or as a number into what parse makes of it; without an outcome it is unread.
func parsed[T comparable](value []byte, into *T, parse func(text) T) error {
	var t text
	if err := t.UnmarshalJSON(value); err != nil || t == "" {
		return err
	}
	var none T
	if *into = parse(t); *into == none {
		return errUnread
	}
	return nil
}

// The values of these types are nil, "" or zero where nothing is stated, or nothing that could be read.
type (
	// decimal is an amount: see text.decimal.
	decimal string
	// number is a finite number of few digits, measure one of as many as it brings, count a whole number from zero up.
	number  struct{ n *float64 }
	measure struct{ n *float64 }
	count   struct{ n *int64 }
	// moment is an instant.
	moment struct{ time.Time }
)

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread.
func (d *decimal) UnmarshalJSON(value []byte) error {
	return parsed(value, d, func(t text) decimal { return decimal(t.decimal()) })
}

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread.
func (n *number) UnmarshalJSON(value []byte) error { return parsed(value, &n.n, text.number) }

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread.
func (m *measure) UnmarshalJSON(value []byte) error { return parsed(value, &m.n, text.measure) }

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread.
func (c *count) UnmarshalJSON(value []byte) error { return parsed(value, &c.n, text.count) }

// UnmarshalJSON implements json.Unmarshaler. It fails with errUnread.
func (m *moment) UnmarshalJSON(value []byte) error {
	return parsed(value, &m.Time, func(t text) time.Time { return loosely(string(t)) })
}

// isVerbatim reports whether the inside of a JSON string stands for itself, as
// that of a number sent as text does; a hangup has eight of these.
func isVerbatim(inner []byte) bool {
	for _, c := range inner {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// Bounds of a number that is worth reading. Nineteen digits hold every int64, and an amount of money has far fewer;
// exponents come from floats written short ("5e-05"). What is outside counts as not stated, so that nobody
// downstream has to compute with it.
const (
	maxDigits   = 19
	maxExponent = 30
)

// decimal returns the number as plain decimal text, exactly; "" when it is none.
// Text without an exponent is returned as it came, trailing zeros included.
func (t text) decimal() string {
	s := string(t)
	if isPlain(s) {
		return s
	}
	i := strings.IndexAny(s, "eE")
	if i < 0 || !isPlain(s[:i]) {
		return ""
	}
	exponent, err := strconv.Atoi(s[i+1:])
	if err != nil || exponent < -maxExponent || exponent > maxExponent {
		return ""
	}
	value, ok := new(big.Rat).SetString(s)
	if !ok {
		return ""
	}
	_, fraction, _ := strings.Cut(s[:i], ".")
	return value.FloatString(max(0, len(fraction)-exponent))
}

// isPlain reports whether s is decimal text without an exponent.
func isPlain(s string) bool {
	whole, fraction, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	return areDigits(whole) && (!point || areDigits(fraction))
}

func areDigits(s string) bool {
	if s == "" || len(s) > maxDigits {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number returns the value, or nil when it is no finite number.
func (t text) number() *float64 {
	value, err := strconv.ParseFloat(t.decimal(), 64)
	if err != nil {
		return nil
	}
	return &value
}

// measure returns a value that was measured or computed, with as many digits as
// that brings, or nil when it is no finite number.
func (t text) measure() *float64 {
	// ParseFloat also reads "inf" and hexadecimal.
	if strings.Trim(string(t), "+-.eE0123456789") != "" {
		return nil
	}
	value, err := strconv.ParseFloat(string(t), 64)
	if err != nil {
		return nil
	}
	return &value
}

// count returns the value, or nil when it is no whole number from zero up.
func (t text) count() *int64 {
	s := t.decimal()
	value, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		// Whole numbers written as fractions ("60.0"), as far as a float is exact.
		const maxExact = 1 << 53
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f != math.Trunc(f) || f > maxExact {
			return nil
		}
		value = int64(f)
	}
	if value < 0 {
		return nil
	}
	return &value
}

// maxAttempt is far above any number of deliveries and far below any overflow.
const maxAttempt = 1_000_000

// attempt returns the number of a delivery, or 0 when that is not stated.
func (c count) attempt() int {
	if c.n == nil || *c.n > maxAttempt {
		return 0
	}
	return int(*c.n)
}

// Years in which an event can have happened, so that every accepted time can
// be written in any zone and counted in nanoseconds (to 2262).
const (
	firstYear = 1970
	lastYear  = 2261
)

// instant reads an RFC 3339 time with any number of fractional digits, in UTC. Text
// that is none, or is outside the years above, is the zero time: not stated.
func instant(s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	at = at.UTC()
	if at.Year() < firstYear || at.Year() > lastYear {
		return time.Time{}
	}
	return at
}

// loosely reads a time that may lack its zone, which then is UTC: all that Telnyx writes is.
func loosely(s string) time.Time {
	at := instant(s)
	if at.IsZero() && s != "" {
		at = instant(strings.Replace(s, " ", "T", 1) + "Z")
	}
	return at
}

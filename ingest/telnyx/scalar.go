package telnyx

import (
	"bytes"
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

// flag is a yes or no that comes as true and false, or as text. Anything else leaves it as it was.
type flag struct{ stated, yes bool }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (f *flag) UnmarshalJSON(value []byte) error {
	switch string(bytes.Trim(value, `"`)) {
	case "true":
		*f = flag{stated: true, yes: true}
	case "false":
		*f = flag{stated: true}
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
// it was written, digit for digit. Anything else leaves it as it was.
type text string

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (t *text) UnmarshalJSON(value []byte) error {
	if len(value) == 0 {
		return nil
	}
	switch first := value[0]; {
	case first == '"':
		if inner := value[1 : len(value)-1]; isVerbatim(inner) {
			*t = text(inner)
			return nil
		}
		var s string
		if json.Unmarshal(value, &s) == nil {
			*t = text(s)
		}
	case first == '-' || isDigit(first):
		*t = text(value)
	}
	return nil
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
func (t text) attempt() int {
	if t == "" {
		return 0
	}
	n := t.count()
	if n == nil || *n > maxAttempt {
		return 0
	}
	return int(*n)
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

package summary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Schema is the version of the shapes in this package.
const Schema = 1

// Kinds of summary.
const (
	KindLeg     = "leg"
	KindSession = "session"
)

// Time is an instant in UTC, written as RFC 3339 with six fractional digits and Z.
type Time struct{ time.Time }

// At returns t to the microsecond, in UTC; nil when t is zero, so that what is
// not known stays absent.
func At(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t.UTC().Truncate(time.Microsecond)}
}

// MustAt is At for fields that are always present.
func MustAt(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// Known returns the instant, or the zero time when t is nil.
func (t *Time) Known() time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// MarshalJSON writes the instant in the contract's fixed form.
func (t Time) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, len(`"2006-01-02T15:04:05.000000Z"`))
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339) // a form that package time has a short way for
	b[len(b)-1] = '.'                         // in place of the Z
	micros := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		b = append(b, byte('0'+micros/unit%10))
	}
	return append(b, 'Z', '"'), nil
}

// UnmarshalJSON reads any RFC 3339 instant.
func (t *Time) UnmarshalJSON(b []byte) error {
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("time is not a JSON string: %w", err)
	}
	parsed, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return errors.New("time is not RFC 3339") // the cause quotes the text
	}
	t.Time = parsed.UTC()
	return nil
}

// Seconds is a duration in seconds, written as a number with one to three decimals.
type Seconds float64

// MarshalJSON writes the seconds with a decimal even where they are whole: readers that guess types from the first
// thousands of lines of a file would take a column for whole numbers, and round what comes later.
func (s Seconds) MarshalJSON() ([]byte, error) { return decimals(float64(s)) }

// Number is a number that was measured or computed, written with at least one decimal, as Seconds are.
type Number float64

// MarshalJSON writes the number.
func (n Number) MarshalJSON() ([]byte, error) { return decimals(float64(n)) }

// decimals writes a number as JSON does, with a decimal.
func decimals(f float64) ([]byte, error) {
	b, err := json.Marshal(f)
	if err == nil && !bytes.ContainsAny(b, ".e") {
		b = append(b, ".0"...)
	}
	return b, err
}

// Bounds of the seconds in a summary, in seconds. What would lie outside them cannot be true and is left out.
const (
	// MaxLegSeconds is a day: no leg lives longer than 4 hours and a quarter.
	MaxLegSeconds = 24 * 60 * 60
	// MaxSessionSeconds is a week: legs of a session follow one another.
	MaxSessionSeconds = 7 * MaxLegSeconds
	// MaxDifferenceSeconds is what can lie between two times of RFC 3339, of the years 1 to 9999.
	MaxDifferenceSeconds = 315_537_897_600
)

// Between returns the seconds from a to b; nil when either is not known, when b lies before a, and when more than
// the limit, in seconds, lies between them.
func Between(a, b time.Time, limit int) *Seconds {
	if a.IsZero() || b.IsZero() || b.Before(a) || b.Sub(a) > time.Duration(limit)*time.Second {
		return nil
	}
	return Lasting(b.Sub(a))
}

// Difference returns b less a, which is negative when b is the earlier one.
func Difference(a, b time.Time) Seconds {
	if s := b.Unix() - a.Unix(); s > math.MaxInt32 || s < math.MinInt32 {
		return Seconds(s) // a Duration holds no more than 292 years
	}
	return *Lasting(b.Sub(a))
}

// Lasting returns d as seconds, rounded to the millisecond.
func Lasting(d time.Duration) *Seconds {
	s := Seconds(math.Round(float64(d)/float64(time.Millisecond)) / 1000)
	if s == 0 {
		s = 0 // never -0, which is written differently
	}
	return &s
}

package compose

import "github.com/legato-calls/legato/enrich/summary"

// Ranges of the numbers that Telnyx states. What lies outside cannot be true: it is left out, and stands in the log.
const (
	// maxCount bounds counts of packets: a day of 1,000 a second.
	maxCount = 1000 * summary.MaxLegSeconds
	// maxSamplingRate is in hertz.
	maxSamplingRate = 1_000_000
	// minMOS and maxMOS are the ends of the scale of opinion scores.
	minMOS, maxMOS = 1, 5
	// maxJitter bounds a variance of undocumented unit: that of a day in milliseconds.
	maxJitter = 1000 * summary.MaxLegSeconds
)

// within returns a number that lies from low to high, nil for any other.
func within[T int64 | float64](n *T, low, high T) *T {
	if n != nil && low <= *n && *n <= high { // what is not a number compares with nothing
		return n
	}
	return nil
}

// measured returns a measured number that lies from low to high; nil for any other.
func measured(n *float64, low, high float64) *summary.Number {
	return (*summary.Number)(within(n, low, high))
}

// lasted returns stated seconds of a leg; nil when they are none.
func lasted(stated *int64) *summary.Seconds {
	if within(stated, 0, summary.MaxLegSeconds) == nil {
		return nil
	}
	return new(summary.Seconds(*stated))
}

// bounded returns seconds that lie from 0 to a limit; nil for any other.
func bounded(s *summary.Seconds, limit summary.Seconds) *summary.Seconds {
	if s != nil && 0 <= *s && *s <= limit {
		return s
	}
	return nil
}

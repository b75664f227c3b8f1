package flat

import (
	"math"
	"strings"
)

// maxDecimal bounds the digits of a decimal: money has fewer, and a database refuses what is absurd.
const maxDecimal = 64

// isDecimal reports whether a text is digits, with a sign and a point at most.
func isDecimal(text string) bool {
	text = strings.TrimPrefix(text, "-")
	whole, part, _ := strings.Cut(text, ".")
	if whole+part == "" || len(text) > maxDecimal {
		return false
	}
	return strings.Trim(whole+part, "0123456789") == ""
}

// Millionths returns a decimal in millionths of its unit. It is false when the decimal is finer than that, or has
// more than twelve digits before the point: then no DECIMAL(18,6) holds it.
func Millionths(decimal string) (int64, bool) {
	const places, limit = 6, int64(1e18)
	digits, negative := strings.CutPrefix(decimal, "-")
	whole, part, _ := strings.Cut(digits, ".")
	part = strings.TrimRight(part, "0")
	if len(part) > places || !isDecimal(decimal) {
		return 0, false
	}
	var n int64
	for _, c := range []byte(whole + part + strings.Repeat("0", places-len(part))) {
		if n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if n >= limit {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

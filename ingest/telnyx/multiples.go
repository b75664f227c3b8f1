package telnyx

import "filippo.io/edwards25519"

const (
	// windows and windowSize: a scalar of 256 bits is 32 digits of 8 bits.
	windows, windowSize = 32, 8
	// digits are taken from -127 to 128, so that half a window's multiples do: the others are these negated.
	halfWindow = 1 << (windowSize - 1)
)

// multiples holds, for every digit that a scalar can have at every place, that
// multiple of one point: [d × 256^i]P for d up to 128. Multiplying P by a scalar is then
// one addition for each digit and no doubling at all. It takes 640 KiB and is read only.
type multiples [windows][halfWindow]edwards25519.Point

func newMultiples(p *edwards25519.Point) *multiples {
	m := new(multiples)
	base := new(edwards25519.Point).Set(p)
	for i := range m {
		m[i][0].Set(base)
		for d := 1; d < halfWindow; d++ {
			m[i][d].Add(&m[i][d-1], base)
		}
		for range windowSize {
			base.Add(base, base)
		}
	}
	return m
}

// addTo adds [s]P to a point, in a time that depends on s. s is a scalar in its
// canonical form, so below 2^253: the last digit carries nothing on.
func (m *multiples) addTo(sum *edwards25519.Point, s *edwards25519.Scalar) {
	carry := 0
	for i, b := range s.Bytes() {
		digit := int(b) + carry
		carry = 0
		if digit > halfWindow {
			digit -= 1 << windowSize
			carry = 1
		}
		switch {
		case digit > 0:
			sum.Add(sum, &m[i][digit-1])
		case digit < 0:
			sum.Subtract(sum, &m[i][-digit-1])
		}
	}
}

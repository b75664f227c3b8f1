package telnyx

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// Headers of a signed webhook.
const (
	// HeaderSignature carries the base64 of the Ed25519 signature.
	HeaderSignature = "Telnyx-Signature-Ed25519"
	// HeaderTimestamp carries the Unix seconds of the delivery attempt.
	HeaderTimestamp = "Telnyx-Timestamp"
	// HeaderSignatureV1 carries the HMAC of webhook API version 1. Without
	// HeaderSignature it tells that the application still has that version.
	HeaderSignatureV1 = "X-Telnyx-Signature"
)

var (
	// ErrNoSignature tells that the signature or the timestamp header is missing.
	ErrNoSignature = errors.New("telnyx: signature or timestamp header missing")
	// ErrBadSignature tells that no key made the signature over these bytes, or
	// that the header is no signature at all.
	ErrBadSignature = errors.New("telnyx: signature does not match")
	// ErrBadTimestamp tells that the timestamp header is not Unix seconds.
	ErrBadTimestamp = errors.New("telnyx: timestamp is not Unix seconds")
)

// separator stands between timestamp and body in the signed bytes.
const separator = '|'

// signatureLength is the length of the header: base64 of 64 bytes, padded.
const signatureLength = (ed25519.SignatureSize + 2) / 3 * 4

// Verifier checks signatures against one account's public keys. It is safe for concurrent use.
//
// It accepts and refuses what crypto/ed25519 does, which it is held against by a test, and takes
// about a third of its time: a webhook is checked against the same few keys each time, whose multiples
// (see the type) are made once. Nothing here is secret, so that times may depend on the values.
type Verifier struct{ keys []publicKey }

// publicKey is a key that is ready to verify with.
type publicKey struct {
	bytes [ed25519.PublicKeySize]byte
	// minusA are the multiples of the key's point, negated. Nil: its bytes are no point, and it verifies nothing.
	minusA *multiples
}

// basePoint are the multiples of the curve's generator, made when they are first needed.
var basePoint = sync.OnceValue(func() *multiples { return newMultiples(edwards25519.NewGeneratorPoint()) })

// NewVerifier returns a Verifier that accepts what any of the keys signed; without keys it accepts nothing. It
// panics on a key that is not 32 bytes long, which ParseKeys never returns.
func NewVerifier(keys []ed25519.PublicKey) *Verifier {
	own := make([]publicKey, len(keys))
	for i, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			panic(fmt.Sprintf("telnyx: public key %d has %d bytes, not %d", i+1, len(key), ed25519.PublicKeySize))
		}
		copy(own[i].bytes[:], key)
		if a, err := new(edwards25519.Point).SetBytes(key); err == nil {
			own[i].minusA = newMultiples(a.Negate(a))
		}
	}
	return &Verifier{keys: own}
}

// Verify checks that one of the keys signed body at timestamp. Both headers are
// taken as received: the timestamp's text is what was signed, not its value.
//
// It returns ErrNoSignature when a header is empty, ErrBadSignature when
// nothing matches. It says nothing about the timestamp's age.
func (v *Verifier) Verify(timestamp, signature string, body []byte) error {
	if timestamp == "" || signature == "" {
		return ErrNoSignature
	}
	// The exact length leaves no room for the line breaks that the decoder skips.
	if len(signature) != signatureLength {
		return ErrBadSignature
	}
	var text [signatureLength]byte
	copy(text[:], signature)
	var raw [signatureLength / 4 * 3]byte
	n, err := base64.StdEncoding.Strict().Decode(raw[:], text[:])
	if err != nil || n != ed25519.SignatureSize {
		return ErrBadSignature
	}
	for i := range v.keys {
		if v.keys[i].verify(timestamp, body, raw[:n]) {
			return nil
		}
	}
	return ErrBadSignature
}

// verify reports whether [S]B = R + [k]A, as RFC 8032 has it without its cofactor: whether
// the bytes of [S]B - [k]A are those of R.
func (p *publicKey) verify(timestamp string, body, signature []byte) bool {
	if p.minusA == nil {
		return false
	}
	var s, k edwards25519.Scalar
	if _, err := s.SetCanonicalBytes(signature[32:]); err != nil {
		return false
	}
	h := sha512.New()
	h.Write(signature[:32])
	h.Write(p.bytes[:])
	var prefix [64]byte // longer than any timestamp that is one
	h.Write(append(append(prefix[:0], timestamp...), separator))
	h.Write(body)
	var digest [sha512.Size]byte
	if _, err := k.SetUniformBytes(h.Sum(digest[:0])); err != nil {
		return false // there is no digest of another length
	}
	r := newSum()
	basePoint().addTo(r, &s)
	p.minusA.addTo(r, &k)
	return bytes.Equal(r.bytes(), signature[:32])
}

// Sign makes the two headers of a webhook sent at that time, as Telnyx does. It is for fakes and tests.
func Sign(key ed25519.PrivateKey, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	return timestamp, base64.StdEncoding.EncodeToString(ed25519.Sign(key, signed(timestamp, body)))
}

// signed puts together the bytes that the signature covers.
func signed(timestamp string, body []byte) []byte {
	message := make([]byte, 0, len(timestamp)+1+len(body))
	message = append(message, timestamp...)
	message = append(message, separator)
	return append(message, body...)
}

// maxTimestampDigits admits every second up to the year 33658, and keeps
// milliseconds, 13 digits today, from being taken for seconds.
const maxTimestampDigits = 12

// ParseTimestamp reads the timestamp header: Unix seconds, digits only. It
// fails with ErrBadTimestamp on anything else.
func ParseTimestamp(timestamp string) (time.Time, error) {
	// ParseUint takes digits only: no sign, and no underscore in base 10.
	seconds, err := strconv.ParseUint(timestamp, 10, 63)
	if err != nil || len(timestamp) > maxTimestampDigits {
		return time.Time{}, ErrBadTimestamp
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

const (
	// windows and windowSize: a scalar of 256 bits is 32 digits of 8 bits.
	windows, windowSize = 32, 8
	// halfWindow is how many multiples do, since digits are taken from -127 to 128: the others are these negated.
	halfWindow = 1 << (windowSize - 1)
)

// multiples holds, for every digit that a scalar can have at every place, that
// multiple of one point: [d × 256^i]P for d up to 128. Multiplying P by a scalar is then
// one addition for each digit and no doubling at all. It takes 512 KiB and is read only.
type multiples [windows][halfWindow]affine

// affine is a point as it is added with the fewest multiplications: y+x, y-x and 2dxy of its affine coordinates.
// edwards25519 has this form too, but hands out only points of which each addition costs two multiplications more.
// With the room at its end it fills two lines of a cache, and never a part of a third.
type affine struct {
	yPlusX, yMinusX, xy2d field.Element
	_                     uint64
}

// d2 is twice the curve's constant d: -121665/121666.
var d2 = func() *field.Element {
	d := new(field.Element).Mult32(new(field.Element).One(), 121666)
	d.Multiply(d.Invert(d), new(field.Element).Mult32(new(field.Element).One(), 121665))
	d.Negate(d)
	return d.Add(d, d)
}()

func newMultiples(p *edwards25519.Point) *multiples {
	m := new(multiples)
	base := new(edwards25519.Point).Set(p)
	for i := range m {
		var row [halfWindow]edwards25519.Point
		row[0].Set(base)
		for d := 1; d < halfWindow; d++ {
			row[d].Add(&row[d-1], base)
		}
		fill(&m[i], &row)
		for range windowSize {
			base.Add(base, base)
		}
	}
	return m
}

// fill makes a row of multiples from the points. One inversion does for all: of the product of their Z, which no point has as zero.
func fill(into *[halfWindow]affine, row *[halfWindow]edwards25519.Point) {
	var before [halfWindow]field.Element // the product of the Z before each
	product := new(field.Element).One()
	for i := range row {
		_, _, z, _ := row[i].ExtendedCoordinates()
		before[i].Set(product)
		product.Multiply(product, z)
	}
	product.Invert(product)
	for i := halfWindow - 1; i >= 0; i-- {
		px, py, z, _ := row[i].ExtendedCoordinates()
		var inverse, x, y field.Element
		inverse.Multiply(product, &before[i])
		product.Multiply(product, z)
		x.Multiply(px, &inverse)
		y.Multiply(py, &inverse)
		into[i].yPlusX.Add(&y, &x)
		into[i].yMinusX.Subtract(&y, &x)
		into[i].xy2d.Multiply(into[i].xy2d.Multiply(&x, &y), d2)
	}
}

// sum is a point to which others are added, in extended coordinates: x = X/Z, y = Y/Z, xy = T/Z.
type sum struct{ x, y, z, t field.Element }

// newSum returns the identity.
func newSum() *sum {
	s := new(sum)
	s.y.One()
	s.z.One()
	return s
}

// add adds a point, or where negate is set subtracts it. The formulas are those of RFC 8032, 5.1.4, with the products
// of q's coordinates made beforehand and its Z one.
func (s *sum) add(q *affine, negate bool) {
	plus, minus := &q.yPlusX, &q.yMinusX
	if negate {
		plus, minus = minus, plus
	}
	var a, b, c, d, e, f, g, h field.Element
	a.Multiply(a.Subtract(&s.y, &s.x), minus)
	b.Multiply(b.Add(&s.y, &s.x), plus)
	c.Multiply(&s.t, &q.xy2d)
	d.Add(&s.z, &s.z)
	e.Subtract(&b, &a)
	h.Add(&b, &a)
	if negate {
		f.Add(&d, &c)
		g.Subtract(&d, &c)
	} else {
		f.Subtract(&d, &c)
		g.Add(&d, &c)
	}
	s.x.Multiply(&e, &f)
	s.y.Multiply(&g, &h)
	s.t.Multiply(&e, &h)
	s.z.Multiply(&f, &g)
}

// bytes returns the point's encoding: y, with the sign of x in the highest bit.
func (s *sum) bytes() []byte {
	var inverse, x, y field.Element
	inverse.Invert(&s.z)
	x.Multiply(&s.x, &inverse)
	y.Multiply(&s.y, &inverse)
	b := y.Bytes()
	b[31] |= byte(x.IsNegative() << 7)
	return b
}

// fetched is how many multiples are copied from the table before they are added: they come from all over it, and the
// processor fetches several at once as long as nothing depends on them.
const fetched = 8

// addTo adds [k]P to a point, in a time that depends on k. k is a scalar in its
// canonical form, so below 2^253: the last digit carries nothing on.
func (m *multiples) addTo(s *sum, k *edwards25519.Scalar) {
	digits, carry := k.Bytes(), 0
	for i := 0; i < windows; i += fetched {
		var terms [fetched]affine
		var signs [fetched]int
		for n := range terms {
			digit := int(digits[i+n]) + carry
			carry = 0
			if digit > halfWindow {
				digit -= 1 << windowSize
				carry = 1
			}
			switch {
			case digit > 0:
				terms[n], signs[n] = m[i+n][digit-1], 1
			case digit < 0:
				terms[n], signs[n] = m[i+n][-digit-1], -1
			}
		}
		for n := range terms {
			if signs[n] != 0 {
				s.add(&terms[n], signs[n] < 0)
			}
		}
	}
}

// What can be wrong with one public key. The texts never contain the key: what
// was pasted in its place may be a secret.
var (
	errKeyEmpty    = errors.New("is empty")
	errKeyEncoding = errors.New("is not standard base64")
	errKeyHex      = errors.New("looks like hex: give the base64 text that Telnyx shows")
	errKeyPEM      = errors.New("looks like PEM: give the base64 text that Telnyx shows")
	errKeyPoint    = errors.New("decodes to 32 bytes that are no public key: the curve has no such point")
	errKeyWeak     = errors.New("is a key of small order, that anybody can sign for")
	errKeyZero     = errors.New("is all zeros, a placeholder that anybody can sign for")
)

// ParseKeys reads Telnyx public keys: standard base64 of 32 bytes each, several separated by commas, spaces around
// them ignored. More than one is for the time of a key's rotation.
//
// It fails on an empty text and on the first key that cannot be one. The error
// says which (counting from 1) and what is wrong, and never repeats the text.
func ParseKeys(text string) ([]ed25519.PublicKey, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("telnyx: no public key given")
	}
	entries := strings.Split(text, ",")
	keys := make([]ed25519.PublicKey, 0, len(entries))
	for i, entry := range entries {
		key, err := parseKey(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("telnyx: public key %d of %d %w", i+1, len(entries), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(text string) (ed25519.PublicKey, error) {
	switch {
	case text == "":
		return nil, errKeyEmpty
	case strings.HasPrefix(text, "-----"):
		return nil, errKeyPEM
	case len(text) == 2*ed25519.PublicKeySize && strings.Trim(text, "0123456789abcdefABCDEF") == "":
		return nil, errKeyHex
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errKeyEncoding
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("decodes to %d bytes, not %d", len(key), ed25519.PublicKeySize)
	}
	if string(key) == string(make([]byte, ed25519.PublicKeySize)) {
		return nil, errKeyZero
	}
	a, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return nil, errKeyPoint
	}
	if a.MultByCofactor(a).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errKeyWeak
	}
	return key, nil
}

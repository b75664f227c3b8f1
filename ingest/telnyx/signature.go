package telnyx

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
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

// Verifier checks signatures against one account's public keys. It is safe for
// concurrent use.
type Verifier struct{ keys []ed25519.PublicKey }

// NewVerifier returns a Verifier that accepts what any of the keys signed;
// without keys it accepts nothing. It panics on a key that is not 32 bytes
// long, which ParseKeys never returns.
func NewVerifier(keys []ed25519.PublicKey) *Verifier {
	own := make([]ed25519.PublicKey, len(keys))
	for i, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			panic(fmt.Sprintf("telnyx: public key %d has %d bytes, not %d", i+1, len(key), ed25519.PublicKeySize))
		}
		own[i] = slices.Clone(key)
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
	message := signed(timestamp, body)
	for _, key := range v.keys {
		if ed25519.Verify(key, message, raw[:n]) {
			return nil
		}
	}
	return ErrBadSignature
}

// Sign makes the two headers of a webhook sent at that time, as Telnyx does.
// It is for fakes and tests.
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
	if timestamp == "" || len(timestamp) > maxTimestampDigits {
		return time.Time{}, ErrBadTimestamp
	}
	var seconds int64
	for _, c := range []byte(timestamp) {
		if c < '0' || c > '9' {
			return time.Time{}, ErrBadTimestamp
		}
		seconds = seconds*10 + int64(c-'0')
	}
	return time.Unix(seconds, 0).UTC(), nil
}

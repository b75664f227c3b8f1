package telnyx

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"filippo.io/edwards25519"
)

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

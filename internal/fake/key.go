package fake

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Key returns the signing key of a seed. The same seed gives the same key, so that a fake Telnyx can be stopped and
// started without configuring the service anew. It protects nothing.
func Key(seed uint64) ed25519.PrivateKey {
	material := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("legato simulate "), seed))
	return ed25519.NewKeyFromSeed(material[:])
}

// PublicKey returns the public half of a key in the form in which Telnyx shows it: base64 of 32 bytes.
func PublicKey(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

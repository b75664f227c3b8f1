package telnyx_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/legato-calls/legato/ingest/telnyx"
)

// BenchmarkVerifyParallel verifies on all cores, as the webhook server does.
func BenchmarkVerifyParallel(b *testing.B) {
	public, private := keyPair(1)
	verifier := telnyx.NewVerifier([]ed25519.PublicKey{public})
	body := []byte(hangupBody)
	timestamp, signature := telnyx.Sign(private, signedAt, body)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := verifier.Verify(timestamp, signature, body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkVerifyByTheStandardLibrary is what a verification is held against: crypto/ed25519 alone.
func BenchmarkVerifyByTheStandardLibrary(b *testing.B) {
	public, private := keyPair(1)
	body := []byte(hangupBody)
	signature := ed25519.Sign(private, body)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !ed25519.Verify(public, body, signature) {
			b.Fatal("refused")
		}
	}
}

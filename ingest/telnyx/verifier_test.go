package telnyx_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"filippo.io/edwards25519"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/ingest/telnyx"
)

// agree holds the Verifier against crypto/ed25519 and returns what both say.
func agree(t interface {
	Helper()
	Fatalf(string, ...any)
}, key, signature []byte, timestamp string, body []byte,
) bool {
	t.Helper()
	want := ed25519.Verify(key, []byte(timestamp+"|"+string(body)), signature)
	err := verifierOf(key).Verify(timestamp, base64.StdEncoding.EncodeToString(signature), body)
	if (err == nil) != want {
		t.Fatalf("key %x, signature %x, timestamp %q, body %q: got %v, crypto/ed25519 says %t", key, signature, timestamp, body, err, want)
	}
	return want
}

// verifierOf returns the verifier of a key; making one costs as much as some hundred checks.
func verifierOf(key []byte) *telnyx.Verifier {
	if v, ok := verifiers.Load(string(key)); ok {
		return v.(*telnyx.Verifier)
	}
	v := telnyx.NewVerifier([]ed25519.PublicKey{key})
	if n := known.Add(1); n <= 64 { // those that come again and again come first
		verifiers.Store(string(key), v)
	}
	return v
}

var (
	verifiers sync.Map
	known     atomic.Int64
)

// smallOrder are the encodings of the points whose order divides eight, with
// those that are not canonical, and of two values that are no point.
func smallOrder(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	for _, text := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000", // order 1
		"0100000000000000000000000000000000000000000000000000000000000080", // the same, x = -0
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", // the same, x = -0
		"0000000000000000000000000000000000000000000000000000000000000000", // order 4
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p + 1
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0200000000000000000000000000000000000000000000000000000000000000", // no point
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", // no point
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// order is l, the order of the curve's generator, little-endian.
var order = []byte{
	0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
}

// plus adds a small number to a little-endian one.
func plus(n []byte, k int) []byte {
	sum := bytes.Clone(n)
	for i := range sum {
		k += int(sum[i])
		sum[i], k = byte(k), k>>8
	}
	return sum
}

// sum adds two little-endian numbers of 32 bytes.
func sum(a, b []byte) []byte {
	out, carry := make([]byte, 32), 0
	for i := range out {
		carry += int(a[i]) + int(b[i])
		out[i], carry = byte(carry), carry>>8
	}
	return out
}

func TestVerifierIsOfOneMindWithTheStandardLibrary(t *testing.T) {
	public, private := keyPair(1)
	body := []byte(`{"data":{}}`)
	good := ed25519.Sign(private, []byte("1772366400|"+string(body)))
	points := append(smallOrder(t), public, good[:32])
	accepted := 0

	t.Run("keys and points of small order, and scalars at every edge", func(t *testing.T) {
		zero := make([]byte, 32)
		scalars := [][]byte{
			zero, plus(zero, 1), plus(order, -1), order, plus(order, 1), sum(order, order), good[32:], sum(good[32:], order),
			bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{0x80}, 32), append(bytes.Repeat([]byte{0xff}, 31), 0x0f),
		}
		for _, key := range points {
			for _, r := range points {
				for _, s := range scalars {
					for i := range 8 { // a key of small order signs one message in a few
						if agree(t, key, append(bytes.Clone(r), s...), fmt.Sprint(1772366400+i), body) {
							accepted++
						}
					}
				}
			}
		}
		if accepted == 0 {
			t.Error("nothing was accepted: the test tries no edge at all")
		}
	})
	t.Run("a key or a point with a part of small order", func(t *testing.T) {
		// With [8] in the equation all of these would hold; without it few do.
		scalar, err := new(edwards25519.Scalar).SetBytesWithClamping(hashed(private.Seed())[:32])
		if err != nil {
			t.Fatal(err)
		}
		nonce, err := new(edwards25519.Scalar).SetUniformBytes(hashed([]byte("nonce")))
		if err != nil {
			t.Fatal(err)
		}
		results := map[bool]int{}
		for _, torsion := range smallOrder(t) {
			small, err := new(edwards25519.Point).SetBytes(torsion)
			if err != nil {
				continue
			}
			a := new(edwards25519.Point).ScalarBaseMult(scalar)
			r := new(edwards25519.Point).ScalarBaseMult(nonce)
			for _, c := range []struct{ a, r *edwards25519.Point }{
				{new(edwards25519.Point).Add(a, small), r},
				{a, new(edwards25519.Point).Add(r, small)},
				{new(edwards25519.Point).Add(a, small), new(edwards25519.Point).Add(r, small)},
			} {
				for i := range 8 {
					timestamp := fmt.Sprint(1772366400 + i)
					k, err := new(edwards25519.Scalar).SetUniformBytes(hashed(c.r.Bytes(), c.a.Bytes(), []byte(timestamp+"|"), body))
					if err != nil {
						t.Fatal(err)
					}
					s := new(edwards25519.Scalar).MultiplyAdd(k, scalar, nonce)
					results[agree(t, c.a.Bytes(), append(c.r.Bytes(), s.Bytes()...), timestamp, body)]++
				}
			}
		}
		if results[true] == 0 || results[false] == 0 {
			t.Errorf("accepted %d, refused %d: the test must meet both", results[true], results[false])
		}
	})
	t.Run("one bit that is not as it was", func(t *testing.T) {
		if !agree(t, public, good, "1772366400", body) {
			t.Fatal("a good signature is refused")
		}
		for i := range 8 * 64 {
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			agree(t, public, bad, "1772366400", body)
		}
		for i := range 8 * 32 {
			bad := bytes.Clone(public)
			bad[i/8] ^= 1 << (i % 8)
			agree(t, bad, good, "1772366400", body)
		}
	})
	t.Run("keys, texts and signatures of all sorts", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			private := ed25519.NewKeyFromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
			body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
			timestamp := rapid.StringN(1, 80, 200).Draw(t, "timestamp")
			signature := ed25519.Sign(private, []byte(timestamp+"|"+string(body)))
			if !agree(t, private.Public().(ed25519.PublicKey), signature, timestamp, body) {
				t.Fatal("a good signature is refused")
			}
			signature[rapid.IntRange(0, 63).Draw(t, "at")] ^= rapid.Byte().Draw(t, "with")
			agree(t, private.Public().(ed25519.PublicKey), signature, timestamp, body)
		})
	})
}

func hashed(parts ...[]byte) []byte {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// FuzzVerifierAgainstStandard lets the fuzzer look for a key, a signature and a
// text on which the two differ.
func FuzzVerifierAgainstStandard(f *testing.F) {
	public, private := keyPair(1)
	neutral := append([]byte{1}, make([]byte, 31)...)
	for _, seed := range []struct {
		name            string
		key, signature  []byte
		timestamp, body string
	}{
		{"a good one", public, ed25519.Sign(private, []byte("1|{}")), "1", "{}"},
		{"the neutral point as key and as R, with a scalar of zero", neutral, append(slices.Clone(neutral), make([]byte, 32)...), "1", "x"},
		{"encodings that are not canonical", bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{0xff}, 64), "2", ""},
	} {
		f.Add(seed.key, seed.signature, seed.timestamp, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, key, signature []byte, timestamp string, body []byte) {
		if len(key) != ed25519.PublicKeySize || len(signature) != ed25519.SignatureSize || timestamp == "" {
			return
		}
		agree(t, key, signature, timestamp, body)
	})
}

// BenchmarkVerifyStandard is the floor of BenchmarkVerify: the same with crypto/ed25519.
func BenchmarkVerifyStandard(b *testing.B) {
	public, private := keyPair(1)
	timestamp, body := "1772366400", []byte(hangupBody)
	message := append([]byte(timestamp+"|"), body...)
	signature := ed25519.Sign(private, message)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !ed25519.Verify(public, message, signature) {
			b.Fatal("refused")
		}
	}
}

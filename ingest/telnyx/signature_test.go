package telnyx_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/edwards25519"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/ingest/telnyx"
)

var signedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestVerify(t *testing.T) {
	public, private := keyPair(1)
	other, otherPrivate := keyPair(2)
	body := []byte(`{"data":{"event_type":"call.answered"}}`)
	timestamp, signature := telnyx.Sign(private, signedAt, body)
	_, strange := telnyx.Sign(otherPrivate, signedAt, body)
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	byText := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte("0"+timestamp+"|"+string(body))))
	dotted := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(timestamp+"."+string(body))))

	tests := map[string]struct {
		keys                 []ed25519.PublicKey
		timestamp, signature string
		body                 []byte
		want                 error
	}{
		"signed by the key":                          {[]ed25519.PublicKey{public}, timestamp, signature, body, nil},
		"signed by the second of two keys":           {[]ed25519.PublicKey{other, public}, timestamp, signature, body, nil},
		"the timestamp's text counts, not its value": {[]ed25519.PublicKey{public}, "0" + timestamp, byText, body, nil},
		"signed by another key":                      {[]ed25519.PublicKey{public}, timestamp, strange, body, telnyx.ErrBadSignature},
		"no key at all":                              {nil, timestamp, signature, body, telnyx.ErrBadSignature},
		"another body":                               {[]ed25519.PublicKey{public}, timestamp, signature, []byte("{}"), telnyx.ErrBadSignature},
		"another timestamp":                          {[]ed25519.PublicKey{public}, timestamp + "0", signature, body, telnyx.ErrBadSignature},
		"a dot in place of the pipe":                 {[]ed25519.PublicKey{public}, timestamp, dotted, body, telnyx.ErrBadSignature},
		"the boundary moved into the body":           {[]ed25519.PublicKey{public}, timestamp[:9], signature, []byte(timestamp[9:] + "|" + string(body)), telnyx.ErrBadSignature},
		"no timestamp header":                        {[]ed25519.PublicKey{public}, "", signature, body, telnyx.ErrNoSignature},
		"no signature header":                        {[]ed25519.PublicKey{public}, timestamp, "", body, telnyx.ErrNoSignature},
		"no base64":                                  {[]ed25519.PublicKey{public}, timestamp, strings.Repeat("!", len(signature)), body, telnyx.ErrBadSignature},
		"base64 without padding":                     {[]ed25519.PublicKey{public}, timestamp, strings.TrimRight(signature, "="), body, telnyx.ErrBadSignature},
		"URL-safe base64":                            {[]ed25519.PublicKey{public}, timestamp, "-_" + signature[2:], body, telnyx.ErrBadSignature},
		"a line break inside":                        {[]ed25519.PublicKey{public}, timestamp, signature[:44] + "\r\n" + signature[44:], body, telnyx.ErrBadSignature},
		"too few bytes":                              {[]ed25519.PublicKey{public}, timestamp, base64.StdEncoding.EncodeToString(raw[:63]), body, telnyx.ErrBadSignature},
		"too many bytes":                             {[]ed25519.PublicKey{public}, timestamp, base64.StdEncoding.EncodeToString(append(raw, 0, 0)), body, telnyx.ErrBadSignature},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := telnyx.NewVerifier(tt.keys).Verify(tt.timestamp, tt.signature, tt.body)
			if !errors.Is(got, tt.want) {
				t.Errorf("Verify: got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestVerifierKeepsItsOwnKeys(t *testing.T) {
	public, private := keyPair(1)
	given := []ed25519.PublicKey{append(ed25519.PublicKey(nil), public...)}
	verifier := telnyx.NewVerifier(given)
	clear(given[0])
	timestamp, signature := telnyx.Sign(private, signedAt, nil)
	if err := verifier.Verify(timestamp, signature, nil); err != nil {
		t.Errorf("Verify after the caller's key was overwritten: %v", err)
	}
}

func TestParseTimestamp(t *testing.T) {
	tests := map[string]struct {
		text string
		want time.Time
		err  error
	}{
		"seconds":             {"1772366400", signedAt, nil},
		"zero":                {"0", time.Unix(0, 0).UTC(), nil},
		"leading zeros":       {"01772366400", signedAt, nil},
		"nothing":             {"", time.Time{}, telnyx.ErrBadTimestamp},
		"milliseconds":        {"1772366400000", time.Time{}, telnyx.ErrBadTimestamp},
		"a sign":              {"+1772366400", time.Time{}, telnyx.ErrBadTimestamp},
		"a fraction":          {"1772366400.5", time.Time{}, telnyx.ErrBadTimestamp},
		"a date":              {"2026-03-01", time.Time{}, telnyx.ErrBadTimestamp},
		"digits of elsewhere": {"١٧٧", time.Time{}, telnyx.ErrBadTimestamp},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := telnyx.ParseTimestamp(tt.text)
			if !errors.Is(err, tt.err) || !got.Equal(tt.want) {
				t.Errorf("ParseTimestamp(%q): got %v, %v, want %v, %v", tt.text, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestSignedHeadersParse(t *testing.T) {
	_, private := keyPair(1)
	timestamp, signature := telnyx.Sign(private, signedAt.Add(900*time.Millisecond), []byte("x"))
	got, err := telnyx.ParseTimestamp(timestamp)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(signedAt, got); diff != "" {
		t.Errorf("timestamp (-want +got):\n%s", diff)
	}
	if len(signature) != 88 {
		t.Errorf("signature of %d characters, want 88", len(signature))
	}
}

func FuzzVerify(f *testing.F) {
	public, private := keyPair(1)
	timestamp, signature := telnyx.Sign(private, signedAt, []byte("{}"))
	for _, seed := range []struct{ name, timestamp, signature, body string }{
		{"a good one", timestamp, signature, "{}"},
		{"nothing at all", "", "", ""},
		{"the separator in timestamp and body", "1|2", signature, "|"},
		{"padding alone", timestamp, strings.Repeat("=", 88), "{}"},
		{"a line end in place of the padding", timestamp, signature[:86] + "\r\n", "{}"},
		{"a signature of zeros, and a time beyond 64 bits", "99999999999999999999", strings.Repeat("A", 86) + "==", "\xff"},
	} {
		f.Add(seed.timestamp, seed.signature, []byte(seed.body))
	}
	verifier := telnyx.NewVerifier([]ed25519.PublicKey{public})
	f.Fuzz(func(t *testing.T, timestamp, signature string, body []byte) {
		if err := verifier.Verify(timestamp, signature, body); err == nil {
			raw, decodeErr := base64.StdEncoding.DecodeString(signature)
			if decodeErr != nil || !ed25519.Verify(public, []byte(timestamp+"|"+string(body)), raw) {
				t.Errorf("accepted what the key did not sign: %q %q %q", timestamp, signature, body)
			}
		}
		at, err := telnyx.ParseTimestamp(timestamp)
		if err != nil {
			return
		}
		// Whatever is signed at that time verifies, and nothing beside it.
		printed, own := telnyx.Sign(private, at, body)
		if err := verifier.Verify(printed, own, body); err != nil {
			t.Errorf("own signature refused: %v", err)
		}
		if err := verifier.Verify(printed, own, append([]byte("x"), body...)); !errors.Is(err, telnyx.ErrBadSignature) {
			t.Errorf("signature of another body: got %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	public, private := keyPair(1)
	verifier := telnyx.NewVerifier([]ed25519.PublicKey{public})
	body := []byte(hangupBody)
	timestamp, signature := telnyx.Sign(private, signedAt, body)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := verifier.Verify(timestamp, signature, body); err != nil {
			b.Fatal(err)
		}
	}
}

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

// keyPair returns a key pair that is the same in every run.
func keyPair(seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return private.Public().(ed25519.PublicKey), private
}

func keyText(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

func TestParseKeys(t *testing.T) {
	one, _ := keyPair(1)
	two, _ := keyPair(2)
	tests := map[string]struct {
		text string
		want []ed25519.PublicKey
	}{
		"one key":                             {keyText(one), []ed25519.PublicKey{one}},
		"two keys in their order":             {keyText(two) + "," + keyText(one), []ed25519.PublicKey{two, one}},
		"spaces and a file's last line break": {" " + keyText(one) + " ,\t" + keyText(two) + "\n", []ed25519.PublicKey{one, two}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := telnyx.ParseKeys(tt.text)
			if err != nil {
				t.Fatalf("ParseKeys: %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseKeysSaysWhichKeyIsWrongAndWhy(t *testing.T) {
	one, _ := keyPair(1)
	good := keyText(one)
	tests := map[string]struct{ text, want string }{
		"nothing":                 {" \n", "telnyx: no public key given"},
		"an empty entry":          {good + ",", "telnyx: public key 2 of 2 is empty"},
		"no base64":               {"not-a-key!", "telnyx: public key 1 of 1 is not standard base64"},
		"URL-safe base64":         {strings.Repeat("-_", 21) + "w=", "telnyx: public key 1 of 1 is not standard base64"},
		"base64 without padding":  {good + "," + strings.TrimRight(good, "="), "telnyx: public key 2 of 2 is not standard base64"},
		"two keys without comma":  {good + "\n" + good, "telnyx: public key 1 of 1 is not standard base64"},
		"too few bytes":           {good + "," + good + ",c2hvcnQ=", "telnyx: public key 3 of 3 decodes to 5 bytes, not 32"},
		"hex":                     {hex.EncodeToString(one), "telnyx: public key 1 of 1 looks like hex: give the base64 text that Telnyx shows"},
		"PEM":                     {"-----BEGIN PUBLIC KEY-----", "telnyx: public key 1 of 1 looks like PEM: give the base64 text that Telnyx shows"},
		"the key of all zeros":    {strings.Repeat("A", 43) + "=", "telnyx: public key 1 of 1 is all zeros, a placeholder that anybody can sign for"},
		"no point of the curve":   {base64.StdEncoding.EncodeToString(append([]byte{2}, make([]byte, 31)...)), "telnyx: public key 1 of 1 decodes to 32 bytes that are no public key: the curve has no such point"},
		"a key of small order":    {base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...)), "telnyx: public key 1 of 1 is a key of small order, that anybody can sign for"},
		"a private key of 64 too": {base64.StdEncoding.EncodeToString(make([]byte, 64)), "telnyx: public key 1 of 1 decodes to 64 bytes, not 32"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			keys, err := telnyx.ParseKeys(tt.text)
			if err == nil {
				t.Fatalf("ParseKeys gave %d keys, want an error", len(keys))
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	one, _ := keyPair(1)
	two, _ := keyPair(2)
	for _, seed := range []struct{ name, text string }{
		{"nothing", ""},
		{"a comma alone", ","},
		{"a key", keyText(one)},
		{"two keys", keyText(one) + "," + keyText(two)},
		{"a key as a file holds it", keyText(one) + "\n"},
		{"too few bytes", "c2hvcnQ="},
		{"PEM", "-----BEGIN"},
		{"a key in hexadecimal", hex.EncodeToString(one)},
		{"bytes that are no text", "\x00\xff"},
		{"a key without its padding", keyText(one)[:43]},
		{"the key of zeros, a point of small order", strings.Repeat("A", 43) + "="},
	} {
		f.Add(seed.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := telnyx.ParseKeys(text)
		if err != nil {
			if keys != nil {
				t.Errorf("keys beside the error %v", err)
			}
			// Sixteen bytes: longer than any word of the error texts.
			for entry := range strings.SplitSeq(text, ",") {
				if entry = strings.TrimSpace(entry); len(entry) >= 16 && strings.Contains(err.Error(), entry) {
					t.Errorf("the error repeats the entry: %v", err)
				}
			}
			return
		}
		var again []string
		for _, key := range keys {
			again = append(again, keyText(key))
		}
		got, err := telnyx.ParseKeys(strings.Join(again, ","))
		if err != nil {
			t.Fatalf("its own keys were refused: %v", err)
		}
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Errorf("keys changed in a round trip (-want +got):\n%s", diff)
		}
		telnyx.NewVerifier(keys) // must not panic
	})
}

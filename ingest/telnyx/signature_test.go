package telnyx_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

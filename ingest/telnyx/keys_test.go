package telnyx_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
)

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

package call_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/legato-calls/legato/internal/call"
)

func TestJSONIsWrittenWithoutU0000(t *testing.T) {
	for given, want := range map[string]string{
		`{"a":"b"}`:                           `{"a":"b"}`,
		`"\u0000"`:                            "\"\uFFFD\"",
		`{"\u0000a":["\u0000\u0000","\\\""]}`: "{\"\uFFFDa\":[\"\uFFFD\uFFFD\",\"\\\\\\\"\"]}",
		`"\\u0000"`:                           `"\\u0000"`,
		`"\\\u0000"`:                          "\"\\\\\uFFFD\"",
		`"\u00000\u0001"`:                     "\"\uFFFD0\\u0001\"",
		`"\u0000\`:                            "\"\uFFFD\\",
	} {
		if got := call.PrintableJSON(given); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"\x00", `\`, "u0000", `\u0000`, `"`, "a", "\n", "é"})).Draw(t, "text"), "")
		written, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal([]byte(call.PrintableJSON(string(written))), &got); err != nil {
			t.Fatal(err)
		}
		if want := strings.ReplaceAll(text, "\x00", "\uFFFD"); got != want {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

package load_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish/load"
)

const legSubject = "calls.leg.completed.17.s1.l1"

func TestAMessageThatIsNoRowSaysWhy(t *testing.T) {
	tests := []struct{ name, subject, body, want string }{
		{"a leg", legSubject, `{"kind":"leg","schema":1,"revision":2,"call_session_id":"s1","call_leg_id":"l1"}`, ""},
		{"a session", "emea.session.amended._.s1", `{"kind":"session","schema":1,"revision":2,"call_session_id":"s1"}`, ""},
		{"another subject", "calls.other.s1", `{}`, "the subject is none of a summary"},
		{"nothing", legSubject, ``, "the message is empty"},
		{"half a body", legSubject, `{"kind":"leg"`, "not JSON"},
		{"a list", legSubject, `[]`, "not a JSON object"},
		{"another kind", legSubject, `{"kind":"session","schema":1,"revision":1,"call_session_id":"s1"}`, "kind is not that of the subject"},
		{"a later schema", legSubject, `{"kind":"leg","schema":2,"revision":1}`, "schema is 2, and only 1 is known"},
		{"another session", legSubject, `{"kind":"leg","schema":1,"revision":1,"call_session_id":"+12025550111","call_leg_id":"l1"}`, "call_session_id is not that of the subject"},
		{"another leg", legSubject, `{"kind":"leg","schema":1,"revision":1,"call_session_id":"s1","call_leg_id":"+12025550111"}`, "call_leg_id is not that of the subject"},
		{"no revision", legSubject, `{"kind":"leg","schema":1,"call_session_id":"s1","call_leg_id":"l1"}`, "revision is less than 1"},
		{"a time that is none", legSubject, `{"kind":"leg","started_at":"+12025550111"}`, "started_at: is not of type timestamp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row, err := load.Parse(load.Origin{Subject: tt.subject}, []byte(tt.body))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if err == nil && (row.Revision != 2 || row.Key.Session != "s1" || (row.Key.Kind == summary.KindLeg) != (row.Key.Leg == "l1")) {
				t.Errorf("got %+v", row)
			}
		})
	}
}

func TestATextThatNoWarehouseStoresIsReplaced(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"nothing to replace", `{"a":"b\n\\u0000"}`, `{"a":"b\n\\u0000"}`},
		{"U+0000", `{"a":"x\u0000y"}`, `{"a":"x\ufffdy"}`},
		{"U+0000 behind a backslash", `{"a":"\\\u0000"}`, `{"a":"\\\ufffd"}`},
		{"half a pair, the high one", `{"a":"\ud83c!"}`, `{"a":"\ufffd!"}`},
		{"half a pair, the low one", `{"a":"\uDFB5"}`, `{"a":"\ufffd"}`},
		{"two high ones", `{"a":"\ud83c\ud83c\udfb5"}`, `{"a":"\ufffd\ud83c\udfb5"}`},
		{"a pair", `{"a":"\ud83c\udfb5"}`, `{"a":"\ud83c\udfb5"}`},
		{"bytes that are not UTF-8", "{\"a\":\"\xff\"}", "{\"a\":\"\uFFFD\"}"},
		{"half an escape", `{"a":"\u00`, `{"a":"\u00`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := load.Clean(tt.body); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{`{"a":"\u0000\\\ud83c\udfb5"}`, "\\u", `\ud800\`, "\xff\\u0000", `"\ud83c\u0041"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got := load.Clean(body)
		if !utf8.ValidString(got) || load.Clean(got) != got {
			t.Fatalf("%q became %q", body, got)
		}
		var before, after any
		if !utf8.ValidString(body) || json.Unmarshal([]byte(body), &before) != nil {
			return // encoding/json replaces each byte, and not each run of them
		}
		// encoding/json replaces halves of pairs by itself.
		if err := json.Unmarshal([]byte(got), &after); err != nil {
			t.Fatalf("%q is no JSON any more: %v", got, err)
		}
		text := func(v any) string {
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(string(data), `\u0000`, "\uFFFD")
		}
		if strings.Contains(body, `\\u0000`) {
			return // a text that spells the escape is not told from it here
		}
		if text(before) != text(after) {
			t.Errorf("%q became %q", body, got)
		}
	})
}

package telnyx

import (
	"bytes"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	json "github.com/go-json-experiment/json/v1"

	"github.com/legato-calls/legato/internal/call"
)

// trimmer truncates what an event repeats to the limits of package call, and notes whether anything was past them.
type trimmer struct{ truncated bool }

// word truncates a word, a code or an id.
func (t *trimmer) word(s string) string {
	if known, ok := vocabulary[s]; ok {
		return known
	}
	return t.start(s, call.MaxWord)
}

// text truncates what was named freely.
func (t *trimmer) text(s string) string { return t.start(s, call.MaxText) }

// whole leaves out what is longer than limit and of no use in part.
func (t *trimmer) whole(s string, limit int) string {
	if len(s) > limit {
		t.truncated = true
		return ""
	}
	return s
}

// start returns the start of s that fits into limit, truncated between characters. It is a
// copy, so that the rest does not stay in memory with it.
func (t *trimmer) start(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	t.truncated = true
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.Clone(s[:limit])
}

// reason truncates a sentence of Telnyx's; what URLs in it say beyond their host is
// taken out, as it can be a password.
func (t *trimmer) reason(s string) string {
	if strings.Contains(s, "://") {
		s = anyURL.ReplaceAllStringFunc(s, hostOnly)
	}
	return t.text(s)
}

var anyURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*`)

// hostOnly reduces a URL to scheme and host. One with an '@' has a user and perhaps
// a password, whose own '/' would make another part of it look like the host.
func hostOnly(link string) string {
	scheme, rest, _ := strings.Cut(link, "://")
	if strings.Contains(rest, "@") {
		return scheme + "://…"
	}
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i] + "/…"
	}
	return scheme + "://" + host
}

// media returns the name of a medium, or the file name at the end of its URL.
func (t *trimmer) media(name, link string) string {
	if strings.Contains(name, "://") {
		name, link = "", name
	}
	if name == "" && link != "" {
		// What is no file name can be a token.
		if u, err := url.Parse(link); err == nil && isFileName(path.Base(u.EscapedPath())) {
			name = path.Base(u.EscapedPath())
		}
	}
	return t.text(name)
}

// isFileName reports whether s is a name with a media file's extension: a dot and two to four letters or digits.
func isFileName(s string) bool {
	stem, extension := strings.TrimSuffix(s, path.Ext(s)), strings.TrimPrefix(path.Ext(s), ".")
	return stem != "" && len(extension) >= 2 && len(extension) <= 4 &&
		strings.Trim(strings.ToLower(extension), alphanumeric) == ""
}

// alphanumeric are the ASCII letters and digits.
const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// code returns s when it looks like a code or an id, "" when it is free text.
func (t *trimmer) code(s string) string {
	if strings.Trim(s, "-_.:"+alphanumeric) != "" {
		return ""
	}
	return t.word(s)
}

// value limits JSON of any form: a string is truncated like other texts; half an
// object would be none, so one past the limits is left out.
func (t *trimmer) value(raw json.RawMessage) call.RawJSON {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case raw[0] == '"':
		return t.quoted(raw)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return ""
	}
	value := strings.ToValidUTF8(compact.String(), "\uFFFD")
	if len(value) > call.MaxResult || depth(value) > call.MaxResultDepth {
		t.truncated = true
		return ""
	}
	return call.RawJSON(value)
}

// quoted truncates a JSON string so that it still is one.
func (t *trimmer) quoted(raw json.RawMessage) call.RawJSON {
	var s string
	if json.Unmarshal(raw, &s) != nil || s == "" {
		return ""
	}
	for {
		// Escapes make it up to six times as long.
		value := quote(s)
		if len(value) <= call.MaxResult {
			return call.RawJSON(value)
		}
		s = t.start(s, len(s)*call.MaxResult/len(value))
	}
}

// quote writes a JSON string.
func quote(s string) string {
	value, _ := encode(s) // a string can always be written
	return string(value)
}

// encode writes JSON, without the escapes that only HTML needs.
func encode(v any) ([]byte, error) {
	var value bytes.Buffer
	to := json.NewEncoder(&value)
	to.SetEscapeHTML(false)
	err := to.Encode(v)
	return bytes.TrimSuffix(value.Bytes(), []byte("\n")), err
}

// depth returns how deep JSON is nested.
func depth(value string) int {
	deepest, now, inText := 0, 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

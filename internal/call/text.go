package call

import "strings"

// replacement stands for what cannot stand in a text.
const replacement = "\uFFFD"

// nul is U+0000 as JSON has to write it.
const nul = `\u0000`

// PrintableJSON returns JSON with U+FFFD in place of every U+0000 in its texts. That character is legal in JSON and in
// what a caller names itself, and stops readers: PostgreSQL takes no text that has it.
func PrintableJSON(s string) string {
	if !strings.Contains(s, nul) {
		return s
	}
	var out strings.Builder
	out.Grow(len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		if escape := s[i:]; strings.HasPrefix(escape, nul) {
			out.WriteString(replacement)
			s = escape[len(nul):]
		} else { // the second character is none that begins an escape of its own
			out.WriteString(escape[:2])
			s = escape[2:]
		}
	}
}

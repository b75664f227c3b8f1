package natsd

import "strings"

// maxHeaderValue bounds what a sender may put into one header of a message: the
// server refuses headers over 64 KiB, and what cannot be stored would come again and again.
const maxHeaderValue = 1024

// HeaderValue returns s as it can stand in a header of a message: on one line, of bounded length.
func HeaderValue(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s))
	if len(s) > maxHeaderValue {
		s = strings.ToValidUTF8(s[:maxHeaderValue], "")
	}
	return s
}

package story

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// masked stands for what is not shown.
const masked = "····"

// Mask hides the end of each phone number and most of each name. What remains still tells one
// party from another for whoever knows them, and is personal data.
func (s *Story) Mask() {
	for i := range s.Legs {
		s.Legs[i].From, s.Legs[i].To = Masked(s.Legs[i].From), Masked(s.Legs[i].To)
	}
}

// Masked hides the last four digits of a number, all of one that has less than eight, and of anything
// else (the user of a SIP URI, a name) all but its first character. The host of a URI stays.
func Masked(party string) string {
	user, host, isURI := strings.Cut(party, "@")
	if isURI {
		return Masked(user) + "@" + host
	}
	digits := strings.TrimPrefix(user, "+")
	switch {
	case user == "":
		return ""
	case strings.Trim(digits, "0123456789") != "":
		_, size := utf8.DecodeRuneInString(user)
		return user[:size] + masked
	case len(digits) < 8:
		return masked
	}
	return user[:len(user)-4] + masked
}

// Fit leaves items out of the middle of the timeline, and then legs, until the encoded story has at most so
// many bytes, and returns it encoded.
func (s *Story) Fit(most int) ([]byte, error) {
	for {
		body, err := json.Marshal(s)
		if err != nil || len(body) <= most || len(s.Timeline)+len(s.Legs) == 0 {
			return body, err
		}
		// A quarter at a time: few stories are larger than a message, and those by far.
		var out int
		if len(s.Timeline) > 0 {
			s.Timeline, out = withoutMiddle(s.Timeline)
			s.TimelineOmitted += out
			continue
		}
		s.Legs, out = withoutMiddle(s.Legs)
		s.LegsOmitted += out
	}
}

func withoutMiddle[T any](all []T) (rest []T, out int) {
	out = max(len(all)/4, 1)
	from := (len(all) - out) / 2
	return append(all[:from:from], all[from+out:]...), out
}

// readable replaces what would do something to a terminal: senders chose these bytes.
func readable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// clean makes the texts of others readable.
func (c *composer) clean() {
	for i := range c.story.Legs {
		l := &c.story.Legs[i]
		for _, s := range []*string{&l.From, &l.To, &l.Direction, &l.CallControlID, &l.ConnectionID} {
			*s = readable(*s)
		}
	}
	for _, i := range c.story.Timeline {
		if e := i.Event; e != nil {
			e.ID, e.Cause, e.SIPCode = readable(e.ID), readable(e.Cause), readable(e.SIPCode)
		}
	}
}

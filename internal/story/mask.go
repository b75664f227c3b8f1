package story

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// masked stands for what is not shown.
const masked = "····"

// Mask hides the end of each phone number and most of each name. What remains still tells one party from another for
// whoever knows them, and is personal data.
func (s *Story) Mask() {
	for i := range s.Legs {
		s.Legs[i].From, s.Legs[i].To = Masked(s.Legs[i].From), Masked(s.Legs[i].To)
	}
}

// Masked hides the last four digits of a number, all of one that has less than eight, and of anything else (the user
// of a SIP URI, a name) all but its first character. The host of a URI stays.
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

// Fit leaves items out of the middle of the timeline, then what is to come last, what is parked, and legs, until the
// encoded story has maxBytes at most, and returns it encoded.
func (s *Story) Fit(maxBytes int) ([]byte, error) {
	for {
		body, err := json.Marshal(s)
		if err != nil || len(body) <= maxBytes {
			return body, err
		}
		// A quarter at a time: few stories are larger than a message, and those by far.
		switch {
		case len(s.Timeline) > 0:
			out := max(len(s.Timeline)/4, 1)
			from := (len(s.Timeline) - out) / 2
			s.Timeline = append(s.Timeline[:from:from], s.Timeline[from+out:]...)
			s.TimelineOmitted += out
		case len(s.Next) > 0:
			s.Next, s.NextOmitted = shorter(s.Next, s.NextOmitted)
		case len(s.Parked) > 0:
			s.Parked, s.ParkedOmitted = shorter(s.Parked, s.ParkedOmitted)
		case len(s.Legs) > 0:
			s.Legs, s.LegsOmitted = shorter(s.Legs, s.LegsOmitted)
		default:
			return body, nil
		}
	}
}

// shorter leaves out the end.
func shorter[T any](all []T, omitted int) ([]T, int) {
	out := max(len(all)/4, 1)
	return all[:len(all)-out], omitted + out
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

// makeReadable makes the texts of others readable.
func (c *composer) makeReadable() {
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

package compose

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// Draft is the summary of a leg or of a session, with the content by which it is compared.
type Draft struct {
	// Leg or Session is the summary; the other is nil.
	Leg     *summary.Leg
	Session *summary.Session
	// Content is the JSON of what it says about the call: see LegContent and SessionContent.
	Content []byte
}

// LegDraft returns the draft of a leg, in a body of so many bytes at most. It fails with summary.ErrInvalid.
func LegDraft(l summary.Leg, body int) (Draft, error) {
	l, content, err := FitLeg(l, body)
	return Draft{Leg: &l, Content: content}, err
}

// SessionDraft returns the draft of a session, in a body of so many bytes at most. It fails with summary.ErrInvalid.
func SessionDraft(s summary.Session, body int) (Draft, error) {
	s, content, err := FitSession(s, body)
	return Draft{Session: &s, Content: content}, err
}

// Read reads back what is stored under a key. It fails with summary.ErrInvalid.
func Read(k summary.Key, body []byte) (d Draft, err error) {
	if k.Kind == summary.KindLeg {
		d.Leg = new(summary.Leg)
		err = json.Unmarshal(body, d.Leg)
	} else {
		d.Session = new(summary.Session)
		err = json.Unmarshal(body, d.Session)
	}
	if err != nil {
		return Draft{}, fmt.Errorf("%w: read back the %s: %w", summary.ErrInvalid, k.Kind, err)
	}
	if d.Leg != nil {
		d.Content, err = LegContent(*d.Leg)
	} else {
		d.Content, err = SessionContent(*d.Session)
	}
	return d, err
}

// Revise returns the draft as the revision that is to follow before, which says what
// changed and why; after the zero Draft it is the first. It fails with summary.ErrInvalid.
func (d Draft) Revise(before Draft, revision int, at time.Time) (Draft, error) {
	var changed []string
	if before.Content != nil {
		var err error
		if changed, err = Changed(before.Content, d.Content); err != nil {
			return Draft{}, err
		}
	}
	if d.Leg != nil {
		l := *d.Leg
		l.Revision, l.Changed, l.PublishedAt = revision, changed, summary.MustAt(at)
		switch {
		case before.Leg != nil:
			l.Reasons = LegReasons(before.Leg, &l)
		case revision > 1: // what stood before is lost: that something is late is all that is known
			l.Reasons = []summary.Reason{summary.ReasonLateEvent}
		}
		return Draft{Leg: &l, Content: d.Content}, nil
	}
	s := *d.Session
	s.Revision, s.Changed, s.PublishedAt = revision, changed, summary.MustAt(at)
	switch {
	case before.Session != nil:
		s.Reasons = SessionReasons(before.Session, &s)
	case revision > 1:
		s.Reasons = []summary.Reason{summary.ReasonLateEvent}
	}
	return Draft{Session: &s, Content: d.Content}, nil
}

// Encode returns the JSON that is published, and the connection that its subject
// names; that is empty when it is not known. It fails with summary.ErrInvalid.
func (d Draft) Encode() (body []byte, connection string, err error) {
	if d.Leg != nil {
		body, err = encode(*d.Leg)
		return body, d.Leg.ConnectionID, err
	}
	body, err = encode(*d.Session)
	return body, d.Session.ConnectionID, err
}

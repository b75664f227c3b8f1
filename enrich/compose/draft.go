package compose

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// Draft is the summary of a leg or of a session.
type Draft struct {
	// Leg or Session is the summary; the other is nil. It is truncated to fit by Content and Encode.
	Leg     *summary.Leg
	Session *summary.Session
	// Truncated: it did not fit as it was.
	Truncated bool

	// body is how many bytes it may have; 0: it is as it was read.
	body int
	// content is what Content returns; nil: nobody has asked.
	content []byte
}

// LegDraft returns the draft of a leg, in a body of so many bytes at most.
func LegDraft(l summary.Leg, body int) *Draft { return &Draft{Leg: &l, body: body} }

// SessionDraft returns the draft of a session, in a body of so many bytes at most.
func SessionDraft(s summary.Session, body int) *Draft { return &Draft{Session: &s, body: body} }

// Read reads back what is stored under a key. It fails with summary.ErrInvalid.
func Read(k summary.Key, body []byte) (*Draft, error) {
	d := new(Draft)
	var err error
	if k.Kind == summary.KindLeg {
		d.Leg = new(summary.Leg)
		err = json.Unmarshal(body, d.Leg)
	} else {
		d.Session = new(summary.Session)
		err = json.Unmarshal(body, d.Session)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read back the %s: %w", summary.ErrInvalid, k.Kind, err)
	}
	return d, nil
}

// Content returns the JSON of what it says about the call, by which it is compared: see LegContent and SessionContent.
// It fails with summary.ErrInvalid.
func (d *Draft) Content() (content []byte, err error) {
	if d.content != nil {
		return d.content, nil
	}
	if d.Leg != nil {
		content, err = LegContent(*d.Leg)
	} else {
		content, err = SessionContent(*d.Session)
	}
	if err == nil && !d.fits(content) {
		d.Truncated = true
		if d.Leg != nil {
			*d.Leg, content, err = FitLeg(*d.Leg, d.body)
		} else {
			*d.Session, content, err = FitSession(*d.Session, d.body)
		}
	}
	d.content = content
	return content, err
}

// fits reports whether it need not be truncated for its content; its whole JSON is never shorter.
func (d *Draft) fits(content []byte) bool {
	return d.body == 0 || d.Leg != nil && len(content) <= MaxContent(d.body) || d.Session != nil && len(content) <= maxSession(d.body)
}

// Revise returns the draft as the revision that is to follow before, which says what
// changed and why; after nil it is the first. It fails with summary.ErrInvalid.
func (d *Draft) Revise(before *Draft, revision int, at time.Time) (*Draft, error) {
	var changed []string
	if before != nil {
		was, err := before.Content()
		if err != nil {
			return nil, err
		}
		is, err := d.Content()
		if err != nil {
			return nil, err
		}
		if changed, err = Changed(was, is); err != nil {
			return nil, err
		}
	}
	next := *d
	if d.Leg != nil {
		l := *d.Leg
		l.Revision, l.Changed, l.PublishedAt = revision, changed, summary.MustAt(at)
		switch {
		case before != nil:
			l.Reasons = LegReasons(before.Leg, &l)
		case revision > 1: // what stood before is lost: that something is late is all that is known
			l.Reasons = []summary.Reason{summary.ReasonLateEvent}
		}
		next.Leg = &l
		return &next, nil
	}
	s := *d.Session
	s.Revision, s.Changed, s.PublishedAt = revision, changed, summary.MustAt(at)
	switch {
	case before != nil:
		s.Reasons = SessionReasons(before.Session, &s)
	case revision > 1:
		s.Reasons = []summary.Reason{summary.ReasonLateEvent}
	}
	next.Session = &s
	return &next, nil
}

// Encode returns the JSON that is published, and the connection that its subject
// names; that is empty when it is not known. It fails with summary.ErrInvalid.
func (d *Draft) Encode() (body []byte, connection string, err error) {
	if body, err = d.encode(); err == nil && d.content == nil && !d.fits(body) {
		if _, err = d.Content(); err == nil {
			body, err = d.encode()
		}
	}
	if d.Leg != nil {
		return body, d.Leg.ConnectionID, err
	}
	return body, d.Session.ConnectionID, err
}

func (d *Draft) encode() ([]byte, error) {
	if d.Leg != nil {
		return encode(*d.Leg)
	}
	return encode(*d.Session)
}

package summary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Errors of publishing a Draft. Anything else is an infrastructure error, after
// which the draft may or may not be stored.
var (
	// ErrRefused: the key does not stand where the draft supposed. What is
	// stored must be read and compared; it may be this very draft.
	ErrRefused = errors.New("the stored summary is not the one that was expected")
	// ErrInvalid: what is to be stored can never be (too large, ids that are no tokens), or what is
	// stored was not written by Legato. Trying again is of no use.
	ErrInvalid = errors.New("not a valid summary")
)

// Key names what a summary is about.
type Key struct {
	// Kind is KindLeg or KindSession.
	Kind string
	// Session is the call_session_id.
	Session string
	// Leg is the call_leg_id; empty for a session.
	Leg string
}

// Position is a place in the log: every entry up to and including Seq of the
// log named Log. Sequences of different logs do not compare.
type Position struct {
	// Log identifies one life of the log: a log that was deleted and made again
	// counts its sequences from 1 and has another identity.
	Log string
	// Seq is a stream sequence.
	Seq uint64
}

// MaxBody is the largest body of a summary, in bytes. The default limit of a NATS server is twice that for body and
// headers; consumers may count on this one.
const MaxBody = 512 << 10

// Draft is a summary about to be published.
type Draft struct {
	Key Key
	// Connection is the connection_id for the subject; empty when not known. It
	// counts only for revision 1: later ones keep the subject's tokens.
	Connection string
	// Revision counts from 1; 1 is the completed message, higher ones amend.
	Revision int
	// Position is where in the log the summary was folded to.
	Position Position
	// PublishedAt is the summary's published_at.
	PublishedAt time.Time
	// Body is the JSON of the Leg or Session.
	Body []byte
}

// Stored is a summary as it stands in the stream of summaries: the newest
// revision of its key.
type Stored struct {
	Draft
	// Seq is the stream sequence of this message.
	Seq uint64
}

// Encode returns the JSON of a Leg or a Session as it is published. HTML
// characters stay as they are: the readers are programs. It fails with ErrInvalid.
func Encode(v any) ([]byte, error) {
	switch s := v.(type) { // what is always present is never null
	case Leg:
		if s.Events == nil {
			s.Events = []Event{}
		}
		v = s
	case Session:
		if s.Legs == nil {
			s.Legs = []SessionLeg{}
		}
		v = s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: encode it: %w", ErrInvalid, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

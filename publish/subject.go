package publish

import (
	"fmt"
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Subjects of a leg, and of a session without the last token; a prefix is one token:
//
//	<prefix>.leg.completed.<connection>.<session>.<leg>
//	<prefix>.leg.amended.<connection>.<session>.<leg>
//
// The connection is call.UnknownConnection where the first publication did not know it.
const (
	completed = "completed"
	amended   = "amended"
)

// subject returns the subject of a key; verb and connection may be wildcards.
func subject(prefix, verb, connection string, k summary.Key) string {
	s := prefix + "." + k.Kind + "." + verb + "." + connection + "." + k.Session
	if k.Kind == summary.KindLeg {
		s += "." + k.Leg
	}
	return s
}

// verb returns the token that tells a first publication from a later one.
func verb(revision int) string {
	if revision == 1 {
		return completed
	}
	return amended
}

// validKey fails when a key cannot be named by a subject. Ingest parks input
// with such ids, so it is a mistake of the program when it happens.
func validKey(k summary.Key) error {
	if !call.ValidToken(k.Session) {
		return fmt.Errorf("%w: session id %.64q is no subject token", ErrInvalid, k.Session)
	}
	switch k.Kind {
	case summary.KindLeg:
		if !call.ValidToken(k.Leg) {
			return fmt.Errorf("%w: leg id %.64q is no subject token", ErrInvalid, k.Leg)
		}
	case summary.KindSession:
		if k.Leg != "" {
			return fmt.Errorf("%w: a session has no leg id", ErrInvalid)
		}
	default:
		return fmt.Errorf("%w: kind %.16q is neither leg nor session", ErrInvalid, k.Kind)
	}
	return nil
}

// Subject is what the subject of a summary tells.
type Subject struct {
	// Completed tells that it is of a first publication, and not of an amendment.
	Completed bool
	// Connection is the connection_id. Empty: not known at the first publication.
	Connection string
	Key        summary.Key
}

// ParseSubject reads the subject of a summary, whatever the prefix; false when it is none.
func ParseSubject(subject string) (Subject, bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 5 || tokens[2] != completed && tokens[2] != amended {
		return Subject{}, false
	}
	s := Subject{Completed: tokens[2] == completed, Key: summary.Key{Kind: tokens[1], Session: tokens[4]}}
	if tokens[3] != call.UnknownConnection {
		s.Connection = tokens[3]
	}
	switch {
	case s.Key.Kind == summary.KindSession && len(tokens) == 5:
	case s.Key.Kind == summary.KindLeg && len(tokens) == 6:
		s.Key.Leg = tokens[5]
	default:
		return Subject{}, false
	}
	return s, true
}

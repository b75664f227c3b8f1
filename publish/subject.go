package publish

import (
	"fmt"
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Subjects of a leg, and of a session without the last token:
//
//	<prefix>.leg.completed.<connection>.<session>.<leg>
//	<prefix>.leg.amended.<connection>.<session>.<leg>
const (
	completed = "completed"
	amended   = "amended"
	// unknownConnection stands for a connection that the first publication did not
	// know. No id is a lone "_", see call.ValidToken.
	unknownConnection = "_"
	// connectionToken is the place of the connection, counted from 0. A prefix is one token.
	connectionToken = 3
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

// connectionOf returns the connection that a subject names, empty when it names none.
func connectionOf(subject string) (string, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) <= connectionToken {
		return "", fmt.Errorf("subject %q has no connection", subject)
	}
	if tokens[connectionToken] == unknownConnection {
		return "", nil
	}
	return tokens[connectionToken], nil
}

// token returns the connection as a subject token.
func token(connection string) string {
	if connection == "" {
		return unknownConnection
	}
	return connection
}

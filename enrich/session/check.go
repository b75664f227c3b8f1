package session

import (
	"fmt"
	"strconv"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// CheckKind is what a check asks for.
type CheckKind string

// Kinds of checks.
const (
	// CheckStatus asks for the status of a leg: a further attempt by the
	// calendar, or the sweep of a leg that has gone silent.
	CheckStatus CheckKind = "status"
	// CheckSettle states that a session whose legs are all over has been quiet for its settle time.
	CheckSettle CheckKind = "settle"
	// CheckExpire states that nothing was heard of a leg for longer than any leg lives.
	CheckExpire CheckKind = "expire"
	// CheckBackfill asks the provider's history for what is missing of a leg that is over.
	CheckBackfill CheckKind = "repair"
)

// Check is an entry that Legato itself appends to the log when something has
// become due. Its id is derived from the log alone: replicas that find the same
// thing due append it once, and the queue hands it to one of them.
type Check struct {
	Kind    CheckKind      `json:"kind"`
	Session call.SessionID `json:"call_session_id"`
	Leg     call.LegID     `json:"call_leg_id,omitempty"`
	// Control and Connection are the leg's, so that the queue shows whom it is about.
	Control    call.ControlID    `json:"call_control_id,omitempty"`
	Connection call.ConnectionID `json:"connection_id,omitempty"`
	// Attempt is the attempt that a CheckStatus or CheckBackfill asks for, from 1.
	Attempt int `json:"attempt,omitempty"`
	// Epoch is the entry with which the session began: a leg that comes back after its
	// session was forgotten is asked about anew, from attempt 1, and what was asked in
	// its life before must not stand for that.
	Epoch uint64 `json:"life,omitempty"`
	// Upto is the sequence of the last entry that a CheckSettle or CheckExpire speaks of.
	Upto uint64 `json:"upto,omitempty"`
	// Trimmed tells, of a CheckExpire, that the leg's call had left the log and came back
	// with a late event: its summary stands already, and it is over, not for its silence.
	Trimmed bool `json:"departed,omitempty"`
}

// ID is the check's idempotency key.
func (c Check) ID() string {
	switch c.Kind {
	case CheckSettle:
		return "check/settle/" + string(c.Session) + "/" + strconv.FormatUint(c.Upto, 10)
	case CheckExpire:
		return "check/expire/" + string(c.Session) + "/" + string(c.Leg) + "/" + strconv.FormatUint(c.Upto, 10)
	case CheckStatus:
		return "check/status/" + string(c.Session) + "/" + string(c.Leg) + "/" + attemptOf(c.Epoch, c.Attempt)
	case CheckBackfill:
		return "check/repair/" + string(c.Session) + "/" + string(c.Leg) + "/" + attemptOf(c.Epoch, c.Attempt)
	}
	panic(fmt.Sprintf("check of unknown kind %q", string(c.Kind)))
}

// Ref names the call that the check is about.
func (c Check) Ref() call.Ref {
	return call.Ref{Session: c.Session, Leg: c.Leg, Control: c.Control, Connection: c.Connection}
}

// Answer is the entry in which a status answer stands in the log.
type Answer struct {
	status.Answer
	// Proven tells that this API key had had a 200 for the leg's connection
	// before: only then does "not found" mean that the leg is gone, for another
	// account's live call looks the same. It stands in the log so that all
	// replicas draw the same conclusion.
	Proven bool `json:"connection_proven,omitempty"`
	// Epoch is that of the session when it was asked, as of a Check.
	Epoch uint64 `json:"life,omitempty"`
}

// ID is the answer's idempotency key: one answer an attempt, whoever asked.
func (a Answer) ID() string {
	return "status/" + string(a.Session) + "/" + string(a.Leg) + "/" + attemptOf(a.Epoch, a.Attempt)
}

// attemptOf tells the attempts of one life of a session from those of another.
func attemptOf(life uint64, attempt int) string {
	return strconv.FormatUint(life, 10) + "/" + strconv.Itoa(attempt)
}

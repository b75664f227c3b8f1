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
	// CheckStatus asks for the status of a leg: a further attempt after its end, or the sweep of a leg that is silent.
	CheckStatus CheckKind = "status"
	// CheckSettle states that a session whose legs are all over has been quiet for its settle time.
	CheckSettle CheckKind = "settle"
	// CheckExpire states that a leg was silent for longer than any leg lives.
	CheckExpire CheckKind = "expire"
	// CheckClose states that the window is over in which the status of a leg is asked for: what is known then is final.
	CheckClose CheckKind = "close"
	// CheckBackfill asks the provider's history for what is missing of a leg that is over.
	CheckBackfill CheckKind = "repair"
)

// Check is an entry that Legato itself appends to the log when something has become due. Its id is derived from the
// log alone: replicas that find the same thing due append it once, and the queue hands it to one of them.
type Check struct {
	Kind    CheckKind      `json:"kind"`
	Session call.SessionID `json:"call_session_id"`
	Leg     call.LegID     `json:"call_leg_id,omitempty"`
	// Control and Connection are the leg's, so that the queue shows whom it is about.
	Control    call.ControlID    `json:"call_control_id,omitempty"`
	Connection call.ConnectionID `json:"connection_id,omitempty"`
	// Attempt is the attempt that a CheckStatus or CheckBackfill asks for, from 1.
	Attempt int `json:"attempt,omitempty"`
	// Epoch is the entry with which the session began. A leg that comes back after its session was forgotten is asked
	// about anew, from attempt 1: attempts of the epoch before do not count.
	Epoch uint64 `json:"life,omitempty"`
	// Upto is the sequence of the last entry that a CheckSettle or CheckExpire speaks of.
	Upto uint64 `json:"upto,omitempty"`
	// Trimmed marks a CheckExpire of a leg whose call had been trimmed from the log and came back with a late event:
	// it is over because its summary is published already, not because it was silent.
	Trimmed bool `json:"departed,omitempty"`
}

// ID is the check's idempotency key.
func (c Check) ID() string {
	session := "check/" + string(c.Kind) + "/" + string(c.Session) + "/"
	switch c.Kind {
	case CheckSettle:
		return session + strconv.FormatUint(c.Upto, 10)
	case CheckExpire:
		return session + string(c.Leg) + "/" + strconv.FormatUint(c.Upto, 10)
	case CheckStatus, CheckBackfill, CheckClose:
		return session + string(c.Leg) + "/" + attemptOf(c.Epoch, c.Attempt)
	}
	panic(fmt.Sprintf("check of unknown kind %q", string(c.Kind)))
}

// Ref names the call that the check is about.
func (c Check) Ref() call.Ref {
	return call.Ref{Session: c.Session, Leg: c.Leg, Control: c.Control, Connection: c.Connection}
}

// Answer is the log entry of a status answer.
type Answer struct {
	status.Answer
	// Proven: this API key had had a 200 for the leg's connection before. Only then "not found" means that the leg is
	// gone: a live call of another account looks the same. It stands in the log so that all replicas draw the same
	// conclusion.
	Proven bool `json:"connection_proven,omitempty"`
	// Epoch is that of the session when it was asked, as of a Check.
	Epoch uint64 `json:"life,omitempty"`
}

// ID is the answer's idempotency key: one answer an attempt, whoever asked.
func (a Answer) ID() string {
	return "status/" + string(a.Session) + "/" + string(a.Leg) + "/" + attemptOf(a.Epoch, a.Attempt)
}

// attemptOf names an attempt within an epoch of its session.
func attemptOf(epoch uint64, attempt int) string {
	return strconv.FormatUint(epoch, 10) + "/" + strconv.Itoa(attempt)
}

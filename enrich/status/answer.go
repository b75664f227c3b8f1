package status

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Result is what came of one attempt to ask for a call's status.
type Result string

// Results.
const (
	// Answered: a 200 about this very call, be it alive or ended.
	Answered Result = "answered"
	// NotFound: 404 or 422. Telnyx does not know the call any more, or never did.
	NotFound Result = "not_found"
	// Denied: 401 or 403. The API key was refused, or may not see this call.
	Denied Result = "denied"
	// RateLimited: 429. Telnyx asked for patience.
	RateLimited Result = "rate_limited"
	// Unreachable: no usable answer. Problem says why.
	Unreachable Result = "unreachable"
)

// Problem says in one stable word why an attempt has the result Unreachable.
// It never carries text of a body or of an error.
type Problem string

// Problems.
const (
	// ProblemTimeout: no complete answer within the client's timeout.
	ProblemTimeout Problem = "timeout"
	// ProblemConnection: no connection, or it broke before an answer began.
	ProblemConnection Problem = "connection"
	// ProblemTruncated: the connection broke in the middle of the body.
	ProblemTruncated Problem = "truncated"
	// ProblemHTTP: a status that no other result stands for, such as 5xx or a redirect.
	ProblemHTTP Problem = "http_error"
	// ProblemNotJSON: a 200 whose body is not JSON.
	ProblemNotJSON Problem = "not_json"
	// ProblemTooLarge: a 200 whose body exceeds MaxBody.
	ProblemTooLarge Problem = "too_large"
	// ProblemNoData: a 200 whose JSON has no "data" of the right kind.
	ProblemNoData Problem = "no_data"
	// ProblemNoIDs: a 200 that names neither leg nor control id, so that nothing
	// says whose status it is.
	ProblemNoIDs Problem = "no_ids"
	// ProblemOtherCall: a 200 about another call than the one asked for.
	ProblemOtherCall Problem = "other_call"
	// ProblemBadID: the control id is missing or cannot stand in a path; nothing was sent.
	ProblemBadID Problem = "bad_control_id"
)

var problems = []Problem{
	ProblemTimeout, ProblemConnection, ProblemTruncated, ProblemHTTP, ProblemNotJSON, ProblemTooLarge, ProblemNoData,
	ProblemNoIDs, ProblemOtherCall, ProblemBadID,
}

// Answer is the result of one attempt. It is appended to the log as it is, so
// its JSON names stay what they are; what is absent was not stated or not known.
type Answer struct {
	// Session, Leg, Control and Connection are the ids that were asked for, as
	// the caller gave them.
	Session    call.SessionID    `json:"call_session_id,omitempty"`
	Leg        call.LegID        `json:"call_leg_id,omitempty"`
	Control    call.ControlID    `json:"call_control_id,omitempty"`
	Connection call.ConnectionID `json:"connection_id,omitempty"`

	// Attempt counts the attempts for this leg, from 1. The client leaves it 0; the caller sets it.
	Attempt int `json:"attempt,omitempty"`
	// FetchedAt is when the attempt was over, UTC, to the microsecond. Always set.
	FetchedAt time.Time `json:"fetched_at"`
	// Result is what came of it. Always set.
	Result Result `json:"result"`
	// HTTPStatus is the response's. Absent: there was no response.
	HTTPStatus int `json:"http_status,omitempty"`
	// Problem says why the result is Unreachable, and is absent on any other.
	Problem Problem `json:"problem,omitempty"`
	// RetryAfter is how long Telnyx asked to wait, in seconds, at most
	// MaxRetryAfter: Retry-After of any refusal, else x-ratelimit-reset of a 429.
	RetryAfter float64 `json:"retry_after_seconds,omitempty"`

	// The rest is what a 200 stated (result Answered). A field that is missing, null
	// or of a wrong type is absent.

	// IsAlive is is_alive: true also while it rings.
	IsAlive *bool `json:"is_alive,omitempty"`
	// CallDuration is call_duration in seconds, of a basis that Telnyx does not state.
	CallDuration *float64 `json:"call_duration,omitempty"`
	// StartTime and EndTime are start_time and end_time, UTC; the end is stated
	// only of a call that is over.
	StartTime time.Time `json:"start_time,omitzero"`
	EndTime   time.Time `json:"end_time,omitzero"`
	// ClientState is client_state, base64 of whatever the application attached.
	ClientState string `json:"client_state,omitempty"`
	// RecordType is record_type: "call".
	RecordType string `json:"record_type,omitempty"`
}

// About returns an answer that has no more than the ids that were asked for.
func About(ref call.Ref) Answer {
	return Answer{Session: ref.Session, Leg: ref.Leg, Control: ref.Control, Connection: ref.Connection}
}

// Ref returns the ids that were asked for.
func (a Answer) Ref() call.Ref {
	return call.Ref{Session: a.Session, Leg: a.Leg, Control: a.Control, Connection: a.Connection}
}

// Bounds of what is taken from a body.
const (
	// MaxBody bounds a 200's body in bytes. A status takes some 400; the rest is
	// room for the client state.
	MaxBody = 256 << 10
	// maxClientState keeps an Answer well below a message's 1 MiB even when
	// every byte must be escaped sixfold: 64 KiB × 6 = 384 KiB.
	maxClientState = 64 << 10
	// maxWord bounds a single word, number or time.
	maxWord = 64
)

// wireStatus is the answer's data. Every field is raw, so that one of a wrong type
// costs that field and not the answer.
type wireStatus struct {
	RecordType   json.RawMessage `json:"record_type"`
	Session      json.RawMessage `json:"call_session_id"`
	Leg          json.RawMessage `json:"call_leg_id"`
	Control      json.RawMessage `json:"call_control_id"`
	ClientState  json.RawMessage `json:"client_state"`
	IsAlive      json.RawMessage `json:"is_alive"`
	CallDuration json.RawMessage `json:"call_duration"`
	StartTime    json.RawMessage `json:"start_time"`
	EndTime      json.RawMessage `json:"end_time"`
}

// decode reads a 200's body into the answer. Errors beside the data do not
// matter: the status was 200, and the data says whose it is.
func decode(body []byte, answer *Answer) {
	answer.Result = Unreachable
	if len(body) > MaxBody {
		answer.Problem = ProblemTooLarge
		return
	}
	if !json.Valid(body) {
		answer.Problem = ProblemNotJSON
		return
	}
	var envelope struct {
		Data json.RawMessage `json:"data"`
	}
	var data wireStatus
	if json.Unmarshal(body, &envelope) != nil || !isObject(envelope.Data) || json.Unmarshal(envelope.Data, &data) != nil {
		answer.Problem = ProblemNoData
		return
	}
	if problem := aboutAnother(answer.Ref(), data); problem != "" {
		answer.Problem = problem
		return
	}
	answer.Result = Answered
	answer.IsAlive = boolean(data.IsAlive)
	answer.CallDuration = seconds(data.CallDuration)
	answer.StartTime = instant(data.StartTime)
	answer.EndTime = instant(data.EndTime)
	answer.ClientState = text(data.ClientState, maxClientState)
	answer.RecordType = text(data.RecordType, maxWord)
}

func isObject(raw json.RawMessage) bool { return bytes.HasPrefix(raw, []byte("{")) }

// aboutAnother returns why the status cannot be taken for that of ref, or
// nothing. The leg id decides where both sides have one: it names the leg, while
// one leg may have several forms of control id.
func aboutAnother(ref call.Ref, data wireStatus) Problem {
	leg := text(data.Leg, call.MaxControlLength)
	control := text(data.Control, call.MaxControlLength)
	same := false
	switch {
	case ref.Leg != "" && leg != "":
		same = leg == string(ref.Leg)
	case control != "":
		same = control == string(ref.Control)
	default:
		return ProblemNoIDs
	}
	if !same {
		return ProblemOtherCall
	}
	return ""
}

// text returns a JSON string; anything else, or one longer than the limit, counts as not stated.
func text(raw json.RawMessage, limit int) string {
	var s string
	if json.Unmarshal(raw, &s) != nil || len(s) > limit {
		return ""
	}
	return s
}

// scalar returns the text of a JSON string, number or boolean: Telnyx writes
// some numbers as text.
func scalar(raw json.RawMessage) string {
	if s := text(raw, maxWord); s != "" {
		return s
	}
	return string(raw)
}

func boolean(raw json.RawMessage) *bool {
	switch scalar(raw) {
	case "true":
		return new(true)
	case "false":
		return new(false)
	}
	return nil
}

// seconds returns a duration that an Answer can carry: JSON has neither NaN nor
// infinity, which text could spell.
func seconds(raw json.RawMessage) *float64 {
	s, err := strconv.ParseFloat(scalar(raw), 64)
	if err != nil || math.IsNaN(s) || math.IsInf(s, 0) || s < 0 {
		return nil
	}
	return &s
}

// instant returns an RFC 3339 time in UTC, with whatever fraction it has. A year
// that four digits cannot hold once it is UTC could not be written again.
func instant(raw json.RawMessage) time.Time {
	t, err := time.Parse(time.RFC3339, text(raw, maxWord))
	if err != nil {
		return time.Time{}
	}
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

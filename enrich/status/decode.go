package status

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Bounds of what is taken from a body.
const (
	// MaxBody bounds a 200's body in bytes. A status takes some 400; the rest is
	// room for the client state.
	MaxBody = 256 << 10
	// maxClientState keeps an Answer well below a message's 1 MiB even when
	// every byte must be escaped sixfold: 64 KiB × 6 = 384 KiB.
	maxClientState = 64 << 10
	// maxWord bounds record_type, a single word.
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

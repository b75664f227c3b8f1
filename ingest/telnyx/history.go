package telnyx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"

	"github.com/legato-calls/legato/internal/call"
)

// Errors of FromHistory.
var (
	// ErrNoWebhook: the row tells of no webhook (of a command, for example), or not
	// of enough of one: an event has a type, a leg and a time.
	ErrNoWebhook = errors.New("telnyx: the row of the history tells of no webhook")
	// ErrOtherLeg: the row is about another leg than the one that was asked for. A
	// filter that Telnyx does not know is ignored without a word.
	ErrOtherLeg = errors.New("telnyx: the row of the history is about another leg")
)

// maxRow bounds a row that becomes an event, below what the log takes as one entry.
const maxRow = 512 << 10

// Recalled is an event from the provider's history.
type Recalled struct {
	// Body is the body of a webhook that tells of it, as Decode reads it: without meta, which counts deliveries.
	Body []byte
	// Exact tells that the time is the event's own. Otherwise it is the row's, which may be that of a delivery.
	Exact bool
	// Named tells that the id is the one that the row states. Otherwise it was made of leg, type and time.
	Named bool
}

// FromHistory reads the webhook that a row of GET /v2/call_events tells of, if it is one about the leg and session
// of ref. The rows that are documented name the event's type, time and leg, and hold the event under metadata;
// others were seen to have the names of the event itself, and the portal wraps it once more: all of these are read.
// An event that states no id of its own gets one that is made of leg, type and time.
func FromHistory(row []byte, ref call.Ref) (Recalled, error) {
	if len(row) > maxRow {
		return Recalled{}, ErrNoWebhook
	}
	var found recollection
	if !found.level(row, maxWraps) {
		return Recalled{}, ErrNoWebhook
	}
	if err := found.about(ref); err != nil {
		return Recalled{}, err
	}
	body, err := found.body(ref)
	if err != nil {
		return Recalled{}, err
	}
	if _, err := ParseEnvelope(body); err != nil {
		return Recalled{}, ErrNoWebhook
	}
	return Recalled{Body: body, Exact: found.exact, Named: found.id != ""}, nil
}

// maxWraps is how deep an event may lie in its row: row, metadata, event, data.
const maxWraps = 4

// recollection is what the levels of a row state, the innermost first.
type recollection struct {
	eventType, id string
	at            time.Time
	exact         bool
	payload       json.RawMessage
	legs          []string
	sessions      []string
}

// historyRow is one level of a row: the row itself, or an event within it.
type historyRow struct {
	RecordType     string          `json:"record_type"`
	Type           string          `json:"type"`
	Name           string          `json:"name"`
	EventType      string          `json:"event_type"`
	ID             string          `json:"id"`
	WebhookID      string          `json:"webhook_id"`
	OccurredAt     string          `json:"occurred_at"`
	EventTimestamp string          `json:"event_timestamp"`
	CreatedAt      string          `json:"created_at"`
	Leg            string          `json:"call_leg_id"`
	Session        string          `json:"call_session_id"`
	Payload        json.RawMessage `json:"payload"`
	Metadata       json.RawMessage `json:"metadata"`
	Event          json.RawMessage `json:"event"`
	Data           json.RawMessage `json:"data"`
}

// level reads one level and those within it; false when it is none of a webhook.
func (r *recollection) level(raw json.RawMessage, wraps int) bool {
	var l historyRow
	var wrongType *json.UnmarshalTypeError
	if err := json.Unmarshal(raw, &l); err != nil && !errors.As(err, &wrongType) || !isObject(raw) {
		return false
	}
	if l.Type != "" && l.Type != "webhook" && wraps == maxWraps {
		return false
	}
	if wraps > 0 {
		for _, inner := range []json.RawMessage{l.Data, l.Event, l.Metadata} {
			if isObject(inner) && !r.level(inner, wraps-1) {
				return false
			}
		}
	}
	r.names(&l)
	r.times(&l)
	switch {
	case r.payload != nil:
	case isObject(l.Payload):
		r.payload = l.Payload
	case wraps < maxWraps && l.Leg != "" && l.EventType == "":
		// metadata can be the payload itself.
		r.payload = raw
	}
	return true
}

// names takes what a level says about type, id and call.
func (r *recollection) names(l *historyRow) {
	for _, stated := range []string{l.EventType, l.Name} {
		// Without a dot it is a name of API version 1, or none of an event.
		if r.eventType == "" && strings.Contains(stated, ".") {
			r.eventType = stated
		}
	}
	id := l.WebhookID
	// The id of a row about an event is not the event's.
	if id == "" && l.RecordType != "call_event" && l.EventType != "" {
		id = l.ID
	}
	if r.id == "" && validID(id) {
		r.id = id
	}
	if l.Leg != "" {
		r.legs = append(r.legs, l.Leg)
	}
	if l.Session != "" {
		r.sessions = append(r.sessions, l.Session)
	}
}

// times takes what a level says about when the event occurred.
func (r *recollection) times(l *historyRow) {
	if r.exact {
		return
	}
	var in struct {
		OccurredAt string `json:"occurred_at"`
	}
	// What is no time, or no text, is not stated.
	_ = json.Unmarshal(l.Payload, &in)
	for _, stated := range []string{l.OccurredAt, in.OccurredAt} {
		if at := loosely(stated); !at.IsZero() {
			r.at, r.exact = at, true
			return
		}
	}
	for _, stated := range []string{l.EventTimestamp, l.CreatedAt} {
		if at := loosely(stated); !at.IsZero() && r.at.IsZero() {
			r.at = at
		}
	}
}

// about reports whether everything that the row says is about the call of ref.
func (r *recollection) about(ref call.Ref) error {
	var in ids
	// What is of another type is not stated.
	_ = json.Unmarshal(r.payload, &in)
	if in.LegID != "" {
		r.legs = append(r.legs, in.LegID)
	}
	if in.SessionID != "" {
		r.sessions = append(r.sessions, in.SessionID)
	}
	for _, leg := range r.legs {
		if leg != string(ref.Leg) {
			return ErrOtherLeg
		}
	}
	for _, session := range r.sessions {
		if ref.Session != "" && session != string(ref.Session) {
			return ErrOtherLeg
		}
	}
	if len(r.legs) == 0 || r.eventType == "" || r.at.IsZero() {
		return ErrNoWebhook
	}
	return nil
}

// body writes the webhook. What the row knew of the call and the payload did not is added to the payload.
func (r *recollection) body(ref call.Ref) ([]byte, error) {
	payload := make(map[string]json.RawMessage)
	if r.payload != nil {
		if err := json.Unmarshal(r.payload, &payload); err != nil {
			return nil, ErrNoWebhook
		}
	}
	var in ids
	_ = json.Unmarshal(r.payload, &in)
	if in.LegID == "" {
		payload["call_leg_id"] = []byte(quote(string(ref.Leg)))
	}
	if in.SessionID == "" && ref.Session != "" {
		payload["call_session_id"] = []byte(quote(string(ref.Session)))
	}
	at := r.at.Format("2006-01-02T15:04:05.000000Z")
	id := r.id
	if id == "" {
		id = recalledID(ref.Leg, r.eventType, r.at)
	}
	data := map[string]any{"event_type": r.eventType, "id": id, "occurred_at": at, "payload": payload, "record_type": "event"}
	if !r.exact {
		data[approximate] = true
	}
	body, err := encode(map[string]any{"data": data})
	if err != nil {
		return nil, ErrNoWebhook
	}
	return body, nil
}

// approximate is the field that tells of an event from the history that its time is that of a row. Telnyx has none such.
const approximate = "legato_approximate"

// recalledID identifies an event whose own id is not known, the same whenever
// and in whatever form the history is read.
func recalledID(leg call.LegID, eventType string, at time.Time) string {
	sum := sha256.Sum256([]byte(string(leg) + " " + eventType + " " + strconv.FormatInt(at.UnixMilli(), 10)))
	return "recalled:" + hex.EncodeToString(sum[:16])
}

func isObject(raw json.RawMessage) bool {
	raw = bytes.TrimLeft(raw, jsonSpace)
	return len(raw) > 0 && raw[0] == '{'
}

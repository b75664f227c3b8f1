// Package telnyx is the webhook wire: how Telnyx signs a webhook, how it
// envelopes an event, and which bodies are no call events at all.
//
// In go the bytes of a request and its two signature headers; out come [call.Event] or, cheaper, the [Envelope]
// that is enough to store one. Input that cannot be used has a [Reason]; nothing from outside makes
// this package panic, and what it costs is bounded by the length of the body.
//
// Decoding is lenient, because Telnyx marks no field as required and its samples differ from its deliveries: a
// field that is missing, null or of the wrong type is not stated, unknown fields are passed over, numbers may come
// as text and amounts as numbers. ParseEnvelope and Decode always agree on the identity, type and call of a body,
// and on why it is unusable.
//
// The details of an event are bounded as package call says, because they stay in memory; what is longer is
// truncated and says so. Secrets that no summary needs are not read at all: what names or masks a card or a payer,
// where media is streamed to, the user, password and query of a medium's URL. The digits that a caller entered are
// read only for whoever asks for them: of the others' events nothing but their number stays.
//
// The package knows nothing of HTTP answers, of the log, or of what a call's events mean together.
package telnyx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	json "github.com/go-json-experiment/json/v1"

	"github.com/legato-calls/legato/internal/call"
)

// Envelope is what storing an event needs to know of it.
type Envelope struct {
	// ID is data.id; where that is missing or cannot stand in a header, "sha256:" and the hex digest of the bytes
	// of data, which a redelivery repeats (the whole body is not repeated: meta counts the attempts).
	ID string
	// Type is the event type; it can stand in a subject.
	Type string
	// Ref names the call; it is never empty, and each of its ids can stand in a
	// subject, the control id in a header.
	Ref call.Ref
	// Attempt is meta.attempt, counting from 1. Zero: not stated.
	Attempt int
}

// Key is the event's idempotency key. Its two parts can be separated: a type has no slash.
func (e Envelope) Key() string { return e.ID + "/" + e.Type }

// ParseEnvelope reads only what identifies an event and its call. It fails
// with *Unusable and with nothing else; then Decode fails alike.
func ParseEnvelope(body []byte) (Envelope, error) {
	f, err := parse[ids](body)
	if err != nil {
		return Envelope{}, err
	}
	return f.envelope(body, f.ids(body, f.payload()))
}

// frame is the outermost object of a body, with as much of the payload as P asks for. The record stands under data;
// embedded, it also reads the one documented event without that wrapper (conference.floor.changed), the v1 form and
// the portal's flat form.
type frame[P any] struct {
	Data *record[P] `json:"data"`
	Meta struct {
		Attempt count `json:"attempt"`
	} `json:"meta"`
	record[P]

	WebhookID present `json:"webhook_id"`
	Metadata  struct {
		Event present `json:"event"`
	} `json:"metadata"`
	// Event is the event type of a meeting's webhooks.
	Event present `json:"event"`

	// unread: something is of a type or form that is not expected.
	unread bool
}

// record is an event as Telnyx writes it. Its ids are plain strings, the fastest to read: a value of another type is
// passed over, by the rules of encoding/json, and the rest is read.
type record[P any] struct {
	EventType  string `json:"event_type"`
	ID         string `json:"id"`
	OccurredAt moment `json:"occurred_at"`
	Payload    *P     `json:"payload"`
	// Approximate is Legato's own: see FromHistory.
	Approximate flag `json:"legato_approximate"`
}

// ids is the part of a payload that names the call. Whoever needs more embeds it, so
// that two depths of reading cannot disagree on the call.
type ids struct {
	SessionID        string `json:"call_session_id"`
	CreatorSessionID string `json:"creator_call_session_id"`
	LegID            string `json:"call_leg_id"`
	ControlID        string `json:"call_control_id"`
	ConnectionID     string `json:"connection_id"`
}

func (i *ids) ref() call.Ref {
	session := i.SessionID
	if session == "" {
		session = i.CreatorSessionID
	}
	return call.Ref{
		Session:    call.SessionID(session),
		Leg:        call.LegID(i.LegID),
		Control:    call.ControlID(i.ControlID),
		Connection: call.ConnectionID(i.ConnectionID),
	}
}

// parse reads the body's frame. It fails with *Unusable when it is not one JSON object.
//
// It is read by the library that encoding/json has become in Go 1.27, under the rules of
// its first version. Measured on the bodies of BenchmarkDecode it takes half of the time
// that encoding/json of Go 1.26 takes, and FuzzParseAgainstStandard finds them to agree.
func parse[P any](body []byte) (*frame[P], error) {
	f := new(frame[P])
	if err := json.Unmarshal(body, f); isUnread(err) {
		f.unread = true
	} else if err != nil {
		return nil, &Unusable{Reason: ReasonNotJSON}
	}
	if trimmed := bytes.TrimLeft(body, jsonSpace); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, &Unusable{Reason: ReasonNotJSON}
	}
	return f, nil
}

// isUnread reports whether an error of reading JSON tells of a value of the wrong type or form. It is reported only
// after everything else was read.
func isUnread(err error) bool {
	var wrongType *json.UnmarshalTypeError
	return errors.Is(err, errUnread) || errors.As(err, &wrongType)
}

// looseIDs are ids that may come as numbers.
type looseIDs struct {
	SessionID        id `json:"call_session_id"`
	CreatorSessionID id `json:"creator_call_session_id"`
	LegID            id `json:"call_leg_id"`
	ControlID        id `json:"call_control_id"`
	ConnectionID     id `json:"connection_id"`
}

// ids returns the ids of the payload. Hardly any event has one that is not text: then they are read a second time.
func (f *frame[P]) ids(body []byte, of interface{ ref() call.Ref }) call.Ref {
	if !f.unread {
		return of.ref()
	}
	loose, err := parse[looseIDs](body)
	if err != nil {
		return of.ref() // cannot be: the body was read before
	}
	p := loose.payload()
	return (&ids{
		SessionID: string(p.SessionID), CreatorSessionID: string(p.CreatorSessionID), LegID: string(p.LegID),
		ControlID: string(p.ControlID), ConnectionID: string(p.ConnectionID),
	}).ref()
}

// jsonSpace is the white space of JSON.
const jsonSpace = " \t\r\n"

// event returns the record, wherever it stands.
func (f *frame[P]) event() *record[P] {
	if f.Data != nil {
		return f.Data
	}
	return &f.record
}

// payload returns the event's payload, a zero one when there is none.
func (f *frame[P]) payload() *P {
	if p := f.event().Payload; p != nil {
		return p
	}
	return new(P)
}

// envelope decides whether the frame is a call event, and which.
func (f *frame[P]) envelope(body []byte, ref call.Ref) (Envelope, error) {
	event := f.event()
	if why := f.unusable(event.EventType, ref); why != nil {
		return Envelope{}, why
	}
	env := Envelope{ID: event.ID, Type: event.EventType, Ref: ref, Attempt: f.Meta.Attempt.attempt()}
	if !validID(env.ID) {
		env.ID = digest(body)
	}
	return env, nil
}

// unusable returns why the frame is no call event, or nil when it is one. The foreign forms come first: their types
// and ids follow other rules. A bad id comes last, so that another product's ids are not judged at all.
func (f *frame[P]) unusable(eventType string, ref call.Ref) error {
	bare := f.Data == nil
	switch {
	case bare && (bool(f.WebhookID) || bool(f.Metadata.Event)):
		return &Unusable{Reason: ReasonPortal}
	case eventType == "" && bool(f.Event):
		return &Unusable{Reason: ReasonOtherProduct}
	case eventType == "":
		return &Unusable{Reason: ReasonNoType}
	case bare && !strings.Contains(eventType, "."):
		return &Unusable{Reason: ReasonAPIv1}
	case ref.Empty() && isCallProduct(eventType):
		return &Unusable{Reason: ReasonNoCall}
	case ref.Empty():
		return &Unusable{Reason: ReasonOtherProduct}
	}
	if field := badField(eventType, ref); field != "" {
		return &Unusable{Reason: ReasonBadID, Field: field}
	}
	return nil
}

// isCallProduct reports whether events of that type are about calls, by the prefixes of Telnyx's voice webhooks.
func isCallProduct(eventType string) bool {
	product, _, _ := strings.Cut(eventType, ".")
	switch product {
	case "call", "conference", "streaming", "siprec":
		return true
	}
	return false
}

// badField returns the wire name of the first field whose value cannot stand in
// a subject (the control id: in a header), or "".
func badField(eventType string, ref call.Ref) string {
	switch {
	case !call.ValidType(eventType):
		return "event_type"
	case ref.Session != "" && !call.ValidToken(string(ref.Session)):
		return "call_session_id"
	case ref.Leg != "" && !call.ValidToken(string(ref.Leg)):
		return "call_leg_id"
	case ref.Connection != "" && !call.ValidToken(string(ref.Connection)):
		return "connection_id"
	case !call.ValidControl(string(ref.Control)):
		return "call_control_id"
	}
	return ""
}

// validID reports whether an event's id can be the value of a header: printable
// ASCII without spaces, no longer than a subject's token.
func validID(id string) bool {
	return id != "" && len(id) <= call.MaxTokenLength && call.ValidControl(id)
}

// digest identifies an event by the bytes of data, or of the whole body where
// there is no such wrapper. It reads the body a second time: hardly any event needs it.
func digest(body []byte) string {
	var raw struct {
		Data json.RawMessage `json:"data"`
	}
	// The body was read before: what can fail here left raw.Data empty.
	_ = json.Unmarshal(body, &raw)
	data := []byte(raw.Data)
	if len(data) == 0 || string(data) == "null" {
		data = bytes.Trim(body, jsonSpace)
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Reason is why a body cannot be used as a call event: a short stable word that
// can stand as a subject token and as a metric label.
type Reason string

// Reasons, in the order in which they are looked for: the first that applies is given.
const (
	// ReasonNotJSON: the body is not one JSON object.
	ReasonNotJSON Reason = "not_json"
	// ReasonPortal: the form that the portal and the call events API show, which
	// is never delivered: with webhook_id in place of data, or wrapped, with metadata.event.
	ReasonPortal Reason = "portal"
	// ReasonNoType: no event type is stated.
	ReasonNoType Reason = "no_type"
	// ReasonAPIv1: webhook API version 1: no data, and an event type without dots, as in "call_hangup".
	ReasonAPIv1 Reason = "api_v1"
	// ReasonNoCall: an event of a call product that names neither session, leg nor call control id.
	ReasonNoCall Reason = "no_call"
	// ReasonOtherProduct: an event of another product. An unknown type that
	// names a call is no such event: new call event types come every few weeks.
	ReasonOtherProduct Reason = "other_product"
	// ReasonBadID: the type or an id of the call cannot stand in a subject or a header.
	ReasonBadID Reason = "bad_id"
)

// Reasons returns every Reason.
func Reasons() []Reason {
	return []Reason{
		ReasonNotJSON, ReasonPortal, ReasonNoType, ReasonAPIv1, ReasonNoCall, ReasonOtherProduct, ReasonBadID,
	}
}

// Unusable is the error of a body that no decoder will ever take as a call
// event: it is to be parked, not sent again.
type Unusable struct {
	// Reason says why.
	Reason Reason
	// Field is the wire name of the field at fault when Reason is ReasonBadID, else
	// empty. The field's value is never part of the error.
	Field string
}

// Error implements error.
func (u *Unusable) Error() string {
	text := "telnyx: unusable webhook: " + string(u.Reason)
	if u.Field != "" {
		text += " (" + u.Field + ")"
	}
	return text
}

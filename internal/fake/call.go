package fake

import (
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Call is one invented phone call: its truth and the webhooks that tell of it.
type Call struct {
	// Number is the call's number within its generator.
	Number uint64
	// Scenario is what kind of call it is.
	Scenario Scenario
	// Session is the call_session_id that its legs share.
	Session call.SessionID
	// Start is when the first event occurs, UTC, to the microsecond.
	Start time.Time
	// Length is the time from Start to the last hangup.
	Length time.Duration
	// Legs are its legs in order of appearance.
	Legs []Leg
	// Deliveries are its webhooks by Offset.
	Deliveries []Delivery
}

// Leg is the truth about one leg.
type Leg struct {
	// Ref are its ids.
	Ref call.Ref
	// Direction is "incoming" or "outgoing".
	Direction string
	// From and To are fictional phone numbers, E.164.
	From, To string
	// Start is the start_time that its webhooks state: when it began to ring.
	Start time.Time
	// AnsweredAt is when it was answered. Zero: never.
	AnsweredAt time.Time
	// End is when it was hung up: occurred_at and end_time of its hangup.
	End time.Time
	// Duration is the call_duration of the status API: whole seconds from the answer, 0 without one.
	Duration int
	// ClientState is base64 of what the application attached. Empty: nothing.
	ClientState string
	// Cause, Source and SIPCode are those of its hangup.
	Cause, Source, SIPCode string
}

// Answered reports whether the leg was answered.
func (l Leg) Answered() bool { return !l.AnsweredAt.IsZero() }

// Delivery is one webhook that is posted, with retries, or was lost on its way.
type Delivery struct {
	// Offset is when it is first posted, from the call's Start.
	Offset time.Duration
	// OccurredAt is the event's occurred_at.
	OccurredAt time.Time
	// EventID and Type are the event's identity: data.id and data.event_type.
	EventID, Type string
	// LegID is the leg that it tells of.
	LegID call.LegID
	// Data is the JSON of the body's "data": the same however often the event is delivered.
	Data []byte
	// Attempt is meta.attempt of its first post, from 1.
	Attempt int
	// Duplicate marks a second delivery of an event: same Data, other meta.
	Duplicate bool
	// Dropped marks a delivery that never arrives: it is not posted.
	Dropped bool
}

// Body returns the body of one post. Its meta differs from attempt to attempt, so
// the bytes of a redelivery are never those of the first.
func (d Delivery) Body(attempt int, deliveredTo string) []byte {
	b := make([]byte, 0, len(d.Data)+len(deliveredTo)+64)
	b = append(b, `{"data":`...)
	b = append(b, d.Data...)
	b = append(b, `,"meta":{"attempt":`...)
	b = strconv.AppendInt(b, int64(attempt), 10)
	b = append(b, `,"delivered_to":`...)
	b = append(b, encode(deliveredTo)...)
	return append(b, `}}`...)
}

package call

import "time"

// Event is one thing that Telnyx said about a call: a webhook, decoded, or the
// same event filled in later from the provider's history.
//
// Its identity is (ID, Type). Two events of equal identity are deliveries of
// the same fact, however different their bytes.
type Event struct {
	// ID is data.id; where that is missing, "sha256:" and the hex digest of the bytes of data.
	ID string
	// Type is Telnyx's event type, dots included: "call.hangup".
	Type string
	// OccurredAt is when it happened, by Telnyx's clock, UTC. Zero: not stated.
	OccurredAt time.Time
	// Approximate tells of an event from the provider's history that OccurredAt is when a delivery was noted.
	Approximate bool
	// Ref names the call.
	Ref Ref
	// Attempt is meta.attempt, counting from 1. Zero: not stated.
	Attempt int
	// Backfill tells that the event came from the provider's history, not from a webhook.
	Backfill bool
	// Facts are what any event of a leg may state about it.
	Facts Facts
	// Detail is what only events of this type state: one of the pointer types of this package (*Initiated, *Hangup,
	// …; the constants of the types say which), or nil.
	Detail Detail
}

// Facts are the statements about a leg that its events repeat. Empty: not stated.
type Facts struct {
	// From and To are the parties in Telnyx's own words: E.164, a SIP URI
	// without scheme, a user name, or whatever an anonymous caller shows. Their first MaxText bytes.
	From, To string
	// FromSIP and ToSIP are from_sip_uri and to_sip_uri: the parties as SIP had them, without scheme.
	FromSIP, ToSIP string
	// CallingParty is calling_party_type: "pstn" or "sip".
	CallingParty string
	// StartTime is when the leg began to ring, by Telnyx's clock, UTC. It is not the time of the answer.
	StartTime time.Time
	// ClientState is what the application attached: base64 of arbitrary bytes.
	// One longer than MaxState is left out: half of it would be of no use.
	ClientState string
	// Tags are the first MaxTags of the application's tags, in its order.
	Tags []string
	// Truncated tells that something of these was past its limit.
	Truncated bool
	// Unread are the names of the fields of which the event stated something that could not be read: a value of a type
	// or form that was not expected. In order; of a field within another "call_quality_stats.inbound.mos". The
	// names are of our own knowledge, never from the event. Nil: all was read.
	Unread []string
}

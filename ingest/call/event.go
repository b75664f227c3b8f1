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
	// Ref names the call.
	Ref Ref
	// Attempt is meta.attempt, counting from 1. Zero: not stated.
	Attempt int
	// Backfill tells that the event came from the provider's history, not from a webhook.
	Backfill bool
	// Facts are what any event of a leg may state about it.
	Facts Facts
	// Detail is what only events of this type state: one of the pointer types of
	// this package (*Initiated, *Hangup, …), or nil.
	Detail Detail
}

// Facts are the statements about a leg that its events repeat. Empty: not stated.
type Facts struct {
	// From and To are the parties in Telnyx's own words: E.164, a SIP URI
	// without scheme, a user name, or whatever an anonymous caller shows.
	From, To string
	// StartTime is when the leg began to ring, by Telnyx's clock, UTC. It is
	// not the time of the answer.
	StartTime time.Time
	// ClientState is what the application attached: base64 of arbitrary bytes.
	ClientState string
	// Tags are the application's tags, in its order.
	Tags []string
}

// Detail is implemented by the types that only some events carry.
type Detail interface{ detail() }

// Event types that the fold acts on. Any other type is kept in the timeline.
const (
	TypeInitiated           = "call.initiated"
	TypeAnswered            = "call.answered"
	TypeBridged             = "call.bridged"
	TypeHangup              = "call.hangup"
	TypeHold                = "call.hold"
	TypeUnhold              = "call.unhold"
	TypeEnqueued            = "call.enqueued"
	TypeDequeued            = "call.dequeued"
	TypeRecordingSaved      = "call.recording.saved"
	TypeCost                = "call.cost"
	TypeMachineDetection    = "call.machine.detection.ended"
	TypeMachineGreeting     = "call.machine.greeting.ended"
	TypeMachinePremium      = "call.machine.premium.detection.ended"
	TypeMachinePremiumGreet = "call.machine.premium.greeting.ended"
)

// Initiated is the detail of call.initiated, the only event that knows the direction.
type Initiated struct {
	// Direction is "incoming" or "outgoing".
	Direction string
	// CallerName is caller_id_name.
	CallerName string
}

// Hangup is the detail of call.hangup.
type Hangup struct {
	// Cause is hangup_cause: an open vocabulary ("normal_clearing", "user_busy", …).
	Cause string
	// Source is hangup_source: "caller", "callee" or "unknown". On an outgoing
	// leg "caller" is our side.
	Source string
	// SIPCode is sip_hangup_cause: a SIP status as text, "unspecified", or in
	// one official sample a Q.850 code.
	SIPCode string
	// EndTime is when the leg ended, by Telnyx's clock, UTC. Zero: not stated.
	EndTime time.Time
	// Quality is call_quality_stats. Nil: not stated.
	Quality *Quality
}

// Quality is call_quality_stats of a hangup. Telnyx sends its numbers as text;
// text that is no number counts as not stated, and a nil pointer means that.
type Quality struct {
	Inbound, Outbound *Stream
}

// Stream is the quality of one direction of the media. Nil: not stated.
type Stream struct {
	// MOS is the mean opinion score, 1 to 5.
	MOS *float64
	// JitterMaxVariance is jitter_max_variance; Telnyx does not document its unit.
	JitterMaxVariance *float64
	// JitterPackets, Packets and SkippedPackets are counts.
	JitterPackets, Packets, SkippedPackets *int64
}

// Recording is the detail of call.recording.saved.
type Recording struct {
	// ID is recording_id. Empty: not stated.
	ID string
	// Channels is "single" or "dual"; Format "mp3" or "wav". Empty: not stated.
	Channels, Format string
	// StartedAt and EndedAt bound the recording (not the call), UTC. Zero: not stated.
	StartedAt, EndedAt time.Time
	// URLs are recording_urls by format; they open without a password and live
	// for ten minutes.
	URLs map[string]string
	// PublicURLs are public_recording_urls by format.
	PublicURLs map[string]string
}

// Cost is the detail of call.cost. Amounts are decimal text as Telnyx sent it.
type Cost struct {
	// Status is "success" or "error".
	Status string
	// Total is total_cost, of a currency that only the parts name. Empty: not stated.
	Total string
	// BilledSeconds is billed_duration_secs. Nil: not stated.
	BilledSeconds *int64
	// Parts are cost_parts, in Telnyx's order.
	Parts []CostPart
}

// CostPart is one charge of a leg.
type CostPart struct {
	// Part is call_part: "sip-trunking", "call-control", ….
	Part string
	// Amount and Rate are decimal text in Currency; BilledSeconds may be nil: not stated.
	Amount, Currency, Rate string
	BilledSeconds          *int64
}

// Machine is the detail of the four answering-machine events.
type Machine struct {
	// Result is Telnyx's word: "human", "machine", "not_sure", "human_residence", "beep_detected", ….
	Result string
}

// Queue is the detail of call.enqueued and call.dequeued.
type Queue struct {
	// Name is the queue's name.
	Name string
	// Reason is why the call left: "bridged", "hangup", "timeout", …. Empty on call.enqueued.
	Reason string
	// WaitSeconds is wait_time_secs of call.dequeued. Nil: not stated.
	WaitSeconds *int64
}

func (*Initiated) detail() {}
func (*Hangup) detail()    {}
func (*Recording) detail() {}
func (*Cost) detail()      {}
func (*Machine) detail()   {}
func (*Queue) detail()     {}

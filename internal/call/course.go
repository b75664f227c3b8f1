package call

import "time"

// Initiated is the detail of call.initiated, the only event that knows the direction.
type Initiated struct {
	// Direction is "incoming" or "outgoing".
	Direction string
	// CallerName is caller_id_name; often the number once more.
	CallerName string
	// State is state: "parked" of a leg that waits for the application's
	// commands, "bridging" of one that a connection puts through by itself.
	State string
	// Attestation is shaken_stir_attestation, else the one within call_screening_result: "A", "B" or "C".
	Attestation string
	// Validated is shaken_stir_validated: whether the caller's certificate was found good.
	Validated *bool
	// Screening is call_screening_result, or its action where it is an object: "spam_likely", "flag_calls", ….
	Screening string
	// OfferedCodecs is offered_codecs, in the far end's order: "PCMU,G729".
	OfferedCodecs string
	// Headers are the SIP headers of the call. Nil: none stated.
	Headers *Headers
	Truncation
}

// Answered is the detail of call.answered.
type Answered struct {
	// Codec is codec, the one agreed on: "PCMU".
	Codec string
	// SamplingRate is sampling_rate · Hz. Nil: not stated.
	SamplingRate *int64
	// Headers are the SIP headers of the answer. Nil: none stated.
	Headers *Headers
	Truncation
}

// Headers are the SIP headers that an event repeats.
type Headers struct {
	// Custom are custom_headers, and SIP are sip_headers (User-to-User and
	// Diversion only), each in Telnyx's order, without those that have no name, and without X-metadata-xml: SIPREC's
	// description of itself, kilobytes of base64 that say nothing of the call.
	Custom, SIP []Header
}

// Header is one SIP header.
type Header struct {
	// Name is name or header_name; never empty.
	Name string
	// Value is value or header_value.
	Value string
}

// Hangup is the detail of call.hangup.
type Hangup struct {
	// Cause is hangup_cause: an open vocabulary ("normal_clearing", "user_busy", …).
	Cause string
	// Source is hangup_source: "caller", "callee" or "unknown". On an outgoing leg "caller" is our side.
	Source string
	// SIPCode is sip_hangup_cause: a SIP status as text, "unspecified", or in one official sample a Q.850 code.
	SIPCode string
	// EndTime is when the leg ended, by Telnyx's clock, UTC. Zero: not stated.
	EndTime time.Time
	// Quality is call_quality_stats. Nil: not stated.
	Quality *Quality
	// Fault is telnyx_error: what Telnyx itself blames. Nil: nothing.
	Fault *Fault
	// Headers are the SIP headers of the hangup. Nil: none stated.
	Headers *Headers
	Truncation
}

// Fault is an error that Telnyx reports with an event, without its free text.
type Fault struct {
	// Code is error_code or code: digits or a letter and digits, as text.
	Code string
	// Title is title, the code in words.
	Title string
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

// Queue is the detail of call.enqueued and call.dequeued.
type Queue struct {
	// Name is the queue's name.
	Name string
	// Reason is why the call left: "bridged", "hangup", "timeout", …. Empty on call.enqueued.
	Reason string
	// Position is current_position of call.enqueued, queue_position of call.dequeued. Nil: not stated.
	Position *int64
	// WaitSeconds is wait_time_secs of call.dequeued, AverageWaitSeconds is queue_avg_wait_time_secs of
	// call.enqueued. Nil: not stated.
	WaitSeconds, AverageWaitSeconds *int64
	Truncation
}

// Refer is the detail of the three call.refer events: the leg is handed to another party by SIP REFER.
type Refer struct {
	// SIPCode is sip_notify_response: the SIP status that the referred party notified, as text.
	SIPCode string
	Truncation
}

// Cost is the detail of call.cost. Amounts are decimal text as Telnyx sent it.
type Cost struct {
	// Status is "success" or "error".
	Status string
	// Total is total_cost, of a currency that only the parts name. Empty: not stated.
	Total string
	// BilledSeconds is billed_duration_secs. Nil: not stated.
	BilledSeconds *int64
	// Parts are the first MaxCostParts of cost_parts, in Telnyx's order.
	Parts []CostPart
	Truncation
}

// CostPart is one charge of a leg.
type CostPart struct {
	// Part is call_part: "sip-trunking", "call-control", ….
	Part string
	// Amount and Rate are decimal text in Currency; BilledSeconds may be nil: not stated.
	Amount, Currency, Rate string
	BilledSeconds          *int64
}

// Machine is the detail of the four answering-machine events and of the one of a call screening.
type Machine struct {
	// Result is Telnyx's word: "human", "machine", "not_sure", "human_residence", "beep_detected", "screening", ….
	Result string
	Truncation
}

// Deepfake is the detail of call.deepfake_detection.result and .error.
type Deepfake struct {
	// Result is result: "real", "fake" or "silence_timeout". Empty on an error.
	Result string
	// Score is score: how likely the voice is made, from 0 to 1. Nil: not stated.
	Score *float64
	// Consistency is consistency · percent, by Telnyx's example (94.5). Nil: not stated.
	Consistency *float64
	// Error is error_message: "detection_timeout", "rtp_timeout", …. Empty on a result.
	Error string
	Truncation
}

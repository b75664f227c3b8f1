// Package summary is the published contract: what a consumer reads from NATS
// about one leg or one session of a call, and what it means.
//
// It holds the JSON shapes, their words, and what names a summary in the stream. It is a
// leaf that needs nothing beyond the standard library: it does not know how a summary is made or carried.
//
// Throughout, an absent field means "not known"; null is never written.
// Consumers ignore fields that they do not know; within schema 1 fields are
// added, never renamed, retyped or removed.
package summary

// Leg is the summary of one leg of a call. "Always" marks the fields that are
// present in every message; any other is absent when it is not known.
type Leg struct {
	// Kind is "leg". Always.
	Kind string `json:"kind"`
	// Schema is the version of this shape. Always.
	Schema int `json:"schema"`
	// Revision counts the publications of this leg, from 1. Always.
	Revision int `json:"revision"`
	// Changed are JSON Pointers to what differs from the previous revision,
	// arrays as a whole, bookkeeping left out. Absent on revision 1.
	Changed []string `json:"changed,omitempty"`
	// Reasons say why this revision was made. Absent on revision 1.
	Reasons []Reason `json:"reasons,omitempty"`

	// CallSessionID is Telnyx's call_session_id. Always.
	CallSessionID string `json:"call_session_id"`
	// CallLegID is Telnyx's call_leg_id. Always.
	CallLegID string `json:"call_leg_id"`
	// CallControlID is Telnyx's call_control_id, the leg's handle in its API.
	CallControlID string `json:"call_control_id,omitempty"`
	// ConnectionID is Telnyx's connection_id, decimal text.
	ConnectionID string `json:"connection_id,omitempty"`

	// Direction is "incoming" or "outgoing"; only call.initiated states it.
	Direction string `json:"direction,omitempty"`
	// From and To are the parties in Telnyx's own words, unchanged.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// FromSIPURI and ToSIPURI are the parties as SIP had them, mostly without a scheme.
	FromSIPURI string `json:"from_sip_uri,omitempty"`
	ToSIPURI   string `json:"to_sip_uri,omitempty"`
	// CallerName is caller_id_name of call.initiated.
	CallerName string `json:"caller_name,omitempty"`
	// CallingPartyType is calling_party_type, of the first event that states it: pstn or sip.
	CallingPartyType string `json:"calling_party_type,omitempty"`
	// STIRShaken is how far the caller's number is vouched for, from call.initiated.
	STIRShaken *STIRShaken `json:"stir_shaken,omitempty"`
	// Screening is call_screening_result of call.initiated, or its action where it is an object: spam_likely, ….
	Screening string `json:"screening,omitempty"`
	// Codec is the codec agreed on, from call.answered: PCMU, ….
	Codec string `json:"codec,omitempty"`
	// SamplingRate is its sampling rate in Hz, from call.answered.
	SamplingRate *int64 `json:"sampling_rate,omitempty"`
	// OfferedCodecs is offered_codecs of call.initiated, in the far end's order: PCMU,G729.
	OfferedCodecs string `json:"offered_codecs,omitempty"`
	// Headers are the SIP headers of the leg.
	Headers *Headers `json:"headers,omitempty"`

	// Outcome is what became of the leg. Always.
	Outcome Outcome `json:"outcome"`
	// AnsweredBy is who answered, by the last answering-machine detection. A beep makes silence, not_sure or no result
	// at all a machine. After a call screening it is unknown until there is another result.
	AnsweredBy AnsweredBy `json:"answered_by,omitempty"`

	// FirstReceivedAt is when the log took the first event of this leg. Always.
	FirstReceivedAt Time `json:"first_received_at"`
	// PublishedAt is when this revision was made. Always.
	PublishedAt Time `json:"published_at"`
	// StartedAt is when the leg began to ring.
	StartedAt *Time `json:"started_at,omitempty"`
	// AnsweredAt is when call.answered occurred.
	AnsweredAt *Time `json:"answered_at,omitempty"`
	// BridgedAt is when the leg was first bridged to another.
	BridgedAt *Time `json:"bridged_at,omitempty"`
	// EndedAt is when the leg ended.
	EndedAt *Time `json:"ended_at,omitempty"`

	// DurationSeconds is ended_at less started_at. Like all seconds of a leg it lies from 0 to 86,400; what
	// would not is left out.
	DurationSeconds *Seconds `json:"duration_seconds,omitempty"`
	// RingSeconds is start to answer, or to the end when the leg is known to be never answered.
	RingSeconds *Seconds `json:"ring_seconds,omitempty"`
	// TalkSeconds is answer to end, hold and queue included; 0 when the leg is
	// known to be never answered.
	TalkSeconds *Seconds `json:"talk_seconds,omitempty"`
	// BridgedSeconds is the first bridge to the end.
	BridgedSeconds *Seconds `json:"bridged_seconds,omitempty"`
	// HoldSeconds is the time between call.hold and call.unhold (or the end), added up.
	HoldSeconds *Seconds `json:"hold_seconds,omitempty"`
	// QueueSeconds is wait_time_secs of the call.dequeued events, added up.
	QueueSeconds *Seconds `json:"queue_seconds,omitempty"`

	// Sources tell where started_at, answered_at, bridged_at and ended_at come from.
	Sources map[string]Source `json:"sources,omitempty"`

	// Hangup is what call.hangup said. Absent when no hangup was seen.
	Hangup *Hangup `json:"hangup,omitempty"`
	// EndedBy is how Legato knows that the leg is over. Always.
	EndedBy EndedBy `json:"ended_by"`
	// Status is what the status API said. Always.
	Status Status `json:"status"`
	// Discrepancies are the fields on which webhook and status differ by more than a second.
	Discrepancies []Discrepancy `json:"discrepancies,omitempty"`

	// Quality is the media quality of the leg, from call.hangup.
	Quality *Quality `json:"quality,omitempty"`
	// Recordings are the saved recordings of the leg, by start. Those of a
	// conference stand in Conferences.
	Recordings []Recording `json:"recordings,omitempty"`
	// RecordingErrors are the recordings that failed, by time.
	RecordingErrors []RecordingError `json:"recording_errors,omitempty"`
	// Transcriptions are the texts of recordings, by time.
	Transcriptions []Transcription `json:"transcriptions,omitempty"`
	// Transcript is what was said, as it was transcribed live.
	Transcript *Transcript `json:"transcript,omitempty"`
	// Streams tell when media went elsewhere, by time.
	Streams []Stream `json:"streams,omitempty"`
	// MachineDetection is what answering-machine detection reported.
	MachineDetection *MachineDetection `json:"machine_detection,omitempty"`
	// Deepfake is what deepfake detection reported.
	Deepfake *Deepfake `json:"deepfake,omitempty"`

	// DTMF counts the keys that were pressed. Absent: none was reported.
	DTMF *DTMF `json:"dtmf,omitempty"`
	// Gathers are the entries that the application asked for, by time.
	Gathers []Gather `json:"gathers,omitempty"`
	// Playbacks and Speaks are the playings of audio and the spoken texts that ended, by time.
	Playbacks []Playback `json:"playbacks,omitempty"`
	Speaks    []Speak    `json:"speaks,omitempty"`
	// Payments are the steps of taking payment, by time. Of card and payer nothing is shown.
	Payments []Payment `json:"payments,omitempty"`
	// Queues are the queues that the leg waited in, by time.
	Queues []QueueVisit `json:"queues,omitempty"`
	// Conferences are the conferences that the leg took part in, by time.
	Conferences []Conference `json:"conferences,omitempty"`
	// Refers are the steps of handing the leg over by SIP REFER, by time.
	Refers []Refer `json:"refers,omitempty"`
	// AI is what artificial assistants did on the leg.
	AI *AI `json:"ai,omitempty"`

	// Cost is what call.cost said.
	Cost *Cost `json:"cost,omitempty"`
	// ClientState is the last one that the application attached, base64.
	ClientState string `json:"client_state,omitempty"`
	// ClientStateText is ClientState decoded, where that gives at most 4 KiB of
	// printable text in UTF-8.
	ClientStateText string `json:"client_state_text,omitempty"`
	// Tags are the application's tags.
	Tags []string `json:"tags,omitempty"`

	// Notes are what is doubtful about this summary. Absent: nothing is.
	Notes []Note `json:"notes,omitempty"`
	// UnreadFields are the names of the fields of which an event stated something that could not be read, because it
	// was of a type or form that Legato does not know: call_quality_stats, cost_parts.cost, …. What was stated is in
	// the log. Absent: all was read.
	UnreadFields []string `json:"unread_fields,omitempty"`
	// Completeness tells what is in and what is still to come.
	Completeness *Completeness `json:"completeness,omitempty"`
	// Omitted counts what was left out of a list, by its field ("playbacks",
	// "ai.insights"): a summary has bounds. Of most lists the first and the last entries
	// are kept; texts that were cut say so themselves. Absent: nothing was.
	Omitted map[string]int `json:"omitted,omitempty"`

	// Events is the timeline: every event once, by time of occurrence; its first
	// and last 250 when there are more. Always.
	Events []Event `json:"events"`
	// EventsOmitted counts the events left out of the middle of Events.
	EventsOmitted int `json:"events_omitted,omitempty"`
	// Times are Legato's own milestones.
	Times *Times `json:"times,omitempty"`
}

// Hangup is what call.hangup said, in Telnyx's words, with one derived field.
type Hangup struct {
	// Cause is hangup_cause, an open vocabulary: normal_clearing, user_busy, timeout, ….
	Cause string `json:"cause,omitempty"`
	// Source is hangup_source: caller, callee or unknown.
	Source string `json:"source,omitempty"`
	// SIPCode is sip_hangup_cause: a SIP status as text, or another word of Telnyx's.
	SIPCode string `json:"sip_code,omitempty"`
	// Party is who ended the leg as seen from Telnyx's customer: local (our
	// side), remote or unknown.
	Party Party `json:"party,omitempty"`
	// Fault is telnyx_error: what Telnyx itself blames.
	Fault *Fault `json:"fault,omitempty"`
}

// Fault is an error that Telnyx reports, without its free text.
type Fault struct {
	// Code is error_code or code, Title is title: the code in words.
	Code  string `json:"code,omitempty"`
	Title string `json:"title,omitempty"`
}

// STIRShaken is how far the caller's number is vouched for.
type STIRShaken struct {
	// Attestation is shaken_stir_attestation, else the one within call_screening_result: A (full), B (partial) or C
	// (gateway).
	Attestation string `json:"attestation,omitempty"`
	// Validated is shaken_stir_validated: whether the certificate was found good.
	Validated *bool `json:"validated,omitempty"`
}

// Headers are the SIP headers that initiated, answered and hangup stated, each
// pair of name and value once, in the order in which they were first stated; the first 32 of either list. SIPREC's
// X-metadata-xml is left out.
type Headers struct {
	// Custom are custom_headers.
	Custom []Header `json:"custom,omitempty"`
	// SIP are sip_headers: User-to-User and Diversion.
	SIP []Header `json:"sip,omitempty"`
}

// Header is one SIP header.
type Header struct {
	// Name is its name. Always.
	Name string `json:"name"`
	// Value is its value.
	Value string `json:"value,omitempty"`
}

// Status is the answer of GET /v2/calls/{call_control_id}, or why there is none.
type Status struct {
	// State is the result of asking: pending while it is not confirmed; with final it stays so. Always.
	State StatusState `json:"state"`
	// Final tells that State cannot change any more; what an answer stated is
	// absent before. Always.
	Final bool `json:"final"`
	// IsAlive is the answer's is_alive.
	IsAlive *bool `json:"is_alive,omitempty"`
	// CallDuration is the answer's call_duration in seconds, from 0 to 86,400; Telnyx does not state its basis.
	CallDuration *Seconds `json:"call_duration,omitempty"`
	// StartTime and EndTime are the answer's.
	StartTime *Time `json:"start_time,omitempty"`
	EndTime   *Time `json:"end_time,omitempty"`
	// ClientState is the answer's, base64.
	ClientState string `json:"client_state,omitempty"`
	// RecordType is the answer's: "call".
	RecordType string `json:"record_type,omitempty"`
	// FetchedAt is when the answer that State stands on was received. Bookkeeping.
	FetchedAt *Time `json:"fetched_at,omitempty"`
	// Attempts counts the requests that were made. Bookkeeping.
	Attempts int `json:"attempts,omitempty"`
	// HTTPStatus is that of the last attempt; absent when there was no answer at all. Bookkeeping.
	HTTPStatus int `json:"http_status,omitempty"`
}

// Discrepancy is one field on which webhook and status differ by more than a second. Which of them stands,
// sources says: a status that cannot be true of the call, or that may be the time of the answer, does not.
type Discrepancy struct {
	// Field is started_at or ended_at. Always.
	Field string `json:"field"`
	// Webhook and Status are the two values. Always.
	Webhook Time `json:"webhook"`
	Status  Time `json:"status"`
	// DifferenceSeconds is the status's value less the webhook's. Always.
	DifferenceSeconds Seconds `json:"difference_seconds"`
}

// Quality is call_quality_stats of call.hangup with its numbers as numbers.
type Quality struct {
	Inbound  *StreamQuality `json:"inbound,omitempty"`
	Outbound *StreamQuality `json:"outbound,omitempty"`
}

// StreamQuality is the quality of one direction of the media.
type StreamQuality struct {
	// MOS is the mean opinion score, 1 to 5. Absent without packets, which it would say nothing about.
	MOS *Number `json:"mos,omitempty"`
	// JitterMaxVariance is Telnyx's jitter_max_variance, of undocumented unit.
	JitterMaxVariance *Number `json:"jitter_max_variance,omitempty"`
	// JitterPackets, Packets and SkippedPackets are counts.
	JitterPackets  *int64 `json:"jitter_packets,omitempty"`
	Packets        *int64 `json:"packets,omitempty"`
	SkippedPackets *int64 `json:"skipped_packets,omitempty"`
}

// MachineDetection is what answering-machine detection reported.
type MachineDetection struct {
	// Result is Telnyx's word of the detection: human, machine, not_sure, human_residence, ….
	Result string `json:"result,omitempty"`
	// Greeting is Telnyx's word of the greeting: beep_detected, ended, not_sure, no_beep_detected, or prompt_ended of
	// a prompt that ended without a beep where call screenings are looked for.
	Greeting string `json:"greeting,omitempty"`
	// Premium tells that premium detection was used.
	Premium bool `json:"premium,omitempty"`
	// DetectedAt is when the detection occurred, GreetingAt when the greeting did.
	DetectedAt *Time `json:"detected_at,omitempty"`
	GreetingAt *Time `json:"greeting_at,omitempty"`
	// ScreenedAt is when Apple Call Screening was last detected: the phone answered itself to ask who calls.
	// What was detected before is void, and the detection starts again.
	ScreenedAt *Time `json:"screened_at,omitempty"`
}

// Cost is what call.cost said about a leg. Amounts are decimal text. Of several call.cost, which is no delivery
// twice, parts of other names add up; of a part that is stated again the later amount stands.
type Cost struct {
	// Status is success or error.
	Status string `json:"status,omitempty"`
	// BilledSeconds is billed_duration_secs.
	BilledSeconds *int64 `json:"billed_seconds,omitempty"`
	// Parts are the charges.
	Parts []CostPart `json:"parts,omitempty"`
	// TotalCost is total_cost as it was stated, in the parts' currency.
	TotalCost string `json:"total_cost,omitempty"`
	// Totals are the amounts of the parts added up, one a currency. Where TotalCost is another amount, or parts state
	// none, TotalCost stands here; with parts in several currencies their sums do.
	Totals []Amount `json:"totals,omitempty"`
}

// CostPart is one charge.
type CostPart struct {
	// Part is call_part: sip-trunking, call-control, ….
	Part string `json:"part,omitempty"`
	// Amount and Rate are decimal text in Currency.
	Amount   string `json:"amount,omitempty"`
	Currency string `json:"currency,omitempty"`
	Rate     string `json:"rate,omitempty"`
	// BilledSeconds is what was billed for.
	BilledSeconds *int64 `json:"billed_seconds,omitempty"`
}

// Amount is money: decimal text in one currency.
type Amount struct {
	// Currency is ISO 4217; absent when Telnyx named none.
	Currency string `json:"currency,omitempty"`
	// Amount is decimal text. Always.
	Amount string `json:"amount"`
}

// Event is one line of the timeline.
type Event struct {
	// ID and Type are the identity of the event. Always.
	ID   string `json:"id"`
	Type string `json:"type"`
	// OccurredAt is by Telnyx's clock.
	OccurredAt *Time `json:"occurred_at,omitempty"`
	// ReceivedAt is by the log's clock. Always.
	ReceivedAt Time `json:"received_at"`
	// Attempt is Telnyx's delivery attempt, from 1.
	Attempt int `json:"attempt,omitempty"`
	// Backfill marks an event that was filled in from the provider's history.
	Backfill bool `json:"backfill,omitempty"`
	// Approximate tells of such an event that the history did not say when it occurred: occurred_at is when a delivery
	// of it was noted.
	Approximate bool `json:"approximate,omitempty"`
}

// Times are Legato's own milestones of a leg.
type Times struct {
	// HangupReceivedAt is when the log took the hangup.
	HangupReceivedAt *Time `json:"hangup_received_at,omitempty"`
	// EnrichedAt is when the status was confirmed.
	EnrichedAt *Time `json:"enriched_at,omitempty"`
}

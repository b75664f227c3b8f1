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

// Speech is the detail of text that was spoken to a leg or a conference:
// call.speak.ended and the conference.….speak events.
type Speech struct {
	// Status is status of call.speak.ended: "completed", "call_hangup", ….
	Status string
	// Conference is conference_id. Empty: it was spoken to the leg.
	Conference string
	Truncation
}

// Playback is the detail of the playback events of a leg or a conference.
type Playback struct {
	// Media is media_name, or, where that is missing, the file name that ends the path of media_url
	// ("greeting.mp3"). The rest of the URL, which may hold credentials, is not kept.
	Media string
	// Status is status of call.playback.ended: "completed", "failed", "file_not_found", ….
	Status string
	// StatusDetail is status_detail: why it failed. URLs in it are reduced to their host.
	StatusDetail string
	// Conference is conference_id. Empty: it was played to the leg.
	Conference string
	Truncation
}

// DTMF is the detail of call.dtmf.received.
type DTMF struct {
	// Digit is digit: the key that was pressed. Digits are secrets (PINs,
	// cards): empty unless they were asked for, or not stated.
	Digit string
	Truncation
}

// Gather is the detail of call.gather.ended.
type Gather struct {
	// Digits is digits, without the one that ended the gather. A secret, as
	// DTMF.Digit is, and empty unless it was asked for.
	Digits string
	// DigitCount is how many digits there were. Zero: none, or not stated.
	DigitCount int
	// Status is status: "valid", "invalid", "call_hangup", "timeout", ….
	Status string
	Truncation
}

// Payment is the detail of call.payment.progress and call.payment.completed. Of card, account and payer nothing is
// kept, masked or not, and no token that could be charged again.
type Payment struct {
	// Step is payment_step of a progress: "payment-card-number", "payment-processing", ….
	Step string
	// Status is payment_status of a progress ("processing", "completed", "failed"), and of a completed payment its
	// result ("success", "payment-connector-error", "cancelled", …).
	Status string
	// ChargeID is charge_id of a payment that was charged, ConfirmationCode is payment_confirmation_code.
	ChargeID, ConfirmationCode string
	// ConnectorError is connector_error, where it is a code, or the code in it.
	ConnectorError string
	// ErrorCode is pay_error_code, payment_error or error_type, the first that is
	// a code. Empty: no error, or one that is stated in free text.
	ErrorCode string
	Truncation
}

// Utterance is a piece of a live transcript: the detail of call.transcription, except of an interim piece, which a
// later one replaces, and of dialogflow.detectintent.response.
type Utterance struct {
	// Track is transcription_track: "inbound" or "outbound".
	Track string
	// Text is transcript, its first MaxUtterance bytes.
	Text string
	// TextOmitted is how many bytes of the transcript are left out.
	TextOmitted int
	// Confidence is confidence, from 0 to 1. Nil: not stated.
	Confidence *float64
	Truncation
}

// AIGather is the detail of the three call.ai_gather events.
type AIGather struct {
	// Status is status of call.ai_gather.ended: "valid", "timeout", ….
	Status string
	// Result is result of call.ai_gather.ended, partial_results of call.ai_gather.partial_results: an object of the
	// application's own schema. A secret as digits are.
	Result RawJSON
	// Messages are the last ones of message_history, in its order: when the gather has ended at most MaxMessages
	// and MaxHistory, before that MaxUpdateMessages.
	Messages []Message
	// MessagesTotal is how many the history had: the first of Messages is its
	// message number MessagesTotal - len(Messages), counting from zero.
	MessagesTotal int
	Truncation
}

// Message is what one side said in an AI gather.
type Message struct {
	// Role is role: "assistant" or "user".
	Role string
	// Content is content, its first MaxMessage bytes.
	Content string
}

// Conversation is the detail of call.conversation.created, .ended and .start_failed: an AI assistant on the leg.
type Conversation struct {
	// ID is conversation_id. Empty where none came about.
	ID string
	// Assistant is assistant_id.
	Assistant string
	// Reason is reason: why it ended, or "invalid_request" or "service_error" when it could not start.
	Reason string
	// DurationSeconds is duration_sec of an ended one. Nil: not stated.
	DurationSeconds *int64
	// Models is what the assistant ran on. Nil: not stated, as before the end.
	Models *Models
	Truncation
}

// Models are what an assistant thought, heard and spoke with, in Telnyx's names.
type Models struct {
	// LLM is llm_model, STT is stt_model.
	LLM, STT string
	// TTS, TTSProvider and TTSVoice are tts_model_id, tts_provider and tts_voice_id.
	TTS, TTSProvider, TTSVoice string
}

// Insights is the detail of call.conversation_insights.generated.
type Insights struct {
	// Group is insight_group_id.
	Group string
	// Results are the first MaxInsights of results, in Telnyx's order.
	Results []Insight
	Truncation
}

// Insight is one answer to a question that is asked about every conversation.
type Insight struct {
	// ID is insight_id.
	ID string
	// Result is result: a string, cut to its bound, or an object of the insight's own schema.
	Result RawJSON
}

// Recording is the detail of call.recording.saved and conference.recording.saved.
type Recording struct {
	// ID is recording_id. Empty: not stated.
	ID string
	// Conference is conference_id. Empty: a leg was recorded.
	Conference string
	// Channels is "single" or "dual"; Format "mp3" or "wav". Empty: not stated.
	Channels, Format string
	// StartedAt and EndedAt bound the recording (not the call), UTC. Zero: not stated.
	StartedAt, EndedAt time.Time
	// URLs are recording_urls by format. Telnyx's own open without a password for as long as they say; those into the
	// customer's own storage are no signed ones.
	URLs map[string]string
	// PublicURLs are public_recording_urls by format.
	PublicURLs map[string]string
	Truncation
}

// RecordingError is the detail of call.recording.error.
type RecordingError struct {
	// Reason is reason, a sentence: "Internal server error", …. URLs in it are reduced to their host.
	Reason string
	Truncation
}

// Transcription is the detail of call.recording.transcription.saved.
type Transcription struct {
	// ID is recording_transcription_id, Recording is recording_id.
	ID, Recording string
	// Status is status: "completed".
	Status string
	// Text is transcription_text, its first MaxTranscription bytes.
	Text string
	// TextOmitted is how many bytes of the text are left out.
	TextOmitted int
	Truncation
}

// Streaming is the detail of streaming.started, .stopped and .failed. Where the
// media went (stream_url) is not kept: such URLs hold credentials.
type Streaming struct {
	// ID is stream_id.
	ID string
	// Type is stream_type: "websocket" or "dialogflow".
	Type string
	// Track is stream_params.track: "inbound_track", "outbound_track" or "both_tracks".
	Track string
	// Reason is failure_reason. URLs in it are reduced to their host. Empty: it did not fail.
	Reason string
	Truncation
}

// Fork is the detail of call.fork.started and call.fork.stopped.
type Fork struct {
	// Type is stream_type: "decrypted".
	Type string
	Truncation
}

// SIPREC is the detail of siprec.started, .stopped and .failed.
type SIPREC struct {
	// Cause is hangup_cause of a session that stopped, failure_cause of one that failed. Empty on siprec.started.
	Cause string
	Truncation
}

// Conference is the detail of a conference's course: created, ended, floor changed, participant joined and left.
type Conference struct {
	// ID is conference_id.
	ID string
	// Reason is why it ended: "all_left", "host_left" or "time_exceeded". Empty on other events.
	Reason string
	Truncation
}

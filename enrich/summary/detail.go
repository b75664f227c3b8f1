package summary

// DTMF counts keys. Digits are secrets (PINs, cards): they are shown only where
// the deployment includes them.
type DTMF struct {
	// Count is how many call.dtmf.received there were. Always.
	Count int `json:"count"`
	// Digits are the keys that were pressed, by time: the first and the last 128
	// at most. Absent unless the deployment includes them.
	Digits []Digit `json:"digits,omitempty"`
}

// Digit is one call.dtmf.received that states its key.
type Digit struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Digit is digit: 0 to 9, *, #, A to D. Always.
	Digit string `json:"digit"`
}

// Gather is one call.gather.ended. Its digits are shown only where the
// deployment includes them.
type Gather struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it ended.
	At *Time `json:"at,omitempty"`
	// Status is status: valid, invalid, timeout, call_hangup, ….
	Status string `json:"status,omitempty"`
	// DigitCount is how many digits were entered; 0 where Telnyx states none. Always.
	DigitCount int `json:"digit_count"`
	// Digits are the digits themselves, the first 128 at most. Absent unless the
	// deployment includes them.
	Digits string `json:"digits,omitempty"`
}

// Payment is one step of taking a payment: call.payment.progress and call.payment.completed.
type Payment struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Step is payment_step of a progress: payment-card-number, payment-processing, ….
	Step string `json:"step,omitempty"`
	// Status is payment_status of a progress, and of a completed payment its
	// result: success, payment-connector-error, ….
	Status string `json:"status,omitempty"`
	// ChargeID is charge_id of a payment that was charged.
	ChargeID string `json:"charge_id,omitempty"`
	// ConfirmationCode is payment_confirmation_code.
	ConfirmationCode string `json:"confirmation_code,omitempty"`
	// ConnectorError is connector_error, where it is a code, or the code in it.
	ConnectorError string `json:"connector_error,omitempty"`
	// ErrorCode is the code that Telnyx or the payment's connector gave. Absent: no error.
	ErrorCode string `json:"error_code,omitempty"`
}

// QueueVisit is one stay in a queue: a call.enqueued and the next call.dequeued of the same queue.
type QueueVisit struct {
	// ID is that of the call.enqueued, else of the call.dequeued. Always.
	ID string `json:"id"`
	// Name is the queue's.
	Name string `json:"name,omitempty"`
	// EnteredAt and LeftAt are when the two occurred. Absent: it was not received.
	EnteredAt *Time `json:"entered_at,omitempty"`
	LeftAt    *Time `json:"left_at,omitempty"`
	// EnteredPosition is current_position of the call.enqueued, LeftPosition queue_position of the call.dequeued.
	EnteredPosition *int64 `json:"entered_position,omitempty"`
	LeftPosition    *int64 `json:"left_position,omitempty"`
	// AverageWaitSeconds is queue_avg_wait_time_secs of the call.enqueued: what the queue's others waited by then.
	AverageWaitSeconds *Seconds `json:"average_wait_seconds,omitempty"`
	// WaitSeconds is wait_time_secs of the call.dequeued.
	WaitSeconds *Seconds `json:"wait_seconds,omitempty"`
	// Reason is why the leg left: bridged, hangup, timeout, ….
	Reason string `json:"reason,omitempty"`
}

// Conference is one conference that the leg took part in, or that the session created.
type Conference struct {
	// ID is conference_id. Always.
	ID string `json:"id"`
	// JoinedAt is when the leg first joined, LeftAt when it last left.
	JoinedAt *Time `json:"joined_at,omitempty"`
	LeftAt   *Time `json:"left_at,omitempty"`
	// CreatedAt and EndedAt bound the conference, where Telnyx told this leg or session.
	CreatedAt *Time `json:"created_at,omitempty"`
	EndedAt   *Time `json:"ended_at,omitempty"`
	// Reason is why the conference ended: all_left, host_left or time_exceeded.
	Reason string `json:"reason,omitempty"`
	// Recordings are those of the conference that Telnyx told this leg or session
	// of, by start: others speak on them as well.
	Recordings []Recording `json:"recordings,omitempty"`
}

// Refer is one step of handing the leg over by SIP REFER.
type Refer struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// State is started, completed or failed. Always.
	State string `json:"state"`
	// SIPCode is sip_notify_response: the SIP status that the other party notified, as text.
	SIPCode string `json:"sip_code,omitempty"`
}

// AI is what AI assistants did on a leg.
type AI struct {
	// Conversations are those with an assistant, by time.
	Conversations []Conversation `json:"conversations,omitempty"`
	// Gathers are what an assistant asked for, by time.
	Gathers []AIGather `json:"gathers,omitempty"`
	// Insights are answers to questions asked about the conversation, by time.
	Insights []Insight `json:"insights,omitempty"`
}

// Conversation is one conversation with an AI assistant: call.conversation.created,
// .ended and .start_failed.
type Conversation struct {
	// ID is conversation_id; where Telnyx does not send it, the id of the event. Always.
	ID string `json:"id"`
	// AssistantID is assistant_id.
	AssistantID string `json:"assistant_id,omitempty"`
	// StartedAt, EndedAt and FailedAt are when the three events occurred.
	StartedAt *Time `json:"started_at,omitempty"`
	EndedAt   *Time `json:"ended_at,omitempty"`
	FailedAt  *Time `json:"failed_at,omitempty"`
	// DurationSeconds is duration_sec.
	DurationSeconds *Seconds `json:"duration_seconds,omitempty"`
	// Reason is why it ended, or why it could not start: invalid_request or service_error.
	Reason string `json:"reason,omitempty"`
	// LLMModel, STTModel, TTSModel, TTSProvider and TTSVoice are what the assistant ran on.
	LLMModel    string `json:"llm_model,omitempty"`
	STTModel    string `json:"stt_model,omitempty"`
	TTSModel    string `json:"tts_model,omitempty"`
	TTSProvider string `json:"tts_provider,omitempty"`
	TTSVoice    string `json:"tts_voice,omitempty"`
}

// AIGather is what one call.ai_gather asked for. What it came to is a secret as
// digits are, and is not shown.
type AIGather struct {
	// ID is that of the call.ai_gather.ended; of a gather whose end was not
	// received that of its first event. Always.
	ID string `json:"id"`
	// At is when the last of its events occurred.
	At *Time `json:"at,omitempty"`
	// Status is status: valid, timeout, …. Absent: its end was not received.
	Status string `json:"status,omitempty"`
	// MessageCount is how many messages were exchanged. Always.
	MessageCount int `json:"message_count"`
	// Messages are the last of them, in order: at most 64, with 16 KiB of text.
	Messages []Message `json:"messages,omitempty"`
}

// Message is what one side said in an AI gather.
type Message struct {
	// Role is assistant or user.
	Role string `json:"role,omitempty"`
	// Content is what was said, its first 2 KiB.
	Content string `json:"content,omitempty"`
}

// Insight is one result of a call.conversation_insights.generated.
type Insight struct {
	// ID is the event's, the same of all its results. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// GroupID is insight_group_id, InsightID is insight_id.
	GroupID   string `json:"group_id,omitempty"`
	InsightID string `json:"insight_id,omitempty"`
	// Text is the result where it is text. JSON is it as JSON text where it is
	// anything else: its form is the insight's own.
	Text string `json:"text,omitempty"`
	JSON string `json:"json,omitempty"`
}

// Recording is one call.recording.saved, or conference.recording.saved of a conference.
type Recording struct {
	// ID is recording_id; where Telnyx does not send it, the id of the event. Always.
	ID string `json:"id"`
	// Channels is single or dual; Format is mp3 or wav.
	Channels string `json:"channels,omitempty"`
	Format   string `json:"format,omitempty"`
	// StartedAt and EndedAt bound the recording, not the call.
	StartedAt *Time `json:"started_at,omitempty"`
	EndedAt   *Time `json:"ended_at,omitempty"`
	// URLs lead to the recording by format. Telnyx's own open without a password until URLsExpireAt; those into the
	// customer's own storage (s3, gs, Azure) open with the customer's rights only, and do not expire.
	URLs map[string]string `json:"urls,omitempty"`
	// URLsExpireAt is when the first of the URLs stops working, as they say themselves (X-Amz-Date and
	// X-Amz-Expires). Absent where none says it.
	URLsExpireAt *Time `json:"urls_expire_at,omitempty"`
	// PublicURLs are those of a recording that was made public.
	PublicURLs map[string]string `json:"public_urls,omitempty"`
}

// RecordingError is one call.recording.error.
type RecordingError struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Reason is reason, a sentence.
	Reason string `json:"reason,omitempty"`
}

// Transcription is the text of a recording: one call.recording.transcription.saved.
type Transcription struct {
	// ID is recording_transcription_id; where Telnyx does not send it, the id of the event. Always.
	ID string `json:"id"`
	// RecordingID is recording_id: the ID of one of the recordings.
	RecordingID string `json:"recording_id,omitempty"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Status is status: completed.
	Status string `json:"status,omitempty"`
	// Text is transcription_text, its first 64 KiB at most.
	Text string `json:"text,omitempty"`
	// TextOmitted is how many bytes of the text are left out. Absent: none.
	TextOmitted int `json:"text_omitted,omitempty"`
}

// Transcript is a live transcript: the final pieces of call.transcription, and
// what Dialogflow heard.
type Transcript struct {
	// Pieces are its first ones by time: at most 500 of them, with 64 KiB of text.
	Pieces []Piece `json:"pieces,omitempty"`
	// TextOmitted is how many bytes of text are left out, with or without their
	// piece. Absent: none.
	TextOmitted int `json:"text_omitted,omitempty"`
}

// Piece is something that was said at one go.
type Piece struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Track is transcription_track: inbound or outbound.
	Track string `json:"track,omitempty"`
	// Text is transcript, its first 4 KiB at most.
	Text string `json:"text,omitempty"`
	// Confidence is confidence, from 0 to 1.
	Confidence *Number `json:"confidence,omitempty"`
}

// Stream is one event of media that goes elsewhere.
type Stream struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Kind is streaming, fork or siprec; State is started, stopped or failed. Always.
	Kind  string `json:"kind"`
	State string `json:"state"`
	// StreamID is stream_id.
	StreamID string `json:"stream_id,omitempty"`
	// Type is stream_type: websocket, dialogflow or decrypted.
	Type string `json:"type,omitempty"`
	// Track is stream_params.track: inbound_track, outbound_track or both_tracks.
	Track string `json:"track,omitempty"`
	// Reason is failure_reason, failure_cause, or hangup_cause of a SIPREC session that stopped.
	Reason string `json:"reason,omitempty"`
}

// Playback is one playing of audio that ended: call.playback.ended and its
// siblings in conferences.
type Playback struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it ended.
	At *Time `json:"at,omitempty"`
	// Media is media_name, or the file name in media_url.
	Media string `json:"media,omitempty"`
	// Status is status: completed, failed, file_not_found, cancelled, call_hangup, ….
	Status string `json:"status,omitempty"`
	// StatusDetail is status_detail: why it failed. Of URLs in it only the host is shown.
	StatusDetail string `json:"status_detail,omitempty"`
	// ConferenceID is conference_id. Absent: it was played to the leg.
	ConferenceID string `json:"conference_id,omitempty"`
}

// Speak is one text that was spoken to its end: call.speak.ended and its
// siblings in conferences.
type Speak struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it ended.
	At *Time `json:"at,omitempty"`
	// Status is status: completed, call_hangup, ….
	Status string `json:"status,omitempty"`
	// ConferenceID is conference_id. Absent: it was spoken to the leg.
	ConferenceID string `json:"conference_id,omitempty"`
}

// Deepfake is what deepfake detection reported: the last result and the last error by occurrence.
type Deepfake struct {
	// Result is result: real, fake or silence_timeout.
	Result string `json:"result,omitempty"`
	// Score is score: how likely the voice is made, from 0 to 1.
	Score *Number `json:"score,omitempty"`
	// Consistency is consistency, in percent by Telnyx's example.
	Consistency *Number `json:"consistency,omitempty"`
	// At is when the result occurred.
	At *Time `json:"at,omitempty"`
	// Error is error_message: detection_timeout, rtp_timeout, ….
	Error string `json:"error,omitempty"`
	// ErrorAt is when the error occurred.
	ErrorAt *Time `json:"error_at,omitempty"`
}

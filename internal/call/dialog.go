package call

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

package summary

// Outcome is what became of a leg.
type Outcome string

// Outcomes. What was not seen is OutcomeUnknown, never OutcomeNoAnswer.
const (
	// OutcomeAnswered: somebody or something answered.
	OutcomeAnswered Outcome = "answered"
	// OutcomeNoAnswer: it rang until the time was over.
	OutcomeNoAnswer Outcome = "no_answer"
	// OutcomeBusy: the called party was busy.
	OutcomeBusy Outcome = "busy"
	// OutcomeRejected: the called party or its network refused.
	OutcomeRejected Outcome = "rejected"
	// OutcomeCanceled: the calling party gave up before an answer.
	OutcomeCanceled Outcome = "canceled"
	// OutcomeFailed: the call could not be put through.
	OutcomeFailed Outcome = "failed"
	// OutcomeUnknown: nothing that was seen tells.
	OutcomeUnknown Outcome = "unknown"
)

// AnsweredBy is who answered a leg, by answering-machine detection.
type AnsweredBy string

// Values of AnsweredBy.
const (
	AnsweredByHuman   AnsweredBy = "human"
	AnsweredByMachine AnsweredBy = "machine"
	AnsweredByFax     AnsweredBy = "fax"
	AnsweredBySilence AnsweredBy = "silence"
	AnsweredByUnknown AnsweredBy = "unknown"
)

// Source is where a value comes from.
type Source string

// Values of Source.
const (
	// SourceWebhook: an event that Telnyx sent.
	SourceWebhook Source = "webhook"
	// SourceStatus: the status API.
	SourceStatus Source = "status"
	// SourceBackfill: an event filled in from the provider's history.
	SourceBackfill Source = "backfill"
)

// Party is who ended a leg, as seen from Telnyx's customer.
type Party string

// Values of Party.
const (
	PartyLocal   Party = "local"
	PartyRemote  Party = "remote"
	PartyUnknown Party = "unknown"
)

// EndedBy is how Legato knows that a leg is over.
type EndedBy string

// Values of EndedBy.
const (
	// EndedByHangup: its call.hangup was received.
	EndedByHangup EndedBy = "hangup"
	// EndedByStatus: the status API said so; the hangup was not received.
	EndedByStatus EndedBy = "status"
	// EndedByGone: the status API does not know the leg any more.
	EndedByGone EndedBy = "gone"
	// EndedByExpired: longer than any leg can live, nothing was heard of it.
	EndedByExpired EndedBy = "expired"
)

// StatusState is the result of asking the status API about a leg.
type StatusState string

// Values of StatusState.
const (
	// StatusConfirmed: Telnyx confirmed that the leg ended.
	StatusConfirmed StatusState = "confirmed"
	// StatusPending: Telnyx has not confirmed it yet, or was not reached for the first time yet.
	StatusPending StatusState = "pending"
	// StatusNotFound: Telnyx does not know the leg (404 or 422).
	StatusNotFound StatusState = "not_found"
	// StatusDenied: the API key was refused (401 or 403).
	StatusDenied StatusState = "denied"
	// StatusRateLimited: Telnyx asked for patience (429).
	StatusRateLimited StatusState = "rate_limited"
	// StatusUnreachable: no usable answer (network, timeout, 5xx, not JSON, another call's ids).
	StatusUnreachable StatusState = "unreachable"
	// StatusNotAsked: nothing was asked: there is no control id to ask with, or, where there is one, no turn to ask came
	// before the window was over.
	StatusNotAsked StatusState = "not_asked"
)

// Reason says why a revision was made.
type Reason string

// Values of Reason.
const (
	// ReasonLateEvent: a webhook came after the summary.
	ReasonLateEvent Reason = "late_event"
	// ReasonStatusConfirmed: the status was confirmed after the summary.
	ReasonStatusConfirmed Reason = "status_confirmed"
	// ReasonStatusFailed: asking ended without a confirmation, or its result changed.
	ReasonStatusFailed Reason = "status_failed"
	// ReasonRecording: a recording was saved, of the leg or of its conference.
	ReasonRecording Reason = "recording"
	// ReasonCost: the cost became known.
	ReasonCost Reason = "cost"
	// ReasonTranscription: a recording was transcribed.
	ReasonTranscription Reason = "transcription"
	// ReasonInsights: insights of a conversation were generated.
	ReasonInsights Reason = "insights"
	// ReasonLegAdded: a leg joined the session after its summary.
	ReasonLegAdded Reason = "leg_added"
	// ReasonLegRevised: a leg of the session was revised.
	ReasonLegRevised Reason = "leg_revised"
	// ReasonBackfill: an event was filled in from the provider's history.
	ReasonBackfill Reason = "backfill"
)

// Outcomes returns every outcome.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeAnswered, OutcomeNoAnswer, OutcomeBusy, OutcomeRejected, OutcomeCanceled, OutcomeFailed, OutcomeUnknown,
	}
}

// Reasons returns every reason.
func Reasons() []Reason {
	return []Reason{
		ReasonLateEvent, ReasonStatusConfirmed, ReasonStatusFailed, ReasonRecording, ReasonCost, ReasonTranscription,
		ReasonInsights, ReasonLegAdded, ReasonLegRevised, ReasonBackfill,
	}
}

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
	// StatusPending: not confirmed. With final it stays so: Telnyx's last answer still called the leg alive.
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

// Note is a word about what is doubtful in a summary.
type Note string

// Values of Note, in the order in which they are listed.
const (
	// NoteInitiatedMissing: call.initiated was not received; direction, and on
	// outgoing legs the start, may be unknown.
	NoteInitiatedMissing Note = "initiated_missing"
	// NoteAnsweredMissing: the leg was answered, by its bridge or its hangup, but
	// call.answered was not received: ring and talk time are unknown.
	NoteAnsweredMissing Note = "answered_missing"
	// NoteAnsweredWithoutInitiated: call.answered was received and call.initiated
	// was not: the talk time is known, whose call it was may not be.
	NoteAnsweredWithoutInitiated Note = "answered_without_initiated"
	// NoteHangupMissing: call.hangup was not received; ended_by says how the end is known.
	NoteHangupMissing Note = "hangup_missing"
	// NoteRedelivered: an event was received with its second or a later delivery only:
	// the ones before it failed, so others may have been lost. Deliveries that come after the one that was
	// taken are not noted. Like clock_skew it depends on what was received when.
	NoteRedelivered Note = "redelivered"
	// NoteClockSkew: an event occurred more than a minute after it was received:
	// Telnyx's clock and the log's differ. An event that was received long after it occurred may just be
	// late, and is not noted.
	NoteClockSkew Note = "clock_skew"
	// NoteNegativeDuration: an end lies before its beginning; the seconds between are left out.
	NoteNegativeDuration Note = "negative_duration"
	// NoteMOSWithoutPackets: Telnyx stated a mean opinion score of a stream without packets; it is left out.
	NoteMOSWithoutPackets Note = "mos_without_packets"
	// NoteDetailsCut: something in an event was longer than it may be, and was
	// cut or left out when it was read. The whole is in the log.
	NoteDetailsCut Note = "details_cut"
	// NoteFieldUnread: an event stated something that could not be read: unread_fields says in which fields.
	NoteFieldUnread Note = "field_unread"
	// NoteCostTotalDiffers: the stated total_cost is not the sum of the parts; it counts in their place.
	NoteCostTotalDiffers Note = "cost_total_differs"
	// NoteCostAdded: several call.cost of other parts each: they are added up.
	NoteCostAdded Note = "cost_added"
	// NoteCostCorrected: a call.cost stated a part of an earlier one with another amount: it took its place.
	NoteCostCorrected Note = "cost_corrected"
	// NoteDiscrepancy: webhook and status differ: discrepancies says where. Or the status states a time that no webhook
	// does and that cannot be true: then status alone shows it.
	NoteDiscrepancy Note = "discrepancy"
)

// Part is something that the summary of a leg is made of.
type Part string

// Values of Part.
const (
	// PartInitiated: a call.initiated.
	PartInitiated Part = "initiated"
	// PartAnswered: a call.answered.
	PartAnswered Part = "answered"
	// PartHangup: a call.hangup.
	PartHangup Part = "hangup"
	// PartStatus: a confirmation by the status API.
	PartStatus Part = "status"
	// PartRecording: at least one recording of the leg.
	PartRecording Part = "recording"
	// PartCost: a call.cost, whatever its status.
	PartCost Part = "cost"
)

// Completeness tells what is in, and what is not though it should be.
type Completeness struct {
	// Received are the parts that are in.
	Received []Part `json:"received,omitempty"`
	// Expected are those that are to come by what is known, though some may be
	// lost: initiated and hangup of every leg, answered of one that was, status until it is final, recording
	// when a transcription tells of it. Nothing tells whether a cost will come.
	Expected []Part `json:"expected,omitempty"`
}

package summary

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
	// PartInitiated, PartAnswered and PartHangup: the events of these names.
	PartInitiated Part = "initiated"
	PartAnswered  Part = "answered"
	PartHangup    Part = "hangup"
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

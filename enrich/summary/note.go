package summary

import (
	"encoding/base64"
	"slices"
	"unicode"
	"unicode/utf8"
)

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
	// NoteNegativeDuration: an end lies before its beginning; the seconds between are negative.
	NoteNegativeDuration Note = "negative_duration"
	// NoteMOSWithoutPackets: Telnyx stated a mean opinion score of a stream without packets; it is left out.
	NoteMOSWithoutPackets Note = "mos_without_packets"
	// NoteDetailsCut: something in an event was longer than it may be, and was
	// cut or left out when it was read. The whole is in the log.
	NoteDetailsCut Note = "details_cut"
	// NoteDiscrepancy: webhook and status differ: discrepancies says where.
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

// partSet is a set of parts.
type partSet uint8

const (
	hasInitiated partSet = 1 << iota
	hasAnswered
	hasHangup
	hasStatus
	hasRecording
	hasCost
)

// parts are in the order of the bits.
var parts = [...]Part{PartInitiated, PartAnswered, PartHangup, PartStatus, PartRecording, PartCost}

// partLists holds the list of every set, for every leg needs two of them. They
// are shared and must not be written to.
var partLists = func() (lists [1 << len(parts)][]Part) {
	for set := range lists {
		for i, p := range parts {
			if set&(1<<i) != 0 {
				lists[set] = append(lists[set], p)
			}
		}
	}
	return lists
}()

// put adds parts to the set when something holds.
func (s *partSet) put(p partSet, holds bool) {
	if holds {
		*s |= p
	}
}

// Judge fills in completeness, notes and the text of the client state, which
// follow from the rest, and from what only events can tell: the parts that were
// seen, and the doubts that they gave rise to (clock_skew, mos_without_packets,
// details_cut, and redelivered of events that the timeline leaves out).
func (l *Leg) Judge(seen []Part, doubts []Note) {
	var received partSet
	for i, p := range parts {
		received.put(1<<i, slices.Contains(seen, p))
	}
	received.put(hasInitiated, l.Direction != "")
	received.put(hasAnswered, l.AnsweredAt != nil)
	received.put(hasHangup, l.Hangup != nil)
	received.put(hasStatus, l.Status.State == StatusConfirmed)
	received.put(hasRecording, len(l.Recordings) > 0)
	received.put(hasCost, l.Cost != nil)
	expected := hasInitiated | hasHangup
	expected.put(hasAnswered, l.Outcome == OutcomeAnswered)
	expected.put(hasStatus, !l.Status.Final && l.Status.State != StatusNotAsked)
	expected.put(hasRecording, l.lacksRecording())
	expected &^= received
	l.Completeness = &Completeness{Received: partLists[received], Expected: partLists[expected]}
	l.Notes = l.notes(expected, doubts)
	l.ClientStateText = stateText(l.ClientState)
}

// lacksRecording reports whether a transcription is of a recording that is not in.
func (l *Leg) lacksRecording() bool {
	for _, t := range l.Transcriptions {
		if t.RecordingID != "" && !slices.ContainsFunc(l.Recordings, func(r Recording) bool { return r.ID == t.RecordingID }) {
			return true
		}
	}
	return false
}

func (l *Leg) notes(expected partSet, doubts []Note) []Note {
	var notes []Note
	add := func(n Note, holds bool) {
		if holds {
			notes = append(notes, n)
		}
	}
	negative := func(s *Seconds) bool { return s != nil && *s < 0 }
	add(NoteInitiatedMissing, expected&hasInitiated != 0)
	add(NoteAnsweredMissing, expected&hasAnswered != 0)
	add(NoteAnsweredWithoutInitiated, expected&hasInitiated != 0 && l.AnsweredAt != nil)
	add(NoteHangupMissing, expected&hasHangup != 0)
	add(NoteRedelivered, slices.Contains(doubts, NoteRedelivered) || slices.ContainsFunc(l.Events, Event.redelivered))
	add(NoteClockSkew, slices.Contains(doubts, NoteClockSkew))
	add(NoteNegativeDuration, negative(l.DurationSeconds) || negative(l.RingSeconds) || negative(l.TalkSeconds) || negative(l.BridgedSeconds))
	add(NoteMOSWithoutPackets, slices.Contains(doubts, NoteMOSWithoutPackets))
	add(NoteDetailsCut, slices.Contains(doubts, NoteDetailsCut))
	add(NoteDiscrepancy, len(l.Discrepancies) > 0)
	return notes
}

// redelivered reports whether the first deliveries of the event had failed.
func (e Event) redelivered() bool { return e.Attempt > 1 }

// maxStateText bounds client_state_text, in bytes.
const maxStateText = 4 << 10

// stateText decodes a client state that is text; empty when it is not.
func stateText(state string) string {
	if state == "" || base64.StdEncoding.DecodedLen(len(state)) > maxStateText+2 {
		return ""
	}
	text, err := base64.StdEncoding.DecodeString(state)
	if err != nil {
		if text, err = base64.RawStdEncoding.DecodeString(state); err != nil {
			return ""
		}
	}
	if len(text) > maxStateText || !utf8.Valid(text) {
		return ""
	}
	for _, r := range string(text) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\r' && r != '\t' {
			return ""
		}
	}
	return string(text)
}

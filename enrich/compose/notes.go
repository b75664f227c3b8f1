package compose

import (
	"encoding/base64"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/summary"
)

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
var parts = [...]summary.Part{summary.PartInitiated, summary.PartAnswered, summary.PartHangup, summary.PartStatus, summary.PartRecording, summary.PartCost}

// partLists holds the list of every set, for every leg needs two of them. They
// are shared and must not be written to.
var partLists = func() (lists [1 << len(parts)][]summary.Part) {
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

// judge fills in completeness, notes and the text of the client state, which
// follow from the rest, and from what only events can tell: the parts that were
// seen, and the doubts that they gave rise to (clock_skew, mos_without_packets,
// details_cut, and redelivered of events that the timeline leaves out).
func judge(l *summary.Leg, seen []summary.Part, doubts []summary.Note) {
	var received partSet
	for i, p := range parts {
		received.put(1<<i, slices.Contains(seen, p))
	}
	received.put(hasInitiated, l.Direction != "")
	received.put(hasAnswered, l.AnsweredAt != nil)
	received.put(hasHangup, l.Hangup != nil)
	received.put(hasStatus, l.Status.State == summary.StatusConfirmed)
	received.put(hasRecording, len(l.Recordings) > 0)
	received.put(hasCost, l.Cost != nil)
	expected := hasInitiated | hasHangup
	expected.put(hasAnswered, l.Outcome == summary.OutcomeAnswered)
	expected.put(hasStatus, !l.Status.Final && l.Status.State != summary.StatusNotAsked)
	expected.put(hasRecording, lacksRecording(l))
	expected &^= received
	l.Completeness = &summary.Completeness{Received: partLists[received], Expected: partLists[expected]}
	l.Notes = notes(l, expected, doubts)
	l.ClientStateText = stateText(l.ClientState)
}

// lacksRecording reports whether a transcription is of a recording that is not in.
func lacksRecording(l *summary.Leg) bool {
	for _, t := range l.Transcriptions {
		if t.RecordingID != "" && !slices.ContainsFunc(l.Recordings, func(r summary.Recording) bool { return r.ID == t.RecordingID }) {
			return true
		}
	}
	return false
}

func notes(l *summary.Leg, expected partSet, doubts []summary.Note) []summary.Note {
	var notes []summary.Note
	add := func(n summary.Note, holds bool) {
		if holds {
			notes = append(notes, n)
		}
	}
	negative := func(s *summary.Seconds) bool { return s != nil && *s < 0 }
	add(summary.NoteInitiatedMissing, expected&hasInitiated != 0)
	add(summary.NoteAnsweredMissing, expected&hasAnswered != 0)
	add(summary.NoteAnsweredWithoutInitiated, expected&hasInitiated != 0 && l.AnsweredAt != nil)
	add(summary.NoteHangupMissing, expected&hasHangup != 0)
	add(summary.NoteRedelivered, slices.Contains(doubts, summary.NoteRedelivered) || slices.ContainsFunc(l.Events, isRedelivered))
	add(summary.NoteClockSkew, slices.Contains(doubts, summary.NoteClockSkew))
	add(summary.NoteNegativeDuration, negative(l.DurationSeconds) || negative(l.RingSeconds) || negative(l.TalkSeconds) || negative(l.BridgedSeconds))
	add(summary.NoteMOSWithoutPackets, slices.Contains(doubts, summary.NoteMOSWithoutPackets))
	add(summary.NoteDetailsCut, slices.Contains(doubts, summary.NoteDetailsCut))
	add(summary.NoteDiscrepancy, len(l.Discrepancies) > 0)
	return notes
}

// isRedelivered reports whether the first deliveries of the event had failed.
func isRedelivered(e summary.Event) bool { return e.Attempt > 1 }

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

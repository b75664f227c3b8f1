package compose

import (
	"encoding/base64"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/summary"
)

// annotate fills in completeness, notes and the text of the client state, which
// follow from the rest, and from what only events show: the parts that were
// seen, and the doubts that they gave rise to (clock_skew, mos_without_packets,
// details_cut, a discrepancy with what no webhook states, and redelivered of events that the timeline leaves out).
func annotate(l *summary.Leg, seen []summary.Part, doubts []summary.Note) {
	c := &summary.Completeness{Received: make([]summary.Part, 0, 6)}
	for _, p := range [...]struct {
		part         summary.Part
		in, expected bool
	}{
		{summary.PartInitiated, l.Direction != "", true},
		{summary.PartAnswered, l.AnsweredAt != nil, l.Outcome == summary.OutcomeAnswered},
		{summary.PartHangup, l.Hangup != nil, true},
		{summary.PartStatus, l.Status.State == summary.StatusConfirmed, !l.Status.Final && l.Status.State != summary.StatusNotAsked},
		{summary.PartRecording, len(l.Recordings) > 0, lacksRecording(l)},
		{summary.PartCost, l.Cost != nil, false},
	} {
		switch {
		case p.in || slices.Contains(seen, p.part):
			c.Received = append(c.Received, p.part)
		case p.expected:
			c.Expected = append(c.Expected, p.part)
		}
	}
	l.Completeness, l.Notes, l.ClientStateText = c, notes(l, c.Expected, doubts), stateText(l.ClientState)
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

func notes(l *summary.Leg, expected []summary.Part, doubts []summary.Note) (notes []summary.Note) {
	lacks := func(p summary.Part) bool { return slices.Contains(expected, p) }
	doubtful := func(n summary.Note) bool { return slices.Contains(doubts, n) }
	for _, n := range [...]struct {
		note  summary.Note
		holds bool
	}{
		{summary.NoteInitiatedMissing, lacks(summary.PartInitiated)},
		{summary.NoteAnsweredMissing, lacks(summary.PartAnswered)},
		{summary.NoteAnsweredWithoutInitiated, lacks(summary.PartInitiated) && l.AnsweredAt != nil},
		{summary.NoteHangupMissing, lacks(summary.PartHangup)},
		{summary.NoteRedelivered, doubtful(summary.NoteRedelivered) || slices.ContainsFunc(l.Events, isRedelivered)},
		{summary.NoteClockSkew, doubtful(summary.NoteClockSkew)},
		{summary.NoteNegativeDuration, isReversed(l)},
		{summary.NoteMOSWithoutPackets, doubtful(summary.NoteMOSWithoutPackets)},
		{summary.NoteDetailsCut, doubtful(summary.NoteDetailsCut)},
		{summary.NoteFieldUnread, len(l.UnreadFields) > 0},
		{summary.NoteCostTotalDiffers, totalDiffers(l.Cost)},
		{summary.NoteCostAdded, doubtful(summary.NoteCostAdded)},
		{summary.NoteCostCorrected, doubtful(summary.NoteCostCorrected)},
		{summary.NoteDiscrepancy, len(l.Discrepancies) > 0 || doubtful(summary.NoteDiscrepancy)},
	} {
		if n.holds {
			notes = append(notes, n.note)
		}
	}
	return notes
}

// isReversed reports whether a time of the leg lies before one that must come first.
func isReversed(l *summary.Leg) bool {
	before := func(end, beginning *summary.Time) bool {
		return end != nil && beginning != nil && end.Before(beginning.Time)
	}
	return before(l.EndedAt, l.StartedAt) || before(l.AnsweredAt, l.StartedAt) || before(l.EndedAt, l.AnsweredAt) ||
		before(l.EndedAt, l.BridgedAt)
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

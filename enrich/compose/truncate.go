package compose

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// Bounds of a summary's lists. They are far above what calls have, and keep a
// summary readable; what they let pass can still be more than a message carries: see Fit.
const (
	// maxEvents bounds the timeline.
	maxEvents = 2 * timelineEnd
	// maxList bounds most lists, maxFew those of what is large or happens seldom.
	maxList = 100
	maxFew  = 20
	// maxHeaders bounds each of the lists of SIP headers.
	maxHeaders = 32
	// maxPieces and maxTranscript bound a live transcript by number and bytes of text.
	maxPieces     = 500
	maxTranscript = 64 << 10
	// maxDigits bounds the keys that were pressed: some 110 bytes each, 28 KiB in all.
	maxDigits = 256
)

// ends shortens a list to its first and last most/2 and returns how many were
// left out of its middle.
func ends[T any](list []T, most int) ([]T, int) {
	if len(list) <= most {
		return list, 0
	}
	end := most / 2
	return slices.Concat(list[:end], list[len(list)-end:]), len(list) - 2*end
}

// mark tells of an entry of a list that is ordered by time when that was, zero
// when it is not known, and its id.
type mark[T any] func(T) (time.Time, string)

func (m mark[T]) compare(a, b T) int {
	atA, idA := m(a)
	atB, idB := m(b)
	return cmp.Or(atA.Compare(atB), cmp.Compare(idA, idB))
}

func (m mark[T]) id(v T) string {
	_, id := m(v)
	return id
}

func recordingErrorMark(e summary.RecordingError) (time.Time, string) { return e.At.Known(), e.ID }
func transcriptionMark(t summary.Transcription) (time.Time, string)   { return t.At.Known(), t.ID }
func pieceMark(p summary.Piece) (time.Time, string)                   { return p.At.Known(), p.ID }
func streamMark(s summary.Stream) (time.Time, string)                 { return s.At.Known(), s.ID }
func playbackMark(p summary.Playback) (time.Time, string)             { return p.At.Known(), p.ID }
func speakMark(s summary.Speak) (time.Time, string)                   { return s.At.Known(), s.ID }
func digitMark(d summary.Digit) (time.Time, string)                   { return d.At.Known(), d.ID }
func gatherMark(g summary.Gather) (time.Time, string)                 { return g.At.Known(), g.ID }
func paymentMark(p summary.Payment) (time.Time, string)               { return p.At.Known(), p.ID }
func referMark(r summary.Refer) (time.Time, string)                   { return r.At.Known(), r.ID }
func aiGatherMark(g summary.AIGather) (time.Time, string)             { return g.At.Known(), g.ID }
func insightMark(i summary.Insight) (time.Time, string)               { return i.At.Known(), i.ID }
func recordingMark(r summary.Recording) (time.Time, string)           { return r.StartedAt.Known(), r.ID }

func queueMark(q summary.QueueVisit) (time.Time, string) {
	return firstKnown(q.EnteredAt, q.LeftAt), q.ID
}

func conversationMark(c summary.Conversation) (time.Time, string) {
	return firstKnown(c.StartedAt, c.FailedAt, c.EndedAt), c.ID
}

func conferenceMark(c summary.Conference) (time.Time, string) {
	return firstKnown(c.JoinedAt, c.CreatedAt, c.LeftAt, c.EndedAt), c.ID
}

func firstKnown(times ...*summary.Time) time.Time {
	for _, t := range times {
		if t != nil {
			return t.Time
		}
	}
	return time.Time{}
}

// boundLeg puts the lists in order and cuts them to their bounds. It writes to no
// list that it is given: summaries share them.
func boundLeg(l *summary.Leg) {
	l.Omitted = maps.Clone(l.Omitted)
	bound(l, "recordings", &l.Recordings, maxList, recordingMark)
	bound(l, "recording_errors", &l.RecordingErrors, maxList, recordingErrorMark)
	bound(l, "transcriptions", &l.Transcriptions, maxFew, transcriptionMark)
	bound(l, "streams", &l.Streams, maxList, streamMark)
	bound(l, "gathers", &l.Gathers, maxList, gatherMark)
	bound(l, "playbacks", &l.Playbacks, maxList, playbackMark)
	bound(l, "speaks", &l.Speaks, maxList, speakMark)
	bound(l, "payments", &l.Payments, maxList, paymentMark)
	bound(l, "queues", &l.Queues, maxList, queueMark)
	bound(l, "conferences", &l.Conferences, maxFew, conferenceMark)
	bound(l, "refers", &l.Refers, maxList, referMark)
	cut(l, "tags", &l.Tags, maxList)
	if h := l.Headers; h != nil {
		kept := *h
		cut(l, "headers.custom", &kept.Custom, maxHeaders)
		cut(l, "headers.sip", &kept.SIP, maxHeaders)
		l.Headers = headersOrNil(&kept)
	}
	if l.AI != nil {
		kept := *l.AI
		bound(l, "ai.conversations", &kept.Conversations, maxFew, conversationMark)
		bound(l, "ai.gathers", &kept.Gathers, maxFew, aiGatherMark)
		bound(l, "ai.insights", &kept.Insights, maxList, insightMark)
		l.AI = aiOrNil(&kept)
	}
	boundDigits(l, maxDigits)
	if l.Transcript != nil {
		boundTranscript(l, maxPieces, maxTranscript)
	}
	if len(l.Conferences) > 0 {
		boundConferences(l, maxFew)
	}
}

func headersOrNil(h *summary.Headers) *summary.Headers {
	if len(h.Custom) == 0 && len(h.SIP) == 0 {
		return nil
	}
	return h
}

func aiOrNil(a *summary.AI) *summary.AI {
	if len(a.Conversations) == 0 && len(a.Gathers) == 0 && len(a.Insights) == 0 {
		return nil
	}
	return a
}

// bound puts a list in order and keeps its ends.
func bound[T any](l *summary.Leg, field string, list *[]T, most int, m mark[T]) {
	if len(*list) == 0 {
		return
	}
	if !slices.IsSortedFunc(*list, m.compare) {
		*list = slices.Clone(*list)
		slices.SortStableFunc(*list, m.compare)
	}
	var omitted int
	*list, omitted = ends(*list, most)
	omit(l, field, omitted)
}

// cut keeps the beginning of a list.
func cut[T any](l *summary.Leg, field string, list *[]T, most int) {
	if len(*list) > most {
		omit(l, field, len(*list)-most)
		*list = slices.Clip((*list)[:most])
	}
}

// omit counts what was left out of a list.
func omit(l *summary.Leg, field string, n int) {
	if n == 0 {
		return
	}
	if l.Omitted == nil {
		l.Omitted = make(map[string]int)
	}
	l.Omitted[field] += n
}

// boundDigits keeps the ends of what was keyed in; the count says how much that was.
func boundDigits(l *summary.Leg, most int) {
	if l.DTMF == nil {
		return
	}
	kept := *l.DTMF
	bound(l, "dtmf.digits", &kept.Digits, most, digitMark)
	l.DTMF = &kept
}

// boundTranscript keeps the first pieces of the transcript.
func boundTranscript(l *summary.Leg, pieces, size int) {
	t := *l.Transcript
	if !slices.IsSortedFunc(t.Pieces, mark[summary.Piece](pieceMark).compare) {
		t.Pieces = slices.Clone(t.Pieces)
		slices.SortStableFunc(t.Pieces, mark[summary.Piece](pieceMark).compare)
	}
	keep := 0
	for keep < len(t.Pieces) && keep < pieces && len(t.Pieces[keep].Text) <= size {
		size -= len(t.Pieces[keep].Text)
		keep++
	}
	for _, p := range t.Pieces[keep:] {
		t.TextOmitted += len(p.Text)
	}
	cut(l, "transcript.pieces", &t.Pieces, keep)
	l.Transcript = &t
}

// boundConferences keeps the ends of what was recorded of each conference.
func boundConferences(l *summary.Leg, most int) {
	l.Conferences = slices.Clone(l.Conferences)
	for i := range l.Conferences {
		bound(l, "conferences.recordings", &l.Conferences[i].Recordings, most, recordingMark)
	}
}

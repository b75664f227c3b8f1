package compose

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// Bounds of a summary's lists. They are far above what calls have, and keep a
// summary readable; what they let pass can still be more than a message carries: see FitLeg.
const (
	// maxEvents bounds the timeline: 250 at either end.
	maxEvents = 500
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

// ends shortens a list to its first and last limit/2 and returns how many were
// left out of its middle.
func ends[T any](list []T, limit int) ([]T, int) {
	if len(list) <= limit {
		return list, 0
	}
	end := limit / 2
	return slices.Concat(list[:end], list[len(list)-end:]), len(list) - 2*end
}

// mark returns the time by which an entry of a list is ordered, zero when it is not known, and
// the entry's id.
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

func eventMark(e summary.Event) (time.Time, string)                   { return e.OccurredAt.Known(), e.Type + " " + e.ID }
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

// limits are those of lists, by their field, where they are lower than the bounds that hold for every summary.
type limits map[string]int

func (ls limits) of(field string, bound int) int {
	if limit, ok := ls[field]; ok {
		return min(limit, bound)
	}
	return bound
}

// truncateLeg puts the lists in order and truncates them to their bounds and to the limits. It writes to
// no list that it is given, for summaries share them; what else it is given is its own afterwards.
func truncateLeg(l *summary.Leg, ls limits) {
	l.Omitted = maps.Clone(l.Omitted)
	keepEnds(l, ls, "recordings", &l.Recordings, maxList, recordingMark)
	keepEnds(l, ls, "recording_errors", &l.RecordingErrors, maxList, recordingErrorMark)
	keepEnds(l, ls, "transcriptions", &l.Transcriptions, maxFew, transcriptionMark)
	keepEnds(l, ls, "streams", &l.Streams, maxList, streamMark)
	keepEnds(l, ls, "gathers", &l.Gathers, maxList, gatherMark)
	keepEnds(l, ls, "playbacks", &l.Playbacks, maxList, playbackMark)
	keepEnds(l, ls, "speaks", &l.Speaks, maxList, speakMark)
	keepEnds(l, ls, "payments", &l.Payments, maxList, paymentMark)
	keepEnds(l, ls, "queues", &l.Queues, maxList, queueMark)
	keepEnds(l, ls, "conferences", &l.Conferences, maxFew, conferenceMark)
	keepEnds(l, ls, "refers", &l.Refers, maxList, referMark)
	keepStart(l, ls, "tags", &l.Tags, maxList)
	keepStart(l, ls, "unread_fields", &l.UnreadFields, maxList)
	if l.Headers != nil {
		h := *l.Headers
		keepStart(l, ls, "headers.custom", &h.Custom, maxHeaders)
		keepStart(l, ls, "headers.sip", &h.SIP, maxHeaders)
		l.Headers = headersOrNil(&h)
	}
	if l.AI != nil {
		ai := *l.AI
		keepEnds(l, ls, "ai.conversations", &ai.Conversations, maxFew, conversationMark)
		keepEnds(l, ls, "ai.gathers", &ai.Gathers, maxFew, aiGatherMark)
		keepEnds(l, ls, "ai.insights", &ai.Insights, maxList, insightMark)
		l.AI = aiOrNil(&ai)
	}
	if l.DTMF != nil {
		d := *l.DTMF // its count says how many keys there were
		keepEnds(l, ls, "dtmf.digits", &d.Digits, maxDigits, digitMark)
		l.DTMF = &d
	}
	if l.Transcript != nil {
		truncateTranscript(l, ls)
	}
	if len(l.Conferences) > 0 {
		l.Conferences = slices.Clone(l.Conferences)
		for i := range l.Conferences {
			keepEnds(l, ls, "conferences.recordings", &l.Conferences[i].Recordings, maxFew, recordingMark)
		}
	}
}

// truncateTranscript keeps the first pieces of the transcript, by number and bytes.
func truncateTranscript(l *summary.Leg, ls limits) {
	t := *l.Transcript
	t.Pieces = inOrder(t.Pieces, pieceMark)
	keep, size := 0, maxTranscript
	for limit := ls.of("transcript.pieces", maxPieces); keep < len(t.Pieces) && keep < limit && len(t.Pieces[keep].Text) <= size; keep++ {
		size -= len(t.Pieces[keep].Text)
	}
	for _, p := range t.Pieces[keep:] {
		t.TextOmitted += len(p.Text)
	}
	keepStart(l, nil, "transcript.pieces", &t.Pieces, keep)
	l.Transcript = &t
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

// inOrder returns a list in order of time, itself when it is so already.
func inOrder[T any](list []T, m mark[T]) []T {
	if slices.IsSortedFunc(list, m.compare) {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, m.compare)
	return list
}

// keepEnds puts a list in order and keeps its ends.
func keepEnds[T any](l *summary.Leg, ls limits, field string, list *[]T, bound int, m mark[T]) {
	if len(*list) == 0 {
		return
	}
	var omitted int
	*list, omitted = ends(inOrder(*list, m), ls.of(field, bound))
	omit(l, field, omitted)
}

// keepStart keeps the beginning of a list.
func keepStart[T any](l *summary.Leg, ls limits, field string, list *[]T, bound int) {
	if limit := ls.of(field, bound); len(*list) > limit {
		omit(l, field, len(*list)-limit)
		*list = slices.Clip((*list)[:limit])
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

package summary

import (
	"cmp"
	"maps"
	"slices"
	"time"
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

// Ends shortens a list to its first and last most/2 and returns how many were
// left out of its middle.
func Ends[T any](list []T, most int) ([]T, int) {
	if len(list) <= most {
		return list, 0
	}
	end := most / 2
	return slices.Concat(list[:end], list[len(list)-end:]), len(list) - 2*end
}

// entry is an entry of a list that is ordered by time.
type entry interface {
	// when is the time by which it is ordered, zero when it is not known.
	when() time.Time
	// key is its id.
	key() string
}

func byTime[T entry](a, b T) int {
	return cmp.Or(a.when().Compare(b.when()), cmp.Compare(a.key(), b.key()))
}

func (e RecordingError) when() time.Time { return e.At.Known() }
func (e RecordingError) key() string     { return e.ID }
func (t Transcription) when() time.Time  { return t.At.Known() }
func (t Transcription) key() string      { return t.ID }
func (p Piece) when() time.Time          { return p.At.Known() }
func (p Piece) key() string              { return p.ID }
func (s Stream) when() time.Time         { return s.At.Known() }
func (s Stream) key() string             { return s.ID }
func (p Playback) when() time.Time       { return p.At.Known() }
func (p Playback) key() string           { return p.ID }
func (s Speak) when() time.Time          { return s.At.Known() }
func (s Speak) key() string              { return s.ID }
func (d Digit) when() time.Time          { return d.At.Known() }
func (d Digit) key() string              { return d.ID }
func (g Gather) when() time.Time         { return g.At.Known() }
func (g Gather) key() string             { return g.ID }
func (p Payment) when() time.Time        { return p.At.Known() }
func (p Payment) key() string            { return p.ID }
func (r Refer) when() time.Time          { return r.At.Known() }
func (r Refer) key() string              { return r.ID }
func (g AIGather) when() time.Time       { return g.At.Known() }
func (g AIGather) key() string           { return g.ID }
func (i Insight) when() time.Time        { return i.At.Known() }
func (i Insight) key() string            { return i.ID }
func (r Recording) when() time.Time      { return r.StartedAt.Known() }
func (r Recording) key() string          { return r.ID }
func (q QueueVisit) when() time.Time     { return firstKnown(q.EnteredAt, q.LeftAt) }
func (q QueueVisit) key() string         { return q.ID }
func (c Conversation) when() time.Time   { return firstKnown(c.StartedAt, c.FailedAt, c.EndedAt) }
func (c Conversation) key() string       { return c.ID }
func (c Conference) when() time.Time {
	return firstKnown(c.JoinedAt, c.CreatedAt, c.LeftAt, c.EndedAt)
}
func (c Conference) key() string { return c.ID }

func firstKnown(times ...*Time) time.Time {
	for _, t := range times {
		if t != nil {
			return t.Time
		}
	}
	return time.Time{}
}

// Bound puts the lists in order and cuts them to their bounds. It writes to no
// list that it is given: summaries share them.
func (l *Leg) Bound() {
	l.Omitted = maps.Clone(l.Omitted)
	bound(l, "recordings", &l.Recordings, maxList)
	bound(l, "recording_errors", &l.RecordingErrors, maxList)
	bound(l, "transcriptions", &l.Transcriptions, maxFew)
	bound(l, "streams", &l.Streams, maxList)
	bound(l, "gathers", &l.Gathers, maxList)
	bound(l, "playbacks", &l.Playbacks, maxList)
	bound(l, "speaks", &l.Speaks, maxList)
	bound(l, "payments", &l.Payments, maxList)
	bound(l, "queues", &l.Queues, maxList)
	bound(l, "conferences", &l.Conferences, maxFew)
	bound(l, "refers", &l.Refers, maxList)
	cut(l, "tags", &l.Tags, maxList)
	if h := l.Headers; h != nil {
		kept := *h
		cut(l, "headers.custom", &kept.Custom, maxHeaders)
		cut(l, "headers.sip", &kept.SIP, maxHeaders)
		l.Headers = kept.orNil()
	}
	if l.AI != nil {
		kept := *l.AI
		bound(l, "ai.conversations", &kept.Conversations, maxFew)
		bound(l, "ai.gathers", &kept.Gathers, maxFew)
		bound(l, "ai.insights", &kept.Insights, maxList)
		l.AI = kept.orNil()
	}
	l.boundDigits(maxDigits)
	if l.Transcript != nil {
		l.boundTranscript(maxPieces, maxTranscript)
	}
	if len(l.Conferences) > 0 {
		l.boundConferences(maxFew)
	}
}

func (h *Headers) orNil() *Headers {
	if len(h.Custom) == 0 && len(h.SIP) == 0 {
		return nil
	}
	return h
}

func (a *AI) orNil() *AI {
	if len(a.Conversations) == 0 && len(a.Gathers) == 0 && len(a.Insights) == 0 {
		return nil
	}
	return a
}

// bound puts a list in order and keeps its ends.
func bound[T entry](l *Leg, field string, list *[]T, most int) {
	if len(*list) == 0 {
		return
	}
	if !slices.IsSortedFunc(*list, byTime[T]) {
		*list = slices.Clone(*list)
		slices.SortStableFunc(*list, byTime[T])
	}
	var omitted int
	*list, omitted = Ends(*list, most)
	l.omit(field, omitted)
}

// cut keeps the beginning of a list.
func cut[T any](l *Leg, field string, list *[]T, most int) {
	if len(*list) > most {
		l.omit(field, len(*list)-most)
		*list = slices.Clip((*list)[:most])
	}
}

// omit counts what was left out of a list.
func (l *Leg) omit(field string, n int) {
	if n == 0 {
		return
	}
	if l.Omitted == nil {
		l.Omitted = make(map[string]int)
	}
	l.Omitted[field] += n
}

// boundDigits keeps the ends of what was keyed in; the count says how much that was.
func (l *Leg) boundDigits(most int) {
	if l.DTMF == nil {
		return
	}
	kept := *l.DTMF
	bound(l, "dtmf.digits", &kept.Digits, most)
	l.DTMF = &kept
}

// boundTranscript keeps the first pieces of the transcript.
func (l *Leg) boundTranscript(pieces, size int) {
	t := *l.Transcript
	if !slices.IsSortedFunc(t.Pieces, byTime[Piece]) {
		t.Pieces = slices.Clone(t.Pieces)
		slices.SortStableFunc(t.Pieces, byTime[Piece])
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
func (l *Leg) boundConferences(most int) {
	l.Conferences = slices.Clone(l.Conferences)
	for i := range l.Conferences {
		bound(l, "conferences.recordings", &l.Conferences[i].Recordings, most)
	}
}

// CompareRecordings orders recordings: by start, then by id.
func CompareRecordings(a, b Recording) int { return byTime(a, b) }

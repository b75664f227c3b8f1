package compose

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// listMerge merges the lists of late news onto those of a stored summary. An entry
// that is named after an event counts once: when the stored timeline does not know
// that event. So a redelivery adds nothing, whatever of the stored lists was left out.
type listMerge struct {
	into  *summary.Leg
	fresh map[string]bool    // ids of events that the stored timeline does not know
	left  map[time.Time]bool // when those of them occurred that end a visit to a queue
	later bool               // the news is of something that occurred later than all that is stored
}

// fresh returns the events that the stored timeline does not know.
func fresh(stored, news summary.Leg) []summary.Event {
	known := make(map[string]struct{}, len(stored.Events))
	for _, e := range stored.Events {
		known[e.ID] = struct{}{}
	}
	return slices.DeleteFunc(unrepeated(stored.Events, beside(stored, news.Events)), func(e summary.Event) bool {
		_, ok := known[e.ID]
		return ok
	})
}

// mergeLists merges the lists of news onto m, which is still the stored summary.
func mergeLists(m *summary.Leg, stored, news summary.Leg) {
	lm := listMerge{
		into: m, fresh: make(map[string]bool), left: make(map[time.Time]bool),
		later: !newest(news).Before(newest(stored)),
	}
	keys := 0
	for _, e := range fresh(stored, news) {
		lm.fresh[e.ID] = true
		switch e.Type {
		case call.TypeDTMF:
			keys++
		case call.TypeDequeued:
			lm.left[e.OccurredAt.Known()] = true
		}
	}
	m.Omitted = maps.Clone(m.Omitted)
	lm.keys(keys, news.DTMF)
	if len(lm.fresh) > 0 { // else it was counted before
		for field, n := range news.Omitted {
			omit(m, field, n)
		}
	}
	lm.said(news)
	addEvents(&lm, &m.RecordingErrors, news.RecordingErrors, recordingErrorMark)
	addEvents(&lm, &m.Streams, news.Streams, streamMark)
	addEvents(&lm, &m.Gathers, news.Gathers, gatherMark)
	addEvents(&lm, &m.Playbacks, news.Playbacks, playbackMark)
	addEvents(&lm, &m.Speaks, news.Speaks, speakMark)
	addEvents(&lm, &m.Payments, news.Payments, paymentMark)
	addEvents(&lm, &m.Refers, news.Refers, referMark)
	lm.queues(news)
	mergeByID(&lm, "recordings", &m.Recordings, news.Recordings, recordingMark, nil)
	mergeByID(&lm, "transcriptions", &m.Transcriptions, news.Transcriptions, transcriptionMark, nil)
	mergeByID(&lm, "conferences", &m.Conferences, news.Conferences, conferenceMark, lm.conference)
	lm.headers(news.Headers)
	lm.transcript(news.Transcript)
	lm.ai(news.AI)
}

// stale reports whether news of a field of which something was left out has been
// taken before: what was left out must not come back by itself, nor be counted once more.
func (lm *listMerge) stale(field string) bool {
	return lm.into.Omitted[field] > 0 && len(lm.fresh) == 0
}

// said takes what the application said last: by occurrence, not by arrival.
func (lm *listMerge) said(news summary.Leg) {
	if len(news.Tags) > 0 && (lm.later || len(lm.into.Tags) == 0) && !lm.stale("tags") {
		lm.into.Tags = news.Tags
		delete(lm.into.Omitted, "tags")
		omit(lm.into, "tags", news.Omitted["tags"])
	}
	if news.ClientState != "" && (lm.later || lm.into.ClientState == "") && !lm.stale("client_state") {
		lm.into.ClientState = news.ClientState
		delete(lm.into.Omitted, "client_state")
	}
}

// addEvents adds the entries that are named after events that are new.
func addEvents[T any](lm *listMerge, into *[]T, news []T, m mark[T]) {
	var added []T
	for _, v := range news {
		if lm.fresh[m.id(v)] {
			added = append(added, v)
		}
	}
	if len(added) > 0 {
		*into = slices.Concat(*into, added)
	}
}

// mergeByID adds the entries of ids that are new. Two of one id are merged by
// a function; without one the stored one stands. Where entries were left out, news is
// needed to take any: one that was left out must not be left out once more.
func mergeByID[T any](lm *listMerge, field string, into *[]T, news []T, m mark[T], both func(stored, news T) T) {
	if len(news) == 0 || lm.stale(field) {
		return
	}
	all := slices.Clone(*into)
	for _, v := range news {
		i := slices.IndexFunc(all, func(w T) bool { return m.id(w) == m.id(v) })
		switch {
		case i < 0:
			all = append(all, v)
		case both != nil:
			all[i] = both(all[i], v)
		}
	}
	*into = all
}

// keys adds what was keyed in; pressed is how many of the events are new.
func (lm *listMerge) keys(pressed int, news *summary.DTMF) {
	if pressed == 0 {
		return
	}
	d := copyOf(lm.into.DTMF)
	d.Count += pressed
	if news != nil {
		addEvents(lm, &d.Digits, news.Digits, digitMark)
	}
	lm.into.DTMF = &d
}

// conference merges two statements of one conference.
func (lm *listMerge) conference(stored, news summary.Conference) summary.Conference {
	c := stored
	earliest(&c.JoinedAt, news.JoinedAt)
	latest(&c.LeftAt, news.LeftAt)
	earliest(&c.CreatedAt, news.CreatedAt)
	latest(&c.EndedAt, news.EndedAt)
	c.Reason = cmp.Or(c.Reason, news.Reason)
	mergeByID(lm, "conferences.recordings", &c.Recordings, news.Recordings, recordingMark, nil)
	return c
}

// conversation merges two statements of one conversation.
func conversation(stored, news summary.Conversation) summary.Conversation {
	c := stored
	earliest(&c.StartedAt, news.StartedAt)
	latest(&c.EndedAt, news.EndedAt)
	latest(&c.FailedAt, news.FailedAt)
	c.AssistantID = cmp.Or(c.AssistantID, news.AssistantID)
	c.Reason = cmp.Or(c.Reason, news.Reason)
	c.DurationSeconds = cmp.Or(c.DurationSeconds, news.DurationSeconds)
	c.LLMModel = cmp.Or(c.LLMModel, news.LLMModel)
	c.STTModel = cmp.Or(c.STTModel, news.STTModel)
	c.TTSModel = cmp.Or(c.TTSModel, news.TTSModel)
	c.TTSProvider = cmp.Or(c.TTSProvider, news.TTSProvider)
	c.TTSVoice = cmp.Or(c.TTSVoice, news.TTSVoice)
	return c
}

// queues adds visits that are new, and what was waited in those whose end is. One
// whose beginning the stored summary knows ends that one.
func (lm *listMerge) queues(news summary.Leg) {
	if lm.into.QueueSeconds == nil {
		lm.into.QueueSeconds = news.QueueSeconds // of what is stored nothing was added up
	} else {
		for _, v := range news.Queues {
			if lm.left[v.LeftAt.Known()] {
				add(&lm.into.QueueSeconds, v.WaitSeconds)
			}
		}
	}
	for _, v := range news.Queues {
		all := slices.Clone(lm.into.Queues)
		i := -1
		switch {
		case lm.fresh[v.ID] && v.EnteredAt == nil:
			i = slices.IndexFunc(all, func(w summary.QueueVisit) bool {
				return w.Name == v.Name && w.LeftAt == nil && w.EnteredAt != nil && !w.EnteredAt.After(firstKnown(v.EnteredAt, v.LeftAt))
			})
		case lm.fresh[v.ID]:
		case lm.left[v.LeftAt.Known()]: // its beginning was stated once more
			i = slices.IndexFunc(all, func(w summary.QueueVisit) bool { return w.ID == v.ID && w.LeftAt == nil })
			if i < 0 {
				continue
			}
		default:
			continue
		}
		if i >= 0 {
			all[i].LeftAt, all[i].LeftPosition, all[i].WaitSeconds, all[i].Reason = v.LeftAt, v.LeftPosition, v.WaitSeconds, v.Reason
		} else {
			all = append(all, v)
		}
		lm.into.Queues = all
	}
}

func (lm *listMerge) headers(news *summary.Headers) {
	if news == nil {
		return
	}
	h := copyOf(lm.into.Headers)
	add := func(field string, into *[]summary.Header, news []summary.Header) {
		if lm.stale(field) {
			return
		}
		for _, v := range news {
			if !slices.Contains(*into, v) {
				*into = append(slices.Clip(*into), v)
			}
		}
	}
	add("headers.custom", &h.Custom, news.Custom)
	add("headers.sip", &h.SIP, news.SIP)
	lm.into.Headers = headersOrNil(&h)
}

func (lm *listMerge) transcript(news *summary.Transcript) {
	if news == nil {
		return
	}
	t := copyOf(lm.into.Transcript)
	addEvents(lm, &t.Pieces, news.Pieces, pieceMark)
	if len(lm.fresh) > 0 {
		t.TextOmitted += news.TextOmitted
	}
	if len(t.Pieces) > 0 || t.TextOmitted > 0 {
		lm.into.Transcript = &t
	}
}

func (lm *listMerge) ai(news *summary.AI) {
	if news == nil {
		return
	}
	ai := copyOf(lm.into.AI)
	mergeByID(lm, "ai.conversations", &ai.Conversations, news.Conversations, conversationMark, conversation)
	addEvents(lm, &ai.Gathers, news.Gathers, aiGatherMark)
	addEvents(lm, &ai.Insights, news.Insights, insightMark)
	lm.into.AI = aiOrNil(&ai)
}

// mergeDeepfake keeps the last result and the last error.
func mergeDeepfake(stored, news *summary.Deepfake) *summary.Deepfake {
	if stored == nil || news == nil {
		return cmp.Or(stored, news)
	}
	d := *stored
	if news.At.Known().After(stored.At.Known()) {
		d.Result, d.Score, d.Consistency, d.At = news.Result, news.Score, news.Consistency, news.At
	}
	if news.ErrorAt.Known().After(stored.ErrorAt.Known()) {
		d.Error, d.ErrorAt = news.Error, news.ErrorAt
	}
	return &d
}

func earliest(into **summary.Time, at *summary.Time) {
	if at != nil && (*into == nil || at.Before((*into).Time)) {
		*into = at
	}
}

func latest(into **summary.Time, at *summary.Time) {
	if at != nil && (*into == nil || at.After((*into).Time)) {
		*into = at
	}
}

package summary

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// The event types that merging has to know: what they tell is counted or added
// up, and only the timeline tells of which ones that was done.
const (
	typeDTMF     = "call.dtmf.received"
	typeHold     = "call.hold"
	typeUnhold   = "call.unhold"
	typeDequeued = "call.dequeued"
)

// uniting lays the lists of late news over those of a stored summary. An entry
// that is named after an event counts once: when the stored timeline does not know
// that event. So a redelivery adds nothing, whatever of the stored lists was left out.
type uniting struct {
	into  *Leg
	fresh map[string]bool    // ids of events that the stored timeline does not know
	left  map[time.Time]bool // when those of them occurred that end a visit to a queue
	later bool               // the news is of something that occurred later than all that is stored
}

// fresh returns the events that the stored timeline does not know.
func fresh(stored, news Leg) []Event {
	known := make(map[string]struct{}, len(stored.Events))
	for _, e := range stored.Events {
		known[e.ID] = struct{}{}
	}
	return slices.DeleteFunc(unrepeated(stored.Events, beside(stored, news.Events)), func(e Event) bool {
		_, ok := known[e.ID]
		return ok
	})
}

// uniteLists lays the lists of news over m, which is still the stored summary.
func uniteLists(m *Leg, stored, news Leg) {
	u := uniting{
		into: m, fresh: make(map[string]bool), left: make(map[time.Time]bool),
		later: !newest(news).Before(newest(stored)),
	}
	keys := 0
	for _, e := range fresh(stored, news) {
		u.fresh[e.ID] = true
		switch e.Type {
		case typeDTMF:
			keys++
		case typeDequeued:
			u.left[e.OccurredAt.Known()] = true
		}
	}
	m.Omitted = maps.Clone(m.Omitted)
	u.keys(keys, news.DTMF)
	if len(u.fresh) > 0 { // else it was counted before
		for field, n := range news.Omitted {
			m.omit(field, n)
		}
	}
	u.said(news)
	uniteEvents(&u, &m.RecordingErrors, news.RecordingErrors)
	uniteEvents(&u, &m.Streams, news.Streams)
	uniteEvents(&u, &m.Gathers, news.Gathers)
	uniteEvents(&u, &m.Playbacks, news.Playbacks)
	uniteEvents(&u, &m.Speaks, news.Speaks)
	uniteEvents(&u, &m.Payments, news.Payments)
	uniteEvents(&u, &m.Refers, news.Refers)
	u.queues(news)
	uniteThings(&u, "recordings", &m.Recordings, news.Recordings, nil)
	uniteThings(&u, "transcriptions", &m.Transcriptions, news.Transcriptions, nil)
	uniteThings(&u, "conferences", &m.Conferences, news.Conferences, u.conference)
	u.headers(news.Headers)
	u.transcript(news.Transcript)
	u.ai(news.AI)
}

// stale reports whether news of a field of which something was left out has been
// taken before: what was left out must not come back by itself, nor be counted once more.
func (u *uniting) stale(field string) bool { return u.into.Omitted[field] > 0 && len(u.fresh) == 0 }

// said takes what the application said last: by occurrence, not by arrival.
func (u *uniting) said(news Leg) {
	if len(news.Tags) > 0 && (u.later || len(u.into.Tags) == 0) && !u.stale("tags") {
		u.into.Tags = news.Tags
		delete(u.into.Omitted, "tags")
		u.into.omit("tags", news.Omitted["tags"])
	}
	if news.ClientState != "" && (u.later || u.into.ClientState == "") && !u.stale("client_state") {
		u.into.ClientState = news.ClientState
		delete(u.into.Omitted, "client_state")
	}
}

// uniteEvents adds the entries that are named after events that are new.
func uniteEvents[T entry](u *uniting, into *[]T, news []T) {
	var added []T
	for _, v := range news {
		if u.fresh[v.key()] {
			added = append(added, v)
		}
	}
	if len(added) > 0 {
		*into = slices.Concat(*into, added)
	}
}

// uniteThings adds the entries of ids that are new. Two of one id are united by
// a function; without one the stored one stands. Where entries were left out, news is
// needed to take any: one that was left out must not be left out once more.
func uniteThings[T entry](u *uniting, field string, into *[]T, news []T, both func(stored, news T) T) {
	if len(news) == 0 || u.stale(field) {
		return
	}
	all := slices.Clone(*into)
	for _, v := range news {
		i := slices.IndexFunc(all, func(w T) bool { return w.key() == v.key() })
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
func (u *uniting) keys(pressed int, news *DTMF) {
	if pressed == 0 {
		return
	}
	d := DTMF{}
	if u.into.DTMF != nil {
		d = *u.into.DTMF
	}
	d.Count += pressed
	if news != nil {
		uniteEvents(u, &d.Digits, news.Digits)
	}
	u.into.DTMF = &d
}

// conference unites what is told of one conference.
func (u *uniting) conference(stored, news Conference) Conference {
	c := stored
	earliest(&c.JoinedAt, news.JoinedAt)
	latest(&c.LeftAt, news.LeftAt)
	earliest(&c.CreatedAt, news.CreatedAt)
	latest(&c.EndedAt, news.EndedAt)
	first(&c.Reason, news.Reason)
	uniteThings(u, "conferences.recordings", &c.Recordings, news.Recordings, nil)
	return c
}

// conversation unites what is told of one conversation.
func conversation(stored, news Conversation) Conversation {
	c := stored
	earliest(&c.StartedAt, news.StartedAt)
	latest(&c.EndedAt, news.EndedAt)
	latest(&c.FailedAt, news.FailedAt)
	first(&c.AssistantID, news.AssistantID)
	first(&c.Reason, news.Reason)
	firstOf(&c.DurationSeconds, news.DurationSeconds)
	first(&c.LLMModel, news.LLMModel)
	first(&c.STTModel, news.STTModel)
	first(&c.TTSModel, news.TTSModel)
	first(&c.TTSProvider, news.TTSProvider)
	first(&c.TTSVoice, news.TTSVoice)
	return c
}

// queues adds visits that are new, and what was waited in those whose end is. One
// whose beginning the stored summary knows ends that one.
func (u *uniting) queues(news Leg) {
	if u.into.QueueSeconds == nil {
		u.into.QueueSeconds = news.QueueSeconds // of what is stored nothing was added up
	} else {
		for _, v := range news.Queues {
			if u.left[v.LeftAt.Known()] {
				add(&u.into.QueueSeconds, v.WaitSeconds)
			}
		}
	}
	for _, v := range news.Queues {
		all := slices.Clone(u.into.Queues)
		i := -1
		switch {
		case u.fresh[v.ID] && v.EnteredAt == nil:
			i = slices.IndexFunc(all, func(w QueueVisit) bool {
				return w.Name == v.Name && w.LeftAt == nil && w.EnteredAt != nil && !w.EnteredAt.After(v.when())
			})
		case u.fresh[v.ID]:
		case u.left[v.LeftAt.Known()]: // its beginning was told once more
			i = slices.IndexFunc(all, func(w QueueVisit) bool { return w.ID == v.ID && w.LeftAt == nil })
			if i < 0 {
				continue
			}
		default:
			continue
		}
		if i >= 0 {
			all[i].LeftAt, all[i].WaitSeconds, all[i].Reason = v.LeftAt, v.WaitSeconds, v.Reason
		} else {
			all = append(all, v)
		}
		u.into.Queues = all
	}
}

func (u *uniting) headers(news *Headers) {
	if news == nil {
		return
	}
	h := Headers{}
	if u.into.Headers != nil {
		h = *u.into.Headers
	}
	add := func(field string, into *[]Header, news []Header) {
		if u.stale(field) {
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
	u.into.Headers = h.orNil()
}

func (u *uniting) transcript(news *Transcript) {
	if news == nil {
		return
	}
	t := Transcript{}
	if u.into.Transcript != nil {
		t = *u.into.Transcript
	}
	uniteEvents(u, &t.Pieces, news.Pieces)
	if len(u.fresh) > 0 {
		t.TextOmitted += news.TextOmitted
	}
	if len(t.Pieces) > 0 || t.TextOmitted > 0 {
		u.into.Transcript = &t
	}
}

func (u *uniting) ai(news *AI) {
	if news == nil {
		return
	}
	ai := AI{}
	if u.into.AI != nil {
		ai = *u.into.AI
	}
	uniteThings(u, "ai.conversations", &ai.Conversations, news.Conversations, conversation)
	uniteEvents(u, &ai.Gathers, news.Gathers)
	uniteEvents(u, &ai.Insights, news.Insights)
	u.into.AI = ai.orNil()
}

// mergeDeepfake keeps the last result and the last error.
func mergeDeepfake(stored, news *Deepfake) *Deepfake {
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

func earliest(into **Time, at *Time) {
	choose(into, at, func(a, b time.Time) bool { return b.Before(a) })
}

func latest(into **Time, at *Time) { choose(into, at, func(a, b time.Time) bool { return b.After(a) }) }

func choose(into **Time, at *Time, better func(a, b time.Time) bool) {
	if at != nil && (*into == nil || better((*into).Time, at.Time)) {
		*into = at
	}
}

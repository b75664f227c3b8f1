package compose

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/summary"
)

// leastKeeping is what bookkeeping needs of a small body: what changed, reasons, revision.
const leastKeeping = 8 << 10

// MaxContent bounds the content of a leg's summary whose body may have so many bytes: the rest is for what changed,
// reasons and other bookkeeping.
func MaxContent(body int) int { return body - max(body/16, leastKeeping) }

// FitLeg returns the summary and its content, truncated as far as the size of its body asks for. What is left
// out, and in which order, hangs on the summary and that size alone: the same summary is always truncated alike. Each
// part that is truncated says how much it left out. Nearly every summary is returned as it is.
func FitLeg(l summary.Leg, body int) (summary.Leg, []byte, error) { return fit(l, MaxContent(body)) }

func fit(l summary.Leg, limit int) (summary.Leg, []byte, error) {
	content, err := LegContent(l)
	for i := 0; err == nil && len(content) > limit && i < len(truncations); i++ {
		truncations[i].apply(&l)
		content, err = LegContent(l)
	}
	return l, content, err
}

// truncation is one step of making a summary smaller.
type truncation struct {
	// what is left out, in words.
	what   string
	limits limits
	// and is what is to be done beyond the limits; nil: nothing.
	and func(*summary.Leg)
}

func (t truncation) apply(l *summary.Leg) {
	truncateLeg(l, t.limits)
	if t.and != nil {
		t.and(l)
	}
}

// truncations are applied one after the other until the summary fits: first what is
// as long as no phone call has it, then what is long, last what the leg is known by. Doing a step twice does
// no more than doing it once, so that a summary that was truncated, stored, and
// merged with late news is truncated to the same again.
var truncations = []truncation{
	{"parties, names, states and tags past 32 KiB each", nil, func(l *summary.Leg) { truncateTexts(l, 32<<10) }},
	{"all but the last 8 messages of each AI gather", nil, func(l *summary.Leg) { truncateMessages(l, 8) }},
	{"the messages of AI gathers", nil, func(l *summary.Leg) { truncateMessages(l, 0) }},
	{"all but 10 insights", limits{"ai.insights": 10}, nil},
	{"all but the first 100 pieces of the transcript", limits{"transcript.pieces": 100}, nil},
	{"what transcriptions say past 16 KiB", nil, func(l *summary.Leg) { truncateTranscriptions(l, 16<<10) }},
	{"insights", limits{"ai.insights": 0}, nil},
	{"the transcript", limits{"transcript.pieces": 0}, nil},
	{"what transcriptions say", nil, func(l *summary.Leg) { truncateTranscriptions(l, 0) }},
	{"headers", limits{"headers.custom": 0, "headers.sip": 0}, nil},
	{"all but 10 playbacks and speaks", limits{"playbacks": 10, "speaks": 10}, nil},
	{"all but 10 of the other lists of events", limits{
		"dtmf.digits": 10, "gathers": 10, "payments": 10, "queues": 10, "refers": 10, "streams": 10,
		"recording_errors": 10, "transcriptions": 10, "ai.conversations": 10, "ai.gathers": 10,
	}, nil},
	{"all but the first and the last 50 events", nil, func(l *summary.Leg) { truncateEvents(l, 100) }},
	{"all but 10 recordings, and of 4 conferences 2 each", limits{"recordings": 10, "conferences": 4, "conferences.recordings": 2}, nil},
	{"URLs of recordings", nil, dropURLs},
	{"all but the first and the last 10 events", nil, func(l *summary.Leg) { truncateEvents(l, 20) }},
	{"all but 4 of the lists of events", limits{
		"playbacks": 4, "speaks": 4, "dtmf.digits": 4, "gathers": 4, "payments": 4, "queues": 4, "refers": 4, "streams": 4,
		"recording_errors": 4, "transcriptions": 4, "ai.conversations": 4, "ai.gathers": 4,
	}, nil},
	{"parties, names, states and tags past 512 bytes each", nil, func(l *summary.Leg) { truncateTexts(l, 512) }},
}

func truncateMessages(l *summary.Leg, keep int) {
	if l.AI == nil {
		return
	}
	gathers := slices.Clone(l.AI.Gathers)
	for i := range gathers {
		g := &gathers[i] // message_count tells how many there were
		g.Messages = g.Messages[max(0, len(g.Messages)-keep):]
	}
	l.AI.Gathers = gathers
}

// truncateTranscriptions leaves each transcription an equal part of size, at most.
func truncateTranscriptions(l *summary.Leg, size int) {
	list := slices.Clone(l.Transcriptions)
	for i := range list {
		t := &list[i]
		kept := start(t.Text, size/len(list))
		t.TextOmitted += len(t.Text) - len(kept)
		t.Text = kept
	}
	l.Transcriptions = list
}

func truncateEvents(l *summary.Leg, limit int) {
	var omitted int
	l.Events, omitted = ends(l.Events, limit)
	l.EventsOmitted += omitted
}

// dropURLs leaves the URLs out: those who need a recording can ask for it by its id.
func dropURLs(l *summary.Leg) {
	l.Recordings = withoutURLs(l, l.Recordings)
	for i := range l.Conferences {
		l.Conferences[i].Recordings = withoutURLs(l, l.Conferences[i].Recordings)
	}
}

func withoutURLs(l *summary.Leg, list []summary.Recording) []summary.Recording {
	list = slices.Clone(list)
	for i := range list {
		r := &list[i]
		omit(l, "recordings.urls", len(r.URLs)+len(r.PublicURLs))
		r.URLs, r.PublicURLs, r.URLsExpireAt = nil, nil, nil
	}
	return list
}

// truncateTexts is for what the far end or the application made as long as a book.
// Of a text the beginning stays; a state is of no use without its end, and tags stay or go together.
func truncateTexts(l *summary.Leg, limit int) {
	size := 0
	for _, t := range l.Tags {
		size += len(t)
	}
	if size > limit {
		keepStart(l, nil, "tags", &l.Tags, 0)
	}
	leaveOut(l, "client_state", &l.ClientState, limit)
	leaveOut(l, "status.client_state", &l.Status.ClientState, limit)
	l.ClientStateText = start(l.ClientStateText, limit)
	for _, text := range []*string{&l.From, &l.To, &l.FromSIPURI, &l.ToSIPURI, &l.CallerName, &l.OfferedCodecs, &l.Status.RecordType} {
		kept := start(*text, limit)
		omit(l, "texts", len(*text)-len(kept))
		*text = kept
	}
}

// leaveOut leaves a text out that is longer than the limit.
func leaveOut(l *summary.Leg, field string, text *string, limit int) {
	if n := len(*text); n > limit {
		*text = ""
		// Late news states it again: it is one text that is left out, not two.
		delete(l.Omitted, field)
		omit(l, field, n)
	}
}

// start is the beginning of a text, of at most so many bytes, cut between characters.
func start(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// mostBridges bounds the bridges of a session whose message would be too large.
const mostBridges = 500

// maxSession is what a session's content may have whose body may have so many bytes.
func maxSession(body int) int { return body - max(body/8, leastKeeping) }

// FitSession returns the session as it can be published in a body of so many bytes, and its content. Past the limit what it has from its
// own events is truncated to the ends of the lists; then its legs carry their ids and results
// in place of their parties and times, bridges keep the first 500 and count the rest, and, past it even then, the
// last legs are left out and counted; totals always count all.
func FitSession(s summary.Session, body int) (summary.Session, []byte, error) {
	content, err := SessionContent(s)
	for step := 0; err == nil && len(content) > maxSession(body); step++ {
		switch {
		case step == 0:
			truncateEventsOf(&s)
		case step == 1:
			truncateLegs(&s)
		case len(s.Legs) == 0:
			return s, content, nil
		default:
			keep := len(s.Legs) * 9 / 10
			s.LegsOmitted += len(s.Legs) - keep
			s.Legs = s.Legs[:keep]
		}
		content, err = SessionContent(s)
	}
	return s, content, err
}

// truncateLegs leaves of the legs their ids and results, and of the bridges the first.
func truncateLegs(s *summary.Session) {
	legs := make([]summary.SessionLeg, len(s.Legs))
	for i, l := range s.Legs {
		legs[i] = summary.SessionLeg{
			CallLegID: l.CallLegID, Outcome: l.Outcome, EndedBy: l.EndedBy, StatusState: l.StatusState, Revision: l.Revision,
		}
	}
	s.Legs = legs
	known := len(s.Bridges) + s.Omitted[bridgesField]
	s.Bridges = s.Bridges[:min(len(s.Bridges), mostBridges)]
	omitBridges(s, known-len(s.Bridges))
}

// bridgesField is what the bridges that are left out are counted under.
const bridgesField = "bridges"

// omitBridges says how many bridges are left out.
func omitBridges(s *summary.Session, n int) {
	if n <= 0 {
		return
	}
	s.Omitted = maps.Clone(s.Omitted) // it may be another revision's
	if s.Omitted == nil {
		s.Omitted = make(map[string]int)
	}
	s.Omitted[bridgesField] = n
}

// asLeg is what a session has from its own events, in the form in which a leg has it.
func asLeg(s *summary.Session) summary.Leg {
	return summary.Leg{
		FirstReceivedAt: s.FirstReceivedAt, Events: s.Events, EventsOmitted: s.EventsOmitted,
		Conferences: s.Conferences, Recordings: s.Recordings, Playbacks: s.Playbacks, Speaks: s.Speaks,
		UnreadFields: s.UnreadFields, Omitted: s.Omitted,
	}
}

// takeEvents takes over what a session has from its own events, from a leg that was
// made of them.
func takeEvents(s *summary.Session, l *summary.Leg) {
	bridges := s.Omitted[bridgesField] // they come from no such event
	s.Events, s.EventsOmitted = l.Events, l.EventsOmitted
	s.Conferences, s.Recordings, s.Playbacks, s.Speaks = l.Conferences, l.Recordings, l.Playbacks, l.Speaks
	s.UnreadFields, s.Omitted = l.UnreadFields, maps.Clone(l.Omitted)
	maps.DeleteFunc(s.Omitted, func(field string, _ int) bool {
		// The other lists of a leg have no place in a session; its events show them.
		return field != "recordings" && field != "playbacks" && field != "speaks" && !strings.HasPrefix(field, "conferences")
	})
	omitBridges(s, bridges)
}

// keepEvents merges what the session has from its own events onto what its stored
// summary has from such events, unless the session knows them all itself.
func keepEvents(s *summary.Session, stored *summary.Session) {
	news, past := asLeg(s), asLeg(stored)
	if !Covers(news, past) {
		merged := MergeLeg(past, news)
		takeEvents(s, &merged)
	}
	s.EventCount = max(s.EventCount, stored.EventCount, len(s.Events)+s.EventsOmitted)
}

// sessionWithout returns the session without events of its own that have turned out to
// be a leg's, and without what came from them.
func sessionWithout(s summary.Session, other summary.Leg) summary.Session {
	if len(other.Events) == 0 {
		return s
	}
	count := len(s.Events)
	s.Events = without(s.Events, other.Events, eventMark)
	s.EventCount -= count - len(s.Events)
	s.Playbacks = without(s.Playbacks, other.Playbacks, playbackMark)
	s.Speaks = without(s.Speaks, other.Speaks, speakMark)
	s.Recordings = without(s.Recordings, other.Recordings, recordingMark)
	var kept []summary.Conference
	for _, c := range s.Conferences {
		i := slices.IndexFunc(other.Conferences, func(t summary.Conference) bool { return t.ID == c.ID })
		if i >= 0 {
			c = conferenceWithout(c, other.Conferences[i])
		}
		if at, _ := conferenceMark(c); i < 0 || !at.IsZero() || len(c.Recordings) > 0 {
			kept = append(kept, c)
		}
	}
	s.Conferences = kept
	return s
}

// without returns a list without the entries of another.
func without[T any](list, others []T, m mark[T]) []T {
	drop := make(map[string]bool, len(others))
	for _, v := range others {
		drop[m.id(v)] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return drop[m.id(v)] })
}

// conferenceWithout returns a conference without what is stated of it elsewhere.
func conferenceWithout(c summary.Conference, other summary.Conference) summary.Conference {
	for _, t := range []struct {
		into  **summary.Time
		other *summary.Time
	}{{&c.JoinedAt, other.JoinedAt}, {&c.LeftAt, other.LeftAt}, {&c.CreatedAt, other.CreatedAt}, {&c.EndedAt, other.EndedAt}} {
		if t.other != nil && (*t.into).Known().Equal(t.other.Time) {
			*t.into = nil
		}
	}
	if c.EndedAt == nil {
		c.Reason = ""
	}
	c.Recordings = without(c.Recordings, other.Recordings, recordingMark)
	return c
}

// truncateEventsOf keeps the ends of what the session has from its own events.
func truncateEventsOf(s *summary.Session) {
	l := asLeg(s)
	truncateLeg(&l, limits{"playbacks": 10, "speaks": 10, "recordings": 10, "conferences": 4, "conferences.recordings": 2})
	dropURLs(&l)
	truncateEvents(&l, 20)
	takeEvents(s, &l)
}

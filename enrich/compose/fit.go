package compose

import (
	"slices"
	"unicode/utf8"

	"github.com/legato-calls/legato/enrich/summary"
)

// MaxContent bounds the content of a leg's summary, in bytes: a message of 512
// KiB less what changed, reasons and other bookkeeping need.
const MaxContent = 480 << 10

// FitLeg returns the summary and its content, shed of as much as the bound of its
// size asks for. What is shed, and in which order, hangs on the summary alone:
// the same summary is always shed alike. Each part that is shed says how much it left
// out. Nearly every summary is returned as it is.
func FitLeg(l summary.Leg) (summary.Leg, []byte, error) { return fit(l, MaxContent) }

func fit(l summary.Leg, most int) (summary.Leg, []byte, error) {
	content, err := LegContent(l)
	for i := 0; err == nil && len(content) > most && i < len(sheds); i++ {
		l = apart(l)
		sheds[i].from(&l)
		content, err = LegContent(l)
	}
	return l, content, err
}

// shed is one step of making a summary smaller.
type shed struct {
	// what is shed, in words.
	what string
	from func(*summary.Leg)
}

// sheds are applied one after the other until the summary fits: first what is
// as long as no phone call has it, then what is long, last what the leg is known by. Doing a step twice does
// no more than doing it once, so that a summary that was shed, stored, and
// merged with late news is shed to the same again.
var sheds = []shed{
	{"parties, names, states and tags past 32 KiB each", func(l *summary.Leg) { shedTexts(l, 32<<10) }},
	{"all but the last 8 messages of each AI gather", func(l *summary.Leg) { shedMessages(l, 8) }},
	{"the messages of AI gathers", func(l *summary.Leg) { shedMessages(l, 0) }},
	{"all but 10 insights", func(l *summary.Leg) { shedInsights(l, 10) }},
	{"all but the first 100 pieces of the transcript", func(l *summary.Leg) { shedTranscript(l, 100) }},
	{"what transcriptions say past 16 KiB", func(l *summary.Leg) { shedTranscriptions(l, 16<<10) }},
	{"insights", func(l *summary.Leg) { shedInsights(l, 0) }},
	{"the transcript", func(l *summary.Leg) { shedTranscript(l, 0) }},
	{"what transcriptions say", func(l *summary.Leg) { shedTranscriptions(l, 0) }},
	{"headers", shedHeaders},
	{"all but 10 playbacks and speaks", func(l *summary.Leg) {
		bound(l, "playbacks", &l.Playbacks, 10, playbackMark)
		bound(l, "speaks", &l.Speaks, 10, speakMark)
	}},
	{"all but 10 of the other lists of events", shedLists},
	{"all but the first and the last 50 events", func(l *summary.Leg) { shedEvents(l, 100) }},
	{"all but 10 recordings, and of 4 conferences 2 each", func(l *summary.Leg) {
		bound(l, "recordings", &l.Recordings, 10, recordingMark)
		bound(l, "conferences", &l.Conferences, 4, conferenceMark)
		boundConferences(l, 2)
	}},
	{"URLs of recordings", shedURLs},
	{"all but the first and the last 10 events", func(l *summary.Leg) { shedEvents(l, 20) }},
	{"parties, names, states and tags past 512 bytes each", func(l *summary.Leg) { shedTexts(l, 512) }},
}

// apart returns a copy whose parts can be changed without changing the
// original's. Lists are never written to, only replaced.
func apart(l summary.Leg) summary.Leg {
	boundLeg(&l)
	return l
}

func shedMessages(l *summary.Leg, keep int) {
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

func shedInsights(l *summary.Leg, keep int) {
	if l.AI != nil {
		bound(l, "ai.insights", &l.AI.Insights, keep, insightMark)
		l.AI = aiOrNil(l.AI)
	}
}

func shedTranscript(l *summary.Leg, keep int) {
	if l.Transcript != nil {
		boundTranscript(l, keep, maxTranscript)
	}
}

// shedTranscriptions leaves each transcription an equal part of size, at most.
func shedTranscriptions(l *summary.Leg, size int) {
	list := slices.Clone(l.Transcriptions)
	for i := range list {
		t := &list[i]
		kept := start(t.Text, size/len(list))
		t.TextOmitted += len(t.Text) - len(kept)
		t.Text = kept
	}
	l.Transcriptions = list
}

func shedHeaders(l *summary.Leg) {
	if h := l.Headers; h != nil {
		cut(l, "headers.custom", &h.Custom, 0)
		cut(l, "headers.sip", &h.SIP, 0)
		l.Headers = nil
	}
}

func shedLists(l *summary.Leg) {
	boundDigits(l, 10)
	bound(l, "gathers", &l.Gathers, 10, gatherMark)
	bound(l, "payments", &l.Payments, 10, paymentMark)
	bound(l, "queues", &l.Queues, 10, queueMark)
	bound(l, "refers", &l.Refers, 10, referMark)
	bound(l, "streams", &l.Streams, 10, streamMark)
	bound(l, "recording_errors", &l.RecordingErrors, 10, recordingErrorMark)
	bound(l, "transcriptions", &l.Transcriptions, 10, transcriptionMark)
	if l.AI != nil {
		bound(l, "ai.conversations", &l.AI.Conversations, 10, conversationMark)
		bound(l, "ai.gathers", &l.AI.Gathers, 10, aiGatherMark)
	}
}

func shedEvents(l *summary.Leg, most int) {
	var omitted int
	l.Events, omitted = ends(l.Events, most)
	l.EventsOmitted += omitted
}

// shedURLs leaves the URLs out: those who need a recording can ask for it by its id.
func shedURLs(l *summary.Leg) {
	l.Recordings = withoutURLs(l, l.Recordings)
	l.Conferences = slices.Clone(l.Conferences)
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

// shedTexts is for what the far end or the application made as long as a book.
// Of a text the beginning stays; a state is of no use without its end, and tags stay or go together.
func shedTexts(l *summary.Leg, most int) {
	size := 0
	for _, t := range l.Tags {
		size += len(t)
	}
	if size > most {
		cut(l, "tags", &l.Tags, 0)
	}
	leaveOut(l, "client_state", &l.ClientState, most)
	leaveOut(l, "status.client_state", &l.Status.ClientState, most)
	l.ClientStateText = start(l.ClientStateText, most)
	for _, text := range []*string{&l.From, &l.To, &l.CallerName, &l.OfferedCodecs, &l.Status.RecordType} {
		kept := start(*text, most)
		omit(l, "texts", len(*text)-len(kept))
		*text = kept
	}
}

// leaveOut leaves a text out that is longer than most.
func leaveOut(l *summary.Leg, field string, text *string, most int) {
	if n := len(*text); n > most {
		*text = ""
		// Late news states it again: it is one text that is left out, not two.
		delete(l.Omitted, field)
		omit(l, field, n)
	}
}

// start is the beginning of a text, of at most so many bytes, cut between characters.
func start(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

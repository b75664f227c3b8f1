package summary

import (
	"slices"
	"unicode/utf8"
)

// MaxContent bounds the content of a leg's summary, in bytes: a message of 512
// KiB less what changed, reasons and other bookkeeping need.
const MaxContent = 480 << 10

// Fit returns the summary and its content, shed of as much as the bound of its
// size asks for. What is shed, and in which order, hangs on the summary alone:
// the same summary is always shed alike. Each part that is shed says how much it left
// out. Nearly every summary is returned as it is.
func Fit(l Leg) (Leg, []byte, error) { return fit(l, MaxContent) }

func fit(l Leg, most int) (Leg, []byte, error) {
	content, err := l.Content()
	for i := 0; err == nil && len(content) > most && i < len(sheds); i++ {
		l = l.apart()
		sheds[i].from(&l)
		content, err = l.Content()
	}
	return l, content, err
}

// shed is one step of making a summary smaller.
type shed struct {
	// what is shed, in words.
	what string
	from func(*Leg)
}

// sheds are applied one after the other until the summary fits: first what is
// as long as no phone call has it, then what is long, last what the leg is known by. Doing a step twice does
// no more than doing it once, so that a summary that was shed, stored, and
// merged with late news is shed to the same again.
var sheds = []shed{
	{"parties, names, states and tags past 32 KiB each", func(l *Leg) { l.shedTexts(32 << 10) }},
	{"all but the last 8 messages of each AI gather", func(l *Leg) { l.shedMessages(8) }},
	{"the messages of AI gathers", func(l *Leg) { l.shedMessages(0) }},
	{"all but 10 insights", func(l *Leg) { l.shedInsights(10) }},
	{"all but the first 100 pieces of the transcript", func(l *Leg) { l.shedTranscript(100) }},
	{"what transcriptions say past 16 KiB", func(l *Leg) { l.shedTranscriptions(16 << 10) }},
	{"insights", func(l *Leg) { l.shedInsights(0) }},
	{"the transcript", func(l *Leg) { l.shedTranscript(0) }},
	{"what transcriptions say", func(l *Leg) { l.shedTranscriptions(0) }},
	{"headers", (*Leg).shedHeaders},
	{"all but 10 playbacks and speaks", func(l *Leg) {
		bound(l, "playbacks", &l.Playbacks, 10)
		bound(l, "speaks", &l.Speaks, 10)
	}},
	{"all but 10 of the other lists of events", (*Leg).shedLists},
	{"all but the first and the last 50 events", func(l *Leg) { l.shedEvents(100) }},
	{"all but 10 recordings, and of 4 conferences 2 each", func(l *Leg) {
		bound(l, "recordings", &l.Recordings, 10)
		bound(l, "conferences", &l.Conferences, 4)
		l.boundConferences(2)
	}},
	{"URLs of recordings", (*Leg).shedURLs},
	{"all but the first and the last 10 events", func(l *Leg) { l.shedEvents(20) }},
	{"parties, names, states and tags past 512 bytes each", func(l *Leg) { l.shedTexts(512) }},
}

// apart returns a copy whose parts can be changed without changing the
// original's. Lists are never written to, only replaced.
func (l Leg) apart() Leg {
	l.Bound()
	return l
}

func (l *Leg) shedMessages(keep int) {
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

func (l *Leg) shedInsights(keep int) {
	if l.AI != nil {
		bound(l, "ai.insights", &l.AI.Insights, keep)
		l.AI = l.AI.orNil()
	}
}

func (l *Leg) shedTranscript(keep int) {
	if l.Transcript != nil {
		l.boundTranscript(keep, maxTranscript)
	}
}

// shedTranscriptions leaves each transcription an equal part of size, at most.
func (l *Leg) shedTranscriptions(size int) {
	list := slices.Clone(l.Transcriptions)
	for i := range list {
		t := &list[i]
		kept := start(t.Text, size/len(list))
		t.TextOmitted += len(t.Text) - len(kept)
		t.Text = kept
	}
	l.Transcriptions = list
}

func (l *Leg) shedHeaders() {
	if h := l.Headers; h != nil {
		cut(l, "headers.custom", &h.Custom, 0)
		cut(l, "headers.sip", &h.SIP, 0)
		l.Headers = nil
	}
}

func (l *Leg) shedLists() {
	l.boundDigits(10)
	bound(l, "gathers", &l.Gathers, 10)
	bound(l, "payments", &l.Payments, 10)
	bound(l, "queues", &l.Queues, 10)
	bound(l, "refers", &l.Refers, 10)
	bound(l, "streams", &l.Streams, 10)
	bound(l, "recording_errors", &l.RecordingErrors, 10)
	bound(l, "transcriptions", &l.Transcriptions, 10)
	if l.AI != nil {
		bound(l, "ai.conversations", &l.AI.Conversations, 10)
		bound(l, "ai.gathers", &l.AI.Gathers, 10)
	}
}

func (l *Leg) shedEvents(most int) {
	var omitted int
	l.Events, omitted = Ends(l.Events, most)
	l.EventsOmitted += omitted
}

// shedURLs leaves the URLs out: those who need a recording can ask for it by its id.
func (l *Leg) shedURLs() {
	l.Recordings = l.withoutURLs(l.Recordings)
	l.Conferences = slices.Clone(l.Conferences)
	for i := range l.Conferences {
		l.Conferences[i].Recordings = l.withoutURLs(l.Conferences[i].Recordings)
	}
}

func (l *Leg) withoutURLs(list []Recording) []Recording {
	list = slices.Clone(list)
	for i := range list {
		r := &list[i]
		l.omit("recordings.urls", len(r.URLs)+len(r.PublicURLs))
		r.URLs, r.PublicURLs, r.URLsExpireAt = nil, nil, nil
	}
	return list
}

// shedTexts is for what the far end or the application made as long as a book.
// Of a text the beginning stays; a state is of no use without its end, and tags stay or go together.
func (l *Leg) shedTexts(most int) {
	size := 0
	for _, t := range l.Tags {
		size += len(t)
	}
	if size > most {
		cut(l, "tags", &l.Tags, 0)
	}
	l.leaveOut("client_state", &l.ClientState, most)
	l.leaveOut("status.client_state", &l.Status.ClientState, most)
	l.ClientStateText = start(l.ClientStateText, most)
	for _, text := range []*string{&l.From, &l.To, &l.CallerName, &l.OfferedCodecs, &l.Status.RecordType} {
		kept := start(*text, most)
		l.omit("texts", len(*text)-len(kept))
		*text = kept
	}
}

// leaveOut leaves a text out that is longer than most.
func (l *Leg) leaveOut(field string, text *string, most int) {
	if n := len(*text); n > most {
		*text = ""
		// Late news states it again: it is one text that is left out, not two.
		delete(l.Omitted, field)
		l.omit(field, n)
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

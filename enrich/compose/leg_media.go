package compose

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// maxURLLife is the longest that a signed URL can be made to work, by the form of its signature: seven days.
const maxURLLife = 7 * 24 * time.Hour

// expiry returns when the first of the URLs stops working, as they say it themselves; zero: none says it. Those into the
// customer's own storage do not.
func expiry(links map[string]string) (first time.Time) {
	for _, link := range links {
		u, err := url.Parse(link)
		if err != nil {
			continue
		}
		signed, errDate := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
		seconds, errLife := strconv.ParseInt(u.Query().Get("X-Amz-Expires"), 10, 32)
		life := time.Duration(seconds) * time.Second
		if errDate != nil || errLife != nil || life <= 0 || life > maxURLLife {
			continue
		}
		if at := signed.Add(life); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// place returns the entry of a list that is kept by an id, a new one where there is none.
func place[T any](c *legComposer, list *[]T, field, id string) *T {
	if c.index == nil {
		c.index = make(map[string]int)
	}
	k := field + "/" + id
	i, ok := c.index[k]
	if !ok {
		var none T
		i = len(*list)
		c.index[k] = i
		*list = append(*list, none)
	}
	return &(*list)[i]
}

// named is the id that a thing has, or that of the event that mentions it.
func named(id string, e *session.Event) string {
	if id == "" {
		return e.ID
	}
	return id
}

// media takes what is recorded, transcribed, streamed, played and spoken.
func (c *legComposer) media(e *session.Event) {
	l, at := &c.leg, summary.At(e.OccurredAt)
	switch d := e.Detail.(type) {
	case *call.Recording:
		c.recording(e, d)
	case *call.RecordingError:
		l.RecordingErrors = append(l.RecordingErrors, summary.RecordingError{ID: e.ID, At: at, Reason: d.Reason})
	case *call.Transcription:
		// The last statement by occurrence stands, as of a recording.
		id := named(d.ID, e)
		*place(c, &l.Transcriptions, "transcriptions", id) = summary.Transcription{
			ID: id, RecordingID: d.Recording, At: at, Status: d.Status, Text: d.Text, TextOmitted: d.TextOmitted,
		}
	case *call.Utterance:
		if l.Transcript == nil {
			l.Transcript = &summary.Transcript{}
		}
		l.Transcript.TextOmitted += d.TextOmitted
		l.Transcript.Pieces = append(l.Transcript.Pieces, summary.Piece{
			ID: e.ID, At: at, Track: d.Track, Text: d.Text, Confidence: measured(d.Confidence, 0, 1),
		})
	case *call.Streaming:
		c.stream(e, summary.Stream{Kind: "streaming", StreamID: d.ID, Type: d.Type, Track: d.Track, Reason: d.Reason})
	case *call.Fork:
		c.stream(e, summary.Stream{Kind: "fork", Type: d.Type})
	case *call.SIPREC:
		c.stream(e, summary.Stream{Kind: "siprec", Reason: d.Cause})
	case *call.Playback:
		if state(e) == "ended" {
			l.Playbacks = append(l.Playbacks, summary.Playback{ID: e.ID, At: at, Media: d.Media, Status: d.Status, StatusDetail: d.StatusDetail, ConferenceID: d.Conference})
		}
	case *call.Speech:
		if state(e) == "ended" {
			l.Speaks = append(l.Speaks, summary.Speak{ID: e.ID, At: at, Status: d.Status, ConferenceID: d.Conference})
		}
	}
}

// state is the last word of an event's type: started, stopped, ended, ….
func state(e *session.Event) string { return e.Type[strings.LastIndexByte(e.Type, '.')+1:] }

func (c *legComposer) stream(e *session.Event, s summary.Stream) {
	s.ID, s.At, s.State = e.ID, summary.At(e.OccurredAt), state(e)
	c.leg.Streams = append(c.leg.Streams, s)
}

// recording merges the events of one recording: the last statement by occurrence stands.
func (c *legComposer) recording(e *session.Event, d *call.Recording) {
	r := summary.Recording{
		ID: named(d.ID, e), Channels: d.Channels, Format: d.Format,
		StartedAt: summary.At(d.StartedAt), EndedAt: summary.At(d.EndedAt),
		URLs: d.URLs, URLsExpireAt: summary.At(expiry(d.URLs)), PublicURLs: d.PublicURLs,
	}
	if d.Conference == "" {
		*place(c, &c.leg.Recordings, "recordings", r.ID) = r
		return
	}
	of := place(c, &c.leg.Conferences, "conferences", d.Conference)
	of.ID = d.Conference
	*place(c, &of.Recordings, "recordings of "+d.Conference, r.ID) = r
}

// deepfake takes the last result and the last error.
func (c *legComposer) deepfake(e *session.Event, d *call.Deepfake) {
	if c.leg.Deepfake == nil {
		c.leg.Deepfake = &summary.Deepfake{}
	}
	into, at := c.leg.Deepfake, summary.At(e.OccurredAt)
	if e.Type == call.TypeDeepfakeError {
		into.Error, into.ErrorAt = d.Error, at
		return
	}
	into.Result, into.Score, into.Consistency, into.At = d.Result, measured(d.Score, 0, 1), measured(d.Consistency, 0, 100), at
}

func (c *legComposer) quality(q *call.Quality) {
	if q == nil {
		return
	}
	out := &summary.Quality{Inbound: c.streamQuality(q.Inbound), Outbound: c.streamQuality(q.Outbound)}
	if out.Inbound != nil || out.Outbound != nil {
		c.leg.Quality = out
	}
}

func (c *legComposer) streamQuality(s *call.Stream) *summary.StreamQuality {
	if s == nil {
		return nil
	}
	out := &summary.StreamQuality{
		MOS: measured(s.MOS, minMOS, maxMOS), JitterMaxVariance: measured(s.JitterMaxVariance, 0, maxJitter),
		JitterPackets: within(s.JitterPackets, 0, maxCount), Packets: within(s.Packets, 0, maxCount),
		SkippedPackets: within(s.SkippedPackets, 0, maxCount),
	}
	if s.Packets != nil && *s.Packets == 0 {
		c.doubt(summary.NoteMOSWithoutPackets, s.MOS != nil)
		out.MOS = nil // a perfect score of nothing
	}
	return out
}

func (c *legComposer) machine() *summary.MachineDetection {
	if c.leg.MachineDetection == nil {
		c.leg.MachineDetection = &summary.MachineDetection{}
	}
	return c.leg.MachineDetection
}

// detection takes the last word of the detection, of the greeting and of a call screening.
func (c *legComposer) detection(e *session.Event, d *call.Machine) {
	m, at := c.machine(), summary.At(e.OccurredAt)
	switch e.Type {
	case call.TypeMachineDetection, call.TypeMachinePremium:
		m.Result, m.DetectedAt = d.Result, at
	case call.TypeMachineGreeting, call.TypeMachinePremiumGreet:
		m.Greeting, m.GreetingAt = d.Result, at
	case call.TypeMachineScreening:
		m.ScreenedAt = at
	}
}

// settled returns the detection without a result that a later call screening made void: the phone had answered
// itself, and the detection began again. A later result stands.
func settled(m *summary.MachineDetection) *summary.MachineDetection {
	if m == nil || m.ScreenedAt == nil || !m.DetectedAt.Known().Before(m.ScreenedAt.Time) {
		return m
	}
	s := *m
	s.Result, s.DetectedAt = "", nil
	return &s
}

// verdict is who answered, by a settled detection; empty when nothing was detected. A beep, which with premium
// detection can take the place of a result, makes a machine of a result that is none.
func verdict(m *summary.MachineDetection) summary.AnsweredBy {
	if m == nil {
		return ""
	}
	beep := m.Greeting == "beep_detected" && (m.ScreenedAt == nil || !m.GreetingAt.Known().Before(m.ScreenedAt.Time))
	switch m.Result {
	case "", "not_sure", "silence":
		if beep {
			return summary.AnsweredByMachine
		}
		if m.Result == "" && m.ScreenedAt != nil {
			return summary.AnsweredByUnknown
		}
	}
	return answeredBy(m.Result)
}

// mergeDetection merges two statements of one leg's detection: of each part the later stands.
func mergeDetection(before, after *summary.MachineDetection) *summary.MachineDetection {
	if before == nil || after == nil {
		return cmp.Or(before, after)
	}
	m := *before
	if after.Result != "" && !after.DetectedAt.Known().Before(m.DetectedAt.Known()) {
		m.Result, m.DetectedAt = after.Result, after.DetectedAt
	}
	if after.Greeting != "" && !after.GreetingAt.Known().Before(m.GreetingAt.Known()) {
		m.Greeting, m.GreetingAt = after.Greeting, after.GreetingAt
	}
	latest(&m.ScreenedAt, after.ScreenedAt)
	m.Premium = before.Premium || after.Premium
	return settled(&m)
}

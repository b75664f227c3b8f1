package compose

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// dialog takes what was entered, paid, and said to assistants. Digits, which can be
// PINs and cards, are only there to be taken where the deployment includes them.
func (c *legComposer) dialog(e *session.Event) {
	l, at := &c.leg, summary.At(e.OccurredAt)
	switch d := e.Detail.(type) {
	case *call.DTMF:
		if l.DTMF == nil {
			l.DTMF = &summary.DTMF{}
		}
		l.DTMF.Count++
		if d.Digit != "" {
			l.DTMF.Digits = append(l.DTMF.Digits, summary.Digit{ID: e.ID, At: at, Digit: d.Digit})
		}
	case *call.Gather:
		l.Gathers = append(l.Gathers, summary.Gather{ID: e.ID, At: at, Status: d.Status, DigitCount: d.DigitCount, Digits: d.Digits})
	case *call.Payment:
		l.Payments = append(l.Payments, summary.Payment{
			ID: e.ID, At: at, Step: d.Step, Status: d.Status, ChargeID: d.ChargeID,
			ConfirmationCode: d.ConfirmationCode, ConnectorError: d.ConnectorError, ErrorCode: d.ErrorCode,
		})
	case *call.AIGather:
		c.aiGather(e, d)
	case *call.Conversation:
		c.conversation(e, d)
	case *call.Insights:
		for _, r := range d.Results {
			i := summary.Insight{ID: e.ID, At: at, GroupID: d.Group, InsightID: r.ID}
			if json.Unmarshal([]byte(r.Result), &i.Text) != nil {
				i.JSON = string(r.Result)
			}
			c.ai().Insights = append(c.ai().Insights, i)
		}
	}
}

func (c *legComposer) ai() *summary.AI {
	if c.leg.AI == nil {
		c.leg.AI = &summary.AI{}
	}
	return c.leg.AI
}

// conversation merges the events of one conversation: of what several state, the last stands.
func (c *legComposer) conversation(e *session.Event, d *call.Conversation) {
	id, at := named(d.ID, e), summary.At(e.OccurredAt)
	v := place(c, &c.ai().Conversations, "conversations", id)
	v.ID = id
	switch e.Type {
	case call.TypeConversationNew:
		if v.StartedAt == nil {
			v.StartedAt = at
		}
	case call.TypeConversationEnded:
		v.EndedAt = at
	case call.TypeConversationFailed:
		v.FailedAt = at
	}
	v.AssistantID = cmp.Or(d.Assistant, v.AssistantID)
	v.Reason = cmp.Or(d.Reason, v.Reason)
	if seconds := lasted(d.DurationSeconds); seconds != nil {
		v.DurationSeconds = seconds
	}
	if m := d.Models; m != nil {
		v.LLMModel, v.STTModel, v.TTSModel, v.TTSProvider, v.TTSVoice = m.LLM, m.STT, m.TTS, m.TTSProvider, m.TTSVoice
	}
}

// aiGather is an AI gather that is going on. Its events repeat the messages so
// far or the last of them: by their numbers they make up the whole.
type aiGather struct {
	summary.AIGather
	from int // the number of the first message that is kept
}

// aiGather goes on with a gather, and ends it with its last event.
func (c *legComposer) aiGather(e *session.Event, d *call.AIGather) {
	if c.gather == nil {
		c.gather = &aiGather{AIGather: summary.AIGather{ID: e.ID}}
	}
	g := c.gather
	g.At = summary.At(e.OccurredAt)
	g.say(d)
	if e.Type == call.TypeAIGatherEnded {
		g.ID, g.Status = e.ID, d.Status
		c.endGather()
	}
}

// say merges messages onto those that are known. Where some in between are not
// known, those before the gap are left out.
func (g *aiGather) say(d *call.AIGather) {
	from := d.MessagesTotal - len(d.Messages)
	if len(d.Messages) == 0 || d.MessagesTotal < g.MessageCount {
		return
	}
	var before []summary.Message
	if known := g.from + len(g.Messages); from > g.from && from <= known {
		before = g.Messages[:from-g.from]
	} else {
		g.from = from
	}
	said := slices.Clone(before)
	for _, m := range d.Messages {
		said = append(said, summary.Message{Role: m.Role, Content: m.Content})
	}
	g.Messages, g.MessageCount = said, d.MessagesTotal
	size := 0
	for i, m := range slices.Backward(g.Messages) {
		if size += len(m.Content); size > call.MaxHistory || len(g.Messages)-i > call.MaxMessages {
			g.Messages, g.from = g.Messages[i+1:], g.from+i+1
			break
		}
	}
}

// endGather lists the gather that was going on.
func (c *legComposer) endGather() {
	if c.gather != nil {
		c.ai().Gathers = append(c.ai().Gathers, c.gather.AIGather)
		c.gather = nil
	}
}

// headers adds what an event states of the leg's SIP headers, each pair once.
func (c *legComposer) headers(h *call.Headers) {
	if h == nil {
		return
	}
	if c.leg.Headers == nil {
		c.leg.Headers = &summary.Headers{}
	}
	addHeaders(&c.leg.Headers.Custom, h.Custom)
	addHeaders(&c.leg.Headers.SIP, h.SIP)
}

func addHeaders(into *[]summary.Header, stated []call.Header) {
	for _, h := range stated {
		if s := (summary.Header{Name: h.Name, Value: h.Value}); !slices.Contains(*into, s) {
			*into = append(*into, s)
		}
	}
}

// queue opens a visit, or closes the last open one of that queue. A leg waits in
// one queue at a time, but an event that closed a visit can be lost.
func (c *legComposer) queue(e *session.Event, d *call.Queue) {
	at := summary.At(e.OccurredAt)
	if e.Type == call.TypeEnqueued {
		c.leg.Queues = append(c.leg.Queues, summary.QueueVisit{
			ID: e.ID, Name: d.Name, EnteredAt: at, EnteredPosition: within(d.Position, 0, maxCount),
			AverageWaitSeconds: lasted(d.AverageWaitSeconds),
		})
		return
	}
	wait := lasted(d.WaitSeconds)
	add(&c.queued, wait)
	v := summary.QueueVisit{ID: e.ID, Name: d.Name}
	into := &v
	if n := len(c.leg.Queues); n > 0 {
		if last := &c.leg.Queues[n-1]; last.Name == d.Name && last.LeftAt == nil && last.Reason == "" {
			into = last
		}
	}
	into.LeftAt, into.LeftPosition, into.Reason = at, within(d.Position, 0, maxCount), d.Reason
	if wait != nil {
		into.WaitSeconds = wait
	}
	if into == &v {
		c.leg.Queues = append(c.leg.Queues, v)
	}
}

func (c *legComposer) refer(e *session.Event, d *call.Refer) {
	c.leg.Refers = append(c.leg.Refers, summary.Refer{ID: e.ID, At: summary.At(e.OccurredAt), State: state(e), SIPCode: d.SIPCode})
}

// conference merges the events of one conference: the first join, the last leave.
func (c *legComposer) conference(e *session.Event, d *call.Conference) {
	if d.ID == "" {
		return // it stands in the timeline
	}
	v, at := place(c, &c.leg.Conferences, "conferences", d.ID), summary.At(e.OccurredAt)
	v.ID = d.ID
	switch e.Type {
	case call.TypeConferenceCreated:
		v.CreatedAt = at
	case call.TypeConferenceJoined:
		if v.JoinedAt == nil {
			v.JoinedAt = at
		}
	case call.TypeConferenceLeft:
		v.LeftAt = at
	case call.TypeConferenceEnded:
		v.EndedAt, v.Reason = at, d.Reason
	}
}

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

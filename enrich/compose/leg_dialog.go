package compose

import (
	"cmp"
	"encoding/json"
	"slices"

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

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

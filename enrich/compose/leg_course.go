package compose

import (
	"slices"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

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

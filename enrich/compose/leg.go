package compose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// skew is how much later than its receipt an event may occur before the clocks are doubted.
const skew = time.Minute

// Leg makes the summary of a leg from what the log says about it.
// Revision, changed, reasons and published_at are the publication's to fill in.
//
// Per field, the first or the last event by occurrence decides, as stated at
// the field; the order in which events came in never does. What is bounded here
// is the summary: the fold keeps the details of every event (each bounded when it was
// read, see the package call) for as long as it keeps the session.
func Leg(sid call.SessionID, v *session.LegView) summary.Leg {
	c := newLegComposer(v)
	c.leg.CallSessionID = string(sid)
	for _, e := range v.Events {
		c.facts(e)
		c.event(e)
	}
	c.timeline()
	c.status()
	c.reconcile()
	c.finish()
	return c.leg
}

type legComposer struct {
	view *session.LegView
	leg  summary.Leg

	answered bool
	queued   *summary.Seconds
	// events are the whole timeline.
	events []summary.Event
	// gather is the AI gather that is going on; nil: none is.
	gather *aiGather
	// index finds entries of the lists that are kept by an id of their own.
	index map[string]int
	// seen and doubts are what the rest of the summary does not show.
	seen   []summary.Part
	doubts []summary.Note
}

func newLegComposer(v *session.LegView) *legComposer {
	return &legComposer{view: v, leg: summary.Leg{
		Kind:      summary.KindLeg,
		Schema:    summary.Schema,
		CallLegID: string(v.ID),
		Sources:   make(map[string]summary.Source),
	}}
}

// setTime states a time unless an earlier event has stated it.
func (c *legComposer) setTime(field string, into **summary.Time, at time.Time, e *session.Event) {
	if *into != nil || at.IsZero() {
		return
	}
	*into = summary.At(at)
	c.leg.Sources[field] = summary.SourceWebhook
	if e.Backfill {
		c.leg.Sources[field] = summary.SourceBackfill
	}
}

func (c *legComposer) doubt(n summary.Note, holds bool) {
	if holds && !slices.Contains(c.doubts, n) {
		c.doubts = append(c.doubts, n)
	}
}

// facts takes what any event may state about its leg.
func (c *legComposer) facts(e *session.Event) {
	f := e.Facts
	c.leg.CallControlID = cmp.Or(c.leg.CallControlID, string(f.Control))
	c.leg.ConnectionID = cmp.Or(c.leg.ConnectionID, string(f.Connection))
	c.leg.From = cmp.Or(c.leg.From, f.From)
	c.leg.To = cmp.Or(c.leg.To, f.To)
	c.leg.FromSIPURI = cmp.Or(c.leg.FromSIPURI, f.FromSIP)
	c.leg.ToSIPURI = cmp.Or(c.leg.ToSIPURI, f.ToSIP)
	c.leg.CallingPartyType = cmp.Or(c.leg.CallingPartyType, f.CallingParty)
	c.setTime("started_at", &c.leg.StartedAt, f.StartTime, e)
	c.doubt(summary.NoteDetailsCut, f.Truncated)
	// The application may change these during the call: the last one stands.
	if f.ClientState != "" {
		c.leg.ClientState = f.ClientState
	}
	if len(f.Tags) > 0 {
		c.leg.Tags = f.Tags
	}
}

// event takes what only an event of its type states.
func (c *legComposer) event(e *session.Event) {
	c.leg.UnreadFields = union(c.leg.UnreadFields, e.Facts.Unread, strings.Clone, strings.Compare)
	switch e.Type {
	case call.TypeInitiated:
		c.seen = append(c.seen, summary.PartInitiated)
	case call.TypeAnswered:
		c.answered, c.seen = true, append(c.seen, summary.PartAnswered)
		c.setTime("answered_at", &c.leg.AnsweredAt, e.OccurredAt, e)
	case call.TypeBridged:
		c.answered = true
		c.setTime("bridged_at", &c.leg.BridgedAt, e.OccurredAt, e)
	case call.TypeMachinePremium, call.TypeMachinePremiumGreet, call.TypeMachinePremiumStart, call.TypeMachineScreening:
		c.machine().Premium = true
	}
	if e.Detail != nil {
		c.doubt(summary.NoteDetailsCut, e.Detail.IsTruncated())
		c.detail(e)
	}
}

// detail takes what the event's detail states; that of most types is one entry of a list.
func (c *legComposer) detail(e *session.Event) {
	switch d := e.Detail.(type) {
	case *call.Initiated:
		c.begin(d)
	case *call.Answered:
		if c.leg.Codec == "" && c.leg.SamplingRate == nil {
			c.leg.Codec, c.leg.SamplingRate = d.Codec, within(d.SamplingRate, 0, maxSamplingRate)
		}
		c.headers(d.Headers)
	case *call.Hangup:
		c.hangup(e, d)
	case *call.Cost:
		var notes []summary.Note
		c.leg.Cost, notes = mergeCost(c.leg.Cost, composeCost(d))
		for _, n := range notes {
			c.doubt(n, true)
		}
	case *call.Machine:
		c.detection(e, d)
	case *call.Deepfake:
		c.deepfake(e, d)
	case *call.Queue:
		c.queue(e, d)
	case *call.Refer:
		c.refer(e, d)
	case *call.Conference:
		c.conference(e, d)
	case *call.DTMF, *call.Gather, *call.Payment, *call.AIGather, *call.Conversation, *call.Insights:
		c.dialog(e)
	default:
		c.media(e)
	}
}

// begin takes what call.initiated states; the first to state it is right.
func (c *legComposer) begin(d *call.Initiated) {
	l := &c.leg
	l.Direction = cmp.Or(l.Direction, d.Direction)
	l.CallerName = cmp.Or(l.CallerName, d.CallerName)
	l.Screening = cmp.Or(l.Screening, d.Screening)
	l.OfferedCodecs = cmp.Or(l.OfferedCodecs, d.OfferedCodecs)
	if l.STIRShaken == nil && (d.Attestation != "" || d.Validated != nil) {
		l.STIRShaken = &summary.STIRShaken{Attestation: d.Attestation, Validated: d.Validated}
	}
	c.headers(d.Headers)
}

// hangup takes the first hangup by occurrence.
func (c *legComposer) hangup(e *session.Event, d *call.Hangup) {
	if c.leg.Hangup == nil {
		c.leg.Hangup = &summary.Hangup{Cause: d.Cause, Source: d.Source, SIPCode: d.SIPCode}
		if d.Fault != nil {
			c.leg.Hangup.Fault = &summary.Fault{Code: d.Fault.Code, Title: d.Fault.Title}
		}
		c.quality(d.Quality)
	}
	c.headers(d.Headers)
	at := d.EndTime
	if at.IsZero() {
		at = e.OccurredAt
	}
	c.setTime("ended_at", &c.leg.EndedAt, at, e)
}

func (c *legComposer) timeline() {
	events := make([]summary.Event, len(c.view.Events))
	for i, e := range c.view.Events {
		events[i] = summary.Event{
			ID: e.ID, Type: e.Type, OccurredAt: summary.At(e.OccurredAt),
			ReceivedAt: summary.MustAt(e.ReceivedAt), Attempt: e.Attempt, Backfill: e.Backfill, Approximate: e.Approximate,
		}
		c.doubt(summary.NoteClockSkew, e.OccurredAt.Sub(e.ReceivedAt) > skew)
		c.doubt(summary.NoteRedelivered, e.Attempt > 1)
		if received := events[i].ReceivedAt; i == 0 || received.Before(c.leg.FirstReceivedAt.Time) {
			c.leg.FirstReceivedAt = received
		}
	}
	c.events = events
	c.leg.Events, c.leg.EventsOmitted = ends(events, maxEvents)
}

// finish fills in what follows from the rest.
func (c *legComposer) finish() {
	l, v := &c.leg, c.view
	// Outgoing legs have no start_time on call.initiated; its occurrence is the
	// next best, and can lie a little after the start that later events state.
	for _, e := range v.Events {
		if e.Type == call.TypeInitiated {
			c.setTime("started_at", &l.StartedAt, e.OccurredAt, e)
		}
	}
	h := copyOf(l.Hangup)
	if l.Hangup != nil {
		l.Hangup.Party = party(l.Direction, h.Source)
	}
	l.Outcome = outcome(c.answered, h.Cause, h.Source, h.SIPCode)
	l.MachineDetection = settled(l.MachineDetection)
	l.AnsweredBy = verdict(l.MachineDetection)
	l.EndedBy = endedBy(v.Ending)
	l.HoldSeconds, l.QueueSeconds = held(c.events, l.EndedAt), c.queued
	c.endGather()
	times := summary.Times{HangupReceivedAt: summary.At(v.Hangup)}
	if v.Confirmed != nil {
		times.EnrichedAt = summary.At(v.Confirmed.At)
	}
	if times != (summary.Times{}) {
		l.Times = &times
	}
	truncateLeg(l, nil)
	derive(l)
	annotate(l, c.seen, c.doubts)
}

func endedBy(e session.Ending) summary.EndedBy {
	switch e {
	case session.ByHangup:
		return summary.EndedByHangup
	case session.ByStatus:
		return summary.EndedByStatus
	case session.Gone:
		return summary.EndedByGone
	case session.Expired, session.NotOver:
	}
	return summary.EndedByExpired
}

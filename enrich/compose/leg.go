// Package compose says what a summary says: it makes the summary of a leg or a session from a view of the
// fold, merges late news onto a stored summary whose call has left the log, fits the result to the
// size of a message, and compares two revisions.
//
// Everything here is a function of its arguments: no clock, no I/O, no state. The order in which events
// came in never matters. A summary is bounded: its lists by number, the whole by its size (FitLeg, FitSession).
//
// It does not know when a summary is due, nor how one is stored.
package compose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
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

const (
	// agreement is how far webhook and status may differ and still say the
	// same: within it the webhook's finer value stands, beyond it the status's, if that is possible.
	agreement = time.Second
	// farOutside is how far a status may be from what the webhooks say of the same moment. Both are by Telnyx's clock;
	// beyond it the status is about another moment, or none.
	farOutside = time.Minute
	// longestRinging is how long before its answer a leg can have begun: Telnyx lets it ring for 600 s.
	longestRinging = 10 * time.Minute
)

// reconcile holds the status's start and end against the webhooks'. What a status states differs from them by more
// than a second wins, unless it cannot be true of this call, or may be the time of the answer: no source says whether
// the status counts from the ringing or from the answer. What does not win is listed.
func (c *legComposer) reconcile() {
	a := c.view.Confirmed
	if a == nil {
		return
	}
	w := c.witnessed()
	crossed := !a.StartTime.IsZero() && !a.EndTime.IsZero() && a.EndTime.Before(a.StartTime)
	start := !crossed && w.canStart(a.StartTime) && !near(a.StartTime, w.answered, agreement)
	end := !crossed && w.canEnd(a.EndTime)
	c.reconcileTime("started_at", &c.leg.StartedAt, a.StartTime, start)
	c.reconcileTime("ended_at", &c.leg.EndedAt, a.EndTime, end)
}

// reconcileTime lists what differs, and takes it when it is credible.
func (c *legComposer) reconcileTime(field string, into **summary.Time, at time.Time, credible bool) {
	if at.IsZero() {
		return
	}
	stated := summary.MustAt(at)
	switch {
	case *into != nil && near(stated.Time, (*into).Time, agreement):
		return
	case *into != nil:
		c.leg.Discrepancies = append(c.leg.Discrepancies, summary.Discrepancy{
			Field: field, Webhook: **into, Status: stated, DifferenceSeconds: summary.Difference((*into).Time, stated.Time),
		})
	case !credible:
		c.doubt(summary.NoteDiscrepancy, true)
	}
	if credible {
		*into = &stated
		c.leg.Sources[field] = summary.SourceStatus
	}
}

// witnessed is what the webhooks say about when a leg lived. A time that they do not state is zero.
type witnessed struct {
	// first is when the first event occurred, answered when the leg was answered or bridged, whichever was first, and
	// bridged when it was bridged.
	first, answered, bridged time.Time
	// talked is when the last event occurred that only a leg has which was answered, and has not ended.
	talked time.Time
	// started and ended are as stated.
	started, ended time.Time
	// begun: the first event is that of the leg's beginning.
	begun bool
}

func (c *legComposer) witnessed() witnessed {
	w := witnessed{
		started: c.leg.StartedAt.Known(), ended: c.leg.EndedAt.Known(), answered: c.leg.AnsweredAt.Known(), bridged: c.leg.BridgedAt.Known(),
	}
	if w.answered.IsZero() || !w.bridged.IsZero() && w.bridged.Before(w.answered) {
		w.answered = w.bridged
	}
	for _, e := range c.view.Events {
		if !e.OccurredAt.IsZero() && (w.first.IsZero() || e.OccurredAt.Before(w.first)) {
			w.first = e.OccurredAt
		}
		if t := call.EventTypeOf(e.Type); t.Answered && !t.After && !e.Approximate && e.OccurredAt.After(w.talked) {
			w.talked = e.OccurredAt
		}
	}
	w.begun = c.leg.Direction != ""
	return w
}

// canStart reports whether the leg can have started at a time: no later than it was answered or ended, and not far from
// the first that was heard of it; of a leg whose beginning was not heard of, no longer before that than a leg lives.
func (w *witnessed) canStart(at time.Time) bool {
	earliest := w.first.Add(-summary.MaxLegSeconds * time.Second)
	if w.begun {
		earliest = w.first.Add(-farOutside)
	}
	return !after(at, w.answered, agreement) && !after(at, w.ended, agreement) && !after(at, w.first, farOutside) &&
		(w.first.IsZero() || !at.Before(earliest)) &&
		(w.started.IsZero() || near(at, w.started, longestRinging))
}

// canEnd reports whether the leg can have ended at a time: not before anything that happened in it, nor longer after
// that than a leg lives, and not far from its hangup. All are Telnyx's times: a replica's own clock may be wrong. What
// the end of a leg cuts short is told of after it.
func (w *witnessed) canEnd(at time.Time) bool {
	for _, before := range []time.Time{w.first, w.answered, w.bridged, w.started} {
		if after(before, at, agreement) {
			return false
		}
	}
	return !after(w.talked, at, farOutside) &&
		!after(at, w.first, summary.MaxLegSeconds*time.Second) && (w.ended.IsZero() || near(at, w.ended, farOutside))
}

// after reports whether a is known to be later than b by more than a tolerance.
func after(a, b time.Time, tolerance time.Duration) bool {
	return !a.IsZero() && !b.IsZero() && a.Sub(b) > tolerance
}

// near reports whether two times are known and no further apart than a tolerance.
func near(a, b time.Time, tolerance time.Duration) bool {
	return !a.IsZero() && !b.IsZero() && a.Sub(b).Abs() <= tolerance
}

// status states the result of asking: a confirmation if there is one; pending as
// long as there may be one yet; then the last answer that was an answer (not found, or still
// alive), else the last failure to get one, or that nobody asked. What one of many attempts came to is no news.
func (c *legComposer) status() {
	v, s := c.view, &c.leg.Status
	s.Attempts = v.Asked
	s.Final = v.Final
	if v.Control == "" {
		s.State = summary.StatusNotAsked
		return
	}
	chosen := v.Confirmed
	for _, a := range v.Answers {
		if v.Confirmed == nil && (chosen == nil || answers(a) || !answers(chosen)) {
			chosen = a
		}
	}
	if v.Last != nil {
		s.HTTPStatus = v.Last.HTTPStatus
	}
	switch {
	case v.Confirmed == nil && !v.Final:
		s.State = summary.StatusPending
		return
	case chosen == nil:
		s.State = summary.StatusNotAsked
		return
	}
	s.State = statusState(chosen, v.Confirmed != nil)
	s.FetchedAt = summary.At(chosen.FetchedAt)
	s.IsAlive = chosen.IsAlive
	s.StartTime, s.EndTime = summary.At(chosen.StartTime), summary.At(chosen.EndTime)
	s.ClientState, s.RecordType = chosen.ClientState, chosen.RecordType
	if d := chosen.CallDuration; d != nil && *d >= 0 && *d <= summary.MaxLegSeconds {
		s.CallDuration = summary.Lasting(time.Duration(*d * float64(time.Second)))
	}
}

// answers reports whether Telnyx said something about the leg, rather than nothing at all.
func answers(a *session.Received) bool {
	return a.Result == status.Answered || a.Result == status.NotFound
}

func statusState(a *session.Received, confirmed bool) summary.StatusState {
	switch {
	case confirmed:
		return summary.StatusConfirmed
	case a.Result == status.Answered:
		return summary.StatusPending // still alive for Telnyx: "not yet", not an answer
	}
	return summary.StatusState(a.Result) // the other results have the same words
}

// worstStatus ranks the states for a session, the worst first.
var worstStatus = []summary.StatusState{
	summary.StatusDenied, summary.StatusUnreachable, summary.StatusRateLimited, summary.StatusNotFound,
	summary.StatusNotAsked, summary.StatusPending, summary.StatusConfirmed,
}

// worstOf returns the worst of the states: the first that occurs of denied,
// unreachable, rate_limited, not_found, not_asked, pending, confirmed. Of none it is not_asked.
func worstOf(states []summary.StatusState) summary.StatusState {
	for _, worst := range worstStatus {
		for _, s := range states {
			if s == worst {
				return s
			}
		}
	}
	return summary.StatusNotAsked
}

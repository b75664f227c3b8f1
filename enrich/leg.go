package enrich

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/call"
	"github.com/shopspring/decimal"
)

const (
	// agreement is how far webhook and status may differ and still say the
	// same: within it the webhook's finer value stands, beyond it the status's.
	agreement = time.Second
	// urlLife is how long Telnyx's recording URLs work (X-Amz-Expires=600).
	urlLife = 10 * time.Minute
)

// composeLeg makes the summary of a leg from what the log says about it.
// Revision, changed, reasons and published_at are the publication's to fill in.
//
// Per field, the first or the last event by occurrence decides, as stated at
// the field; the order in which events came in never does.
func composeLeg(sid call.SessionID, v *session.LegView) summary.Leg {
	c := &legComposer{view: v, leg: summary.Leg{
		Kind:          summary.KindLeg,
		Schema:        summary.Schema,
		CallSessionID: string(sid),
		CallLegID:     string(v.ID),
		Sources:       make(map[string]summary.Source),
	}}
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

	answered   bool
	heldSince  time.Time
	held       time.Duration
	queued     *summary.Seconds
	recordings map[string]summary.Recording
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

func setFirst(into *string, value string) {
	if *into == "" {
		*into = value
	}
}

// facts takes what any event may state about its leg.
func (c *legComposer) facts(e *session.Event) {
	f := e.Facts
	setFirst(&c.leg.CallControlID, string(f.Control))
	setFirst(&c.leg.ConnectionID, string(f.Connection))
	setFirst(&c.leg.From, f.From)
	setFirst(&c.leg.To, f.To)
	c.setTime("started_at", &c.leg.StartedAt, f.StartTime, e)
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
	switch e.Type {
	case call.TypeAnswered:
		c.answered = true
		c.setTime("answered_at", &c.leg.AnsweredAt, e.OccurredAt, e)
	case call.TypeBridged:
		c.answered = true
		c.setTime("bridged_at", &c.leg.BridgedAt, e.OccurredAt, e)
	case call.TypeHold:
		if c.heldSince.IsZero() {
			c.heldSince = e.OccurredAt
		}
	case call.TypeUnhold:
		c.unhold(e.OccurredAt)
	case call.TypeMachinePremium, call.TypeMachinePremiumGreet:
		c.machine().Premium = true
	}
	switch d := e.Detail.(type) {
	case *call.Initiated:
		setFirst(&c.leg.Direction, d.Direction)
		setFirst(&c.leg.CallerName, d.CallerName)
	case *call.Hangup:
		c.hangup(e, d)
	case *call.Recording:
		c.recording(e, d)
	case *call.Cost:
		// A success is not undone by an error that follows it.
		if c.leg.Cost == nil || d.Status != "error" {
			c.leg.Cost = composeCost(d)
		}
	case *call.Machine:
		c.detection(e, d)
	case *call.Queue:
		if d.WaitSeconds != nil {
			total := summary.Seconds(*d.WaitSeconds)
			if c.queued != nil {
				total += *c.queued
			}
			c.queued = &total
		}
	}
}

// hangup takes the first hangup by occurrence.
func (c *legComposer) hangup(e *session.Event, d *call.Hangup) {
	if c.leg.Hangup == nil {
		c.leg.Hangup = &summary.Hangup{Cause: d.Cause, Source: d.Source, SIPCode: d.SIPCode}
		c.leg.Quality = composeQuality(d.Quality)
	}
	at := d.EndTime
	if at.IsZero() {
		at = e.OccurredAt
	}
	c.setTime("ended_at", &c.leg.EndedAt, at, e)
}

func (c *legComposer) machine() *summary.MachineDetection {
	if c.leg.MachineDetection == nil {
		c.leg.MachineDetection = &summary.MachineDetection{}
	}
	return c.leg.MachineDetection
}

// detection takes the last word of the detection and the last of the greeting.
func (c *legComposer) detection(e *session.Event, d *call.Machine) {
	m := c.machine()
	switch e.Type {
	case call.TypeMachineDetection, call.TypeMachinePremium:
		m.Result, m.DetectedAt = d.Result, summary.At(e.OccurredAt)
		c.leg.AnsweredBy = answeredBy(d.Result)
	case call.TypeMachineGreeting, call.TypeMachinePremiumGreet:
		m.Greeting = d.Result
		// With premium detection a beep suppresses the detection's own event.
		if c.leg.AnsweredBy == "" && d.Result == "beep_detected" {
			c.leg.AnsweredBy = summary.AnsweredByMachine
		}
	}
}

// unhold ends a hold; an unhold whose hold was not seen says nothing of its length.
func (c *legComposer) unhold(at time.Time) {
	if !c.heldSince.IsZero() && at.After(c.heldSince) {
		c.held += at.Sub(c.heldSince)
		c.leg.HoldSeconds = summary.Lasting(c.held)
	}
	c.heldSince = time.Time{}
}

// recording unites the events of one recording: the last statement by occurrence stands.
func (c *legComposer) recording(e *session.Event, d *call.Recording) {
	id := d.ID
	if id == "" {
		id = e.ID
	}
	r := summary.Recording{
		ID: id, Channels: d.Channels, Format: d.Format,
		StartedAt: summary.At(d.StartedAt), EndedAt: summary.At(d.EndedAt),
		URLs: d.URLs, PublicURLs: d.PublicURLs,
	}
	if len(d.URLs) > 0 && !e.OccurredAt.IsZero() {
		r.URLsExpireAt = summary.At(e.OccurredAt.Add(urlLife))
	}
	if c.recordings == nil {
		c.recordings = make(map[string]summary.Recording)
	}
	c.recordings[id] = r
}

func (c *legComposer) timeline() {
	events := make([]summary.Event, len(c.view.Events))
	for i, e := range c.view.Events {
		events[i] = summary.Event{
			ID: e.ID, Type: e.Type, OccurredAt: summary.At(e.OccurredAt),
			ReceivedAt: summary.MustAt(e.ReceivedAt), Attempt: e.Attempt, Backfill: e.Backfill,
		}
		if received := events[i].ReceivedAt; i == 0 || received.Before(c.leg.FirstReceivedAt.Time) {
			c.leg.FirstReceivedAt = received
		}
	}
	c.leg.Events, c.leg.EventsOmitted = summary.CutTimeline(events)
}

// status states the result of asking: a confirmation if there is one; pending as
// long as there may be one yet; then the last answer that was an answer (not found, or still
// alive), else the last failure to get one. What one of many attempts came to is no news.
func (c *legComposer) status() {
	v, s := c.view, &c.leg.Status
	s.Attempts = v.Asked
	s.Final = v.Final
	if v.Control == "" {
		s.State = summary.StatusNotAsked
		return
	}
	chosen := v.Confirmed
	var lastTry *session.Received
	for _, a := range v.Answers {
		if v.Confirmed == nil && (chosen == nil || answers(a) || !answers(chosen)) {
			chosen = a
		}
		if lastTry == nil || a.Seq > lastTry.Seq {
			lastTry = a
		}
	}
	if lastTry != nil {
		s.HTTPStatus = lastTry.HTTPStatus
	}
	if chosen == nil || v.Confirmed == nil && !v.Final {
		s.State = summary.StatusPending
		return
	}
	s.State = statusState(chosen, v.Confirmed != nil)
	s.FetchedAt = summary.At(chosen.FetchedAt)
	s.IsAlive = chosen.IsAlive
	s.StartTime, s.EndTime = summary.At(chosen.StartTime), summary.At(chosen.EndTime)
	s.ClientState, s.RecordType = chosen.ClientState, chosen.RecordType
	if chosen.CallDuration != nil {
		s.CallDuration = summary.Lasting(time.Duration(*chosen.CallDuration * float64(time.Second)))
	}
}

// answers reports whether Telnyx said something about the leg, rather than nothing at all.
func answers(a *session.Received) bool {
	return a.Result == status.Answered || a.Result == status.NotFound
}

func statusState(a *session.Received, confirmed bool) summary.StatusState {
	if confirmed {
		return summary.StatusConfirmed
	}
	switch a.Result {
	case status.NotFound:
		return summary.StatusNotFound
	case status.Denied:
		return summary.StatusDenied
	case status.RateLimited:
		return summary.StatusRateLimited
	case status.Unreachable:
		return summary.StatusUnreachable
	case status.Answered:
	}
	return summary.StatusPending // still alive for Telnyx: "not yet", not an answer
}

// reconcile holds the status's start and end against the webhooks'.
func (c *legComposer) reconcile() {
	a := c.view.Confirmed
	if a == nil {
		return
	}
	c.reconcileTime("started_at", &c.leg.StartedAt, a.StartTime)
	c.reconcileTime("ended_at", &c.leg.EndedAt, a.EndTime)
}

func (c *legComposer) reconcileTime(field string, into **summary.Time, at time.Time) {
	if at.IsZero() {
		return
	}
	told := summary.MustAt(at)
	if *into != nil {
		difference := told.Sub((*into).Time)
		if difference.Abs() <= agreement {
			return
		}
		c.leg.Discrepancies = append(c.leg.Discrepancies, summary.Discrepancy{
			Field: field, Webhook: **into, Status: told, DifferenceSeconds: *summary.Lasting(difference),
		})
	}
	*into = &told
	c.leg.Sources[field] = summary.SourceStatus
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
	var cause, sip string
	if l.Hangup != nil {
		l.Hangup.Party = party(l.Direction, l.Hangup.Source)
		cause, sip = l.Hangup.Cause, l.Hangup.SIPCode
	}
	l.Outcome = outcome(c.answered, cause, sip)
	l.EndedBy = endedBy(v.Ending)
	if !c.heldSince.IsZero() && l.EndedAt != nil {
		c.unhold(l.EndedAt.Time)
	}
	l.QueueSeconds = c.queued
	for _, r := range c.recordings {
		l.Recordings = append(l.Recordings, r)
	}
	slices.SortFunc(l.Recordings, summary.CompareRecordings)
	times := summary.Times{HangupReceivedAt: summary.At(v.Hangup)}
	if v.Confirmed != nil {
		times.EnrichedAt = summary.At(v.Confirmed.At)
	}
	if times != (summary.Times{}) {
		l.Times = &times
	}
	l.Derive()
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

func composeQuality(q *call.Quality) *summary.Quality {
	if q == nil {
		return nil
	}
	out := &summary.Quality{Inbound: composeStream(q.Inbound), Outbound: composeStream(q.Outbound)}
	if out.Inbound == nil && out.Outbound == nil {
		return nil
	}
	return out
}

func composeStream(s *call.Stream) *summary.StreamQuality {
	if s == nil {
		return nil
	}
	out := &summary.StreamQuality{
		MOS: s.MOS, JitterMaxVariance: s.JitterMaxVariance,
		JitterPackets: s.JitterPackets, Packets: s.Packets, SkippedPackets: s.SkippedPackets,
	}
	if s.Packets != nil && *s.Packets == 0 {
		out.MOS = nil // a perfect score of nothing
	}
	return out
}

func composeCost(d *call.Cost) *summary.Cost {
	c := &summary.Cost{Status: d.Status, BilledSeconds: d.BilledSeconds}
	amounts := make([]summary.Amount, 0, len(d.Parts))
	for _, p := range d.Parts {
		c.Parts = append(c.Parts, summary.CostPart{
			Part: p.Part, Amount: p.Amount, Currency: p.Currency, Rate: p.Rate, BilledSeconds: p.BilledSeconds,
		})
		amounts = append(amounts, summary.Amount{Currency: p.Currency, Amount: p.Amount})
	}
	c.Totals = addAmounts(amounts)
	if len(d.Parts) == 0 && d.Total != "" {
		c.Totals = addAmounts([]summary.Amount{{Amount: d.Total}})
	}
	return c
}

// addAmounts adds up money per currency, by currency. Text that is no decimal
// number is left out: it stays visible in its part.
func addAmounts(amounts []summary.Amount) []summary.Amount {
	totals := make(map[string]decimal.Decimal)
	for _, a := range amounts {
		d, err := decimal.NewFromString(a.Amount)
		if err != nil {
			continue
		}
		totals[a.Currency] = totals[a.Currency].Add(d)
	}
	return sortedTotals(totals)
}

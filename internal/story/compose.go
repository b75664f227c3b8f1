package story

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Known is what a story is made of. Everything but ID, Session and At may be missing.
type Known struct {
	// ID is what was asked for, Session the call that it belongs to, At the time.
	ID      string
	Session call.SessionID
	At      time.Time
	// View is the fold's, and Schedule what is to come by it.
	View     session.View
	Schedule []session.Scheduled
	// Entries are those of the log about the call, in order. Read: they are all that there are.
	Entries []call.Entry
	Read    bool
	// Part: View was made of a part of the entries that there are.
	Part bool
	// Cut: the log was not read to its end for want of time.
	Cut bool
	// Summaries are the stored revisions of the session and its legs, in the order of their stream.
	Summaries []summary.Stored
	// Parked are what is parked of it.
	Parked []Parked
	// Remarks say what could not be read.
	Remarks []string
}

// lateAfter is how much longer than others of its call an event may take before it counts as late: Telnyx delivers
// within a second or two, and what comes within the session's settle time of 5 s makes no revision.
const lateAfter = 5 * time.Second

// composer collects what a story is made of.
type composer struct {
	known Known
	story Story
	// last are the newest summaries of the legs, session that of the session.
	last    map[string]*summary.Leg
	session *summary.Session
	// seen are the events of the view, by identity.
	seen map[eventKey]bool
	// partial are the legs of which an event is known from a summary only; the empty one is the session.
	partial map[string]bool
}

type eventKey struct{ id, typ string }

// Compose makes the story. A summary that cannot be read is left out and remarked on.
func Compose(k Known) Story {
	c := &composer{known: k, last: make(map[string]*summary.Leg), seen: make(map[eventKey]bool), partial: make(map[string]bool)}
	c.story = Story{
		ID: k.ID, CallSessionID: string(k.Session), AsOf: k.At.UTC(), Legs: []Leg{}, Timeline: []Item{},
		Parked: k.Parked, Remarks: slices.Clone(k.Remarks), Cut: k.Cut,
	}
	c.published()
	c.events()
	c.answers()
	c.internalEntries()
	c.redeliveries()
	c.summarized()
	c.legs()
	c.late()
	c.missing()
	c.order()
	c.schedule()
	c.coverage()
	c.makeReadable()
	return c.story
}

func (c *composer) add(i Item) {
	i.At = i.At.UTC()
	if i.order.IsZero() {
		i.order = i.At
	}
	c.story.Timeline = append(c.story.Timeline, i)
}

// published takes the revisions, and the newest of each.
func (c *composer) published() {
	for _, s := range c.known.Summaries {
		p := &Published{Level: s.Key.Kind, Revision: s.Revision, Position: s.Position.Seq, Seq: s.Seq}
		var err error
		switch s.Key.Kind {
		case summary.KindLeg:
			leg := new(summary.Leg)
			if err = json.Unmarshal(s.Body, leg); err == nil {
				p.Outcome, p.StatusState, p.Reasons, p.Changed = leg.Outcome, leg.Status.State, leg.Reasons, leg.Changed
				c.last[s.Key.Leg] = leg
			}
		case summary.KindSession:
			of := new(summary.Session)
			if err = json.Unmarshal(s.Body, of); err == nil {
				p.Outcome, p.StatusState, p.Reasons, p.Changed = of.Outcome, of.StatusState, of.Reasons, of.Changed
				c.session = of
			}
		}
		if err != nil {
			c.remark("summary %d in the stream of summaries cannot be read", s.Seq)
			continue
		}
		c.add(Item{At: s.PublishedAt, order: c.notBefore(s), Kind: KindPublished, CallLegID: s.Key.Leg, Published: p})
	}
}

// notBefore is when a revision was made, but never before what it was made from: their times are by two clocks.
func (c *composer) notBefore(s summary.Stored) time.Time {
	at := s.PublishedAt.UTC()
	if s.Position.Log != c.known.View.Log {
		return at
	}
	for _, e := range c.known.Entries {
		if e.Seq <= s.Position.Seq && e.ReceivedAt.After(at) {
			at = e.ReceivedAt.UTC()
		}
	}
	return at
}

// events takes those of the fold.
func (c *composer) events() {
	for _, e := range c.known.View.Events {
		c.event("", e)
	}
	for i := range c.known.View.Legs {
		leg := &c.known.View.Legs[i]
		for _, e := range leg.Events {
			c.event(string(leg.ID), e)
		}
	}
}

func (c *composer) event(leg string, e *session.Event) {
	c.seen[eventKey{e.ID, e.Type}] = true
	out := &Event{ID: e.ID, Type: e.Type, OccurredAt: stated(e.OccurredAt), Attempt: e.Attempt, Backfill: e.Backfill}
	if h, ok := e.Detail.(*call.Hangup); ok {
		out.Cause, out.SIPCode = h.Cause, h.SIPCode
	}
	c.add(Item{At: e.ReceivedAt, Kind: KindEvent, CallLegID: leg, Seq: e.Seq, Event: out})
}

// answers takes the status answers of the fold.
func (c *composer) answers() {
	for i := range c.known.View.Legs {
		leg := &c.known.View.Legs[i]
		for _, a := range leg.Answers {
			c.add(Item{At: a.At, Kind: KindStatus, CallLegID: string(leg.ID), Seq: a.Seq, Status: &Status{
				Attempt: a.Attempt, Result: a.Result, Problem: a.Problem, HTTPStatus: a.HTTPStatus,
				IsAlive: a.IsAlive, EndTime: stated(a.EndTime), Confirms: leg.Confirmed != nil && leg.Confirmed.Seq == a.Seq,
			}})
		}
	}
}

// internalEntries takes the entries that the fold does not show: checks and backfills.
func (c *composer) internalEntries() {
	for _, e := range c.known.Entries {
		item := Item{At: e.ReceivedAt, CallLegID: string(e.Ref.Leg), Seq: e.Seq}
		var err error
		switch e.Topic {
		case call.TopicCheck:
			var check session.Check
			err = json.Unmarshal(e.Data, &check)
			item.Kind, item.CallLegID, item.Check = KindCheck, string(check.Leg), &Check{What: check.Kind, Attempt: check.Attempt}
		case call.TopicBackfill:
			var b session.Backfill
			err = json.Unmarshal(e.Data, &b)
			item.Kind, item.CallLegID, item.Backfill = KindBackfill, string(b.Leg), &Backfill{
				Attempt: b.Attempt, Result: b.Result, Problem: b.Problem, HTTPStatus: b.HTTPStatus,
				Rows: b.Rows, Added: b.Added, Whole: b.Whole,
			}
		default:
			continue
		}
		if err != nil {
			c.remark("entry %d of the log cannot be read", e.Seq)
			continue
		}
		c.add(item)
	}
}

// redeliveries takes the entries of events that the fold has from another entry, or not at all.
func (c *composer) redeliveries() {
	bySeq, byID := make(map[uint64]*Item), make(map[string]*Item)
	for _, item := range c.story.Timeline {
		if item.Kind == KindEvent {
			bySeq[item.Seq] = &item
		}
	}
	for _, e := range c.known.Entries {
		if item := bySeq[e.Seq]; item != nil {
			byID[e.ID] = item
		}
	}
	for _, e := range c.known.Entries {
		if e.EventType() == "" || bySeq[e.Seq] != nil {
			continue
		}
		item := Item{
			At: e.ReceivedAt, Kind: KindRedelivery, CallLegID: string(e.Ref.Leg), Seq: e.Seq,
			Event: &Event{Type: e.EventType(), Attempt: e.Attempt, Backfill: e.Backfill},
		}
		if first := byID[e.ID]; first != nil {
			item.CallLegID, item.Event.ID, item.Event.OccurredAt = first.CallLegID, first.Event.ID, first.Event.OccurredAt
		} else {
			item.Kind, item.Event.Unattached = KindEvent, true
		}
		c.add(item)
	}
}

// summarized takes what only the summaries know.
func (c *composer) summarized() {
	for id, leg := range c.last {
		c.summarizedEvents(id, leg.Events)
		if v, ok := c.known.View.Leg(call.LegID(id)); ok && len(v.Answers) > 0 || leg.Status.FetchedAt == nil {
			continue
		}
		s := leg.Status
		c.add(Item{At: s.FetchedAt.Known(), Kind: KindStatus, CallLegID: id, Status: &Status{
			Attempt: s.Attempts, HTTPStatus: s.HTTPStatus, IsAlive: s.IsAlive, EndTime: stated(s.EndTime.Known()), State: s.State,
			Confirms: s.State == summary.StatusConfirmed,
		}})
	}
	if c.session != nil {
		c.summarizedEvents("", c.session.Events)
	}
}

func (c *composer) summarizedEvents(leg string, events []summary.Event) {
	for _, e := range events {
		if c.seen[eventKey{e.ID, e.Type}] {
			continue
		}
		c.partial[leg] = true
		item := Item{At: e.ReceivedAt.Time, Kind: KindEvent, CallLegID: leg, Event: &Event{
			ID: e.ID, Type: e.Type, OccurredAt: stated(e.OccurredAt.Known()), Attempt: e.Attempt, Backfill: e.Backfill,
		}}
		if l := c.last[leg]; e.Type == call.TypeHangup && l != nil && l.Hangup != nil {
			item.Event.Cause, item.Event.SIPCode = l.Hangup.Cause, l.Hangup.SIPCode
		}
		c.add(item)
	}
}

// late marks what took longer to arrive than an event of the call that occurred before it. The first event is held
// against the one that overtook it. Telnyx's clock and ours need not agree for this, and a call that is played faster
// than it happened is not late as a whole.
func (c *composer) late() {
	var events []Item
	for _, i := range c.story.Timeline {
		if i.Kind == KindEvent && i.Event.OccurredAt != nil {
			events = append(events, i)
		}
	}
	slices.SortStableFunc(events, func(a, b Item) int { return a.Event.OccurredAt.Compare(*b.Event.OccurredAt) })
	delay := func(i Item) time.Duration { return i.At.Sub(*i.Event.OccurredAt) }
	if len(events) < 2 {
		return
	}
	usual := delay(events[0])
	if events[0].At.After(events[1].At) {
		usual = delay(events[1])
	}
	for _, i := range events {
		if d := delay(i) - usual; d > lateAfter {
			i.Event.LateSeconds = d.Round(time.Millisecond).Seconds()
		}
		usual = min(usual, delay(i))
	}
}

// missing puts what must have happened before what shows that it did.
func (c *composer) missing() {
	for _, leg := range c.story.Legs {
		for _, typ := range leg.Lacks {
			item := Item{Kind: KindMissing, CallLegID: leg.CallLegID, Event: &Event{Type: typ}}
			for _, other := range c.story.Timeline {
				if other.CallLegID != leg.CallLegID || !shows(other, typ) {
					continue
				}
				// Of a hangup the last sign of life, of the others the first.
				if item.At.IsZero() || other.At.Before(item.At) != (typ == call.TypeHangup) {
					item.At = other.At
				}
			}
			c.add(item)
		}
	}
}

// shows reports whether an item shows that an event of a type has happened.
func shows(i Item, typ string) bool {
	switch {
	case typ == call.TypeHangup:
		return i.Kind == KindEvent || i.Kind == KindStatus || i.Kind == KindCheck && i.Check.What == session.CheckExpire
	case i.Kind != KindEvent:
		return false
	case typ == call.TypeAnswered:
		return i.Event.Type == call.TypeBridged || i.Event.Type == call.TypeHangup
	}
	return true
}

// order sorts the timeline, and states how long after the one before it each item came.
func (c *composer) order() {
	slices.SortStableFunc(c.story.Timeline, func(a, b Item) int {
		return cmp.Or(a.order.Compare(b.order), rank(a)-rank(b), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.CallLegID, b.CallLegID))
	})
	revisions := make(map[string]int)
	var before time.Time
	for i := range c.story.Timeline {
		item := &c.story.Timeline[i]
		if !before.IsZero() && item.order.After(before) {
			item.GapSeconds = item.order.Sub(before).Round(time.Microsecond).Seconds()
		}
		before = item.order
		switch item.Kind {
		case KindPublished:
			revisions[item.CallLegID] = item.Published.Revision
		case KindEvent, KindRedelivery:
			item.Event.AfterRevision = revisions[item.CallLegID]
		case KindMissing, KindStatus, KindBackfill, KindCheck:
		}
	}
}

// rank orders items of the same moment: what is made from others comes after them.
func rank(i Item) int {
	switch {
	case i.Kind == KindMissing && i.Event.Type != call.TypeHangup:
		return 0
	case i.Kind == KindPublished && i.Published.Level == summary.KindSession:
		return 4
	case i.Kind == KindPublished:
		return 3
	case i.Kind == KindMissing:
		return 2
	}
	return 1
}

func (c *composer) schedule() {
	for _, p := range c.known.Schedule {
		c.story.Next = append(c.story.Next, Due{At: p.Due, CallLegID: string(p.Leg), Check: Check{What: p.Kind, Attempt: p.Attempt}})
	}
}

func (c *composer) coverage() {
	folded := len(c.known.View.Legs) > 0 || len(c.known.View.Events) > 0
	l := Log{Entries: len(c.known.Entries), Position: c.known.View.Position, Coverage: CoverageWhole}
	switch {
	case !folded && len(c.known.Entries) == 0:
		l.Coverage = CoverageNone
		if c.known.Cut {
			break
		}
		c.remark("the log has nothing of this call (any more): this is told from its summaries alone")
	case len(c.partial) > 0:
		l.Coverage = CoveragePartial
		c.remark("the log has only a part of this call: what lacks its place in the log is told from its summaries")
	case !c.known.Read:
		l.Coverage = CoverageMemory
	}
	c.story.Log = l
}

func (c *composer) remark(format string, args ...any) {
	c.story.Remarks = append(c.story.Remarks, fmt.Sprintf(format, args...))
}

func stated(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

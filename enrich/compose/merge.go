package compose

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Covers reports whether a leg's view knows every event that its stored summary
// lists, so that it may replace it. Where it does not, the stored summary knows
// of a past that has left the log, and the two are to be merged. A view that begins
// later than the stored summary knows its events from redeliveries.
func Covers(view, stored summary.Leg) bool {
	if view.FirstReceivedAt.After(stored.FirstReceivedAt.Time) {
		return false
	}
	known := make(map[summary.Event]struct{}, len(view.Events))
	for _, e := range view.Events {
		known[identity(e)] = struct{}{}
	}
	for _, e := range stored.Events {
		if _, ok := known[identity(e)]; !ok && !slices.ContainsFunc(view.Events, func(w summary.Event) bool { return isFilledFor(e, w) }) {
			// A view with a longer timeline leaves out more of its middle.
			return view.EventsOmitted > 0 && eventCount(view) >= eventCount(stored)
		}
	}
	return eventCount(view) >= eventCount(stored)
}

// isFilledFor reports whether w is the webhook of what e was filled in for from the
// provider's history, which can have it under another name. A leg has one of each of three types.
func isFilledFor(e summary.Event, w summary.Event) bool {
	if !e.Backfill || w.Backfill || w.Type != e.Type {
		return false
	}
	distance := w.OccurredAt.Known().Sub(e.OccurredAt.Known()).Abs()
	return call.EventTypeOf(e.Type).Once || distance < time.Millisecond || e.Approximate && distance <= session.DeliveredWithin
}

// unrepeated returns the events that are not the webhooks of what the stored timeline
// has filled in: coming late, they add nothing that it does not know.
func unrepeated(stored, events []summary.Event) []summary.Event {
	return slices.DeleteFunc(slices.Clone(events), func(w summary.Event) bool {
		return slices.ContainsFunc(stored, func(e summary.Event) bool { return isFilledFor(e, w) })
	})
}

func eventCount(l summary.Leg) int { return len(l.Events) + l.EventsOmitted }

func identity(e summary.Event) summary.Event { return summary.Event{ID: e.ID, Type: e.Type} }

// MergeLeg merges late news about a leg onto its stored summary, whose call was trimmed from
// the log: absent never erases, lists are merged by id, and the seconds are derived anew. What the
// stored summary states stands, unless it was of the kind that later news replaces:
// status, cost, machine and deepfake detection, and client_state.
func MergeLeg(stored, news summary.Leg) summary.Leg {
	m := stored
	m.CallControlID = cmp.Or(m.CallControlID, news.CallControlID)
	m.ConnectionID = cmp.Or(m.ConnectionID, news.ConnectionID)
	m.Direction = cmp.Or(m.Direction, news.Direction)
	m.From = cmp.Or(m.From, news.From)
	m.To = cmp.Or(m.To, news.To)
	m.FromSIPURI = cmp.Or(m.FromSIPURI, news.FromSIPURI)
	m.ToSIPURI = cmp.Or(m.ToSIPURI, news.ToSIPURI)
	m.CallerName = cmp.Or(m.CallerName, news.CallerName)
	m.CallingPartyType = cmp.Or(m.CallingPartyType, news.CallingPartyType)
	m.STIRShaken = cmp.Or(m.STIRShaken, news.STIRShaken)
	m.Screening = cmp.Or(m.Screening, news.Screening)
	m.Codec = cmp.Or(m.Codec, news.Codec)
	m.SamplingRate = cmp.Or(m.SamplingRate, news.SamplingRate)
	m.OfferedCodecs = cmp.Or(m.OfferedCodecs, news.OfferedCodecs)
	m.StartedAt = cmp.Or(m.StartedAt, news.StartedAt)
	m.AnsweredAt = cmp.Or(m.AnsweredAt, news.AnsweredAt)
	m.BridgedAt = cmp.Or(m.BridgedAt, news.BridgedAt)
	m.EndedAt = cmp.Or(m.EndedAt, news.EndedAt)
	m.Hangup = cmp.Or(m.Hangup, news.Hangup)
	m.Quality = cmp.Or(m.Quality, news.Quality)
	// What the last statement decides, the one that occurred later decides, not
	// the one that came in later.
	before, after := stored, news
	if newest(news).Before(newest(stored)) {
		before, after = news, stored
	}
	m.MachineDetection = mergeDetection(before.MachineDetection, after.MachineDetection)
	m.AnsweredBy = cmp.Or(verdict(m.MachineDetection), after.AnsweredBy, before.AnsweredBy)
	m.Deepfake = mergeDeepfake(before.Deepfake, after.Deepfake)
	var costNotes []summary.Note
	m.Cost, costNotes = mergeCost(before.Cost, after.Cost)
	m.UnreadFields = union(stored.UnreadFields, news.UnreadFields, strings.Clone, strings.Compare)
	if m.Outcome == summary.OutcomeUnknown || news.Outcome == summary.OutcomeAnswered {
		m.Outcome = news.Outcome
	}
	if news.EndedBy == summary.EndedByHangup {
		m.EndedBy = summary.EndedByHangup
	}
	if m.Status.State != summary.StatusConfirmed && news.Status.State == summary.StatusConfirmed {
		m.Status = news.Status
	}
	if news.FirstReceivedAt.Before(m.FirstReceivedAt.Time) {
		m.FirstReceivedAt = news.FirstReceivedAt
	}
	if len(news.Sources) > 0 {
		sources := make(map[string]summary.Source, len(news.Sources))
		maps.Copy(sources, news.Sources)
		maps.Copy(sources, stored.Sources)
		m.Sources = sources
	}
	mergeLists(&m, stored, news)
	mergeTimeline(&m, stored, news)
	if news.Times != nil && news.Times.HangupReceivedAt != nil {
		times := copyOf(stored.Times)
		times.HangupReceivedAt = cmp.Or(times.HangupReceivedAt, news.Times.HangupReceivedAt)
		m.Times = &times
	}
	if m.Hangup != nil {
		h := *m.Hangup
		h.Party = party(m.Direction, h.Source)
		m.Hangup = &h
	}
	truncateLeg(&m, nil)
	derive(&m)
	if stored.Completeness != nil || news.Completeness != nil {
		mergeNotes(&m, stored, news, costNotes)
	}
	return m
}

// mergeTimeline merges the timelines. One that leaves out its middle goes on
// leaving it out.
func mergeTimeline(l *summary.Leg, stored, news summary.Leg) {
	l.Events = union(stored.Events, unrepeated(stored.Events, beside(stored, news.Events)), identity, compareEvents)
	mergeHold(l, stored, news)
	limit := maxEvents
	if stored.EventsOmitted > 0 {
		limit = len(stored.Events)
	}
	var omitted int
	l.Events, omitted = ends(l.Events, limit)
	l.EventsOmitted += omitted
}

// mergeHold adds up the holds of the merged timeline. Where it leaves out its middle,
// the holds that are wholly news are added to what is stored.
func mergeHold(l *summary.Leg, stored, news summary.Leg) {
	switch {
	case stored.EventsOmitted == 0 && news.EventsOmitted == 0:
		if h := held(l.Events, l.EndedAt); h != nil {
			l.HoldSeconds = h
		}
	case stored.HoldSeconds != nil:
		add(&l.HoldSeconds, held(fresh(stored, news), nil))
	}
	l.HoldSeconds = cmp.Or(l.HoldSeconds, news.HoldSeconds)
}

// mergeNotes annotates the merged summary by what either side has seen.
func mergeNotes(l *summary.Leg, stored, news summary.Leg, doubts []summary.Note) {
	var received []summary.Part
	for _, side := range []summary.Leg{stored, news} {
		if side.Completeness != nil {
			received = append(received, side.Completeness.Received...)
		}
	}
	// A redelivery of what is stored is no news: the timeline shows the events that are.
	doubts = append(doubts, slices.DeleteFunc(slices.Clone(news.Notes), func(n summary.Note) bool { return n == summary.NoteRedelivered })...)
	annotate(l, received, append(doubts, stored.Notes...))
}

// beside returns the events that do not fall into the middle that a stored
// timeline leaves out: whether those were counted there is not known.
func beside(stored summary.Leg, events []summary.Event) []summary.Event {
	half := len(stored.Events) / 2
	if stored.EventsOmitted == 0 || half == 0 {
		return events
	}
	before, after := stored.Events[half-1], stored.Events[half]
	return slices.DeleteFunc(slices.Clone(events), func(e summary.Event) bool {
		return compareEvents(e, before) > 0 && compareEvents(e, after) < 0
	})
}

// newest is when the last event of a leg's timeline occurred.
func newest(l summary.Leg) time.Time {
	if len(l.Events) == 0 {
		return time.Time{}
	}
	return l.Events[len(l.Events)-1].OccurredAt.Known()
}

// copyOf is what a pointer points at, the zero value for nil.
func copyOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// add adds seconds to others; what is not known adds nothing.
func add(into **summary.Seconds, more *summary.Seconds) {
	switch {
	case more == nil:
	case *into == nil:
		*into = more
	default:
		sum := **into + *more
		*into = &sum
	}
}

// union returns both lists without repetition, in order; of two with one identity the stored one stands.
func union[T any, K comparable](stored, news []T, id func(T) K, order func(a, b T) int) []T {
	if len(news) == 0 {
		return stored
	}
	known := make(map[K]struct{}, len(stored))
	for _, v := range stored {
		known[id(v)] = struct{}{}
	}
	all := slices.Clone(stored)
	for _, v := range news {
		if _, ok := known[id(v)]; !ok {
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, order)
	return all
}

// compareEvents orders a timeline: by occurrence, then by identity.
func compareEvents(a, b summary.Event) int {
	return cmp.Or(a.OccurredAt.Known().Compare(b.OccurredAt.Known()), cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
}

package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Event is one event as the fold keeps it: once, whatever the number of its deliveries. It is never changed after it
// was folded.
type Event struct {
	// ID and Type are its identity.
	ID, Type string
	// OccurredAt is by Telnyx's clock; zero: not stated.
	OccurredAt time.Time
	// ReceivedAt and Seq are of the delivery that stands: the earliest in the log.
	ReceivedAt time.Time
	Seq        uint64
	// Attempt is Telnyx's delivery attempt of that delivery.
	Attempt int
	// Backfill marks an event from the provider's history, Approximate one whose OccurredAt is that of a delivery.
	Backfill, Approximate bool
	// Facts are what it stated about the leg, shared with other events that stated the same.
	Facts *Facts
	// Detail is what only events of its type state.
	Detail call.Detail
}

// Facts are what an event stated about its leg.
type Facts struct {
	call.Facts
	// Control and Connection are the ids that it named.
	Control    call.ControlID
	Connection call.ConnectionID
}

func (f *Facts) equal(g *Facts) bool {
	return f.Control == g.Control && f.Connection == g.Connection &&
		f.From == g.From && f.To == g.To && f.FromSIP == g.FromSIP && f.ToSIP == g.ToSIP && f.CallingParty == g.CallingParty &&
		f.StartTime.Equal(g.StartTime) && f.ClientState == g.ClientState && slices.Equal(f.Tags, g.Tags) &&
		f.Truncated == g.Truncated && slices.Equal(f.Unread, g.Unread)
}

// order is the order of occurrence; of two that occurred at once the ids decide, never their arrival. An event
// without a time comes first.
func order(a, b *Event) int {
	if c := a.OccurredAt.Compare(b.OccurredAt); c != 0 {
		return c
	}
	return compareID(a, b)
}

func compareID(a, b *Event) int {
	if a.Type != b.Type {
		return cmp.Compare(a.Type, b.Type)
	}
	return cmp.Compare(a.ID, b.ID)
}

// stands reports whether delivery a of an event stands before delivery b: a webhook before what was filled in for it,
// then the lowest of (received, attempt, place in the log).
func stands(a, b *Event) bool {
	if a.Backfill != b.Backfill {
		return b.Backfill
	}
	return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Seq, b.Seq)) < 0
}

// events is a set of events by identity.
type events struct {
	list []*Event
	// index is made when scanning the list would cost more.
	index map[key]int
}

type key struct{ typ, id string }

// indexFrom: up to here a scan of the list is cheaper than a map; nearly all legs stay below.
const indexFrom = 24

func (s *events) find(id, typ string) int {
	if s.index != nil {
		if i, ok := s.index[key{typ, id}]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(s.list, func(e *Event) bool { return e.ID == id && e.Type == typ })
}

// add puts e into the set and reports whether it is new there. A further delivery of a known event replaces it when
// it stands before it.
func (s *events) add(e *Event) bool {
	if i := s.find(e.ID, e.Type); i >= 0 {
		if stands(e, s.list[i]) {
			s.list[i] = e
		}
		return false
	}
	s.list = append(s.list, e)
	if s.index != nil {
		s.index[key{e.Type, e.ID}] = len(s.list) - 1
	} else if len(s.list) > indexFrom {
		s.index = make(map[key]int, 2*len(s.list))
		for i, e := range s.list {
			s.index[key{e.Type, e.ID}] = i
		}
	}
	return true
}

// sorted returns the events in order of occurrence.
func (s *events) sorted() []*Event {
	list := slices.DeleteFunc(slices.Clone(s.list), func(e *Event) bool {
		return e.Backfill && slices.ContainsFunc(s.list, e.isOf)
	})
	slices.SortFunc(list, order)
	if slices.ContainsFunc(list, func(e *Event) bool { return e.Approximate }) {
		return withoutLate(list)
	}
	return list
}

// DeliveredWithin is how long after it occurred an event is noted as delivered.
const DeliveredWithin = 2 * time.Minute

// withoutLate returns events, in order, without those that were filled in by about when they occurred and whose
// webhooks have come since, each in the place of the nearest.
func withoutLate(list []*Event) []*Event {
	late := make(map[*Event]bool)
	for _, w := range list {
		var nearest *Event
		for _, e := range list {
			distance := e.OccurredAt.Sub(w.OccurredAt).Abs()
			if e.Approximate && !late[e] && !w.Backfill && w.Type == e.Type && w.Seq > e.Seq && distance <= DeliveredWithin &&
				(nearest == nil || distance < nearest.OccurredAt.Sub(w.OccurredAt).Abs()) {
				nearest = e
			}
		}
		if nearest != nil {
			late[nearest] = true
		}
	}
	return slices.DeleteFunc(list, func(e *Event) bool { return late[e] })
}

// isOf reports whether w is the webhook in whose place e was filled in. The provider's history can have an event
// under another name, and a webhook can come after it was filled in: one event too few is better than one twice.
func (e *Event) isOf(w *Event) bool {
	if w.Backfill || w.Type != e.Type {
		return false
	}
	return call.EventTypeOf(e.Type).Once || w.OccurredAt.Sub(e.OccurredAt).Abs() < time.Millisecond
}

package session

import (
	"time"

	"github.com/legato-calls/legato/ingest/call"
	"github.com/patrickmn/go-cache"
)

// foldEvent attaches an event to the leg or session that it names. It returns
// nil when none is known yet.
func (t *Table) foldEvent(e *call.Entry, ev *call.Event) *session {
	event := &Event{
		ID: ev.ID, Type: t.intern(ev.Type), OccurredAt: ev.OccurredAt,
		ReceivedAt: e.ReceivedAt, Seq: e.Seq, Attempt: ev.Attempt, Backfill: e.Backfill || ev.Backfill,
		Facts:  &Facts{Facts: ev.Facts, Control: ev.Ref.Control, Connection: ev.Ref.Connection},
		Detail: ev.Detail,
	}
	s, l := t.attach(e, ev.Ref)
	switch {
	case s == nil:
		t.orphans.add(ev.Ref, event)
		return nil
	case l == nil:
		s.touch(e)
		if s.events.add(event) {
			s.stir(e)
		}
		return s
	}
	s.touch(e)
	if t.apply(l, event) {
		s.stir(e)
	}
	return s
}

// attach finds the place of an event, making session and leg where it names them.
func (t *Table) attach(e *call.Entry, ref call.Ref) (*session, *leg) {
	if ref.Session == "" {
		return t.find(ref)
	}
	s := t.known(ref.Session)
	if s == nil {
		s = &session{id: ref.Session, place: -1}
		s.firstSeq, s.firstAt = e.Seq, e.ReceivedAt
		t.sessions.Set(string(s.id), s, cache.NoExpiration)
		t.born.add(s)
	}
	if ref.Leg != "" {
		l := s.leg(ref.Leg)
		if l == nil {
			l = &leg{id: ref.Leg, session: s}
			s.legs = append(s.legs, l)
			if _, ok := t.byLeg[l.id]; !ok {
				t.byLeg[l.id] = l
			}
			t.adopt(l, t.orphans.take(orphanKey{leg: l.id}))
		}
		return s, l
	}
	if l := t.byCtl[ref.Control]; l != nil && l.session == s {
		return s, l
	}
	return s, nil
}

// find looks up what a ref names, without making anything.
func (t *Table) find(ref call.Ref) (*session, *leg) {
	if ref.Session != "" {
		s := t.known(ref.Session)
		if s == nil {
			return nil, nil
		}
		if ref.Leg != "" {
			return s, s.leg(ref.Leg)
		}
		if l := t.byCtl[ref.Control]; l != nil && l.session == s {
			return s, l
		}
		return s, nil
	}
	l := t.byLeg[ref.Leg]
	if l == nil {
		l = t.byCtl[ref.Control]
	}
	if l == nil {
		return nil, nil
	}
	return l.session, l
}

// apply folds an event into a leg and reports whether it is new there.
func (t *Table) apply(l *leg, e *Event) bool {
	l.share(e)
	fresh := l.events.add(e)
	switch e.Type {
	case call.TypeInitiated:
		l.initiated = true
	case call.TypeHangup:
		if l.hangup.IsZero() || e.ReceivedAt.Before(l.hangup) {
			l.hangup = e.ReceivedAt
		}
	}
	if fresh && e.Seq > l.heardSeq {
		l.heard, l.heardSeq = e.ReceivedAt, e.Seq
	}
	t.identify(l, e.Facts)
	return fresh
}

// identify learns the ids that an event states about its leg. Where events
// disagree the first by occurrence is right, whatever order they came in.
func (t *Table) identify(l *leg, f *Facts) {
	if f.Connection != "" && f.Connection != l.connection {
		l.connection = f.Connection
		if first := firstFact(l, func(f *Facts) bool { return f.Connection != "" }); first != nil {
			l.connection = first.Connection
		}
	}
	if f.Control == "" || f.Control == l.control {
		return
	}
	l.control = f.Control
	if first := firstFact(l, func(f *Facts) bool { return f.Control != "" }); first != nil {
		l.control = first.Control
	}
	if _, ok := t.byCtl[f.Control]; !ok {
		t.byCtl[f.Control] = l
	}
	t.adopt(l, t.orphans.take(orphanKey{control: f.Control}))
	t.rehome(l, f.Control)
}

func firstFact(l *leg, has func(*Facts) bool) *Facts {
	var first *Event
	for _, e := range l.events.list {
		if has(e.Facts) && (first == nil || order(e, first) < 0) {
			first = e
		}
	}
	if first == nil {
		return nil
	}
	return first.Facts
}

// adopt gives a leg the events that named only its id or its control id.
func (t *Table) adopt(l *leg, found []*Event) {
	for _, e := range found {
		t.born.pin(e.Seq, l.session)
		t.apply(l, e)
	}
}

// rehome moves events of the session that name the leg's control id to the leg.
func (t *Table) rehome(l *leg, control call.ControlID) {
	s := l.session
	var kept, moved []*Event
	for _, e := range s.events.list {
		if e.Facts.Control == control {
			moved = append(moved, e)
		} else {
			kept = append(kept, e)
		}
	}
	if len(moved) == 0 {
		return
	}
	s.events = events{}
	for _, e := range kept {
		s.events.add(e)
	}
	for _, e := range moved {
		t.apply(l, e)
	}
}

// share lets an event use the facts, or at least the texts, that another event
// of the leg has stated already: seven events that repeat the same parties keep them once.
func (l *leg) share(e *Event) {
	// The newest are the likeliest to agree.
	for i := len(l.events.list) - 1; i >= 0 && i >= len(l.events.list)-4; i-- {
		f := l.events.list[i].Facts
		if f.equal(e.Facts) {
			e.Facts = f
			return
		}
		same(&e.Facts.From, f.From)
		same(&e.Facts.To, f.To)
		same(&e.Facts.ClientState, f.ClientState)
		same(&e.Facts.Control, f.Control)
		same(&e.Facts.Connection, f.Connection)
	}
}

// same makes a share the memory of an equal b.
func same[T ~string](a *T, b T) {
	if *a == b {
		*a = b
	}
}

func (t *Table) intern(typ string) string {
	if known, ok := t.types[typ]; ok {
		return known
	}
	// Types come from outside: a bound keeps an inventive sender from filling memory.
	if len(t.types) < 1024 {
		t.types[typ] = typ
	}
	return typ
}

// orphans are events whose call is not known yet, by the id that they name.
type orphans struct {
	by    map[orphanKey][]*Event
	queue []orphan // by sequence, for forgetting
}

type orphanKey struct {
	leg     call.LegID
	control call.ControlID
}

type orphan struct {
	key   orphanKey
	event *Event
}

func newOrphans() orphans { return orphans{by: make(map[orphanKey][]*Event)} }

func (o *orphans) add(ref call.Ref, e *Event) {
	k := orphanKey{leg: ref.Leg}
	if ref.Leg == "" {
		k = orphanKey{control: ref.Control}
	}
	o.by[k] = append(o.by[k], e)
	o.queue = append(o.queue, orphan{k, e})
}

func (o *orphans) take(k orphanKey) []*Event {
	found := o.by[k]
	delete(o.by, k)
	return found
}

func (o *orphans) count() int {
	n := 0
	for _, list := range o.by {
		n += len(list)
	}
	return n
}

// forget drops orphans received before a time and returns how many had found no call.
func (o *orphans) forget(before time.Time) int {
	lost, i := 0, 0
	for ; i < len(o.queue) && o.queue[i].event.ReceivedAt.Before(before); i++ {
		k, e := o.queue[i].key, o.queue[i].event
		for j, waiting := range o.by[k] {
			if waiting == e {
				lost++
				if o.by[k] = append(o.by[k][:j:j], o.by[k][j+1:]...); len(o.by[k]) == 0 {
					delete(o.by, k)
				}
				break
			}
		}
	}
	clear(o.queue[:i])
	o.queue = o.queue[i:]
	return lost
}

// oldest returns the sequence of the oldest orphan that is remembered, 0 when there is none.
func (o *orphans) oldest() uint64 {
	if len(o.queue) == 0 {
		return 0
	}
	return o.queue[0].event.Seq
}

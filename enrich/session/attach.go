package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
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
	l.share(event)
	if t.apply(e, l, event) {
		s.stir(e)
	}
	return s
}

// attach finds the place of an event, making session and leg where it names them.
func (t *Table) attach(e *call.Entry, ref call.Ref) (*session, *leg) {
	s, l := t.find(ref)
	if ref.Session == "" {
		return s, l
	}
	if s == nil {
		s = &session{id: ref.Session, place: -1, firstSeq: e.Seq, firstAt: e.ReceivedAt}
		t.sessions.Set(string(s.id), s, cache.NoExpiration)
		t.born.add(s)
	}
	if l == nil && ref.Leg != "" {
		l = &leg{id: ref.Leg, session: s, since: e.ReceivedAt}
		s.legs = append(s.legs, l)
		if _, ok := t.byLeg[l.id]; !ok {
			t.byLeg[l.id] = l
		}
		if t.adopt(e, l, t.orphans.take(orphanKey{leg: l.id}, t.horizon(e))) {
			s.stir(e)
		}
	}
	return s, l
}

// find looks up what a ref names, without making anything. The most telling id
// that is stated decides: a leg that is not known is not looked for under its control id.
func (t *Table) find(ref call.Ref) (*session, *leg) {
	var l *leg
	switch {
	case ref.Session != "":
		s := t.known(ref.Session)
		if s == nil {
			return nil, nil
		}
		if ref.Leg != "" {
			return s, s.leg(ref.Leg)
		}
		return s, t.legOf(s, ref.Control)
	case ref.Leg != "":
		l = t.byLeg[ref.Leg]
	default:
		l = t.byCtl[ref.Control]
	}
	if l == nil {
		return nil, nil
	}
	return l.session, l
}

// legOf finds the leg of a session that goes by a control id.
func (t *Table) legOf(s *session, c call.ControlID) *leg {
	if c == "" {
		return nil
	}
	if l := t.byCtl[c]; l != nil && l.session == s {
		return l
	}
	// It can be the same in two sessions: then only its own session's leg is right.
	for _, l := range s.legs {
		if l.goesBy(c) {
			return l
		}
	}
	return nil
}

// apply folds an event into a leg, by occasion of an entry: its own, or the one
// that told where the event belongs. It reports whether the leg learned anything new.
func (t *Table) apply(e *call.Entry, l *leg, event *Event) bool {
	fresh := l.events.add(event)
	if fresh {
		l.record.note(event)
	}
	switch event.Type {
	case call.TypeInitiated:
		l.initiated = true
	case call.TypeHangup:
		l.hangUp(e, event)
	}
	// What comes from the history is no sign of life.
	if fresh && event.Seq > l.heardSeq && (l.heardSeq == 0 || !event.Backfill && !call.EventTypeOf(event.Type).After) {
		l.heard, l.heardSeq = event.ReceivedAt, event.Seq
	}
	l.session.firstAt = earlier(l.session.firstAt, event.ReceivedAt)
	return t.identify(e, l, event) || fresh
}

func (l *leg) hangUp(e *call.Entry, event *Event) {
	if l.hangup.IsZero() {
		l.hangup, l.hungUp, l.recalled = event.ReceivedAt, event.OccurredAt, event.Backfill
		if l.askBy = e.ReceivedAt.Add(unaskedAfter); event.Seq != e.Seq {
			// Its task has been acknowledged, for nobody knew then whose hangup it was.
			l.askBy = e.ReceivedAt.Add(firstBackoff)
		}
		return
	}
	if event.ReceivedAt.Before(l.hangup) {
		l.hangup, l.recalled = event.ReceivedAt, event.Backfill
	}
	l.hungUp = earlier(l.hungUp, event.OccurredAt)
}

// identify learns the ids that an event states about its leg, and reports
// whether events were found through them. Where events disagree the first by occurrence is
// right, whatever order they came in; the others still lead to the leg.
func (t *Table) identify(e *call.Entry, l *leg, event *Event) bool {
	f := event.Facts
	if f.Connection != "" && precedes(event, l.connectionBy, func(g *Facts) bool { return f.Connection < g.Connection }) {
		l.connectionBy = event
	}
	if f.Control == "" {
		return false
	}
	known := l.goesBy(f.Control)
	if precedes(event, l.controlBy, func(g *Facts) bool { return f.Control < g.Control }) {
		if f.Control != l.control {
			l.aliases = slices.DeleteFunc(l.aliases, func(c call.ControlID) bool { return c == f.Control })
			if l.control != "" {
				l.aliases = append(l.aliases, l.control)
			}
			l.control = f.Control
		}
		l.controlBy = event
	} else if !known {
		l.aliases = append(l.aliases, f.Control)
	}
	if _, ok := t.byCtl[f.Control]; !ok {
		t.byCtl[f.Control] = l
	}
	if known {
		return false
	}
	adopted := t.adopt(e, l, t.orphans.take(orphanKey{control: f.Control}, t.horizon(e)))
	rehomed := t.rehome(e, l, f.Control)
	return adopted || rehomed
}

// precedes reports whether what a states about its leg goes before what b does:
// by occurrence, and between deliveries that differ by the text itself.
func precedes(a, b *Event, less func(*Facts) bool) bool {
	if b == nil {
		return true
	}
	if c := order(a, b); c != 0 {
		return c < 0
	}
	return less(b.Facts)
}

func (l *leg) goesBy(c call.ControlID) bool {
	return c != "" && (l.control == c || slices.Contains(l.aliases, c))
}

// horizon is the time before which orphans are not adopted any more. It is the
// log's, so that a replay, in which nothing was forgotten yet, adopts the same.
func (t *Table) horizon(e *call.Entry) time.Time {
	return e.ReceivedAt.Add(-t.cfg.Rules.AmendWindow)
}

// adopt gives a leg the events that named only its id or its control id.
func (t *Table) adopt(e *call.Entry, l *leg, found []*Event) bool {
	fresh := false
	for _, event := range found {
		t.born.pin(event.Seq, l.session)
		l.share(event)
		if t.apply(e, l, event) {
			fresh = true
		}
	}
	return fresh
}

// rehome moves events of the session that name the leg's control id to the leg.
func (t *Table) rehome(e *call.Entry, l *leg, control call.ControlID) bool {
	s := l.session
	var kept, moved []*Event
	for _, event := range s.events.list {
		if event.Facts.Control == control {
			moved = append(moved, event)
		} else {
			kept = append(kept, event)
		}
	}
	if len(moved) == 0 {
		return false
	}
	s.events = events{}
	for _, event := range kept {
		s.events.add(event)
	}
	fresh := false
	for _, event := range moved {
		// Views of the session show these events already: they stay as they are.
		if t.apply(e, l, event) {
			fresh = true
		}
	}
	return fresh
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

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// orphans are events whose call is not known yet, by the id that they name.
type orphans struct {
	by    map[orphanKey][]*Event
	queue []orphan // in order of the log, for forgetting; those taken stay until their time
	lost  int      // too old when their call became known, and not reported yet
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

// repeatedWithin is how many events of the same call may lie between two
// deliveries of an orphan for the second to be dropped; the leg drops the others.
const repeatedWithin = 16

func (o *orphans) add(ref call.Ref, e *Event) {
	k := orphanKey{leg: ref.Leg}
	if ref.Leg == "" {
		k = orphanKey{control: ref.Control}
	}
	waiting := o.by[k]
	for i := len(waiting) - 1; i >= 0 && i >= len(waiting)-repeatedWithin; i-- {
		if w := waiting[i]; identity(w, e) == 0 && w.Facts.equal(e.Facts) && stands(w, e) {
			return
		}
	}
	o.by[k] = append(waiting, e)
	o.queue = append(o.queue, orphan{k, e})
}

// take removes and returns what waits for a key, but for what was received before the horizon.
func (o *orphans) take(k orphanKey, horizon time.Time) []*Event {
	found, ok := o.by[k]
	if !ok {
		return nil
	}
	delete(o.by, k)
	young := slices.DeleteFunc(found, func(e *Event) bool { return e.ReceivedAt.Before(horizon) })
	o.lost += len(found) - len(young)
	return young
}

func (o *orphans) count() int {
	n := 0
	for _, list := range o.by {
		n += len(list)
	}
	return n
}

// forget drops orphans received before a time and returns how many, since it
// was called last, have found no call.
func (o *orphans) forget(before time.Time) int {
	i := 0
	for ; i < len(o.queue) && o.queue[i].event.ReceivedAt.Before(before); i++ {
		k := o.queue[i].key
		// Both are in order of the log: an orphan that was not taken is the first of its key.
		if waiting := o.by[k]; len(waiting) > 0 && waiting[0] == o.queue[i].event {
			o.lost++
			waiting[0] = nil
			if o.by[k] = waiting[1:]; len(waiting) == 1 {
				delete(o.by, k)
			}
		}
	}
	clear(o.queue[:i])
	if o.queue = o.queue[i:]; len(o.queue) == 0 {
		o.queue = nil
	}
	lost := o.lost
	o.lost = 0
	return lost
}

// oldest returns the sequence of the oldest orphan that is remembered, 0 when there is none.
func (o *orphans) oldest() uint64 {
	if len(o.queue) == 0 {
		return 0
	}
	return o.queue[0].event.Seq
}

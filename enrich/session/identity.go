package session

import (
	"iter"
	"slices"
	"time"

	"github.com/patrickmn/go-cache"

	"github.com/legato-calls/legato/internal/call"
)

// identity is which sessions and legs are known and by which ids, and the events that wait for a leg to be known.
type identity struct {
	// Entries expire on the log's clock, which go-cache does not know: the schedule decides when a session is
	// forgotten, and no janitor ever walks it.
	sessions  *cache.Cache // call_session_id → *session
	byLeg     map[call.LegID]*leg
	byControl map[call.ControlID]*leg
	orphans   orphans

	// packed are the sessions that are packed, under the hashes of their ids.
	packed packs

	// inOrder are the sessions by their first entry, which is the order in which they are added. Of those that are
	// forgotten some are still in it.
	inOrder   []*kept
	forgotten int
	// pins are entries older than the session of the leg that they were given to.
	pins []pin
}

// kept is a session's place in the table: live or packed, until it is forgotten.
type kept struct {
	firstSeq uint64
	live     *session
	packed   []byte // nil: it is live, or forgotten
	expires  int64  // of a packed one, unix nanoseconds on the log's clock
}

func (k *kept) forgotten() bool { return k.live == nil && k.packed == nil }

type pin struct {
	seq uint64
	of  *kept
}

func newIdentity() identity {
	return identity{
		sessions: cache.New(cache.NoExpiration, 0),
		byLeg:    make(map[call.LegID]*leg), byControl: make(map[call.ControlID]*leg),
		orphans: newOrphans(), packed: newPacks(),
	}
}

func (i *identity) session(id call.SessionID) *session {
	if v, ok := i.sessions.Get(string(id)); ok {
		return v.(*session)
	}
	return nil
}

func (i *identity) leg(sid call.SessionID, id call.LegID) *leg {
	if s := i.session(sid); s != nil {
		return s.leg(id)
	}
	return nil
}

// all are the live sessions, the oldest first.
func (i *identity) all() iter.Seq[*session] {
	return func(yield func(*session) bool) {
		for _, k := range i.inOrder {
			if k.live != nil && !yield(k.live) {
				return
			}
		}
	}
}

// find looks up what a ref names. The most specific id that it states decides: a leg that is not known is not looked
// for under its control id.
func (i *identity) find(ref call.Ref) (*session, *leg) {
	var l *leg
	switch {
	case ref.Session != "":
		s := i.session(ref.Session)
		if s == nil {
			return nil, nil
		}
		if ref.Leg != "" {
			return s, s.leg(ref.Leg)
		}
		return s, i.legOf(s, ref.Control)
	case ref.Leg != "":
		l = i.byLeg[ref.Leg]
	default:
		l = i.byControl[ref.Control]
	}
	if l == nil {
		return nil, nil
	}
	return l.session, l
}

// legOf finds the leg of a session that goes by a control id.
func (i *identity) legOf(s *session, c call.ControlID) *leg {
	if c == "" {
		return nil
	}
	if l := i.byControl[c]; l != nil && l.session == s {
		return l
	}
	// It can be the same in two sessions: then only its own session's leg is right.
	if n := slices.IndexFunc(s.legs, func(l *leg) bool { return l.goesBy(c) }); n >= 0 {
		return s.legs[n]
	}
	return nil
}

// attach finds the place of an event, and makes session and leg where it names them. Found are the orphans that named
// a leg that is new.
func (i *identity) attach(e *call.Entry, ref call.Ref, horizon time.Time) (s *session, l *leg, found []*Event) {
	if s, l = i.find(ref); ref.Session == "" {
		return s, l, nil
	}
	if s == nil {
		s = &session{id: ref.Session, slot: slot{place: -1}, firstSeq: e.Seq, firstAt: logTimeOf(e.ReceivedAt)}
		i.sessions.Set(string(s.id), s, cache.NoExpiration)
		s.kept = &kept{firstSeq: e.Seq, live: s}
		i.inOrder = append(i.inOrder, s.kept)
	}
	if l == nil && ref.Leg != "" {
		l = &leg{id: ref.Leg, session: s, since: logTimeOf(e.ReceivedAt)}
		s.legs = append(s.legs, l)
		if _, ok := i.byLeg[l.id]; !ok {
			i.byLeg[l.id] = l
		}
		found = i.adopt(s, orphanKey{leg: l.id}, horizon)
	}
	return s, l, found
}

// learn takes the ids that an event of a leg states, and returns the events that a control id which is new to the leg
// leads to: orphans, and events of the session.
func (i *identity) learn(l *leg, event *Event, horizon time.Time) (found []*Event) {
	c := event.Facts.Control
	isNew := l.learn(event)
	if c == "" {
		return nil
	}
	if _, ok := i.byControl[c]; !ok {
		i.byControl[c] = l
	}
	if !isNew {
		return nil
	}
	return append(i.adopt(l.session, orphanKey{control: c}, horizon), l.session.release(c)...)
}

// adopt takes the orphans that wait for an id of a leg of the session.
func (i *identity) adopt(s *session, k orphanKey, horizon time.Time) []*Event {
	found := i.orphans.take(k, horizon)
	for _, event := range found {
		if event.Seq < s.firstSeq {
			i.pins = append(i.pins, pin{event.Seq, s.kept})
		}
		s.noteEntry(event.Seq)
	}
	return found
}

// release takes the events out of the session that name a control id, for its leg.
func (s *session) release(c call.ControlID) (released []*Event) {
	var kept events
	for _, event := range s.events.list {
		if event.Facts.Control != c {
			kept.add(event)
			continue
		}
		// Views of the session have the event already, so what the leg changes is a copy.
		its, facts := *event, *event.Facts
		its.Facts = &facts
		released = append(released, &its)
	}
	s.events = kept
	return released
}

// learn takes the ids that an event states about its leg, and reports whether its control id was not known. Where
// events disagree the first by occurrence is right, whatever order they came in; the others still lead to the leg.
func (l *leg) learn(event *Event) (isNew bool) {
	f := event.Facts
	if f.Connection != "" && precedes(event, l.connectionBy, func(f *Facts) string { return string(f.Connection) }) {
		l.connectionBy = event
	}
	if f.Control == "" {
		return false
	}
	isNew = !l.goesBy(f.Control)
	if precedes(event, l.controlBy, func(f *Facts) string { return string(f.Control) }) {
		if f.Control != l.control {
			l.aliases = slices.DeleteFunc(l.aliases, func(c call.ControlID) bool { return c == f.Control })
			if l.control != "" {
				l.aliases = append(l.aliases, l.control)
			}
			l.control = f.Control
		}
		l.controlBy = event
	} else if isNew {
		l.aliases = append(l.aliases, f.Control)
	}
	return isNew
}

// precedes reports whether what a states about its leg goes before what b does: by occurrence, and between deliveries
// that differ by the text itself.
func precedes(a, b *Event, text func(*Facts) string) bool {
	if b == nil {
		return true
	}
	if c := order(a, b); c != 0 {
		return c < 0
	}
	return text(a.Facts) < text(b.Facts)
}

func (l *leg) goesBy(c call.ControlID) bool {
	return c != "" && (l.control == c || slices.Contains(l.aliases, c))
}

// forget drops a session and what it knows. Its place in the order stays until there are too many of those: an old
// session at the front must not put that off.
func (i *identity) forget(s *session) {
	i.remove(s)
	s.kept.live = nil
	i.countForgotten()
}

// remove takes a session out of what is live.
func (i *identity) remove(s *session) {
	i.sessions.Delete(string(s.id))
	for _, l := range s.legs {
		if i.byLeg[l.id] == l {
			delete(i.byLeg, l.id)
		}
		for c := range l.controls() {
			if i.byControl[c] == l {
				delete(i.byControl, c)
			}
		}
	}
}

func (i *identity) countForgotten() {
	if i.forgotten++; i.forgotten > len(i.inOrder)/2 {
		i.inOrder = slices.DeleteFunc(i.inOrder, (*kept).forgotten)
		i.pins = slices.DeleteFunc(i.pins, func(p pin) bool { return p.of.forgotten() })
		i.forgotten = 0
	}
}

// controls are the control ids that a leg goes by.
func (l *leg) controls() iter.Seq[call.ControlID] {
	return func(yield func(call.ControlID) bool) {
		for _, c := range l.aliases {
			if !yield(c) {
				return
			}
		}
		if l.control != "" {
			yield(l.control)
		}
	}
}

// oldest returns the first sequence that any session or orphan needs, next when none needs any before it.
func (i *identity) oldest(next uint64) uint64 {
	oldest := next
	if seq := i.orphans.oldest(); seq > 0 {
		oldest = min(oldest, seq)
	}
	if n := slices.IndexFunc(i.inOrder, func(k *kept) bool { return !k.forgotten() }); n >= 0 {
		oldest = min(oldest, i.inOrder[n].firstSeq)
	}
	for _, p := range i.pins {
		if !p.of.forgotten() {
			oldest = min(oldest, p.seq)
		}
	}
	return oldest
}

// Learn folds an entry of Legato's own that the log has no room for: a check, an answer or the outcome of a backfill,
// never an event. It says what the log and its clock say as well, or what is read back from the stored summary, so a
// table that did not learn it arrives at the same, later. It returns the entry with the place and time that it was
// folded at; false when the session is not known.
//
// The session is kept until Release: there is no task in the queue that would keep it.
func (t *Table) Learn(e call.Entry) (call.Entry, bool) {
	content := decode(&e, t.cfg.Decode)
	t.lock(e.Ref)
	now := t.clock.now(time.Now())
	e.Seq, e.ReceivedAt = t.progress.position.Load(), now.UTC()
	known := t.fold.ids.session(e.Ref.Session)
	if content.event != nil || known == nil {
		t.mu.Unlock()
		return e, false
	}
	s, err := t.fold.apply(&e, &content)
	if s != nil && err == nil {
		s.held++
		s.learned = true
		t.tally.count(s)
		t.schedule.put(s, now)
	}
	t.mu.Unlock()

	if s == nil || err != nil {
		return e, false
	}
	if t.cfg.Changed != nil {
		t.cfg.Changed(s.id)
	}
	return e, true
}

// Release gives back what Learn has kept.
func (t *Table) Release(id call.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.fold.ids.session(id); s != nil && s.held > 0 {
		s.held--
	}
}

package session

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// skim is what a look at the whole log tells before it is replayed: of which sessions nothing is to come. They are
// packed unread. It looks at headers, status answers and some hangups, and where those leave a doubt the session is
// replayed as all were.
type skim struct {
	rules Rules
	hash  func(kind byte, id string) uint64
	// by are the sessions by the hash of their id, all are they in order of their first entry.
	by  map[uint64]*skimmed
	all []*skimmed
	// loose are ids in entries that name no session.
	loose []uint64
	// gaps are the entries before which nobody wrote the log, at is when the last entry was received, and latest the
	// latest of all such times.
	gaps       []gap
	at, latest time.Time
	// unclear: an entry of Legato's own does not say whose it is.
	unclear bool

	// What follows is so from the end of the look on. passed has a bit for each entry from first on that is not wanted;
	// finished are the sessions that are, and gaps those that the replay has not come to.
	passed   []uint64
	first    uint64
	finished []*skimmed
}

// gap is an entry before which nobody wrote the log, and when the one before it was received.
type gap struct {
	seq        uint64
	before, at time.Time
}

// skimmed is what is known of a session by a look at its entries.
type skimmed struct {
	key  uint64
	legs []skimmedLeg
	// lastEvent is its last event, hungUp the last hangup that was a leg's first; settled is as a session's.
	firstSeq, lastSeq, lastEvent, hungUp, settled uint64
	lastAt                                        time.Time
	// entries and noted are as a session's.
	entries []byte
	noted   uint64
	// open: something in it is not to be decided here.
	open bool
}

type skimmedLeg struct {
	key      uint64
	controls []uint64
	// What is known of it is as in a leg and its record; final: nothing that is asked can change its state.
	initiated, hungUp, final                 bool
	answered, talked, active, again, tooSoon bool
}

// Skim implements journal.SkimmingFollower.
func (t *Table) Skim(entries []*call.Entry) {
	if t.cfg.Read == nil || len(entries) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.skim == nil {
		t.skim = &skim{rules: t.cfg.Rules, hash: t.fold.ids.packed.hash, by: make(map[uint64]*skimmed), first: t.progress.log.First}
	}
	for _, e := range entries {
		if e.Seq > t.progress.log.Last {
			return // it is no part of the replay
		}
		t.skim.noteGap(e)
		t.backlog.note(e)
		t.progress.begin(e)
		if a := t.skim.take(e, t.cfg.Decode); a != nil {
			t.fold.prove(a)
		}
	}
}

// Skimmed implements journal.SkimmingFollower.
func (t *Table) Skimmed() (wants func(seq uint64) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.skim == nil {
		return nil
	}
	t.skim.finish(t.progress.log.Last)
	return t.skim.wants
}

func (k *skim) wants(seq uint64) bool {
	i := seq - k.first
	return i/64 >= uint64(len(k.passed)) || k.passed[i/64]&(1<<(i%64)) == 0
}

// ended reports whether the look has come to its end.
func (k *skim) ended() bool { return k.passed != nil }

func (k *skim) noteGap(e *call.Entry) {
	if isOutage(k.rules, k.at, e.ReceivedAt) {
		k.gaps = append(k.gaps, gap{e.Seq, k.at, e.ReceivedAt})
	}
	k.at, k.latest = e.ReceivedAt, later(k.latest, e.ReceivedAt)
}

// take looks at an entry, and returns the answer that it is, if any.
func (k *skim) take(e *call.Entry, event func(call.Entry) (call.Event, error)) *Answer {
	isEvent := strings.HasPrefix(e.Topic, call.TopicEvent)
	switch {
	case e.Foreign || e.Topic == call.TopicHeartbeat:
		return nil
	case e.Ref.Session == "" && isEvent:
		if e.Ref.Leg != "" {
			k.loose = append(k.loose, k.hash(ofLeg, string(e.Ref.Leg)))
		}
		if e.Ref.Control != "" {
			k.loose = append(k.loose, k.hash(ofControl, string(e.Ref.Control)))
		}
		return nil
	case e.Ref.Session == "":
		k.unclear = true
		return nil
	}
	key := k.hash(ofSession, string(e.Ref.Session))
	s := k.by[key]
	if s == nil {
		s = &skimmed{key: key, firstSeq: e.Seq, open: !isEvent}
		k.by[key] = s
		k.all = append(k.all, s)
	}
	s.entries = binary.AppendVarint(s.entries, int64(e.Seq-s.noted))
	s.noted, s.lastSeq, s.lastAt = e.Seq, e.Seq, later(s.lastAt, e.ReceivedAt)
	switch {
	case isEvent:
		k.event(s, e, event)
	case e.Topic == call.TopicStatus:
		c := decode(e, event)
		if c.answer == nil || c.err != nil || c.answer.Session != e.Ref.Session || c.answer.Leg != e.Ref.Leg {
			s.open = true
			return nil
		}
		if l := s.leg(k.hash(ofLeg, string(c.answer.Leg))); l != nil && c.answer.ends() {
			l.final = true // it confirms the end, whatever other answers say
		}
		return c.answer
	case e.Topic == call.TopicCheck:
		k.check(s, e)
	default:
		s.open = true
	}
	return nil
}

func (s *skimmed) leg(key uint64) *skimmedLeg {
	if i := slices.IndexFunc(s.legs, func(l skimmedLeg) bool { return l.key == key }); i >= 0 {
		return &s.legs[i]
	}
	return nil
}

func (k *skim) event(s *skimmed, e *call.Entry, decoded func(call.Entry) (call.Event, error)) {
	s.lastEvent = e.Seq
	if e.Ref.Leg == "" {
		s.open = s.open || e.Ref.Control != "" // it may be a leg's, and tell of it what any of its events may
		return
	}
	t := call.EventTypeOf(e.EventType())
	key := k.hash(ofLeg, string(e.Ref.Leg))
	l := s.leg(key)
	if l == nil {
		s.legs = append(s.legs, skimmedLeg{key: key, tooSoon: t.Name == call.TypeHangup})
		l = &s.legs[len(s.legs)-1]
	}
	if e.Ref.Control != "" {
		if c := k.hash(ofControl, string(e.Ref.Control)); !slices.Contains(l.controls, c) {
			l.controls = append(l.controls, c)
		}
	}
	l.again, l.active = l.again || e.Attempt > 1, l.active || t.Answered
	switch t.Name {
	case call.TypeInitiated:
		l.initiated = true
	case call.TypeAnswered:
		l.answered = true
	case call.TypeBridged:
		l.talked = true
	case call.TypeHangup:
		if !l.hungUp {
			l.hungUp, s.hungUp = true, e.Seq
		}
		if l.answered || k.rules.BackfillAfter <= 0 {
			return
		}
		c := decode(e, decoded)
		if c.err != nil {
			s.open = true
			return
		}
		h, ok := c.event.Detail.(*call.Hangup)
		l.talked = l.talked || ok && hadAnswer(h)
	}
}

// check looks at a check by its id.
func (k *skim) check(s *skimmed, e *call.Entry) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(e.ID, "check/"), "/")
	switch CheckKind(kind) {
	case CheckStatus:
	case CheckSettle:
		upto, err := strconv.ParseUint(e.ID[strings.LastIndexByte(e.ID, '/')+1:], 10, 64)
		if err == nil {
			s.settled = max(s.settled, min(upto, e.Seq))
		}
	case CheckClose:
		if l := s.leg(k.hash(ofLeg, string(e.Ref.Leg))); l != nil {
			l.final = true
		}
	case CheckExpire, CheckBackfill:
		fallthrough
	default:
		s.open = true
	}
}

// isFinished reports whether nothing is to come of the session but late news.
func (s *skimmed) isFinished(r Rules) bool {
	if s.open || len(s.legs) == 0 || s.settled < s.lastEvent {
		return false
	}
	return !slices.ContainsFunc(s.legs, func(l skimmedLeg) bool {
		doubtful := l.again || l.tooSoon || (l.active || l.talked) && !l.answered
		return !l.initiated || !l.hungUp || !l.final && len(l.controls) > 0 || r.BackfillAfter > 0 && doubtful
	})
}

// keys are those of a session that is packed.
func (s *skimmed) keys() []uint64 {
	keys := []uint64{s.key}
	for _, l := range s.legs {
		keys = append(keys, l.key)
	}
	for _, l := range s.legs {
		keys = append(keys, l.controls...)
	}
	return keys
}

// finish ends the look.
func (k *skim) finish(last uint64) {
	// An id that leads to two sessions, or comes without one, is not to be decided here either.
	owners := make(map[uint64]*skimmed, 4*len(k.all))
	for _, key := range k.loose {
		owners[key] = nil
	}
	for _, s := range k.all {
		for _, key := range s.keys()[1:] {
			owner, known := owners[key]
			switch {
			case !known:
				owners[key] = s
			case owner != s:
				s.open = true
				if owner != nil {
					owner.open = true
				}
			}
		}
	}
	k.passed = make([]uint64, (last-k.first)/64+1)
	for _, s := range k.all {
		// The legs that were open in a gap are checked after it.
		i, _ := slices.BinarySearchFunc(k.gaps, s.firstSeq+1, func(g gap, seq uint64) int { return cmp.Compare(g.seq, seq) })
		livedThrough := i < len(k.gaps) && k.gaps[i].seq <= s.hungUp
		if k.unclear || livedThrough || s.lastSeq == last || !s.isFinished(k.rules) {
			continue
		}
		k.finished = append(k.finished, s)
		for seq, b := uint64(0), s.entries; len(b) > 0; {
			distance, size := binary.Varint(b)
			b, seq = b[size:], seq+uint64(distance)
			k.passed[(seq-k.first)/64] |= 1 << ((seq - k.first) % 64)
		}
	}
	k.by, k.all = nil, nil
}

// passTo makes up for the entries below one that was looked at before, and for a gap before it. It reports whether the
// entry is wanted. The lock is held.
func (t *Table) passTo(seq uint64) (wanted bool) {
	k := t.skim
	if !k.wants(seq) {
		return false
	}
	for len(k.gaps) > 0 && k.gaps[0].seq <= seq {
		g := k.gaps[0]
		k.gaps = k.gaps[1:]
		t.fold.previous = g.before
		t.fold.noteOutage(&call.Entry{Seq: g.seq, ReceivedAt: g.at})
	}
	for len(k.finished) > 0 && k.finished[0].firstSeq < seq {
		s := k.finished[0]
		k.finished = k.finished[1:]
		t.fold.ids.packSkimmed(s, s.lastAt.Add(t.cfg.Rules.AmendWindow))
		t.tally.Over += uint64(len(s.legs))
		t.tally.Pending += len(s.legs)
	}
	if seq >= t.progress.log.Last {
		t.progress.latest = later(t.progress.latest, k.latest)
		t.fold.previous = k.at
		t.fold.ids.packed.sort()
		t.skim = nil
	}
	return true
}

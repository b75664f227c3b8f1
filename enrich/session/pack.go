package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/patrickmn/go-cache"

	"github.com/legato-calls/legato/internal/call"
)

// packAfter is how long a session for which nothing is to come stays as it is: most late news comes within it.
const packAfter = time.Minute

// packs are the sessions that are over, published and quiet. Of such a one only the places of its entries in the log are
// kept. It is opened for late news by reading them and folding them again: the fold of a session depends on its own
// entries alone.
type packs struct {
	seed maphash.Seed
	by   map[uint64]*kept
	// queue are those that were packed, in that order; of those that are no more some are still in it.
	queue []*kept
	// sessions and legs count them.
	sessions, legs int
}

func newPacks() packs { return packs{seed: maphash.MakeSeed(), by: make(map[uint64]*kept)} }

// Kinds of ids: two of different kinds may be the same text.
const (
	ofSession = 's'
	ofLeg     = 'l'
	ofControl = 'c'
)

// hash returns the key of an id.
func (p *packs) hash(kind byte, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	_ = h.WriteByte(kind)
	_, _ = h.WriteString(id)
	return h.Sum64()
}

// find returns a packed session that an id of a ref leads to, nil when none does. Two ids of the same hash would lead to
// one that is opened in vain.
func (p *packs) find(ref call.Ref) *kept {
	if len(p.by) == 0 {
		return nil
	}
	for _, id := range [...]struct {
		kind byte
		text string
	}{{ofSession, string(ref.Session)}, {ofLeg, string(ref.Leg)}, {ofControl, string(ref.Control)}} {
		if id.text == "" {
			continue
		}
		if k := p.by[p.hash(id.kind, id.text)]; k != nil {
			return k
		}
	}
	return nil
}

// keys are those of all ids of a session.
func (p *packs) keys(s *session) []uint64 {
	keys := []uint64{p.hash(ofSession, string(s.id))}
	for _, l := range s.legs {
		keys = append(keys, p.hash(ofLeg, string(l.id)))
		for c := range l.controls() {
			keys = append(keys, p.hash(ofControl, string(c)))
		}
	}
	return keys
}

// areOwn reports whether all ids of a session lead to it, and to nothing else.
func (i *identity) areOwn(s *session, keys []uint64) bool {
	for _, l := range s.legs {
		if i.byLeg[l.id] != l {
			return false
		}
		for c := range l.controls() {
			if i.byControl[c] != l {
				return false
			}
		}
	}
	return !slices.ContainsFunc(keys, func(key uint64) bool { return i.packed.by[key] != nil })
}

// noteEntry notes the place of an entry that is folded into the session: how far it lies from the one before.
func (s *session) noteEntry(seq uint64) {
	s.entries = binary.AppendVarint(s.entries, int64(seq-s.lastNoted))
	s.lastNoted = seq
}

// isQuiet reports whether a session for which no check is to come can be packed.
func (s *session) isQuiet(at instant) bool {
	return at.anchored && s.over() && s.held == 0 && !s.learned && s.lastSeq <= at.floor && !s.lastAt.Add(packAfter).After(at.now) &&
		!slices.ContainsFunc(s.legs, func(l *leg) bool { return l.tallied != talliedCompleted || l.record.outageSeq > 0 })
}

// pack packs a quiet session, and reports whether it could.
func (i *identity) pack(s *session, expires time.Time) bool {
	keys := i.packed.keys(s)
	if !i.areOwn(s, keys) {
		return false
	}
	b := binary.AppendUvarint(make([]byte, 0, 8*len(keys)+len(s.entries)+8), uint64(len(keys)))
	for _, key := range keys {
		b = binary.LittleEndian.AppendUint64(b, key)
	}
	b = binary.AppendUvarint(b, uint64(s.revision))
	b = binary.AppendUvarint(b, uint64(len(s.legs)))
	for _, l := range s.legs {
		b = binary.AppendUvarint(b, uint64(l.revision))
	}
	i.remove(s)
	k := s.kept
	k.live, k.packed, k.expires = nil, slices.Clip(append(b, s.entries...)), expires.UnixNano()
	for _, key := range keys {
		i.packed.by[key] = k
	}
	i.packed.queue = append(i.packed.queue, k)
	i.packed.sessions++
	i.packed.legs += len(s.legs)
	return true
}

// unpacked is what a packed session says.
type unpacked struct {
	keys      []uint64
	revision  int
	revisions []int // of its legs, in the order in which they became known
	entries   []uint64
}

func unpack(b []byte) (u unpacked) {
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		b = b[size:]
		return n
	}
	u.keys = make([]uint64, number())
	for i := range u.keys {
		u.keys[i] = binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	u.revision = int(number())
	u.revisions = make([]int, number())
	for i := range u.revisions {
		u.revisions[i] = int(number())
	}
	for seq := uint64(0); len(b) > 0; {
		distance, size := binary.Varint(b)
		b = b[size:]
		seq += uint64(distance)
		u.entries = append(u.entries, seq)
	}
	slices.Sort(u.entries)
	u.entries = slices.Compact(u.entries)
	return u
}

// expire forgets packed sessions, and returns how long none else is to be; less than 0: there is none.
func (i *identity) expire(now time.Time) (wait time.Duration) {
	for n := 0; len(i.packed.queue) > 0 && n < maxForgotten; n++ {
		k := i.packed.queue[0]
		if k.packed != nil {
			if wait := time.Unix(0, k.expires).Sub(now); wait > 0 {
				return wait
			}
			i.drop(k, unpack(k.packed))
			i.countForgotten()
		}
		i.packed.queue[0] = nil
		i.packed.queue = i.packed.queue[1:]
	}
	if len(i.packed.queue) == 0 {
		i.packed.queue = nil
		return -1
	}
	return 0
}

// drop takes a session out of those that are packed.
func (i *identity) drop(k *kept, u unpacked) {
	for _, key := range u.keys {
		delete(i.packed.by, key)
	}
	k.packed = nil
	i.packed.sessions--
	i.packed.legs -= len(u.revisions)
}

// errOtherwise: what was read is not what was folded.
var errOtherwise = errors.New("the log's entries make another session")

// reopen makes every packed session live that a ref leads to. One whose entries cannot be read is forgotten, as if its
// call had left the log: what comes of it is merged onto its stored summary.
func (t *Table) reopen(ref call.Ref) {
	for {
		t.mu.RLock()
		k, packed := t.fold.ids.packed.find(ref), t.fold.ids.packed
		var b []byte
		if k != nil {
			b = k.packed
		}
		t.mu.RUnlock()
		if k == nil {
			return
		}
		u := unpack(b)
		s, err := t.refold(u)
		if err == nil && !slices.Equal(packed.keys(s), u.keys) {
			err = errOtherwise
		}

		t.mu.Lock()
		ids := &t.fold.ids
		if ids.packed.by[u.keys[0]] == k { // and nobody was quicker
			ids.drop(k, u)
			if err != nil {
				ids.countForgotten()
			} else {
				t.install(k, s)
			}
		}
		t.mu.Unlock()
		if err != nil && t.cfg.Unreadable != nil {
			t.cfg.Unreadable(err)
		}
	}
}

// refold makes a session of its entries.
func (t *Table) refold(u unpacked) (*session, error) {
	entries, err := t.cfg.Read(u.entries)
	if err != nil {
		return nil, fmt.Errorf("read the entries of a packed session: %w", err)
	}
	own := newFold(t.cfg.Rules)
	var s *session
	for i := range entries {
		content := decode(&entries[i], t.cfg.Decode)
		into, err := own.apply(&entries[i], &content)
		if err != nil {
			return nil, err
		}
		if into != nil {
			s = into
		}
	}
	if s == nil || len(own.ids.inOrder) != 1 || len(s.legs) != len(u.revisions) {
		return nil, errOtherwise
	}
	s.revision = u.revision
	for i, l := range s.legs {
		l.completed, l.tallied, l.revision = true, talliedCompleted, u.revisions[i]
	}
	return s, nil
}

// install makes a session live again.
func (t *Table) install(k *kept, s *session) {
	ids := &t.fold.ids
	k.live, s.kept = s, k
	ids.sessions.Set(string(s.id), s, cache.NoExpiration)
	t.fold.changes++
	s.version = t.fold.changes
	for _, l := range s.legs {
		l.version = t.fold.changes
		ids.byLeg[l.id] = l
		for c := range l.controls() {
			ids.byControl[c] = l
		}
	}
	t.schedule.put(s, t.clock.now(time.Now()))
}

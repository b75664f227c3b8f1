package session

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/patrickmn/go-cache"

	"github.com/legato-calls/legato/internal/call"
)

// packAfter is how long a session for which nothing is to come stays as it is: most late news comes within it.
const packAfter = time.Minute

// packs are the sessions that are over, published and quiet, or were found finished when the log was looked at, published
// or not. Of such a one only the places of its entries in the log are kept. It is opened for late news by reading them and
// folding them again: the fold of a session depends on its own entries alone.
type packs struct {
	seed maphash.Seed
	by   map[uint64]*kept
	// queue are those that were packed, in that order, and when each expired then; of those that are no more, or were
	// packed again since, some are still in it.
	queue []expiry
	// unread are those that could not be read.
	unread map[*kept]failing
	// sessions and legs count them.
	sessions, legs int
}

// failing is since when reading a packed session has failed, and when it was tried last.
type failing struct{ since, last time.Time }

type expiry struct {
	of *kept
	at int64 // unix nanoseconds on the log's clock
}

func newPacks() packs {
	return packs{seed: maphash.MakeSeed(), by: make(map[uint64]*kept), unread: make(map[*kept]failing)}
}

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

// keys are those of all ids of a session: its own, then its legs', then their control ids'.
func (p *packs) keys(s *session) []uint64 {
	keys := []uint64{p.hash(ofSession, string(s.id))}
	for _, l := range s.legs {
		keys = append(keys, p.hash(ofLeg, string(l.id)))
	}
	for _, l := range s.legs {
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
	return at.anchored && s.over() && s.held == 0 && !s.learned && s.lastSeq <= at.floor && !s.lastAt.time().Add(packAfter).After(at.now) &&
		!s.opened.Add(packAfter).After(at.local) && !slices.ContainsFunc(s.legs, func(l *leg) bool { return l.tallied != talliedCompleted || l.record.outageSeq > 0 })
}

// pack packs a quiet session, and reports whether it could.
func (i *identity) pack(s *session, expires time.Time) bool {
	keys := i.packed.keys(s)
	if !i.areOwn(s, keys) {
		return false
	}
	i.remove(s)
	s.kept.live = nil
	i.keep(s.kept, unpacked{keys: keys, revision: s.revision, legs: packedLegs(s)}.pack(s.entries), len(s.legs), keys, expires)
	return true
}

// packSkimmed keeps a session packed of which the entries were only looked at.
func (i *identity) packSkimmed(s *skimmed, expires time.Time) {
	keys := s.keys()
	k := &kept{firstSeq: s.firstSeq}
	i.inOrder = append(i.inOrder, k)
	i.keep(k, unpacked{keys: keys, legs: make([]packedLeg, len(s.legs))}.pack(s.entries), len(s.legs), keys, expires)
}

// keep keeps a session of so many legs packed.
func (i *identity) keep(k *kept, packed []byte, legs int, keys []uint64, expires time.Time) {
	k.packed, k.expires = packed, expires.UnixNano()
	for _, key := range keys {
		i.packed.by[key] = k
	}
	i.packed.queue = append(i.packed.queue, expiry{k, k.expires})
	i.packed.sessions++
	i.packed.legs += legs
}

// sort puts those that were packed in any order into that in which they expire.
func (p *packs) sort() {
	slices.SortStableFunc(p.queue, func(a, b expiry) int { return cmp.Compare(a.at, b.at) })
}

// publish notes that a revision of a leg of a packed session is published, or of the session, and reports whether it is
// the first that is known of the leg.
func (p *packs) publish(sid call.SessionID, id call.LegID, revision int, made uint64) (completed bool) {
	k := p.by[p.hash(ofSession, string(sid))]
	if k == nil {
		return false
	}
	u, entries := unpack(k.packed)
	if id == "" {
		u.revision = newest(u.revision, revision, made >= k.firstSeq)
	} else if i := slices.Index(u.keys[1:1+len(u.legs)], p.hash(ofLeg, string(id))); i >= 0 {
		l := &u.legs[i]
		completed = !l.completed
		l.completed, l.revision = true, newest(l.revision, revision, made >= k.firstSeq)
	}
	k.packed = u.pack(entries)
	return completed
}

// unpacked is what a packed session says, but for its entries. Its keys begin with its own and those of its legs.
type unpacked struct {
	keys     []uint64
	revision int
	legs     []packedLeg // in the order in which they became known
}

// packedLeg is what is kept of a leg beside its entries: whether its summary is known to be published, and the revision.
type packedLeg struct {
	completed bool
	revision  int
}

func packedLegs(s *session) (legs []packedLeg) {
	for _, l := range s.legs {
		legs = append(legs, packedLeg{l.completed, l.revision})
	}
	return legs
}

// pack returns the session's bytes; entries are as noteEntry writes them.
func (u unpacked) pack(entries []byte) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 8*len(u.keys)+2*len(u.legs)+len(entries)+8), uint64(len(u.keys)))
	for _, key := range u.keys {
		b = binary.LittleEndian.AppendUint64(b, key)
	}
	b = binary.AppendUvarint(b, uint64(u.revision))
	b = binary.AppendUvarint(b, uint64(len(u.legs)))
	for _, l := range u.legs {
		n := uint64(l.revision) << 1
		if l.completed {
			n |= 1
		}
		b = binary.AppendUvarint(b, n)
	}
	return slices.Clip(append(b, entries...))
}

func unpack(b []byte) (u unpacked, entries []byte) {
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
	u.legs = make([]packedLeg, number())
	for i := range u.legs {
		n := number()
		u.legs[i] = packedLeg{n&1 != 0, int(n >> 1)}
	}
	return u, b
}

// noted returns the places in the log that noteEntry has written, in order.
func noted(b []byte) (seqs []uint64) {
	for seq := uint64(0); len(b) > 0; {
		distance, size := binary.Varint(b)
		b = b[size:]
		seq += uint64(distance)
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return slices.Compact(seqs)
}

// pending counts the legs whose summary is not known to be published.
func (u *unpacked) pending() (n int) {
	for _, l := range u.legs {
		if !l.completed {
			n++
		}
	}
	return n
}

// expire forgets packed sessions, and returns how long none else is to be; less than 0: there is none. pending counts the
// legs among them whose summary is not known to be published.
func (i *identity) expire(at instant) (wait time.Duration, pending int) {
	for n := 0; len(i.packed.queue) > 0 && n < maxForgotten; n++ {
		next := i.packed.queue[0]
		if k := next.of; k.packed != nil && k.expires == next.at { // else it stands further behind, if anywhere
			if wait := time.Unix(0, next.at).Sub(at.now); wait > 0 {
				return wait, pending
			}
			u, entries := unpack(k.packed)
			unknown, seqs := u.pending(), noted(entries)
			// As of a live one: a task of it may be with a worker, and what is published is read after a replay.
			if !at.anchored || seqs[len(seqs)-1] > at.floor || unknown > 0 && at.local.Before(at.caughtUp.Add(completedWithin)) {
				return handedOutFor, pending
			}
			pending += unknown
			i.drop(k, u)
			i.countForgotten()
		}
		i.packed.queue[0] = expiry{}
		i.packed.queue = i.packed.queue[1:]
	}
	if len(i.packed.queue) == 0 {
		i.packed.queue = nil
		return -1, pending
	}
	return 0, pending
}

// drop takes a session out of those that are packed.
func (i *identity) drop(k *kept, u unpacked) {
	for _, key := range u.keys {
		delete(i.packed.by, key)
	}
	delete(i.packed.unread, k)
	k.packed = nil
	i.packed.sessions--
	i.packed.legs -= len(u.legs)
}

// errOtherwise: what was read is not what was folded.
var errOtherwise = errors.New("the log's entries make another session")

const (
	// readWithin is how long it is tried to read a packed session of which a leg is to be published yet; whoever asks comes
	// again. After readAnewAfter without a try that time begins anew.
	readWithin, readAnewAfter = time.Minute, 10 * time.Second
	// Whoever changes the session cannot come again, and all others wait for the fold: so many reads more, each after a pause.
	rereads, rereadPause = 4, 50 * time.Millisecond
)

// lock locks the table with every session live that a ref leads to: of one that is packed nothing is found, and another
// of the same id would be made.
func (t *Table) lock(ref call.Ref) { t.lockWith(ref, &t.mu, 0) }

// rlock is lock for reading. unread: a session is packed yet, and to be asked for again.
func (t *Table) rlock(ref call.Ref) (unread bool) { return t.lockWith(ref, t.mu.RLocker(), readWithin) }

func (t *Table) lockWith(ref call.Ref, lock sync.Locker, patience time.Duration) (unread bool) {
	for lock.Lock(); !unread; lock.Lock() {
		k := t.fold.ids.packed.find(ref)
		if k == nil {
			return false
		}
		packed, b := t.fold.ids.packed, k.packed
		lock.Unlock()
		unread = t.reopen(k, &packed, b, patience)
	}
	return true
}

// reopen makes a session live that is packed as b. One whose entries cannot be read is forgotten, as if its call had left
// the log: what comes of it is merged onto its stored summary. Where that is not stored, it may be left packed for a
// while; in the end tasks of it are not done, but parked.
func (t *Table) reopen(k *kept, packed *packs, b []byte, patience time.Duration) (unread bool) {
	u, entries := unpack(b)
	seqs, pending := noted(entries), u.pending()
	s, unusable, err := t.refold(packed, u, seqs)
	for n := 0; n < rereads && patience == 0 && pending > 0 && err != nil && !errors.Is(err, errOtherwise); n++ {
		time.Sleep(rereadPause)
		s, unusable, err = t.refold(packed, u, seqs)
	}

	t.mu.Lock()
	ids := &t.fold.ids
	if ids.packed.by[u.keys[0]] != k || !bytes.Equal(k.packed, b) {
		t.mu.Unlock() // somebody was quicker, or its summary was published
		return false
	}
	if err != nil && pending > 0 {
		if ids.packed.isLeft(k, err, patience) {
			t.mu.Unlock()
			return true
		}
		unusable = make(map[uint64]error, len(seqs))
		for _, seq := range seqs {
			unusable[seq] = err
		}
	}
	ids.drop(k, u)
	if t.tally.Pending -= pending; err != nil {
		ids.countForgotten()
	} else {
		t.install(k, s)
	}
	for seq, err := range unusable {
		if seq > t.backlog.floor {
			t.backlog.unusable[seq] = err
		}
	}
	t.mu.Unlock()
	if err != nil && t.cfg.Unreadable != nil {
		t.cfg.Unreadable(err)
	}
	return false
}

// isLeft reports whether a session that could not be read is left packed, to be read later.
func (p *packs) isLeft(k *kept, err error, patience time.Duration) bool {
	if errors.Is(err, errOtherwise) {
		return false // it was read
	}
	now := time.Now()
	f, known := p.unread[k]
	if !known || now.Sub(f.last) > readAnewAfter {
		f.since = now
	}
	f.last = now
	p.unread[k] = f
	return now.Sub(f.since) < patience
}

// refold makes a session of its entries, and returns which of them could not be folded. One that was only looked at can
// have had a leg that none of them makes.
func (t *Table) refold(packed *packs, u unpacked, seqs []uint64) (s *session, unusable map[uint64]error, err error) {
	entries, err := t.cfg.Read(seqs)
	if err != nil {
		return nil, nil, fmt.Errorf("read the entries of a packed session: %w", err)
	}
	own := newFold(t.cfg.Rules)
	for _, e := range entries {
		content := decode(e, t.cfg.Decode)
		into, err := own.apply(e, &content)
		if err != nil {
			if unusable == nil {
				unusable = make(map[uint64]error)
			}
			unusable[e.Seq] = err
			if t.cfg.Unusable != nil {
				t.cfg.Unusable(*e, err)
			}
		}
		if into != nil {
			s = into
		}
	}
	if s == nil || len(own.ids.inOrder) != 1 ||
		slices.ContainsFunc(packed.keys(s), func(key uint64) bool { return !slices.Contains(u.keys, key) }) {
		return nil, unusable, errOtherwise
	}
	s.revision = u.revision
	for _, l := range s.legs {
		was := u.legs[slices.Index(u.keys[1:1+len(u.legs)], packed.hash(ofLeg, string(l.id)))]
		l.completed, l.tallied, l.revision = was.completed, talliedPending, was.revision
		if l.completed {
			l.tallied = talliedCompleted
		}
	}
	return s, unusable, nil
}

// install makes a session live again.
func (t *Table) install(k *kept, s *session) {
	ids, now := &t.fold.ids, time.Now()
	for _, l := range s.legs {
		if l.tallied == talliedPending {
			t.tally.Pending++
		}
	}
	// Whoever opens it looks at it, or folds into it, only after this: it must not be packed in between.
	k.live, s.kept, s.opened = s, k, now
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
	t.schedule.put(s, t.clock.now(now))
}

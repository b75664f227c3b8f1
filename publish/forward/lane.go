package forward

import (
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
)

// item is one event on its way to one target.
type item struct {
	// entry is the event; of one that was set aside there are place and time alone, until it is read.
	entry call.Entry
	// reports tells that it may arrive late.
	reports bool
	key     string // of its lane
	// attempts are those made so far, by whatever replica where it was set aside.
	attempts int
	backoff  *backoff.ExponentialBackOff
	lane     *lane
	state    itemState
	probe    bool

	// msg is the newest delivery of the consumer, by which it is acknowledged; pin is the turn in which it came, and
	// delivered the consumer's count at its first delivery in that turn. Nil for an item that was set aside.
	msg       jetstream.Msg
	pin       string
	delivered uint64
	// rounds is how often it was set aside, and ended is told that it needs no more of this occasion (through), or
	// that nothing is known to have become of it. Nil for one that the consumer handed out.
	rounds int
	ended  func(through bool)
}

// heldKey tells items apart: the same event can be here as handed out by the consumer and as set aside before, after
// a crash between the two.
type heldKey struct {
	seq   uint64
	aside bool
}

func (it *item) heldKey() heldKey { return heldKey{it.entry.Seq, it.msg == nil} }

type itemState int

const (
	waiting  itemState = iota // in its lane, or held back until the place is settled
	underWay                  // an attempt is being made
	aside                     // it is being set aside: recorded soon
	dropped                   // another replica has it
)

// lane is the events of one session that are not through. There is none where nothing is.
type lane struct {
	key   string
	items []*item
	// queued tells that it stands among the ready lanes.
	queued bool
	timer  *time.Timer // runs while the first item pauses
}

// laneKey is what binds events into one order: their session, or the most telling id that they name.
func laneKey(session call.SessionID, ref call.Ref) string {
	switch {
	case session != "":
		return "s" + string(session)
	case ref.Leg != "":
		return "l" + string(ref.Leg)
	default:
		return "c" + string(ref.Control)
	}
}

// add puts an item in its order, behind what is under way.
func (l *lane) add(it *item) {
	i := len(l.items)
	for i > 0 && l.items[i-1].entry.Seq > it.entry.Seq && l.items[i-1].state != underWay {
		i--
	}
	l.items = slices.Insert(l.items, i, it)
	it.lane = l
}

// remove takes an item out.
func (l *lane) remove(it *item) {
	if i := slices.Index(l.items, it); i >= 0 {
		l.items = slices.Delete(l.items, i, i+1)
	}
	it.lane = nil
}

// idle reports whether the first item may be tried as soon as there is room.
func (l *lane) idle() bool {
	return len(l.items) > 0 && l.items[0].state == waiting && l.timer == nil
}

// wake ends the pause of the first item.
func (l *lane) wake() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

func newBackoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: firstPause, MaxInterval: lastPause, Multiplier: 2, RandomizationFactor: 0.2,
	}
}

// lanes are all lanes of a target that have something in them, and the order in which they are served.
type lanes struct {
	byKey map[string]*lane
	ready []*lane
}

// put adds an item to the lane of a key.
func (s *lanes) put(key string, it *item) *lane {
	l := s.byKey[key]
	if l == nil {
		l = &lane{key: key}
		s.byKey[key] = l
	}
	l.add(it)
	return l
}

// queue makes a lane stand in line when its first item may be tried.
func (s *lanes) queue(l *lane) {
	if l.idle() && !l.queued {
		l.queued = true
		s.ready = append(s.ready, l)
	}
}

// next takes the lane out of the line that has waited longest, nil when there is none.
func (s *lanes) next() *lane {
	for len(s.ready) > 0 {
		l := s.ready[0]
		s.ready[0] = nil
		s.ready = s.ready[1:]
		l.queued = false
		if l.idle() {
			return l
		}
	}
	s.ready = nil // let go of its memory
	return nil
}

// release takes an item out of its lane, and lets go of a lane that is empty.
func (s *lanes) release(it *item) {
	l := it.lane
	if l == nil {
		return
	}
	if l.items[0] == it {
		l.wake()
	}
	l.remove(it)
	if len(l.items) > 0 {
		s.queue(l)
		return
	}
	delete(s.byKey, l.key)
}

// remembered is how many events that are through a runner knows: those whose acknowledgement may have been lost
// with a connection, at a thousand events a second for some seconds.
const remembered = 8192

// recent are the events that were through lately, the last ones that were added.
type recent struct {
	seqs map[uint64]struct{}
	ring []uint64
	next int
}

func newRecent() recent {
	return recent{seqs: make(map[uint64]struct{}), ring: make([]uint64, 0, 64)}
}

func (r *recent) add(seq uint64) {
	if _, ok := r.seqs[seq]; ok {
		return
	}
	if len(r.ring) < remembered {
		r.ring = append(r.ring, seq)
	} else {
		delete(r.seqs, r.ring[r.next])
		r.ring[r.next] = seq
		r.next = (r.next + 1) % remembered
	}
	r.seqs[seq] = struct{}{}
}

func (r *recent) has(seq uint64) bool {
	_, ok := r.seqs[seq]
	return ok
}

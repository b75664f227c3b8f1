package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// orphans are events whose call is not known yet, by the id that they name.
type orphans struct {
	by    map[orphanKey][]*Event
	queue []orphan // in order of the log, for expiry; those taken stay until their time
	// expired counts those that were too old when their call became known, since expire was called last.
	expired int
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

// repeatedWithin is how many events of the same call may lie between two deliveries of an orphan for the second to be
// dropped; the leg drops the others.
const repeatedWithin = 16

func (o *orphans) add(ref call.Ref, e *Event) {
	k := orphanKey{leg: ref.Leg}
	if ref.Leg == "" {
		k = orphanKey{control: ref.Control}
	}
	waiting := o.by[k]
	for _, w := range waiting[max(len(waiting)-repeatedWithin, 0):] {
		if compareID(w, e) == 0 && w.Facts.equal(e.Facts) && stands(w, e) {
			return
		}
	}
	o.by[k] = append(waiting, e)
	o.queue = append(o.queue, orphan{k, e})
}

// take removes and returns what waits for a key, but for what was received before the horizon.
func (o *orphans) take(k orphanKey, horizon time.Time) []*Event {
	waiting, ok := o.by[k]
	if !ok {
		return nil
	}
	delete(o.by, k)
	young := slices.DeleteFunc(waiting, func(e *Event) bool { return e.ReceivedAt.Before(horizon) })
	o.expired += len(waiting) - len(young)
	return young
}

func (o *orphans) count() int {
	n := 0
	for _, list := range o.by {
		n += len(list)
	}
	return n
}

// expire drops orphans received before a time and returns how many, since it was called last, have found no call.
func (o *orphans) expire(before time.Time) int {
	i := 0
	for ; i < len(o.queue) && o.queue[i].event.ReceivedAt.Before(before); i++ {
		k := o.queue[i].key
		// Both are in order of the log: an orphan that was not taken is the first of its key.
		if waiting := o.by[k]; len(waiting) > 0 && waiting[0] == o.queue[i].event {
			o.expired++
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
	expired := o.expired
	o.expired = 0
	return expired
}

// oldest returns the sequence of the oldest orphan that is remembered, 0 when there is none.
func (o *orphans) oldest() uint64 {
	if len(o.queue) == 0 {
		return 0
	}
	return o.queue[0].event.Seq
}

package forward

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
)

// One replica at a time works a target: its turn begins with a delivery under a pin that it did not know, and ends when
// the server refuses that pin.
const (
	// settleEvery and settleFor bound the wait for what was handed out before, and giveBackEvery how
	// often it is asked for: what asks may get lost.
	settleEvery, settleFor, giveBackEvery = 20 * time.Millisecond, ackWait + 2*time.Second, time.Second
	// maxGivenBack bounds the events between the acknowledged ones and the last one handed out that giveBack
	// goes through: one that is tried for a minute, at some thousands a second.
	maxGivenBack = 200_000
	headerPin    = "Nats-Pin-Id"
)

// take takes one delivery of the consumer.
func (r *runner) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		r.log.Error("an event came without its place", "error", err)
		return
	}
	seq := meta.Sequence.Stream
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return // given back with all that is held
	}
	gap := meta.Sequence.Consumer != r.delivered+1
	r.delivered = meta.Sequence.Consumer
	if pin := m.Headers().Get(headerPin); pin != r.pin {
		r.log.Debug("this replica works the target")
		r.leave() // a turn that another one followed, before this replica was told
		r.pin = pin
		r.await(m)
	} else if gap && !r.settling {
		r.log.Debug("events were lost on their way")
		r.await(m)
	}
	if it := r.held[heldKey{seq: seq}]; it != nil {
		if it.pin != r.pin {
			it.pin, it.delivered, it.state = r.pin, r.delivered, underWay // leave keeps no other state
		}
		it.msg = m
		return
	}
	if r.through.has(seq) {
		ack(r.log, m)
		return
	}
	e := call.ReadPlaced(r.cfg.Layout.Prefix, m.Subject(), m.Headers(), m.Data(), seq, meta.Timestamp)
	if e.Foreign {
		ack(r.log, m) // Telnyx has not sent it
		return
	}
	it := r.newItem(e)
	it.msg, it.pin, it.delivered = m, r.pin, r.delivered
	if r.settling {
		r.held[it.heldKey()] = it // admitted in order when all are here
		return
	}
	r.admit(it)
	r.dispatch()
}

// await lets no attempt begin until all that was handed out is here: what came before this delivery comes first. So
// does a turn begin, and so does it go on when deliveries were lost with a connection. r.mu is held.
func (r *runner) await(m jetstream.Msg) {
	r.settling = true
	consumer, pin, reply := r.consumer, r.pin, m.Reply()
	r.wg.Go(func() { r.settlePlace(consumer, pin, reply) })
}

// settlePlace waits until all that is handed out is here, and then lets attempts begin. While the server does not
// answer there is no telling, and no attempt.
func (r *runner) settlePlace(consumer jetstream.Consumer, pin, reply string) {
	var began, gave time.Time
	for {
		info, err := r.consumerInfo(consumer)
		now := time.Now()
		if err == nil && began.IsZero() {
			began = now
		}
		if err == nil && now.Sub(began) > settleFor {
			r.log.Warn("not all events that were handed out came; going on without them")
			info = nil
		}
		if err == nil && r.settled(pin, info) || !r.turn(pin) {
			return
		}
		if err == nil && now.Sub(gave) > giveBackEvery {
			gave = now
			r.giveBack(info, reply)
		}
		sleep(r.detached(), settleEvery)
	}
}

// consumerInfo asks where the consumer stands.
func (r *runner) consumerInfo(consumer jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(r.detached(), storeTimeout)
	defer cancel()
	return consumer.Info(ctx)
}

// turn reports whether the turn that a pin began goes on.
func (r *runner) turn(pin string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pin == pin && !r.stopped
}

// settled lets attempts begin when info says that all that is handed out is here, or unconditionally without info. It
// reports whether they may.
func (r *runner) settled(pin string, info *jetstream.ConsumerInfo) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pin != pin || r.stopped || info != nil && !r.allHere(info) {
		return false
	}
	r.settling = false
	var fresh []*item
	for _, it := range r.held {
		if it.lane == nil && it.state == waiting {
			fresh = append(fresh, it)
		}
	}
	for _, it := range fresh {
		r.admit(it) // a lane sorts them
	}
	r.dispatch()
	return true
}

// allHere reports whether this replica has all that is handed out, by the count of the server that gave it its turn:
// another one may answer as long as it has not noticed that it leads no more. What came in an earlier turn does not
// count, since the server may not know that it was handed out: a new leader lacks what the one before did last.
// r.mu is held.
func (r *runner) allHere(info *jetstream.ConsumerInfo) bool {
	if !slices.ContainsFunc(info.PriorityGroups, func(g jetstream.PriorityGroupState) bool { return g.PinnedClientID == r.pin }) {
		return false
	}
	here := 0
	for _, it := range r.held {
		if it.msg != nil && it.pin == r.pin && it.delivered <= info.Delivered.Consumer {
			here++
		}
	}
	return r.delivered >= info.Delivered.Consumer && here >= info.NumAckPending
}

// giveBack asks the server to hand out again what did not come in this turn: a replica that was killed cannot, and
// until ackWait is over its events would come behind later ones of their sessions. The server passes over what
// is acknowledged. The subject is that of every acknowledgement (NATS ADR-15), for other sequences.
func (r *runner) giveBack(info *jetstream.ConsumerInfo, reply string) {
	tokens := strings.Split(reply, ".")
	at := 5 // $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>
	if len(tokens) > 9 {
		at = 7 // with <domain>.<account> before the stream
	}
	if len(tokens) < at+2 || info.Delivered.Stream-info.AckFloor.Stream > maxGivenBack {
		return // they come when ackWait is over
	}
	tokens[at+1] = strconv.FormatUint(info.Delivered.Consumer, 10)
	for seq := info.AckFloor.Stream + 1; seq <= info.Delivered.Stream; seq++ {
		if r.has(seq) {
			continue
		}
		tokens[at] = strconv.FormatUint(seq, 10)
		if err := r.cfg.JetStream.Conn().Publish(strings.Join(tokens, "."), []byte("-NAK")); err != nil {
			r.log.Debug("what another replica held could not be given back", "error", err)
			return
		}
	}
}

// has reports whether an event came in this turn.
func (r *runner) has(seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.held[heldKey{seq: seq}]
	return it != nil && it.pin == r.pin
}

// lost ends the turn of this replica: another one works the target, or will. What is under way is let finish.
func (r *runner) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pin == "" {
		return
	}
	r.log.Debug("this replica does not work the target any more")
	r.leave()
	r.dispatch() // what was set aside goes on
}

// leave lets go of what came in this turn but what is under way, of which it is known that it is no more this
// replica's. r.mu is held.
func (r *runner) leave() {
	r.pin, r.settling = "", false
	for _, it := range r.held {
		switch {
		case it.msg == nil:
		case it.state == underWay:
			it.state = dropped
		case it.state != dropped:
			r.drop(it)
		}
	}
}

// giveUp gives all that is held back to the server, and the place free for another replica.
func (r *runner) giveUp(ctx context.Context) {
	r.mu.Lock()
	for _, it := range r.held {
		if it.msg != nil {
			if err := it.msg.Nak(); err != nil {
				r.log.Debug("an event could not be given back", "error", err)
			}
		}
	}
	pinned := r.pin != ""
	r.pin = ""
	r.mu.Unlock()
	if !pinned {
		return
	}
	stream, err := r.cfg.JetStream.Stream(ctx, r.cfg.Layout.Events)
	if err == nil {
		err = stream.UnpinConsumer(ctx, consumerName(r.target.Name), group)
	}
	if err != nil {
		r.log.Debug("the place could not be left; another replica takes it in a moment", "error", err)
	}
}

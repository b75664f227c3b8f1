package forward

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/internal/call"
)

// maxHeld bounds the events that a target's consumer hands out unacknowledged: those under way, those that
// wait behind them in their lanes, and those that pause. Where only some sessions fail, their events must not
// fill it in the minute for which they are tried. At 1.5 KB each it is some 1.5 MB.
const maxHeld = 1024

// runner works one target, while this replica is the one that does.
type runner struct {
	cfg    *setup
	target Target
	client *client
	log    *slog.Logger
	meter  *meter
	ledger *ledger
	shelf  *shelf
	began  time.Time
	// unrecorded says at most once a minute that attempts cannot be recorded.
	unrecorded rate.Sometimes
	// detached is the context of attempts and of what goes with them: what has begun is let finish, whoever
	// started it and whenever that ends; each has a time limit of its own.
	detached func() context.Context
	room     chan struct{}  // one element for each attempt under way in proxy mode
	wg       sync.WaitGroup // attempts, and the settling of the place

	mu      sync.Mutex
	lanes   lanes
	held    map[heldKey]*item // what is not through
	through recent            // what was lately, should an acknowledgement get lost
	running int
	breaker breaker
	// died and recovered are when the breaker opened and closed last.
	died, recovered time.Time
	prober          *time.Timer
	stopped         bool
	// lastBeat is when this process was last seen to run, and awake from when on it may be trusted again: one that was
	// stopped for a while believes what was so before.
	lastBeat, awake time.Time

	pin       string             // empty: another replica works the target, or none does yet
	delivered uint64             // the consumer's count at the last message
	settling  bool               // what was handed out before is not all here yet: no attempt may begin
	consumer  jetstream.Consumer // where the target stands in the stream
	standing  standing
}

func newRunner(cfg *setup, t Target, m *meter) *runner {
	log := cfg.Logger.With("target", t.Name)
	return &runner{
		cfg: cfg, target: t, log: log, meter: m,
		client: newClient(t, cfg.Timeout, cfg.Concurrency),
		ledger: newLedger(cfg, t.Name, log), shelf: newShelf(cfg, t.Name), began: time.Now(), detached: context.Background,
		room: make(chan struct{}, cfg.Concurrency), unrecorded: rate.Sometimes{Interval: time.Minute},
		lanes: lanes{byKey: make(map[string]*lane)}, held: make(map[heldKey]*item), through: newRecent(),
	}
}

// admit takes an item into its lane, or lets it go where the target does not want it. r.mu is held.
func (r *runner) admit(it *item) {
	if it.msg != nil && !r.wants(&it.entry) {
		r.forget(it)
		return
	}
	r.held[it.heldKey()] = it
	r.lanes.queue(r.lanes.put(it.key, it))
}

// newItem makes an item of an entry.
func (r *runner) newItem(e call.Entry) *item {
	session := e.Ref.Session
	if session == "" {
		session = r.cfg.Calls.Session(e.Ref)
	}
	return &item{entry: e, key: laneKey(session, e.Ref), reports: Reports(e.EventType())}
}

// wants reports whether the target is to get an event.
func (r *runner) wants(e *call.Entry) bool {
	return (r.cfg.Backfill || !e.Backfill) && r.target.Filter.Takes(e.EventType(), e.Ref.Connection)
}

// dispatch starts attempts as long as there is something to try, and room. r.mu is held.
func (r *runner) dispatch() {
	for r.running < r.cfg.Concurrency {
		it := r.next()
		if it == nil {
			return
		}
		r.running++
		r.wg.Go(func() { r.work(it) })
	}
}

// next takes the item that is to be tried now. r.mu is held.
func (r *runner) next() *item {
	if r.stopped || r.settling || !r.breaker.allow(time.Now()) {
		return nil
	}
	probe := r.breaker.probing
	l := r.lanes.next()
	if l == nil {
		if probe {
			r.breaker.unused()
		}
		return nil
	}
	it := l.items[0]
	it.state, it.probe = underWay, probe
	return it
}

// work makes attempts until there is nothing to try.
func (r *runner) work(it *item) {
	for it != nil {
		a := r.try(it)
		r.mu.Lock()
		r.settle(it, a)
		if it = r.next(); it == nil {
			r.running--
		} else {
			r.dispatch() // the breaker may have closed by this very attempt
		}
		r.mu.Unlock()
	}
}

// try decides whether an item is still of use, and makes an attempt at it if so.
func (r *runner) try(it *item) answer {
	ctx, cancel := context.WithTimeout(r.detached(), foldPatience+r.cfg.Timeout)
	defer cancel()
	if result := r.useless(ctx, it, time.Now()); result != "" {
		return answer{result: result}
	}
	it.attempts++
	a := r.client.post(ctx, &it.entry, it.attempts, answerKept, false)
	r.ledger.note(it, a)
	r.meter.attempt(&it.entry, a)
	return a
}

// notFolded is the result of what could not be decided yet.
const notFolded Result = "not_folded"

// foldPatience is how long an attempt waits for the fold to reach its event; usually it is there.
const foldPatience = 2 * time.Second

// useless returns why an item is not to be tried, empty when it is.
func (r *runner) useless(ctx context.Context, it *item, now time.Time) Result {
	switch {
	case !now.Before(r.endsAt(it)):
		return Expired
	case it.reports:
		return ""
	}
	return r.stale(ctx, it)
}

// asleep reports whether this process was stopped, or starved, a moment ago: another replica may work the target by
// now, and the fold has not heard what happened meanwhile.
func (r *runner) asleep(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.lastBeat.IsZero() && now.Sub(r.lastBeat) > sleptAfter || now.Before(r.awake)
}

// heartbeatAt takes note that this process runs.
func (r *runner) heartbeatAt(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lastBeat.IsZero() && now.Sub(r.lastBeat) > sleptAfter {
		r.awake = now.Add(wakeFor)
	}
	r.lastBeat = now
}

const (
	// sleptAfter is well above the quarter of a second in which a running process is seen to run, and below the time
	// after which another replica takes over. wakeFor is enough to hear that it has, and to follow the log.
	sleptAfter, wakeFor = time.Second, 500 * time.Millisecond
)

// stale returns why an event on which the application commands is not to be tried, empty when it is.
func (r *runner) stale(ctx context.Context, it *item) Result {
	switch {
	case r.asleep(time.Now()):
		return notFolded
	case Outlives(it.entry.EventType()):
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, foldPatience)
	defer cancel()
	over, err := r.cfg.Calls.Over(ctx, it.entry.Ref, it.entry.Seq)
	switch {
	case err != nil:
		return notFolded
	case over:
		return Stale
	}
	return ""
}

// endsAt is when an item's time is over. The fold's clock would not do: it is behind where the fold is, and what it has not
// heard is all the likelier to be over.
func (r *runner) endsAt(it *item) time.Time {
	if it.reports {
		return it.entry.ReceivedAt.Add(r.cfg.ReportsFor)
	}
	return it.entry.ReceivedAt.Add(r.cfg.For)
}

// settle says what becomes of an item after an attempt, or without one. r.mu is held.
func (r *runner) settle(it *item, a answer) {
	now := time.Now()
	switch a.result {
	case Stale, Expired, notFolded:
		if it.probe {
			r.breaker.unused()
		}
	default:
		if r.breaker.note(now, a.result, a.after, it.probe) {
			r.breakerChanged(a)
		}
	}
	it.probe = false
	if r.breaker.open {
		r.probeLater(now)
	}
	was := it.state
	it.state = waiting
	switch {
	case a.result.Final():
		r.end(it, a)
	case was == dropped:
		r.drop(it)
	case r.stopped && it.msg == nil:
		r.drop(it)
	case r.stopped:
		// It is given back with all that is held.
	case it.reports:
		r.setAside(it, a.after)
	default:
		r.pause(it, now, a.after)
	}
}

// pause lets the lane of an item wait before the next attempt. r.mu is held.
func (r *runner) pause(it *item, now time.Time, atLeast time.Duration) {
	if it.backoff == nil {
		it.backoff = newBackoff()
	}
	wait := max(it.backoff.NextBackOff(), atLeast)
	// It ends when its time is over, not at the attempt after that.
	wait = min(wait, max(r.endsAt(it).Sub(now), 0)+time.Millisecond)
	l := it.lane
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if l.timer != timer {
			return // woken before
		}
		l.timer = nil
		r.lanes.queue(l)
		r.dispatch()
	})
	l.timer = timer
}

// setAside takes an item out of its lane, to be recorded for later. r.mu is held.
func (r *runner) setAside(it *item, atLeast time.Duration) {
	r.lanes.release(it)
	it.state = aside
	r.shelf.add(it, atLeast)
}

// end lets go of an item for good. r.mu is held.
func (r *runner) end(it *item, a answer) {
	r.meter.end(a.result)
	if a.result != Done {
		r.report(it, a)
	}
	if a.result == Stale || a.result == Expired {
		r.ledger.note(it, a)
	}
	r.forget(it)
}

// report logs an end without success. Nothing of what the event says is in it.
func (r *runner) report(it *item, a answer) {
	say := r.log.Warn
	if a.result == Stale {
		say = r.log.Info
	}
	say("an event was not delivered", "result", string(a.result), "seq", it.entry.Seq,
		"type", it.entry.EventType(), "attempts", it.attempts, "status", a.status,
		"age_ms", time.Since(it.entry.ReceivedAt).Milliseconds())
}

// forget acknowledges an item and lets go of it. r.mu is held.
func (r *runner) forget(it *item) {
	r.release(it)
	if it.msg != nil {
		r.through.add(it.entry.Seq)
		ack(r.log, it.msg)
	}
	if it.ended != nil {
		it.ended(true)
	}
}

// drop lets go of an item that another replica has, or will have. r.mu is held.
func (r *runner) drop(it *item) {
	r.release(it)
	if it.ended != nil {
		it.ended(false)
	}
}

func (r *runner) release(it *item) {
	r.lanes.release(it)
	if r.held[it.heldKey()] == it {
		delete(r.held, it.heldKey())
	}
	it.state = dropped
}

// ack acknowledges without waiting for the server: what gets lost comes again, and is known.
func ack(log *slog.Logger, m jetstream.Msg) {
	if err := m.Ack(); err != nil {
		log.Debug("an event could not be acknowledged", "error", err)
	}
}

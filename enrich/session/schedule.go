package session

import (
	"container/heap"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

const (
	// handedOutFor is how long a check may take into the log before it is handed out again.
	handedOutFor = 5 * time.Second
	// inFlight is how long an entry may be on its way from the log to this replica. What the fold could still need
	// within it is not dropped.
	inFlight = time.Minute
	// completedWithin is how long it may take to read, from the published summaries, that a leg is completed: from
	// the end of a replay and of the amend window.
	completedWithin = 2 * time.Minute
	// maxForgotten bounds how many sessions are forgotten under one lock: after a replay all that ended long ago
	// leave together.
	maxForgotten = 4096
	// maxSetBack is how far the clock may be set back before the schedule is made anew: what was put off by some
	// seconds was put off to a time that is far away then.
	maxSetBack = time.Second
)

// schedule is what is due next: the sessions by the time at which they are due, and which checks were handed out.
type schedule struct {
	rules Rules
	// packs: sessions for which nothing is to come are packed.
	packs bool
	queue queue
	// lag is how much later than its time this replica finds everything due.
	lag time.Duration
	// changed gets a value when something is due earlier than it was before.
	changed chan struct{}
}

// slot is a session's part of the schedule.
type slot struct {
	// wake is when the session is due.
	wake time.Time
	// place is its index in the queue, -1 when it is not there.
	place int
	// handedOut are its due checks that are on their way into the log.
	handedOut []handedOut
}

// handedOut is a check that was handed out, and when, by this machine's clock.
type handedOut struct {
	kind    CheckKind
	leg     call.LegID
	attempt int
	upto    uint64
	at      time.Time
}

// instant is what the schedule has to know of the time at which it is asked.
type instant struct {
	// now is on the log's clock, local on this machine's. anchored: the log's is known.
	now, local time.Time
	anchored   bool
	// floor is up to where the queue is through with the log, caughtUp when the replay was through.
	floor    uint64
	caughtUp time.Time
}

// queue is the heap of sessions by the time at which they are due.
type queue []*session

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].slot.wake.Before(q[j].slot.wake) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].slot.place, q[j].slot.place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	s := x.(*session)
	s.slot.place = len(*q)
	*q = append(*q, s)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	s.slot.place = -1
	return s
}

func newSchedule(r Rules, packs bool) schedule {
	return schedule{rules: r, packs: packs, changed: make(chan struct{}, 1)}
}

// put puts the session where it belongs.
func (c *schedule) put(s *session, now time.Time) {
	c.add(s, c.wake(s, now))
	if c.queue[0] == s {
		c.announce()
	}
}

// add puts the session where it belongs by the time at which it is due.
func (c *schedule) add(s *session, wake time.Time) {
	s.slot.wake = wake
	if s.slot.place < 0 {
		heap.Push(&c.queue, s)
	}
	heap.Fix(&c.queue, s.slot.place)
}

// rebuild makes the schedule anew.
func (c *schedule) rebuild(all iter.Seq[*session], now time.Time) {
	clear(c.queue)
	c.queue = c.queue[:0]
	for s := range all {
		s.slot.wake, s.slot.place = c.wake(s, now), len(c.queue)
		c.queue = append(c.queue, s)
	}
	heap.Init(&c.queue)
	c.announce()
}

func (c *schedule) announce() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// wake is when the session is due.
func (c *schedule) wake(s *session, now time.Time) (wake time.Time) {
	s.checks(c.rules, now, func(_ Check, at time.Time) { wake = sooner(wake, at) })
	if !wake.IsZero() {
		return wake
	}
	if c.packs {
		return earlier(s.lastAt.time().Add(packAfter), s.expires(c.rules))
	}
	return s.expires(c.rules)
}

// sooner returns the earlier of two times, of which the zero one is not set.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// Scheduled is a check that is to come, as far as is known now.
type Scheduled struct {
	Check
	// Due is when, on the log's clock. It can have passed: then nobody has acted on it yet.
	Due time.Time
}

// upcoming returns the next check of each kind of a session and its legs, the soonest first.
func (c *schedule) upcoming(s *session, now time.Time) []Scheduled {
	var all []Scheduled
	s.checks(c.rules, now, func(check Check, at time.Time) {
		all = append(all, Scheduled{Check: check, Due: at.UTC()})
	})
	slices.SortStableFunc(all, func(a, b Scheduled) int { return a.Due.Compare(b.Due) })
	return all
}

// due hands out checks that are due, limit of them at most, takes out the sessions that are finished and those that are
// to be packed, and returns how long nothing else is due.
func (c *schedule) due(at instant, limit int) (checks []Check, finished, quiet []*session, wait time.Duration) {
	for len(c.queue) > 0 && len(checks) < limit && len(finished)+len(quiet) < maxForgotten {
		s := c.queue[0]
		if s.slot.wake.After(at.now) {
			break
		}
		ready, wake, idle := c.handOut(s, at, limit-len(checks))
		if wake.IsZero() {
			heap.Pop(&c.queue)
			finished = append(finished, s)
			continue
		}
		if c.packs && idle && s.isQuiet(at) {
			heap.Pop(&c.queue)
			quiet = append(quiet, s)
			continue
		}
		checks = append(checks, ready...)
		s.slot.wake = wake
		heap.Fix(&c.queue, 0)
	}
	if len(c.queue) == 0 {
		return checks, finished, quiet, time.Minute
	}
	return checks, finished, quiet, max(c.queue[0].slot.wake.Sub(at.now), 0)
}

// handOut returns the checks of a session to hand out, room of them at most, and when it is due again; zero: it is
// finished. idle: no check is to come.
func (c *schedule) handOut(s *session, at instant, room int) (ready []Check, wake time.Time, idle bool) {
	var out []handedOut
	s.checks(c.rules, at.now, func(check Check, due time.Time) {
		h := handedOut{kind: check.Kind, leg: check.Leg, attempt: check.Attempt, upto: check.Upto, at: at.local}
		before := slices.IndexFunc(s.slot.handedOut, h.same)
		switch {
		case due.After(at.now):
			wake = sooner(wake, due)
			return
		case before >= 0 && at.local.Sub(s.slot.handedOut[before].at) < handedOutFor:
			h.at = s.slot.handedOut[before].at
		case check.Kind == CheckExpire && !at.anchored:
			// Right after a replay there is only this machine's clock, and one that is wrong by hours would end a live
			// leg. The next entry sets the clock.
			wake = sooner(wake, at.now.Add(handedOutFor))
			return
		case len(ready) < room:
			ready = append(ready, check)
		default:
			wake = sooner(wake, at.now)
			return
		}
		out = append(out, h)
		wake = sooner(wake, at.now.Add(handedOutFor-at.local.Sub(h.at)))
	})
	s.slot.handedOut = out
	if wake.IsZero() {
		return ready, c.keepUntil(s, at), true
	}
	return ready, wake, false
}

// same reports whether two are of the same check.
func (h *handedOut) same(other handedOut) bool {
	other.at = h.at
	return *h == other
}

// keepUntil is until when to keep a session for which no check is to come; zero: it is finished.
func (c *schedule) keepUntil(s *session, at instant) time.Time {
	switch expires := s.expires(c.rules); {
	case expires.After(at.now) && c.packs:
		return earlier(expires, at.now.Add(packAfter))
	case expires.After(at.now):
		return expires
	case s.lastSeq > at.floor, s.held > 0, !at.anchored:
		// A task of it is still with a worker, which must find its session.
		return at.now.Add(handedOutFor)
	case s.pending() && (at.now.Before(expires.Add(completedWithin)) || at.local.Before(at.caughtUp.Add(completedWithin))):
		// Forgotten now, a leg that another replica completed, or this one before its restart, would be missing in
		// the tally.
		return at.now.Add(handedOutFor)
	}
	return time.Time{}
}

// CheckKind is what a check asks for.
type CheckKind string

// Kinds of checks.
const (
	// CheckStatus asks for the status of a leg: a further attempt after its end, or the sweep of a leg that is silent.
	CheckStatus CheckKind = "status"
	// CheckSettle states that a session whose legs are all over has been quiet for its settle time.
	CheckSettle CheckKind = "settle"
	// CheckExpire states that a leg was silent for longer than any leg lives.
	CheckExpire CheckKind = "expire"
	// CheckClose states that the window is over in which the status of a leg is asked for: what is known then is final.
	CheckClose CheckKind = "close"
	// CheckBackfill asks the provider's history for what is missing of a leg that is over.
	CheckBackfill CheckKind = "repair"
)

// Check is an entry that Legato itself appends to the log when something has become due. Its id is derived from the
// log alone: replicas that find the same thing due append it once, and the queue hands it to one of them.
type Check struct {
	Kind    CheckKind      `json:"kind"`
	Session call.SessionID `json:"call_session_id"`
	Leg     call.LegID     `json:"call_leg_id,omitempty"`
	// Control and Connection are the leg's, so that the queue shows which leg it is about.
	Control    call.ControlID    `json:"call_control_id,omitempty"`
	Connection call.ConnectionID `json:"connection_id,omitempty"`
	// Attempt is the attempt that a CheckStatus or CheckBackfill asks for, from 1.
	Attempt int `json:"attempt,omitempty"`
	// Epoch is the entry with which the session began. A leg that comes back after its session was forgotten is asked
	// about anew, from attempt 1: attempts of the epoch before do not count.
	Epoch uint64 `json:"life,omitempty"`
	// Upto is the sequence of the last entry that a CheckSettle or CheckExpire speaks of.
	Upto uint64 `json:"upto,omitempty"`
	// Sweep marks a CheckStatus of a leg that lives. It stands in no entry: whether it lives is what the fold knows.
	Sweep bool `json:"-"`
	// Trimmed marks a CheckExpire of a leg whose call had been trimmed from the log and came back with a late event:
	// it is over because its summary is published already, not because it was silent.
	Trimmed bool `json:"departed,omitempty"`
	// Unknown marks a CheckExpire of a leg of which only such events came as come when a call may be over, and of whose
	// call nothing is stored: nobody knows it, and its events are parked.
	Unknown bool `json:"unknown,omitempty"`
}

// ID is the check's idempotency key.
func (c Check) ID() string {
	session := "check/" + string(c.Kind) + "/" + string(c.Session) + "/"
	switch c.Kind {
	case CheckSettle:
		return session + strconv.FormatUint(c.Upto, 10)
	case CheckExpire:
		return session + string(c.Leg) + "/" + strconv.FormatUint(c.Upto, 10)
	case CheckStatus, CheckBackfill, CheckClose:
		return session + string(c.Leg) + "/" + attemptOf(c.Epoch, c.Attempt)
	}
	panic(fmt.Sprintf("check of unknown kind %q", string(c.Kind)))
}

// Ref names the call that the check is about.
func (c Check) Ref() call.Ref {
	return call.Ref{Session: c.Session, Leg: c.Leg, Control: c.Control, Connection: c.Connection}
}

// Answer is the log entry of a status answer.
type Answer struct {
	status.Answer
	// Proven: this API key had had a 200 for the leg's connection before. Only then "not found" means that the leg is
	// gone: a live call of another account looks the same. It stands in the log so that all replicas draw the same
	// conclusion.
	Proven bool `json:"connection_proven,omitempty"`
	// Epoch is that of the session when it was asked, as of a Check.
	Epoch uint64 `json:"life,omitempty"`
}

// ID is the answer's idempotency key: one answer an attempt, whoever asked.
func (a Answer) ID() string {
	return "status/" + string(a.Session) + "/" + string(a.Leg) + "/" + attemptOf(a.Epoch, a.Attempt)
}

// attemptOf names an attempt within an epoch of its session.
func attemptOf(epoch uint64, attempt int) string {
	return strconv.FormatUint(epoch, 10) + "/" + strconv.Itoa(attempt)
}

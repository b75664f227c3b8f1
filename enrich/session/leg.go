package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// Ending is how a leg is known to be over.
type Ending int

// Endings, the strongest last.
const (
	// NotOver: nothing says that it ended.
	NotOver Ending = iota
	// Expired: it was silent for longer than any leg lives.
	Expired
	// Gone: the status API does not know it any more.
	Gone
	// ByStatus: the status API said that it ended.
	ByStatus
	// ByHangup: its hangup was received.
	ByHangup
)

// leg is what the log says about one leg. Guarded by the table's lock.
type leg struct {
	id      call.LegID
	session *session

	// control is the leg's control id, aliases are others that its events named.
	control call.ControlID
	aliases []call.ControlID
	// controlBy and connectionBy are the events that stated them first, by occurrence; nil: none did.
	controlBy, connectionBy *Event

	events events
	// answers are those that can matter yet, asked is the highest attempt that any was of.
	answers []*Received
	asked   int
	// record is what is known about events that may be missing.
	record record

	// since is when the first entry that named it was received.
	since     logTime
	initiated bool
	// begun: an event of it is known that does not come when the call may be over. dismissed: a CheckExpire said that
	// nobody knows the call of events that do.
	begun, dismissed bool
	// hangup is when the earliest hangup was received; 0: none was. hungUp is when the earliest occurred, by
	// Telnyx's clock. hangupBackfilled: the one that was received first came from the history.
	hangup           logTime
	hungUp           time.Time
	hangupBackfilled bool
	// hungUpAt is when the entry was received with which the hangup was folded. ownerless: its task was through before,
	// when nobody knew whose hangup it was.
	hungUpAt  logTime
	ownerless bool
	// aliveAt is when the last sign of life was received (an event, or a status answer that it is alive), and
	// aliveSeq where it stands.
	aliveAt  logTime
	aliveSeq uint64
	// checked is the highest attempt that a check has asked for, checkedAt when it did, and checkedSeq where that
	// check stands.
	checked    int
	checkedAt  logTime
	checkedSeq uint64
	// expired is how far the last CheckExpire spoke.
	expired uint64
	// closed: a CheckClose has ended the asking.
	closed bool
	// completed: its summary is known to be published. tallied is as what it is counted.
	completed bool
	// revision is the newest that is known to be published; 0: none is.
	revision int
	tallied  tallied
	// version is the fold's count of changes when something was last folded into it.
	version uint64
}

// connection is the leg's connection; empty: not known.
func (l *leg) connection() call.ConnectionID {
	if l.connectionBy == nil {
		return ""
	}
	return l.connectionBy.Facts.Connection
}

// Received is a status answer and its place in the log.
type Received struct {
	Answer
	// Seq is its sequence, At the log's time of it.
	Seq uint64
	At  time.Time
}

// gone reports whether it says that Telnyx does not know the leg any more.
func (r *Received) gone() bool { return r.Result == status.NotFound && r.Proven }

// ends reports whether it confirms by itself that the leg ended, whatever else is known.
func (a *Answer) ends() bool {
	return a.Result == status.Answered && !a.EndTime.IsZero() && (a.IsAlive == nil || !*a.IsAlive)
}

// alive reports whether it says that the leg lives.
func (r *Received) alive() bool {
	return r.Result == status.Answered && r.EndTime.IsZero() && r.IsAlive != nil && *r.IsAlive
}

// failed reports whether it says nothing about the leg.
func (r *Received) failed() bool { return r.Result != status.Answered && r.Result != status.NotFound }

// fetchSkew is how far the clock of a replica may be behind Telnyx's.
const fetchSkew = time.Minute

// take folds an event when an entry is folded: the event's own entry, or a later one that names the leg of an event
// that was waiting. It reports whether the event is new.
func (l *leg) take(e *call.Entry, event *Event) (isNew bool) {
	l.share(event)
	eventType := call.EventTypeOf(event.Type)
	event.Type = eventType.Name // of a type that is known, in memory once
	if isNew = l.events.add(event); isNew {
		l.record.note(event, eventType)
	}
	l.begun = l.begun || !eventType.After
	switch event.Type {
	case call.TypeInitiated:
		l.initiated = true
	case call.TypeHangup:
		l.hangUp(e, event)
	}
	// What comes from the history is no sign of life.
	if isNew && event.Seq > l.aliveSeq && (l.aliveSeq == 0 || !event.Backfill && !eventType.After) {
		l.aliveAt, l.aliveSeq = logTimeOf(event.ReceivedAt), event.Seq
	}
	l.session.firstAt = min(l.session.firstAt, logTimeOf(event.ReceivedAt))
	return isNew
}

func (l *leg) hangUp(e *call.Entry, event *Event) {
	received := logTimeOf(event.ReceivedAt)
	switch {
	case l.hangup == 0:
		l.hangup, l.hungUp, l.hangupBackfilled = received, event.OccurredAt, event.Backfill
		l.hungUpAt, l.ownerless = logTimeOf(e.ReceivedAt), event.Seq != e.Seq
		return
	case received < l.hangup:
		l.hangup, l.hangupBackfilled = received, event.Backfill
	}
	l.hungUp = earlier(l.hungUp, event.OccurredAt)
}

// share lets an event use the facts, or at least the texts, that another event of the leg has stated already: seven
// events that repeat the same parties keep them once.
func (l *leg) share(e *Event) {
	// The newest are the likeliest to agree.
	for i := len(l.events.list) - 1; i >= max(len(l.events.list)-4, 0); i-- {
		f := l.events.list[i].Facts
		if f.equal(e.Facts) {
			e.Facts = f
			return
		}
		same(&e.Facts.From, f.From)
		same(&e.Facts.To, f.To)
		same(&e.Facts.FromSIP, f.FromSIP)
		same(&e.Facts.ToSIP, f.ToSIP)
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

// noteCheck takes a check that the log has of the leg.
func (l *leg) noteCheck(e *call.Entry, c *Check) {
	switch {
	case c.Kind == CheckStatus && c.Attempt > l.checked:
		l.checked, l.checkedAt, l.checkedSeq = c.Attempt, logTimeOf(e.ReceivedAt), e.Seq
	case c.Kind == CheckBackfill && c.Attempt > l.record.checked:
		l.record.checked, l.record.checkedAt = c.Attempt, logTimeOf(e.ReceivedAt)
	case c.Kind == CheckClose:
		l.closed = true
	case c.Kind == CheckExpire:
		wasOver := l.over()
		l.expired = max(l.expired, min(c.Upto, e.Seq))
		// The summary of a call that was trimmed from the log stands already, one of a call that nobody knows is not made.
		l.completed = l.completed || c.Trimmed || c.Unknown
		l.record.trimmed = l.record.trimmed || c.Trimmed || c.Unknown
		l.dismissed = l.dismissed || c.Unknown
		if !wasOver && l.over() {
			l.session.noteActivity(e)
		}
	}
}

// confirmation returns the answer that confirms the end, nil when none does: of several the one fetched first. For a
// dialled leg is_alive can be false before anything happened, so "not alive" counts only with an end time, or about a
// leg that had hung up or had been seen alive when the answer was fetched.
func (l *leg) confirmation() *Received {
	alive := false
	for _, a := range l.answers {
		switch {
		case a.Result != status.Answered:
		case a.IsAlive != nil && *a.IsAlive:
			alive = true
		case a.ends(), a.IsAlive != nil && (alive || l.hadHungUp(a.FetchedAt)):
			return a
		}
	}
	return nil
}

// hadHungUp reports whether the leg had hung up at a time by a replica's clock.
func (l *leg) hadHungUp(at time.Time) bool {
	return l.hangup != 0 && !at.Before(l.hungUp.Add(-fetchSkew))
}

// ending tells how the leg ended and since when that is known, by the log's clock.
func (l *leg) ending() (Ending, time.Time) {
	if l.hangup != 0 {
		return ByHangup, l.hangup.time()
	}
	if a := l.confirmation(); a != nil {
		return ByStatus, a.At
	}
	if a := l.gone(); a != nil {
		return Gone, a.At
	}
	// An event after the check takes it back.
	if l.expired > 0 && l.expired >= l.aliveSeq {
		return Expired, l.aliveAt.time()
	}
	return NotOver, time.Time{}
}

func (l *leg) open() bool {
	ending, _ := l.ending()
	return ending == NotOver
}

func (l *leg) over() bool { return !l.open() }

// gone returns the answer that Telnyx does not know the leg any more; nil when there is none, or when the leg lived
// after it all the same: a later answer or event says so. Of several it is the first.
func (l *leg) gone() (gone *Received) {
	for _, a := range l.answers {
		switch {
		case a.alive():
			gone = nil
		case gone == nil && a.gone() && !l.livedAfter(a.FetchedAt):
			gone = a
		}
	}
	return gone
}

// livedAfter reports whether an event says that the leg lived after a time by a replica's clock. Where that clock is
// behind Telnyx's, the next sweep asks again.
func (l *leg) livedAfter(at time.Time) bool {
	for _, e := range slices.Backward(l.events.list) {
		if e.OccurredAt.After(at) && !e.Backfill && e.Type != call.TypeHangup && !call.EventTypeOf(e.Type).After {
			return true
		}
	}
	return false
}

// wasGone reports whether Telnyx did not know the leg any more before its hangup came in: late, that changes nothing.
func (l *leg) wasGone() bool {
	a := l.gone()
	return a != nil && a.At.Before(l.hangup.time())
}

// attempts returns how many answers were received since a time, how many of these were no refusal to be asked so often,
// and the last answer of all.
func (l *leg) attempts(since time.Time) (made, tried int, last *Received) {
	for _, a := range l.answers {
		if !a.At.Before(since) {
			made++
			if a.Result != status.RateLimited {
				tried++
			}
		}
		if last == nil || a.Seq > last.Seq {
			last = a
		}
	}
	return made, tried, last
}

// noteAnswer puts an answer into the set, in order of fetching. An answer that the log has twice stands where it
// stood first.
func (l *leg) noteAnswer(r *Received) {
	l.asked = max(l.asked, r.Attempt)
	// A leg of four hours is asked about some fifty times: what names it is in memory once.
	same(&r.Session, l.session.id)
	same(&r.Leg, l.id)
	same(&r.Control, l.control)
	if l.connectionBy != nil {
		same(&r.Connection, l.connectionBy.Facts.Connection)
	}
	if n := len(l.answers); n > 0 {
		same(&r.ClientState, l.answers[n-1].ClientState)
	}
	for i, a := range l.answers {
		if a.Attempt == r.Attempt && a.FetchedAt.Equal(r.FetchedAt) && a.Result == r.Result {
			if r.Seq < a.Seq {
				l.answers[i] = r
			}
			return
		}
	}
	l.answers = append(l.answers, r)
	slices.SortFunc(l.answers, func(a, b *Received) int {
		return cmp.Or(a.FetchedAt.Compare(b.FetchedAt), cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Result, b.Result))
	})
	if len(l.answers) > keptAnswers && l.open() {
		l.dropAnswers()
	}
}

// keptAnswers is how many answers about a leg that lives are kept whatever they say.
const keptAnswers = 6

// dropAnswers forgets what sweeps of a leg that lives have brought, but for what may matter when it is over: when it was
// first and last seen alive, the last failure to get an answer, the last attempt of all, and everything that may come
// to confirm its end when its hangup is known.
func (l *leg) dropAnswers() {
	var first, alive, failure *Received
	_, _, last := l.attempts(time.Time{})
	for _, a := range l.answers {
		switch {
		case a.alive():
			if alive = a; first == nil {
				first = a
			}
		case a.failed():
			failure = a
		}
	}
	l.answers = slices.DeleteFunc(l.answers, func(a *Received) bool {
		return (a.alive() || a.failed()) && a != first && a != alive && a != failure && a != last
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

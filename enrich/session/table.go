package session

import (
	"context"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Config says how the table folds.
type Config struct {
	// Rules are the times by which it decides.
	Rules Rules
	// Decode reads the event of an entry whose topic is an event's. The wire format is not this package's business. It is
	// called by several goroutines at once.
	Decode func(call.Entry) (call.Event, error)
	// Changed is called for every session that an entry was folded into, from the goroutine that folds; it must not
	// block. Nil: it is not wanted.
	Changed func(call.SessionID)
	// Unusable is called for an entry that could not be folded. It must not block. Nil: it is not wanted.
	Unusable func(e call.Entry, err error)
	// Read returns the entries at places in the log, which rise. Sessions are packed that are over, published and quiet, or
	// were found finished when the log was looked at, and read back when something comes of them. Nil: none is packed.
	Read func(seqs []uint64) ([]*call.Entry, error)
	// Unreadable is called for a packed session that could not be read back, and is forgotten. One of which a leg is to be
	// published yet is forgotten only when reading has failed for a minute or, where an entry is to be folded into it, five
	// times within a fifth of a second. It must not block. Nil: it is not wanted.
	Unreadable func(err error)
}

// Table is the live table: the fold of the log, one entry after the other. It implements journal.Follower; its other
// methods may be called from anywhere.
type Table struct {
	cfg      Config
	progress progress

	mu       sync.RWMutex // guards all that follows, and what progress has behind its lock
	clock    clock
	fold     fold
	schedule schedule
	tally    Tally
	backlog  backlog
	skim     *skim // nil: there was none before the replay that is under way, if one is
}

// New returns an empty table, to be filled by following the log.
func New(cfg Config) *Table {
	t := &Table{cfg: cfg, progress: newProgress(), schedule: newSchedule(cfg.Rules, cfg.Read != nil)}
	t.clear()
	return t
}

// clear forgets everything but who waits.
func (t *Table) clear() {
	t.clock, t.fold, t.tally, t.backlog = clock{}, newFold(t.cfg.Rules), Tally{}, newBacklog()
	t.schedule.queue, t.skim = nil, nil
}

// Restart discards the table: the log begins anew at its first entry.
func (t *Table) Restart(log call.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.progress.restart(log)
	t.catchUp()
}

// Fold takes the next entry of the log.
func (t *Table) Fold(e call.Entry) {
	content := decode(&e, t.cfg.Decode)
	t.take(&e, &content)
}

// FoldAll takes the next entries of the log. They are decoded on all processors: that is most of the work of a replay.
func (t *Table) FoldAll(entries []*call.Entry) {
	contents := make([]content, len(entries))
	each := max((len(entries)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0), decodedAlone)
	part := func(begin int) {
		for i := begin; i < min(begin+each, len(entries)); i++ {
			contents[i] = decode(entries[i], t.cfg.Decode)
		}
	}
	var decoding sync.WaitGroup
	for begin := each; begin < len(entries); begin += each {
		decoding.Go(func() { part(begin) })
	}
	part(0)
	decoding.Wait()
	for i, e := range entries {
		t.take(e, &contents[i])
	}
}

// decodedAlone is how many entries are not worth another goroutine.
const decodedAlone = 32

// take folds what an entry holds.
func (t *Table) take(e *call.Entry, content *content) {
	t.lock(content.ref())
	outage := false
	if t.skim != nil && !t.skim.ended() {
		t.skim = nil // it was broken off
	}
	if t.skim == nil {
		outage = t.fold.noteOutage(e)
		t.backlog.note(e)
	} else if !t.passTo(e.Seq) {
		t.progress.advance(e)
		t.mu.Unlock()
		return
	}
	s, err := t.fold.apply(e, content)
	if s != nil {
		t.tally.count(s)
	}
	if err != nil {
		t.backlog.unusable[e.Seq] = err
	}
	t.progress.advance(e)
	t.reschedule(e, s, outage)
	t.mu.Unlock()

	if err != nil && t.cfg.Unusable != nil {
		t.cfg.Unusable(*e, err)
	}
	if s != nil && t.cfg.Changed != nil {
		t.cfg.Changed(s.id)
	}
}

// reschedule makes the schedule follow an entry that was folded into a session, if into any. During a replay nothing
// is scheduled: what seems due then may be done further on in the log.
func (t *Table) reschedule(e *call.Entry, s *session, outage bool) {
	if !t.progress.caughtUp.Load() {
		t.catchUp()
		return
	}
	local := time.Now()
	if s != nil && s.lastAt == logTimeOf(e.ReceivedAt) {
		s.seen = local
	}
	switch setBack := t.clock.set(e.ReceivedAt, local); {
	case setBack > maxSetBack:
		for all := range t.fold.ids.all() {
			all.setBack(t.clock.now(local))
		}
		t.rebuildSchedule()
	case outage:
		t.rebuildSchedule()
	case s != nil:
		t.schedule.put(s, t.clock.now(local))
	}
}

// catchUp ends the replay when all that was in the log at its start is folded.
func (t *Table) catchUp() {
	if t.progress.position.Load() < t.progress.log.Last {
		return
	}
	now := time.Now()
	if t.progress.latest.After(now) {
		t.clock.set(t.progress.latest, now) // this machine's clock is behind the log's
	}
	t.rebuildSchedule()
	t.progress.catchUp(now)
}

func (t *Table) rebuildSchedule() {
	t.schedule.rebuild(t.fold.ids.all(), t.clock.now(time.Now()))
}

// Position returns how far the log is folded.
func (t *Table) Position() uint64 { return t.progress.position.Load() }

// HasCaughtUp reports whether the replay is through.
func (t *Table) HasCaughtUp() bool { return t.progress.caughtUp.Load() }

// CaughtUp returns a channel that is closed when the replay is through. After a Restart it is another one.
func (t *Table) CaughtUp() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.progress.catchesUp
}

// Restarted returns a channel that is closed by the next Restart.
func (t *Table) Restarted() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.progress.restarts
}

// Epoch returns the identity of the log that is folded, and when its first entry was received; zero: it has none yet.
func (t *Table) Epoch() (log string, began time.Time) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.progress.log.ID, t.progress.began
}

// Latest is when the newest entry that is folded was received, by the log's clock.
func (t *Table) Latest() time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.progress.latest
}

// Now is the time on the log's clock.
func (t *Table) Now() time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.clock.now(time.Now()).UTC()
}

// NowOf is the time on the log's clock for the work on a session: it does not go back with the clock.
func (t *Table) NowOf(id call.SessionID) time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	local := time.Now()
	now := t.clock.now(local)
	if s := t.fold.ids.session(id); s != nil {
		now = s.now(now, local)
	}
	return now.UTC()
}

// Wait returns when the entry at seq is folded, or lies before the log's first one; its error is that of ctx. It goes
// on waiting across a Restart.
func (t *Table) Wait(ctx context.Context, seq uint64) error {
	return t.progress.wait(ctx, &t.mu, seq)
}

// View returns a session as it is folded now; false when the table does not know it: then the view says only up to
// which position it does not.
func (t *Table) View(id call.SessionID) (View, bool) {
	t.rlock(call.Ref{Session: id})
	defer t.mu.RUnlock()
	var v View
	s := t.fold.ids.session(id)
	if s != nil {
		v = s.view(t.cfg.Rules)
	}
	// Entries are folded one by one under the lock: what is folded is exactly all up to the position.
	v.Position, v.Log = t.progress.position.Load(), t.progress.log.ID
	return v, s != nil
}

// Unusable returns why the entry at seq could not be folded, nil when it was.
func (t *Table) Unusable(seq uint64) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.backlog.unusable[seq]
}

// Proven reports whether the API key has had a 200 for the connection.
func (t *Table) Proven(c call.ConnectionID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.fold.proven[c]
	return ok
}

// Wants reports whether an attempt to get the status of a leg would be of use if it were made now: nobody has made it,
// the result is not final, and there is time for an answer.
func (t *Table) Wants(sid call.SessionID, id call.LegID, attempt int) bool {
	t.rlock(call.Ref{Session: sid})
	defer t.mu.RUnlock()
	l := t.fold.ids.leg(sid, id)
	return l != nil && l.wants(t.cfg.Rules, attempt, t.clock.now(time.Now()))
}

// WantsBackfill is Wants for an attempt to complete a leg from the history.
func (t *Table) WantsBackfill(sid call.SessionID, id call.LegID, attempt int) bool {
	t.rlock(call.Ref{Session: sid})
	defer t.mu.RUnlock()
	l := t.fold.ids.leg(sid, id)
	return l != nil && attempt > l.record.highest()
}

// Place is where an entry belongs, and whether anything may have to be done for it.
type Place struct {
	// Session and Leg are the call that the entry belongs to; Leg is empty for an event of the session alone, both
	// for one whose call is not known.
	Session call.SessionID
	Leg     call.LegID
	// Unread: the call may be known, and could not be read back from the log. It is to be asked for again.
	Unread bool
	// Idle: neither the leg nor the session is over, the session has legs, and the leg's history begins with its
	// call.initiated. Nothing is to be published.
	Idle bool
	// Trace is the traceparent of the session's last entry that was traced. Empty: none was.
	Trace string
	// Position is the log sequence up to which this is so. After a Restart it can be less than a position that was
	// reached before.
	Position uint64
}

// Place finds the call that a ref names, through its control id or leg id where it names no session.
func (t *Table) Place(ref call.Ref) Place {
	unread := t.rlock(ref)
	defer t.mu.RUnlock()
	p := Place{Unread: unread, Idle: true, Position: t.progress.position.Load()}
	s, l := t.fold.ids.find(ref)
	if s != nil {
		// A session without legs may be one whose call has left the log.
		p.Session, p.Trace, p.Idle = s.id, s.trace, !s.over() && len(s.legs) > 0
	}
	if l != nil {
		p.Leg, p.Idle = l.id, !l.over() && l.initiated
	}
	return p
}

// Standing is whether a leg or a session is over.
type Standing struct {
	// Known: the table knows the session. It forgets one some time after it is over.
	Known bool
	// Over: the leg is over, or, where it is not known by the control id that the ref names it by, every leg of the
	// session. A ref that names no leg is of a conference, which goes on without the call that created it.
	Over bool
	// Headless: the leg's call.initiated is not known. It may be one that was over and has left the log, of which
	// something came late.
	Headless bool
	// Position is the log sequence up to which this is so.
	Position uint64
}

// Standing returns how the call that a ref names stands.
func (t *Table) Standing(ref call.Ref) Standing {
	t.rlock(ref)
	defer t.mu.RUnlock()
	s, l := t.fold.ids.find(ref)
	st := Standing{Known: s != nil, Position: t.progress.position.Load()}
	switch {
	case l != nil:
		st.Over, st.Headless = l.over(), !l.initiated
	case s != nil && ref.Leg == "" && ref.Control != "":
		st.Over = len(s.legs) > 0 && s.legsOver()
	}
	return st
}

// Schedule returns the next check of each kind of a session and its legs, the soonest first; none when nothing is to
// come or the session is not known. It changes nothing, unlike Due.
func (t *Table) Schedule(id call.SessionID) []Scheduled {
	t.rlock(call.Ref{Session: id})
	defer t.mu.RUnlock()
	s := t.fold.ids.session(id)
	if s == nil {
		return nil
	}
	return t.schedule.upcoming(s, t.clock.now(time.Now()))
}

// ScheduleChanged delivers a value when something became due earlier than it was before.
func (t *Table) ScheduleChanged() <-chan struct{} { return t.schedule.changed }

// Due returns the checks that have become due, limit of them at most, and the time until the next call is needed.
// Sessions for which nothing can come any more and whose entries the queue is through with are forgotten on the way;
// events whose call never became known, or no leg of it, leave with them, and are counted in expired.
//
// A check that was returned and is not folded within some seconds is returned again.
func (t *Table) Due(limit int) (checks []Check, wait time.Duration, expired int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.progress.caughtUp.Load() {
		return nil, time.Second, 0
	}
	local := time.Now()
	at := instant{
		now: t.clock.now(local).Add(-t.schedule.lag), local: local, anchored: t.clock.anchored(),
		floor: t.backlog.floor, caughtUp: t.progress.caughtUpAt,
	}
	expired = t.fold.ids.orphans.expire(at.now.Add(-t.cfg.Rules.AmendWindow - inFlight))
	checks, finished, quiet, wait := t.schedule.due(at, limit)
	for _, s := range quiet {
		if !t.fold.ids.pack(s, s.expires(t.cfg.Rules)) {
			t.schedule.add(s, s.expires(t.cfg.Rules))
		}
	}
	next, pending := t.fold.ids.expire(at)
	t.tally.Pending -= pending
	if next >= 0 {
		wait = min(wait, next)
	}
	for _, s := range finished {
		if len(s.legs) == 0 {
			expired += len(s.events.list) // they name a session of which no leg ever became known
		}
		t.tally.drop(s)
		t.fold.ids.forget(s)
	}
	return checks, wait, expired
}

// SetLag makes this replica find everything due so much later than its time.
func (t *Table) SetLag(lag time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.schedule.lag = lag
}

// Floor returns up to where the queue is through with the log, as SetFloor said.
func (t *Table) Floor() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.backlog.floor
}

// SetFloor says up to where the queue needs no more work. Sessions with entries above it are not forgotten. What lies
// beyond the fold's position is not taken: it may have been said of another epoch of the log.
func (t *Table) SetFloor(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backlog.raise(min(seq, t.progress.position.Load()))
}

// Needed returns the sequence of the oldest entry that the table needs; entries before it may be trimmed, as far as
// this replica is concerned.
func (t *Table) Needed() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.fold.ids.oldest(t.progress.position.Load() + 1)
}

// Published notes that a revision of a leg is stored, or of the session where id is empty, which was made of what the
// fold has. A leg that is not over yet, for all that is folded, counts as completed when it is.
func (t *Table) Published(sid call.SessionID, id call.LegID, revision int) {
	t.publish(sid, id, revision, math.MaxUint64)
}

// Stored notes that somebody has stored a revision of a leg, or of the session where id is empty, and at which place in
// this log it was made; 0: in another log. Whoever made it may have known more: it is one of what the fold has when it is
// the first, made since the session began, and so are those that follow it.
func (t *Table) Stored(sid call.SessionID, id call.LegID, revision int, made uint64) {
	if revision > 1 {
		made = 0
	}
	t.publish(sid, id, revision, made)
}

func (t *Table) publish(sid call.SessionID, id call.LegID, revision int, made uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if completed := t.fold.ids.packed.publish(sid, id, revision, made); completed {
		t.tally.Completed++
		t.tally.Pending--
	}
	if id == "" {
		if s := t.fold.ids.session(sid); s != nil {
			s.revision = newest(s.revision, revision, made >= s.firstSeq)
		}
		return
	}
	if l := t.fold.ids.leg(sid, id); l != nil {
		l.completed, l.revision = true, newest(l.revision, revision, made >= l.session.firstSeq)
		t.tally.count(l.session)
	}
}

// newest is the newest revision of what the fold has, 0 while none is known; own: this one is.
func newest(known, revision int, own bool) int {
	if known == 0 && !own {
		return 0
	}
	return max(known, revision)
}

// clock is the log's clock: the stream's timestamp of an entry, plus what has passed on the monotonic clock since
// that entry came in. Replicas whose own clocks differ agree on it. Before an entry was seen live there is nothing to
// count from but the wall clock.
type clock struct {
	stamp time.Time // timestamp of the entry counted from
	seen  time.Time // when it came in, with a monotonic reading
}

// anchorFor is how long an entry is counted from. Entries come in with a delay that varies: the one that came in
// fastest is the best to count from, but not forever, for clocks drift and are set.
const anchorFor = 30 * time.Second

// set takes the timestamp of an entry that came in, and returns how far that sets the clock back.
func (c *clock) set(stamp, seen time.Time) (back time.Duration) {
	before := c.now(seen)
	if c.stamp.IsZero() || stamp.After(before) || seen.Sub(c.seen) > anchorFor {
		c.stamp, c.seen = stamp, seen
	}
	return before.Sub(c.now(seen))
}

// anchored reports whether there is an entry to count from.
func (c *clock) anchored() bool { return !c.stamp.IsZero() }

func (c *clock) now(wall time.Time) time.Time {
	if c.stamp.IsZero() {
		return wall
	}
	return c.stamp.Add(wall.Sub(c.seen))
}

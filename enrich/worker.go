// Package enrich finds what is due for a call, and does it: it asks for the
// status of a leg that is over, completes one that has holes from the provider's
// history, makes the summaries of legs and sessions, has them published, and amends
// them when late news comes.
//
// It is given the entries of the log (folded into the table of package session) and the
// tasks of its queue. It gives status answers, checks and events from the history,
// appended to the log, and summaries.
//
// It guarantees that a task is acknowledged only when, in a view of the log that
// includes it, nothing of it is left to publish; and that what is published never replaces
// a view of the call that knew more. Exactly-once follows from the sink's condition and this package's
// comparison (reconcile): no replica knows of another.
//
// It does not know HTTP, JetStream or the wire format of a webhook.
package enrich

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patrickmn/go-cache"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

const (
	// foldPatience is how long a task waits for the fold to reach it.
	foldPatience = 5 * time.Second
	// rememberStored is how long what this replica published is remembered
	// without asking the sink: most late news comes within it.
	rememberStored = 2 * time.Minute
	// dueAtOnce bounds the checks appended in one go.
	dueAtOnce = 256
	// dueAfterFailure is how many are tried when the log did not take the last ones.
	dueAfterFailure = 8
	// maxPasses bounds the sessions that are worked on at one time. What waits for its turn has no time limit, while
	// thousands at once, as when the windows of a burst of calls end together, would wait for NATS until theirs is
	// over, and try again, and keep the log from being written meanwhile.
	maxPasses = 128
)

// Worker works the queue: one job for every session that has tasks.
type Worker struct {
	cfg     Config
	log     *slog.Logger
	table   *session.Table
	metrics *metrics
	// stored is what is known to be stored: key → known.
	stored *cache.Cache
	// restarted is closed when the table that the present jobs work on is discarded.
	restarted <-chan struct{}

	// reached is when the queue last answered how deep it is; nil: not yet.
	reached atomic.Pointer[time.Time]

	// requests are those of the present epoch.
	requests *requests

	// passes has a value for each pass over a session that is under way.
	passes chan struct{}
	// parking holds one value per task that is being parked outside a pass.
	parking chan struct{}

	unknowns unknowns

	mu   sync.Mutex
	jobs map[call.SessionID]*job
	wg   sync.WaitGroup
}

// New returns a worker with an empty table.
func New(cfg Config) *Worker {
	w := &Worker{
		cfg: cfg,
		log: cfg.Logger,
		// Its own janitor would be a goroutine that nobody waits for: keepUp sweeps it.
		stored:   cache.New(rememberStored, 0),
		jobs:     make(map[call.SessionID]*job),
		passes:   make(chan struct{}, maxPasses),
		parking:  make(chan struct{}, maxPasses),
		unknowns: unknowns{most: maxUnknown},
	}
	w.table = session.New(session.Config{
		Rules: cfg.Rules, Decode: w.decode, Changed: w.changed, Unusable: w.unusable,
		Read: cfg.Read, Unreadable: func(err error) {
			w.log.Error("a session that is over could not be read back from the log: late news of it is merged onto its stored summary", "error", err)
		},
	})
	w.metrics = newMetrics(cfg.Registerer, w.table)
	return w
}

// Table returns the fold, which follows the log.
func (w *Worker) Table() *session.Table { return w.table }

// QueueReached returns when the queue was last seen to be there; zero: not yet.
func (w *Worker) QueueReached() time.Time {
	if at := w.reached.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Run works until ctx ends; tasks in progress are then given back. The table
// must be following the log.
func (w *Worker) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.runEpoch(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.Warn("working the queue failed; trying again", "error", err)
			pause(ctx, time.Second, nil)
		}
	}
	return nil
}

// runEpoch works through one epoch of the table: from the end of a replay to the next.
func (w *Worker) runEpoch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var restarted <-chan struct{}
	for restarted == nil {
		select {
		case <-w.table.CaughtUp():
		case <-ctx.Done():
			return nil
		}
		// Taken before HasCaughtUp is asked: a restart in between cannot be missed.
		if r := w.table.Restarted(); w.table.HasCaughtUp() {
			restarted = r
		}
	}
	// What was known to be stored may have been known of another log.
	w.stored.Flush()
	w.restarted, w.requests = restarted, newRequests()
	if err := w.upkeep(ctx); err != nil {
		// Working the queue makes it where it is missing; nothing is forgotten before its depth is known.
		w.log.Debug("the queue's depth could not be read", "error", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-restarted:
			w.log.Warn("the log is being replayed; work is given back")
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	g.Go(func() error { return w.cfg.Queue.Work(ctx, func(t Task) { w.take(ctx, t) }) })
	g.Go(func() error { return w.checks(ctx) })
	g.Go(func() error { return w.keepUp(ctx) })
	if w.cfg.Watch != nil {
		g.Go(func() error { return w.watch(ctx) })
	}
	err := g.Wait()
	w.requests.close() // they may make jobs yet
	w.wg.Wait()
	select {
	case <-restarted:
		return nil
	default:
		return err
	}
}

// take decides about one task what can be decided at once, and hands the rest to the job of its session.
func (w *Worker) take(ctx context.Context, t Task) {
	e := t.Entry()
	if e.Foreign {
		w.metrics.tasks.WithLabelValues(taskNothingDue).Inc()
		w.answer(t.Ack())
		return
	}
	if !w.awaitFold(ctx, e.Seq) {
		w.giveBack(t, taskNotFolded, time.Second)
		return
	}
	place := w.table.Place(e.Ref) // first: whether it is unusable is known when its session was read
	if err := w.table.Unusable(e.Seq); err != nil {
		w.parkAside(ctx, t, reasonUndecodable)
		return
	}
	switch {
	case place.Position < e.Seq, place.Unread:
		// The table was discarded since, or its call cannot be read: that it knows of nothing to do says nothing.
		w.giveBack(t, taskNotFolded, time.Second)
	case place.Session == "" && e.Topic == call.TopicCheck && !t.Again():
		// Somebody knows this call, or nothing would have become due: a replica that has just replayed the
		// log, perhaps. It is to get the task when it comes again.
		w.giveBack(t, taskNotKnown, time.Second)
	case place.Session == "":
		w.takeUnknown(ctx, t)
	case place.Idle && e.Topic != call.TopicCheck:
		w.metrics.tasks.WithLabelValues(taskNothingDue).Inc()
		w.answer(t.Ack())
	default:
		w.join(ctx, place, t)
	}
}

// awaitFold waits for the fold to pass a position; false when it does not within its patience.
func (w *Worker) awaitFold(ctx context.Context, seq uint64) bool {
	if w.table.Position() >= seq {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, foldPatience)
	defer cancel()
	return w.table.Wait(ctx, seq) == nil
}

// giveBack returns a task to the queue, to be handed out again after a delay.
func (w *Worker) giveBack(t Task, result string, delay time.Duration) {
	w.metrics.tasks.WithLabelValues(result).Inc()
	w.answer(t.Nak(delay))
}

// answer logs that the queue did not take what became of a task: the task will come again.
func (w *Worker) answer(err error) {
	if err != nil {
		w.log.Debug("the queue did not take the answer to a task", "error", err)
	}
}

// Reasons for which a task is parked: tokens of a subject, as those of ingest.
const (
	// reasonUndecodable: an entry of the log that its decoder does not take.
	reasonUndecodable = "undecodable"
	// reasonPoison: the work failed again and again, by its own fault.
	reasonPoison = "poison"
	// reasonUnknown: an event that comes when a call may be over, of a call that nobody knows.
	reasonUnknown = "unknown_call"
)

// ParkReasons returns every reason for which a task is parked.
func ParkReasons() []string { return []string{reasonUndecodable, reasonPoison, reasonUnknown} }

// park keeps a task that cannot be done and ends it.
func (w *Worker) park(ctx context.Context, t Task, why string) {
	e := t.Entry()
	err := w.cfg.Parking.Park(ctx, call.Parked{
		Reason: why, Signature: e.Signature, Timestamp: e.Timestamp, ContentType: "application/json",
		Seq: e.Seq, Topic: e.Topic, Ref: e.Ref, Backfill: e.Backfill, Data: e.Data,
	})
	if err != nil {
		w.log.Error("a task that cannot be done could not be parked", "reason", why, "seq", e.Seq, "error", err)
		w.answer(t.Nak(time.Second))
		return
	}
	w.metrics.tasks.WithLabelValues(taskParked).Inc()
	w.metrics.parked.WithLabelValues(why).Inc()
	if why == reasonUnknown {
		w.log.Warn("an event of a call that nobody knows was parked", "seq", e.Seq, "topic", e.Topic, "call_session_id", string(e.Ref.Session))
	} else {
		w.log.Error("a task that cannot be done was parked", "reason", why, "seq", e.Seq, "topic", e.Topic)
	}
	w.answer(t.Term())
}

// parkAside parks a task while others are taken: a stream of parked messages that gives no answer holds up no summary.
// Beyond as many at once as there are passes the task comes again.
func (w *Worker) parkAside(ctx context.Context, t Task, why string) {
	select {
	case w.parking <- struct{}{}:
		w.wg.Go(func() {
			defer func() { <-w.parking }()
			w.park(ctx, t, why)
		})
	default:
		w.giveBack(t, taskNotParked, time.Second)
	}
}

// join gives a task to the job of its session, which is started if there is none.
func (w *Worker) join(ctx context.Context, place session.Place, t Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := place.Session
	j := w.jobs[id]
	if j == nil {
		j = &job{w: w, id: id, wake: make(chan struct{}, 1), asking: make(map[request]*attempt), refused: make(map[attempted]refusal)}
		w.jobs[id] = j
		ctx, j.span = w.workSpan(ctx, place, t)
		w.wg.Go(func() { j.run(ctx) })
	}
	w.link(ctx, j.span, t)
	j.add(t)
	j.nudge()
}

// changed is called by the fold when a session has changed.
func (w *Worker) changed(id call.SessionID) {
	w.mu.Lock()
	j := w.jobs[id]
	w.mu.Unlock()
	if j != nil {
		j.nudge()
	}
}

func (w *Worker) unusable(e call.Entry, err error) {
	w.metrics.unusable.Inc()
	w.log.Error("a log entry could not be folded", "seq", e.Seq, "topic", e.Topic, "error", err)
}

// checks appends what has become due, until ctx ends.
func (w *Worker) checks(ctx context.Context) error {
	if w.cfg.Stagger > 0 {
		// Each replica keeps its own lag: whoever lags less appends first, and
		// the others find the check in the log before their time has come.
		w.table.SetLag(rand.N(w.cfg.Stagger))
	}
	pauses, limit := newCheckPauses(), dueAtOnce
	for {
		due, wait, expired := w.table.Due(limit)
		w.metrics.orphansExpired.Add(float64(expired))
		if len(due) > 0 {
			if w.appendChecks(ctx, due) {
				pauses.Reset()
				limit = dueAtOnce
				continue
			}
			limit = dueAfterFailure
			if !pause(ctx, pauses.NextBackOff(), nil) {
				return ctx.Err()
			}
			continue
		}
		if !pause(ctx, max(wait, time.Millisecond), w.table.ScheduleChanged()) {
			return ctx.Err()
		}
	}
}

// appendChecks appends at once, so that the log can take them in one batch. What
// fails is found due again; it reports whether nothing did.
func (w *Worker) appendChecks(ctx context.Context, due []session.Check) bool {
	var wg sync.WaitGroup
	var failed atomic.Bool
	for _, c := range due {
		wg.Go(func() {
			if err := w.appendCheck(ctx, c); err != nil {
				failed.Store(true)
				w.log.Debug("a check could not be appended", "kind", string(c.Kind), "error", err)
			}
		})
	}
	wg.Wait()
	if failed.Load() && ctx.Err() == nil {
		w.log.Warn("checks could not be appended; they are found due again", "checks", len(due))
	}
	return !failed.Load()
}

// pause waits for a time or until it is woken, and reports whether ctx is still going.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func key(sid call.SessionID, leg call.LegID) summary.Key {
	if leg == "" {
		return summary.Key{Kind: summary.KindSession, Session: string(sid)}
	}
	return summary.Key{Kind: summary.KindLeg, Session: string(sid), Leg: string(leg)}
}

// maxBody is the largest body of a summary.
func (w *Worker) maxBody() int {
	if w.cfg.MaxBody == nil {
		return summary.MaxBody
	}
	return w.cfg.MaxBody()
}

func cacheKey(k summary.Key) string { return k.Session + "/" + k.Leg }

var errPanic = errors.New("the work panicked")

// isPermanent reports whether a failure is the work's own: repeating it will not mend it.
func isPermanent(err error) bool {
	return errors.Is(err, summary.ErrInvalid) || errors.Is(err, errPanic)
}

func kindOf(revision int) string {
	if revision == 1 {
		return "completed"
	}
	return "amended"
}

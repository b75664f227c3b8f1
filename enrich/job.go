package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"go.opentelemetry.io/otel/trace"
)

const (
	// keepAlive is how often held tasks are reported in progress: well inside
	// the queue's patience, and never needed in the normal case.
	keepAlive = 4 * time.Second
	// retryFirst and retryMost pace a job whose infrastructure fails.
	retryFirst = 200 * time.Millisecond
	retryMost  = 3 * time.Second
	// askPatience bounds one attempt to get a status: the task that it hangs on is
	// held as long, and what the queue lets all replicas hold is bounded. It exceeds what
	// the status client allows a request and the wait for its turn.
	askPatience = 20 * time.Second
	// maxPoison is how often work may fail by its own fault before it is parked.
	maxPoison = 20
)

// job does the work of one session for as long as there are tasks of it. One
// goroutine runs it, so within a replica the publications of a session follow one another.
type job struct {
	w    *Worker
	id   call.SessionID
	wake chan struct{}
	span trace.Span

	// tasks is guarded by the worker's lock, which also decides whether the job still exists.
	tasks []Task
	// asking are the attempts under way; only the job's goroutine touches it.
	asking map[errand]int
	// failures in a row, and failures by fault of the work itself.
	failures, poisoned int
	// held is when the tasks were last reported in progress, behind since when this fold
	// has been behind a stored summary; zero: it is not.
	held, behind time.Time

	// busy are the attempts that there was no turn for.
	busyLock sync.Mutex
	busy     map[errand]int
}

// errand is what Telnyx is asked for: the status of a leg (CheckStatus), or its history (CheckRepair).
type errand struct {
	leg call.LegID
	of  session.CheckKind
}

func (j *job) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// run works until no task is left or ctx ends; what is left then is given back.
func (j *job) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the asking
	defer j.span.End()
	j.held = time.Now()
	for {
		tasks := j.snapshot()
		done, until, err := j.attempt(ctx, tasks)
		if ctx.Err() != nil {
			j.giveBack(0)
			return
		}
		for _, t := range done {
			j.w.metrics.tasks.WithLabelValues(taskDone).Inc()
			j.w.answer(t.Ack())
		}
		if j.finish(done) {
			return
		}
		pause := j.pace(ctx, err, until)
		if pause < 0 {
			return // everything was parked
		}
		timer := time.NewTimer(pause)
		select {
		case <-j.wake:
			timer.Stop()
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			j.giveBack(0)
			return
		}
	}
}

// attempt is one look at the session. A panic in it is a failure of the work itself.
func (j *job) attempt(ctx context.Context, tasks []Task) (done []Task, until time.Time, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = poison("panic: %v", p)
		}
	}()
	return j.look(ctx, tasks)
}

// pace handles the failure of a look and returns how long to wait for the next;
// less than 0: there will be none.
func (j *job) pace(ctx context.Context, err error, until time.Time) time.Duration {
	if time.Since(j.held) >= keepAlive {
		j.held = time.Now()
		for _, t := range j.snapshot() {
			j.w.answer(t.InProgress())
		}
	}
	if err == nil {
		j.failures = 0
		wait := keepAlive
		if !until.IsZero() {
			wait = min(wait, max(until.Sub(j.w.table.Now()), time.Millisecond))
		}
		return wait
	}
	j.w.metrics.failures.Inc()
	poisoned := errors.Is(err, errPoison) || errors.Is(err, summary.ErrInvalid)
	if j.failures == 0 || poisoned {
		j.w.log.Warn("the work on a session failed; trying again", "call_session_id", string(j.id), "error", err)
	}
	if poisoned {
		if j.poisoned++; j.poisoned >= maxPoison {
			j.poisoned = 0
			if j.parkAll(ctx) {
				return -1
			}
		}
	}
	j.failures++
	// A nudge must not turn a failing job into a busy loop.
	wait := min(retryFirst<<min(j.failures, 5), retryMost)
	sleep(ctx, wait)
	return time.Millisecond
}

func (j *job) snapshot() []Task {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return append([]Task(nil), j.tasks...)
}

// finish removes what is done and reports whether the job has ended. Both under
// the lock under which tasks join, so that none joins a job that has ended.
func (j *job) finish(done []Task) bool {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	gone := make(map[Task]bool, len(done))
	for _, t := range done {
		gone[t] = true
	}
	kept := j.tasks[:0]
	for _, t := range j.tasks {
		if !gone[t] {
			kept = append(kept, t)
		}
	}
	clear(j.tasks[len(kept):])
	j.tasks = kept
	if len(j.tasks) > 0 {
		return false
	}
	if j.w.jobs[j.id] == j {
		delete(j.w.jobs, j.id)
	}
	return true
}

// giveBack returns all tasks to the queue and ends the job.
func (j *job) giveBack(delay time.Duration) {
	tasks := j.snapshot()
	for _, t := range tasks {
		j.w.metrics.tasks.WithLabelValues(taskGivenBack).Inc()
		j.w.answer(t.Nak(delay))
	}
	if !j.finish(tasks) {
		j.giveBack(delay) // tasks that joined meanwhile
	}
}

// parkAll parks what cannot be done and reports whether the job has ended with it.
func (j *job) parkAll(ctx context.Context) bool {
	tasks := j.snapshot()
	for _, t := range tasks {
		j.w.park(ctx, t, reasonPoison)
	}
	return j.finish(tasks)
}

// look does what can be done now. It returns the tasks for which nothing is
// left to do, and when to look again (zero: when something changes).
func (j *job) look(ctx context.Context, tasks []Task) (done []Task, until time.Time, err error) {
	view, ok := j.w.table.View(j.id)
	if !ok {
		select {
		case <-j.w.restarted:
			// The replay has not reached it; the worker is about to give everything back.
			return nil, time.Time{}, nil
		default:
			// The table forgets a session only after the queue is through with it.
			return tasks, time.Time{}, nil
		}
	}
	work := &look{job: j, w: j.w, view: &view, now: j.w.table.Now(), legs: make(map[call.LegID]*legWork)}
	work.sort(tasks)
	err = work.do(ctx)
	if !work.isBehind {
		j.behind = time.Time{}
	}
	if err != nil && !errors.Is(err, errPoison) {
		return nil, time.Time{}, err
	}
	for _, t := range tasks {
		if e := t.Entry(); e.Seq <= view.Position && work.through(e) {
			done = append(done, t)
		}
	}
	return done, work.until, err
}

// ask starts an attempt to get the status of a leg, unless one is under way. The
// answer comes back through the log. Where there is no turn to be had nothing comes back: then the
// task is given up, and a later check asks again.
func (j *job) ask(ctx context.Context, v *session.LegView, life uint64, attempt int) {
	about := errand{v.ID, session.CheckStatus}
	if j.asking[about] >= attempt {
		return
	}
	j.asking[about] = attempt
	ref := call.Ref{Session: j.id, Leg: v.ID, Control: v.Control, Connection: v.Connection}
	sweep := v.Ending == session.NotOver
	j.w.wg.Go(func() {
		ctx, span := j.w.span(ctx, "status", trace.SpanKindClient, key(j.id, ref.Leg))
		defer span.End()
		got, ok := j.fetch(ctx, ref, sweep)
		if !ok {
			if ctx.Err() == nil {
				j.giveUp(about, attempt)
			}
			return
		}
		answered(span, &got, attempt)
		a := session.Answer{Answer: got, Proven: j.w.table.Proven(ref.Connection)}
		a.Attempt, a.Life = attempt, life
		j.record(ctx, internalEntry(call.TopicStatus, a.ID(), ref, a))
	})
}

// fetch asks once; false when ctx ended, whereupon whoever gets the task next asks
// again, or when there was no turn to be had.
func (j *job) fetch(ctx context.Context, ref call.Ref, sweep bool) (status.Answer, bool) {
	patient, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	fetch := j.w.cfg.Status.Fetch
	if sweep {
		fetch = j.w.cfg.Status.Sweep
	}
	got, err := fetch(patient, ref)
	switch {
	case ctx.Err() != nil:
		return got, false
	case errors.Is(err, status.ErrBusy):
		if sweep {
			j.w.metrics.sweeps.WithLabelValues(sweepBusy).Inc()
		}
		return got, false
	case err != nil:
		got = status.Answer{
			Session: ref.Session, Leg: ref.Leg, Control: ref.Control, Connection: ref.Connection,
			FetchedAt: time.Now().UTC().Truncate(time.Microsecond),
			Result:    status.Unreachable, Problem: status.ProblemTimeout,
		}
	}
	if sweep {
		j.w.metrics.swept(&got)
	}
	return got, true
}

// record appends what Telnyx answered, however long that takes; it reports
// whether it is in the log.
func (j *job) record(ctx context.Context, e call.Entry) bool {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		_, err := j.w.cfg.Log.Append(ctx, e)
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		j.w.log.Warn("an answer could not be appended; trying again", "topic", e.Topic, "call_leg_id", string(e.Ref.Leg), "error", err)
		if !sleep(ctx, wait) {
			return false
		}
	}
}

func (j *job) giveUp(key errand, attempt int) {
	j.busyLock.Lock()
	if j.busy == nil {
		j.busy = make(map[errand]int)
	}
	j.busy[key] = attempt
	j.busyLock.Unlock()
	j.nudge()
}

// gaveUp reports whether there was no turn for an attempt.
func (j *job) gaveUp(leg call.LegID, of session.CheckKind, attempt int) bool {
	j.busyLock.Lock()
	defer j.busyLock.Unlock()
	return j.busy[errand{leg, of}] >= attempt
}

// internalEntry makes an entry of Legato's own.
func internalEntry(topic, id string, ref call.Ref, body any) call.Entry {
	data, err := json.Marshal(body)
	if err != nil {
		// Checks and answers are plain structs of texts, numbers and times.
		panic(fmt.Sprintf("encode %s: %v", topic, err))
	}
	return call.Entry{Topic: topic, ID: id, Ref: ref, Data: data}
}

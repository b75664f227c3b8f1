package enrich

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// keepAlive is how often held tasks are reported in progress: well inside the queue's patience.
	keepAlive = 4 * time.Second
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
	// asking are the attempts that the tasks have led to; only the job's goroutine touches it.
	asking map[request]*attempt
	// pauses grow with failures in a row; nil: the last pass did not fail.
	// poisoned counts failures that were the work's own fault.
	pauses   *backoff.ExponentialBackOff
	poisoned int
	// unknown are those of the tasks that are done that have events of a call that nobody knows.
	unknown map[Task]bool
	// awaited is until when the rest of such a call is waited for; zero: it is not.
	awaited time.Time
	// refused are the publications that were refused in a row.
	refused map[attempted]refusal
	// held is when the tasks were last reported in progress, behind since when this fold
	// has been behind a stored summary; zero: it is not.
	held, behind time.Time
}

func (j *job) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// run works until no task is left or ctx ends; what is left then is given back.
func (j *job) run(ctx context.Context) {
	defer j.span.End()
	j.held = time.Now()
	for {
		if !j.enter(ctx) {
			j.giveBack()
			return
		}
		done, until, err := j.reconcile(ctx, j.snapshot())
		<-j.w.passes
		if ctx.Err() != nil {
			j.giveBack()
			return
		}
		for _, t := range done {
			if j.unknown[t] {
				j.w.park(ctx, t, reasonUnknown)
				continue
			}
			j.w.metrics.tasks.WithLabelValues(taskDone).Inc()
			j.w.answer(t.Ack())
		}
		if j.finish(done) {
			return
		}
		wait := j.pace(ctx, err, until)
		if wait < 0 {
			return // everything was parked
		}
		if !pause(ctx, wait, j.wake) {
			j.giveBack()
			return
		}
	}
}

// enter waits for the turn of a pass; false: ctx has ended before.
func (j *job) enter(ctx context.Context) bool {
	select {
	case j.w.passes <- struct{}{}:
		return true
	default:
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case j.w.passes <- struct{}{}:
			return true
		case <-tick.C:
			j.hold()
		case <-ctx.Done():
			return false
		}
	}
}

// hold reports the tasks in progress, so that the queue hands them to nobody else.
func (j *job) hold() {
	j.held = time.Now()
	for _, t := range j.snapshot() {
		j.w.answer(t.InProgress())
	}
}

// reconcile makes one pass over the session. It returns the tasks for which nothing is left to do,
// and when to repeat it (zero: when something changes). A panic in it is a failure of the work itself.
func (j *job) reconcile(ctx context.Context, tasks []Task) (done []Task, until time.Time, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
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
	p := j.newPass(&view, tasks)
	err = p.run(ctx)
	if !p.isBehind {
		j.behind = time.Time{}
	}
	if err != nil && !isPermanent(err) {
		return nil, time.Time{}, err
	}
	j.unknown = make(map[Task]bool)
	for _, t := range tasks {
		if e := t.Entry(); e.Seq <= view.Position && p.isThrough(e) {
			done = append(done, t)
			if p.isUnknown(e) {
				j.unknown[t] = true
			}
		}
	}
	return done, p.until, err
}

// pace handles the failure of a pass and returns how long to wait for the next;
// less than 0: there will be none.
func (j *job) pace(ctx context.Context, err error, until time.Time) time.Duration {
	if time.Since(j.held) >= keepAlive {
		j.hold()
	}
	if err == nil {
		j.pauses = nil
		wait := keepAlive
		if !until.IsZero() {
			wait = min(wait, max(until.Sub(j.w.table.NowOf(j.id)), time.Millisecond))
		}
		return wait
	}
	j.w.metrics.failures.Inc()
	permanent := isPermanent(err)
	if j.pauses == nil || permanent {
		j.w.log.Warn("the work on a session failed; trying again", "call_session_id", string(j.id), "error", err)
	}
	if permanent {
		if j.poisoned++; j.poisoned >= maxPoison {
			j.poisoned = 0
			if j.parkAll(ctx) {
				return -1
			}
		}
	}
	switch {
	case j.pauses != nil:
	case errors.Is(err, call.ErrFull):
		j.pauses = newFullPauses()
	default:
		j.pauses = newPauses()
	}
	j.rest(ctx, j.pauses.NextBackOff())
	return time.Millisecond
}

// rest waits with the tasks held. A nudge does not end it: that must not turn a failing job into a busy loop.
func (j *job) rest(ctx context.Context, d time.Duration) {
	for ; d > keepAlive && pause(ctx, keepAlive, nil); d -= keepAlive {
		j.hold()
	}
	pause(ctx, d, nil)
}

func (j *job) snapshot() []Task {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return slices.Clone(j.tasks)
}

// add takes a task, in place of one of the same entry: of that the queue hears no more. The entry of one that no queue has
// handed out has no place of its own. The worker's lock is held.
func (j *job) add(t Task) {
	if e := t.Entry(); t.Again() {
		j.tasks = slices.DeleteFunc(j.tasks, func(other Task) bool { o := other.Entry(); return o.Seq == e.Seq && o.ID == e.ID })
	}
	j.tasks = append(j.tasks, t)
}

// finish removes what is done and reports whether the job has ended. Both under
// the lock under which tasks join, so that none joins a job that has ended.
func (j *job) finish(done []Task) bool {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	isDone := make(map[Task]bool, len(done))
	for _, t := range done {
		isDone[t] = true
	}
	j.tasks = slices.DeleteFunc(j.tasks, func(t Task) bool { return isDone[t] })
	if len(j.tasks) > 0 {
		return false
	}
	if j.w.jobs[j.id] == j {
		delete(j.w.jobs, j.id)
	}
	return true
}

// giveBack returns all tasks to the queue and ends the job.
func (j *job) giveBack() {
	for {
		tasks := j.snapshot()
		for _, t := range tasks {
			j.w.giveBack(t, taskGivenBack, 0)
		}
		if j.finish(tasks) {
			return // else tasks joined meanwhile
		}
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

package enrich

import (
	"context"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// request is what Telnyx is asked for: the status of a leg (CheckStatus), or its history (CheckBackfill).
type request struct {
	session call.SessionID
	leg     call.LegID
	of      session.CheckKind
}

// attempt is a request that waits for its turn or is under way.
type attempt struct {
	// number is the highest that was asked for meanwhile.
	number int
	// since is when it began to wait.
	since time.Time
	// class is where it stands in line; it is begun once its turn has come, and over when it was answered, given up or
	// not wanted any more.
	class       status.Class
	begun, over bool
}

// requests are those that this replica waits with or has under way, each once. They outlive the tasks that they came
// from: what waits for minutes must not be a task that the queue counts as held. Nobody else knows of them: when the
// process ends, the schedule finds from the log which legs lack an answer.
type requests struct {
	mu    sync.Mutex // guards all that follows
	by    map[request]*attempt
	ended bool
	wg    sync.WaitGroup
}

func newRequests() *requests { return &requests{by: make(map[request]*attempt)} }

// join takes note that an attempt is asked for. What is under way, or stands in line no worse than in class, is joined,
// and what the tasks have led to before is not repeated for them; otherwise the attempt is a new one, and the caller is
// to have it wait in line.
func (r *requests) join(what request, before *attempt, number int, class status.Class, now time.Time) (a *attempt, isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before != nil && before.number >= number && before.class <= class {
		return before, false
	}
	known := r.by[what]
	if known != nil {
		known.number = max(known.number, number)
		if known.begun || known.class <= class {
			return known, false
		}
		number, now = known.number, known.since
	}
	// One that stands in line already is given up when its turn comes.
	a = &attempt{number: number, since: now, class: class}
	r.by[what] = a
	return a, true
}

// begin reports whether the turn of an attempt is wanted, by what the fold knows at this time. If so, end must be
// called.
func (r *requests) begin(what request, a *attempt, wanted func(number int) bool) bool {
	r.mu.Lock()
	number := a.number
	r.mu.Unlock()
	wants := wanted(number)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.by[what] != a {
		return false
	}
	if !wants {
		delete(r.by, what)
		a.over = true
		return false
	}
	a.begun = true
	r.wg.Add(1)
	return true
}

// number returns the number under which the outcome of an attempt is recorded.
func (r *requests) number(a *attempt) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return a.number
}

// end forgets an attempt that is over.
func (r *requests) end(what request, a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[what] == a {
		delete(r.by, what)
	}
	a.over = true
	r.wg.Done()
}

// close gives up what waits, and returns when what is under way is over.
func (r *requests) close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.wg.Wait()
}

// holdFor is how long the task that a request came from is held for it: a crash within that time loses no more than the
// queue takes to hand the task out again.
const holdFor = 10 * time.Second

// comes reports whether a task is to be held for an attempt, and until when.
func (j *job) comes(ctx context.Context, a *attempt) (until time.Time, held bool) {
	j.w.requests.mu.Lock()
	defer j.w.requests.mu.Unlock()
	left := holdFor - time.Since(a.since)
	return j.w.table.NowOf(j.id).Add(left), !a.over && left > 0 && ctx.Err() == nil
}

package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// newPauses pace what is tried again because the infrastructure fails.
func newPauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, Multiplier: 2, MaxInterval: 3 * time.Second, RandomizationFactor: 0.2,
	}
}

// newCheckPauses pace checks that the log does not take.
func newCheckPauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: time.Second, Multiplier: 2, MaxInterval: 5 * time.Second, RandomizationFactor: 0.2,
	}
}

// newFullPauses pace what is tried again because there is no room: that passes when calls are finished, or somebody
// makes some.
func newFullPauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: time.Second, Multiplier: 2, MaxInterval: 30 * time.Second, RandomizationFactor: 0.5,
	}
}

// secondHand is how far behind those of its own time a leg stands in line whose place may be kept by another process,
// too. Where that is alive, it has asked before the turn comes.
const secondHand = 30 * time.Second

// ask has an attempt to get the status of a leg wait for its turn, and reports until when its task is held for that;
// false: it is not.
func (j *job) ask(ctx context.Context, l *leg, number int) (until time.Time, held bool) {
	v, w := l.view, j.w
	what := request{j.id, v.ID, session.CheckStatus}
	place, patient := l.place(), v.Last != nil && v.Last.Problem == status.ProblemTimeout
	a, isNew := w.requests.join(what, j.asking[what], number, place.Class, time.Now())
	if j.asking[what] = a; isNew {
		ref := call.Ref{Session: j.id, Leg: v.ID, Control: v.Control, Connection: v.Connection}
		epoch, sweep, requests := l.pass.view.Epoch, v.Ending == session.NotOver, w.requests
		begin := func() bool {
			wanted := requests.begin(what, a, func(number int) bool { return w.table.Wants(ref.Session, ref.Leg, number) })
			if !wanted {
				w.changed(ref.Session)
			}
			return wanted
		}
		w.cfg.Status.Ask(ctx, status.Request{Ref: ref, Place: place, Patient: patient, Begin: begin}, func(got status.Answer, err error) {
			defer w.changed(ref.Session)
			defer requests.end(what, a)
			if err != nil {
				return // ctx has ended: whoever gets the task next asks again
			}
			if sweep {
				w.metrics.swept(&got)
			}
			w.recordAnswer(ctx, got, epoch, requests.number(a), sweep)
		})
	}
	return j.comes(ctx, a)
}

// place is where a request about the leg stands in line. Times are on this machine's clock.
func (l *leg) place() status.Place {
	v, local := l.view, func(t time.Time) time.Time { return time.Now().Add(t.Sub(l.pass.now)) }
	if v.Ending == session.NotOver {
		return status.Place{Class: status.Sweep, Since: time.Now()}
	}
	p := status.Place{Class: status.Again, Since: local(v.Since), Until: local(v.Until)}
	if v.Tried == 0 {
		p.Class = status.First
	}
	if v.AskedSince == 0 && !l.hangup {
		p.Since = p.Since.Add(secondHand)
	}
	return p
}

// recordAnswer appends what Telnyx answered about a leg, and returns when it is folded. sweep: it was taken to live.
func (w *Worker) recordAnswer(ctx context.Context, got status.Answer, epoch uint64, number int, sweep bool) {
	ctx, span := w.span(ctx, "status", trace.SpanKindClient, key(got.Session, got.Leg))
	defer span.End()
	answered(span, &got, number)
	a := session.Answer{Answer: got, Proven: w.table.Proven(got.Connection)}
	a.Attempt, a.Epoch = number, epoch
	e := internalEntry(call.TopicStatus, a.ID(), got.Ref(), a)
	e.Sweep = sweep && !ends(&got)
	w.record(ctx, e)
}

// ends reports whether an answer may say that a leg which was taken to live has ended.
func ends(got *status.Answer) bool {
	return got.Result == status.NotFound || got.Result == status.Answered && (!got.EndTime.IsZero() || got.IsAlive != nil && !*got.IsAlive)
}

// answerAbout is an answer that is not the API's.
func answerAbout(ref call.Ref, result status.Result) status.Answer {
	a := status.About(ref)
	a.FetchedAt, a.Result = time.Now().UTC().Truncate(time.Microsecond), result
	return a
}

// record appends what Telnyx answered, however long that takes, and returns when it is folded, so that nobody asks
// again for want of it; false: ctx has ended before. Where the log has no room, the fold learns it without, and no
// queue hands it to anybody: then this replica acts on it.
func (w *Worker) record(ctx context.Context, e call.Entry) bool {
	receipt, learned, err := w.recordOwn(ctx, e, backoff.WithNotify(func(err error, _ time.Duration) {
		w.log.Warn("an answer could not be appended; trying again", "topic", e.Topic, "call_leg_id", string(e.Ref.Leg), "error", err)
	}))
	switch {
	case err != nil:
		return false
	case learned != nil:
		w.join(ctx, w.table.Place(learned.Ref), &localTask{w: w, entry: *learned})
		return true
	}
	return w.table.Wait(ctx, receipt.Seq) == nil
}

// appendEntry appends an entry, trying again until ctx ends, an option says so or the log has no room.
func (w *Worker) appendEntry(ctx context.Context, e call.Entry, options ...backoff.RetryOption) (call.Receipt, error) {
	options = append(options, backoff.WithBackOff(newPauses()), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(ctx, func() (call.Receipt, error) {
		receipt, err := w.cfg.Log.Append(ctx, e)
		if errors.Is(err, call.ErrFull) {
			err = backoff.Permanent(err)
		}
		return receipt, err
	}, options...)
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
	defer r.mu.Unlock()
	for {
		number := a.number
		r.mu.Unlock()
		wants := wanted(number)
		r.mu.Lock()
		switch {
		case r.ended || r.by[what] != a:
			return false
		case wants:
			a.begun = true
			r.wg.Add(1)
			return true
		case a.number == number: // else another was asked for meanwhile
			delete(r.by, what)
			a.over = true
			return false
		}
	}
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

package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"go.opentelemetry.io/otel/trace"
)

// askPatience bounds one attempt to get a status: the task that it hangs on is
// held as long, and what the queue lets all replicas hold is bounded. It exceeds what
// the status client allows a request and the wait for its turn.
const askPatience = 20 * time.Second

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

// request is what Telnyx is asked for: the status of a leg (CheckStatus), or its history (CheckBackfill).
type request struct {
	leg call.LegID
	of  session.CheckKind
}

// start makes an attempt, unless one is under way, and reports whether its outcome is to come. do reports
// whether the outcome is in the log. If not, there was no turn to be had, or something was out of reach:
// then the attempt is given up, and a later check asks again.
func (j *job) start(ctx context.Context, what request, attempt int, do func() bool) (comes bool) {
	if j.asking[what] < attempt {
		j.asking[what] = attempt
		j.w.wg.Go(func() {
			if do() || ctx.Err() != nil {
				return
			}
			j.busyLock.Lock()
			j.busy[what] = attempt
			j.busyLock.Unlock()
			j.nudge()
		})
	}
	j.busyLock.Lock()
	defer j.busyLock.Unlock()
	return j.busy[what] < attempt
}

// ask starts an attempt to get the status of a leg, and reports whether its answer
// is to come through the log.
func (j *job) ask(ctx context.Context, v *session.LegView, epoch uint64, attempt int) bool {
	ref := call.Ref{Session: j.id, Leg: v.ID, Control: v.Control, Connection: v.Connection}
	sweep := v.Ending == session.NotOver
	return j.start(ctx, request{v.ID, session.CheckStatus}, attempt, func() bool {
		ctx, span := j.w.span(ctx, "status", trace.SpanKindClient, key(j.id, ref.Leg))
		defer span.End()
		got, ok := j.fetch(ctx, ref, sweep)
		if !ok {
			return false
		}
		answered(span, &got, attempt)
		a := session.Answer{Answer: got, Proven: j.w.table.Proven(ref.Connection)}
		a.Attempt, a.Epoch = attempt, epoch
		return j.record(ctx, internalEntry(call.TopicStatus, a.ID(), ref, a))
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
		got = unreachable(ref)
	}
	if sweep {
		j.w.metrics.swept(&got)
	}
	return got, true
}

// answerAbout is an answer that is not the API's.
func answerAbout(ref call.Ref, result status.Result) status.Answer {
	return status.Answer{
		Session: ref.Session, Leg: ref.Leg, Control: ref.Control, Connection: ref.Connection,
		FetchedAt: time.Now().UTC().Truncate(time.Microsecond), Result: result,
	}
}

// unreachable is the answer where none came in time.
func unreachable(ref call.Ref) status.Answer {
	a := answerAbout(ref, status.Unreachable)
	a.Problem = status.ProblemTimeout
	return a
}

// record appends what Telnyx answered, however long that takes; it reports
// whether it is in the log, or, where that has no room, in the fold.
func (j *job) record(ctx context.Context, e call.Entry) bool {
	err := j.w.recordOwn(ctx, e, backoff.WithNotify(func(err error, _ time.Duration) {
		j.w.log.Warn("an answer could not be appended; trying again", "topic", e.Topic, "call_leg_id", string(e.Ref.Leg), "error", err)
	}))
	return err == nil
}

// appendEntry appends an entry, trying again until ctx ends, an option says so or the log has no room.
func (j *job) appendEntry(ctx context.Context, e call.Entry, options ...backoff.RetryOption) (call.Receipt, error) {
	options = append(options, backoff.WithBackOff(newPauses()), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(ctx, func() (call.Receipt, error) {
		receipt, err := j.w.cfg.Log.Append(ctx, e)
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

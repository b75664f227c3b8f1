package enrich

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"go.opentelemetry.io/otel/trace"
)

// HistorySource reads what Telnyx has on record of a leg when its turn has come, as status.Client does. The error that
// done is called with is that of ctx; whatever else happens is an answer.
type HistorySource interface {
	AskHistory(ctx context.Context, r status.Request, done func(status.Past, error))
}

// HistoryEvent is an event from the provider's history.
type HistoryEvent struct {
	// Entry is the entry of the log that it makes.
	Entry call.Entry
	// Exact: the time in it is the event's own. Named: its id is what the row states, not one that was made for it.
	Exact, Named bool
}

const (
	// knownWithin bounds the reading of what is stored of a leg.
	knownWithin = 10 * time.Second
	// backfillTries is how often the log is tried for an event from the history. When it does
	// not take it, as when it is nearly full, a later check asks again.
	backfillTries = 5
)

// Results of an attempt beyond those of the status API.
const (
	backfillWhole   = "whole"
	backfillPartial = "partial"
)

// decideBackfill returns the attempt to make now to complete a leg from the
// history, 0 when there is none. check is the attempt that a check asks for.
func decideBackfill(v *session.LegView, check int) int {
	if v.Ending == session.NotOver || check <= v.Backfilled {
		return 0
	}
	return check
}

// backfill has an attempt to complete a leg from the history wait for its turn, and reports until when its task is held
// for that; false: it is not.
func (j *job) backfill(ctx context.Context, v *session.LegView, epoch uint64, number int) (until time.Time, held bool) {
	w, what := j.w, request{j.id, v.ID, session.CheckBackfill}
	a, isNew := w.requests.join(what, j.asking[what], number, status.History, time.Now())
	if j.asking[what] = a; isNew {
		b := &backfill{
			w: w, requests: w.requests, what: what, attempt: a, epoch: epoch,
			ref: call.Ref{Session: j.id, Leg: v.ID, Control: v.Control, Connection: v.Connection},
		}
		w.wg.Go(func() { b.start(ctx) })
	}
	return j.comes(ctx, a)
}

// backfill is an attempt to complete a leg from the history.
type backfill struct {
	w        *Worker
	requests *requests
	what     request
	attempt  *attempt
	ref      call.Ref
	epoch    uint64
}

// start asks for the history, unless the summary that is stored is whole.
func (b *backfill) start(ctx context.Context) {
	patient, cancel := context.WithTimeout(ctx, knownWithin)
	whole, ok := b.w.isWhole(patient, b.ref)
	cancel()
	switch {
	case whole:
		// The beginning of the call has left the log, not the summary: as after each start.
		if b.begin() {
			defer b.end()
			outcome := session.Backfill{Whole: true, Epoch: b.epoch, Answer: answerAbout(b.ref, status.Answered)}
			outcome.Attempt = b.requests.number(b.attempt)
			b.w.record(ctx, internalEntry(call.TopicBackfill, outcome.ID(), b.ref, outcome))
		}
	case !ok:
		// Something is out of reach: the attempt is given up, and a later check asks again.
		if b.begin() {
			b.end()
		}
	default:
		place := status.Place{Class: status.History, Since: time.Now()}
		b.w.cfg.History.AskHistory(ctx, status.Request{Ref: b.ref, Place: place, Begin: b.begin}, func(got status.Past, err error) {
			defer b.end()
			if err == nil { // else ctx has ended: whoever gets the task next asks again
				b.complete(ctx, &got)
			}
		})
	}
}

func (b *backfill) begin() bool {
	wanted := b.requests.begin(b.what, b.attempt, func(number int) bool { return b.w.table.WantsBackfill(b.ref.Session, b.ref.Leg, number) })
	if !wanted {
		b.w.changed(b.ref.Session)
	}
	return wanted
}

func (b *backfill) end() {
	b.requests.end(b.what, b.attempt)
	b.w.changed(b.ref.Session)
}

// complete appends what the history has and the log has not, and what came of the attempt. Where that cannot be done
// the attempt is given up, and a later check asks again.
func (b *backfill) complete(ctx context.Context, got *status.Past) {
	ctx, span := b.w.span(ctx, "history", trace.SpanKindClient, key(b.ref.Session, b.ref.Leg))
	defer span.End()
	number := b.requests.number(b.attempt)
	answered(span, &got.Answer, number)
	outcome := session.Backfill{Answer: got.Answer, Epoch: b.epoch}
	outcome.Attempt = number
	if got.Result == status.Answered && !b.w.appendMissing(ctx, b.ref, got.Rows, &outcome) {
		return
	}
	result := string(got.Result)
	if got.Result == status.Answered {
		if result = backfillPartial; outcome.Whole {
			result = backfillWhole
		}
	}
	if !b.w.record(ctx, internalEntry(call.TopicBackfill, outcome.ID(), b.ref, outcome)) {
		return
	}
	b.w.metrics.backfills.WithLabelValues(result).Inc()
	b.w.log.Info("leg looked up in the history",
		"call_session_id", string(b.ref.Session), "call_leg_id", string(b.ref.Leg), "result", result,
		"attempt", number, "rows", outcome.Rows, "added", outcome.Added)
}

// isWhole reports whether nothing is missing of a leg together with what its stored
// summary knows; ok is false when that could not be read.
func (w *Worker) isWhole(ctx context.Context, ref call.Ref) (whole, ok bool) {
	leg, known, _, ok := w.known(ctx, ref)
	if !ok {
		return false, false
	}
	// Where nothing is known to be missing, something invisible may be: that is what is asked for.
	return leg.Missing.Any() && !lacks(leg, known), true
}

// lacks reports whether a leg must have had an event that is none of the known.
func lacks(leg *session.LegView, known []past) bool {
	lacking := leg.Missing
	for _, p := range known {
		lacking.Fill(p.typ)
	}
	return lacking.Any()
}

// appendMissing appends the events of the history that are not known, and says in the
// outcome what came of it; false when it could not be done.
func (w *Worker) appendMissing(ctx context.Context, ref call.Ref, raw []json.RawMessage, outcome *session.Backfill) bool {
	var rows []past
	ended := false
	for _, row := range raw {
		found, ok := w.cfg.ReadHistory(row, ref)
		if !ok {
			continue
		}
		if e, err := w.cfg.Decode(found.Entry); err == nil {
			rows = append(rows, past{typ: e.Type, id: e.ID, at: e.OccurredAt, exact: found.Exact, named: found.Named, entry: found.Entry})
			ended = ended || e.Type == call.TypeHangup
		}
	}
	// Read after the history was: what has come in meanwhile is known.
	leg, known, sparse, ok := w.known(ctx, ref)
	if !ok {
		return false
	}
	for _, row := range missing(rows, known, sparse) {
		receipt, err := w.appendEntry(ctx, row.entry, backoff.WithMaxTries(backfillTries))
		if err != nil {
			w.log.Warn("an event from the history could not be appended", "call_leg_id", string(ref.Leg), "error", err)
			return false
		}
		if !receipt.Duplicate {
			w.metrics.backfilled.Inc()
		}
		outcome.Added++
	}
	outcome.Rows, outcome.Whole = len(rows), ended && !lacks(leg, append(known, rows...))
	return true
}

// known returns a leg and its events that are known, also those that only its stored summary
// knows; sparse: there were more than that lists.
func (w *Worker) known(ctx context.Context, ref call.Ref) (leg *session.LegView, known []past, sparse, ok bool) {
	view, _ := w.table.View(ref.Session)
	if leg, ok = view.Leg(ref.Leg); !ok {
		return nil, nil, false, false
	}
	for _, e := range leg.Events {
		known = append(known, past{typ: e.Type, id: e.ID, at: e.OccurredAt, exact: true, named: !e.Backfill})
	}
	k := key(ref.Session, ref.Leg)
	stored, found, err := w.cfg.Sink.Last(ctx, k)
	if err != nil || !found {
		return leg, known, false, err == nil
	}
	d, err := compose.Read(k, stored.Body)
	if err != nil {
		return nil, nil, false, false
	}
	for _, e := range d.Leg.Events {
		known = append(known, past{typ: e.Type, id: e.ID, at: e.OccurredAt.Known(), exact: true, named: !e.Backfill})
	}
	omitted := d.Leg.EventsOmitted
	return leg, known, omitted > 0 && len(d.Leg.Events)+omitted > len(leg.Events), true
}

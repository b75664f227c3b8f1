package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"go.opentelemetry.io/otel/trace"
)

// HistorySource reads what Telnyx has on record of a leg. Its error is that of
// ctx, or status.ErrBusy; whatever else happens is an answer.
type HistorySource interface {
	History(ctx context.Context, ref call.Ref) (status.Past, error)
}

// HistoryEvent is an event from the provider's history.
type HistoryEvent struct {
	// Entry is the entry of the log that it makes.
	Entry call.Entry
	// Exact: the time in it is the event's own.
	Exact bool
}

const (
	// historyPatience bounds one reading of a history: its task is held as long.
	historyPatience = 30 * time.Second
	// backfillTries is how often the log is tried for an event from the history. When it does
	// not take it, as when it is nearly full, a later check asks again.
	backfillTries = 5
)

// Results of an attempt beyond those of the status API.
const (
	backfillWhole   = "whole"
	backfillPartial = "partial"
	backfillBusy    = "busy"
)

// decideBackfill returns the attempt to make now to complete a leg from the
// history, 0 when there is none. check is the attempt that a check asks for.
func decideBackfill(v *session.LegView, check int) int {
	if v.Ending == session.NotOver || check <= v.Backfilled {
		return 0
	}
	return check
}

// past is an event as far as it takes to know it again.
type past struct {
	typ, id string
	at      time.Time
	exact   bool
	// entry is the one that a row of the history makes.
	entry call.Entry
}

// same reports whether a row of the history is about an event that is known.
// Its id can be another than the webhook's, or be missing, and its time can be written with
// fewer digits: rather one event too few than one twice.
func same(row, known past) bool {
	switch {
	case row.typ != known.typ:
		return false
	case row.id == known.id, call.EventTypeOf(row.typ).Once, !row.exact:
		return true
	}
	return row.at.Sub(known.at).Abs() < time.Millisecond
}

// missing returns those of the rows that are about no event that is known, and about
// none that an earlier row is about, by occurrence. sparse: not all events are known by
// name; then only those are taken that a leg has once.
func missing(rows, known []past, sparse bool) (found []past) {
	rows, known = slices.Clone(rows), slices.Clone(known)
	slices.SortStableFunc(rows, func(a, b past) int { return a.at.Compare(b.at) })
	for _, row := range rows {
		if sparse && !call.EventTypeOf(row.typ).Once || slices.ContainsFunc(known, func(k past) bool { return same(row, k) }) {
			continue
		}
		known, found = append(known, row), append(found, row)
	}
	return found
}

// backfill starts an attempt to complete a leg from the history, and reports whether
// its outcome is to come through the log.
func (j *job) backfill(ctx context.Context, v *session.LegView, epoch uint64, attempt int) bool {
	ref := call.Ref{Session: j.id, Leg: v.ID, Control: v.Control, Connection: v.Connection}
	return j.start(ctx, request{v.ID, session.CheckBackfill}, attempt, func() bool { return j.runBackfill(ctx, ref, epoch, attempt) })
}

// runBackfill makes an attempt to complete a leg. It reports whether its outcome is in the log; if not,
// there was no turn to be had, or something was out of reach: then the task is
// given up, and a later check asks again.
func (j *job) runBackfill(ctx context.Context, ref call.Ref, epoch uint64, attempt int) bool {
	ctx, span := j.w.span(ctx, "history", trace.SpanKindClient, key(j.id, ref.Leg))
	defer span.End()
	patient, cancel := context.WithTimeout(ctx, historyPatience)
	defer cancel()
	if whole, ok := j.isWhole(patient, ref.Leg); whole || !ok {
		// The beginning of the call has left the log, not the summary: as after each start.
		outcome := session.Backfill{Whole: true, Epoch: epoch, Answer: answerAbout(ref, status.Answered)}
		outcome.Attempt = attempt
		return ok && j.record(ctx, internalEntry(call.TopicBackfill, outcome.ID(), ref, outcome))
	}
	got, err := j.w.cfg.History.History(patient, ref)
	switch {
	case ctx.Err() != nil:
		return false // the job ends; whoever gets the task next asks again
	case errors.Is(err, status.ErrBusy):
		j.w.metrics.backfills.WithLabelValues(backfillBusy).Inc()
		return false
	case err != nil:
		got = status.Past{Answer: unreachable(ref)}
	}
	answered(span, &got.Answer, attempt)
	outcome := session.Backfill{Answer: got.Answer, Epoch: epoch}
	outcome.Attempt = attempt
	if got.Result == status.Answered && !j.appendMissing(ctx, ref, got.Rows, &outcome) {
		return false
	}
	result := string(got.Result)
	if got.Result == status.Answered {
		if result = backfillPartial; outcome.Whole {
			result = backfillWhole
		}
	}
	if !j.record(ctx, internalEntry(call.TopicBackfill, outcome.ID(), ref, outcome)) {
		return false
	}
	j.w.metrics.backfills.WithLabelValues(result).Inc()
	j.w.log.Info("leg looked up in the history",
		"call_session_id", string(ref.Session), "call_leg_id", string(ref.Leg), "result", result,
		"attempt", attempt, "rows", outcome.Rows, "added", outcome.Added)
	return true
}

// isWhole reports whether nothing is missing of a leg together with what its stored
// summary knows; ok is false when that could not be read.
func (j *job) isWhole(ctx context.Context, id call.LegID) (whole, ok bool) {
	leg, known, _, ok := j.known(ctx, id)
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
func (j *job) appendMissing(ctx context.Context, ref call.Ref, raw []json.RawMessage, outcome *session.Backfill) bool {
	var rows []past
	ended := false
	for _, row := range raw {
		found, ok := j.w.cfg.ReadHistory(row, ref)
		if !ok {
			continue
		}
		if e, err := j.w.cfg.Decode(found.Entry); err == nil {
			rows = append(rows, past{e.Type, e.ID, e.OccurredAt, found.Exact, found.Entry})
			ended = ended || e.Type == call.TypeHangup
		}
	}
	// Read after the history was: what has come in meanwhile is known.
	leg, known, sparse, ok := j.known(ctx, ref.Leg)
	if !ok {
		return false
	}
	for _, row := range missing(rows, known, sparse) {
		receipt, err := j.appendEntry(ctx, row.entry, backoff.WithMaxTries(backfillTries))
		if err != nil {
			j.w.log.Warn("an event from the history could not be appended", "call_leg_id", string(ref.Leg), "error", err)
			return false
		}
		if !receipt.Duplicate {
			j.w.metrics.backfilled.Inc()
		}
		outcome.Added++
	}
	outcome.Rows, outcome.Whole = len(rows), ended && !lacks(leg, append(known, rows...))
	return true
}

// known returns a leg and its events that are known, also those that only its stored summary
// knows; sparse: there were more than that lists.
func (j *job) known(ctx context.Context, id call.LegID) (leg *session.LegView, known []past, sparse, ok bool) {
	view, _ := j.w.table.View(j.id)
	if leg, ok = view.Leg(id); !ok {
		return nil, nil, false, false
	}
	for _, e := range leg.Events {
		known = append(known, past{typ: e.Type, id: e.ID, at: e.OccurredAt, exact: true})
	}
	k := key(j.id, id)
	stored, found, err := j.w.cfg.Sink.Last(ctx, k)
	if err != nil || !found {
		return leg, known, false, err == nil
	}
	d, err := compose.Read(k, stored.Body)
	if err != nil {
		return nil, nil, false, false
	}
	for _, e := range d.Leg.Events {
		known = append(known, past{typ: e.Type, id: e.ID, at: e.OccurredAt.Known(), exact: true})
	}
	omitted := d.Leg.EventsOmitted
	return leg, known, omitted > 0 && len(d.Leg.Events)+omitted > len(leg.Events), true
}

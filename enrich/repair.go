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

// Recalled is an event from the provider's history.
type Recalled struct {
	// Entry is the entry of the log that it makes.
	Entry call.Entry
	// Exact tells that the time in it is the event's own.
	Exact bool
}

const (
	// recallPatience bounds one reading of a history: its task is held as long.
	recallPatience = 30 * time.Second
	// recallTries is how often the log is tried for an event from the history. When it does
	// not take it, as when it is nearly full, a later check asks again.
	recallTries = 5
)

// Results of an attempt beyond those of the status API.
const (
	repairWhole   = "whole"
	repairPartial = "partial"
	repairBusy    = "busy"
)

// decideRepair returns the attempt to make now to complete a leg from the
// history, 0 when there is none. check is the attempt that a check asks for.
func decideRepair(v *session.LegView, check int) int {
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
}

// same reports whether a row of the history tells of an event that is known.
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

// missing returns those of the rows that tell of no event that is known, and of
// none that an earlier row tells of, by occurrence. sparse tells that not all events are known by
// name: then only those are taken that a leg has once.
func missing(rows, known []past, sparse bool) (which []int) {
	known = slices.Clone(known)
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rows[a].at.Compare(rows[b].at) })
	for _, i := range order {
		row := rows[i]
		if sparse && !call.EventTypeOf(row.typ).Once || slices.ContainsFunc(known, func(k past) bool { return same(row, k) }) {
			continue
		}
		known = append(known, row)
		which = append(which, i)
	}
	return which
}

// repair starts an attempt to complete a leg from the history, and reports whether
// its outcome is to come through the log.
func (j *job) repair(ctx context.Context, v *session.LegView, life uint64, attempt int) bool {
	ref := call.Ref{Session: j.id, Leg: v.ID, Control: v.Control, Connection: v.Connection}
	return j.start(ctx, errand{v.ID, session.CheckBackfill}, attempt, func() bool { return j.recall(ctx, ref, life, attempt) })
}

// recall makes an attempt to complete a leg. It reports whether its outcome is in the log; if not,
// there was no turn to be had, or something was out of reach: then the task is
// given up, and a later check asks again.
func (j *job) recall(ctx context.Context, ref call.Ref, life uint64, attempt int) bool {
	ctx, span := j.w.span(ctx, "history", trace.SpanKindClient, key(j.id, ref.Leg))
	defer span.End()
	patient, cancel := context.WithTimeout(ctx, recallPatience)
	defer cancel()
	if whole, ok := j.isWhole(patient, ref.Leg); whole || !ok {
		// The beginning of the call has left the log, not the summary: as after each start.
		outcome := session.Backfill{Whole: true, Epoch: life, Answer: answerAbout(ref, status.Answered)}
		outcome.Attempt = attempt
		return ok && j.record(ctx, internalEntry(call.TopicBackfill, outcome.ID(), ref, outcome))
	}
	got, err := j.w.cfg.History.History(patient, ref)
	switch {
	case ctx.Err() != nil:
		return false // the job ends; whoever gets the task next asks again
	case errors.Is(err, status.ErrBusy):
		j.w.metrics.repairs.WithLabelValues(repairBusy).Inc()
		return false
	case err != nil:
		got = status.Past{Answer: unreachable(ref)}
	}
	answered(span, &got.Answer, attempt)
	outcome := session.Backfill{Answer: got.Answer, Epoch: life}
	outcome.Attempt = attempt
	if got.Result == status.Answered && !j.fill(ctx, ref, got.Rows, &outcome) {
		return false
	}
	result := string(got.Result)
	if got.Result == status.Answered {
		if result = repairPartial; outcome.Whole {
			result = repairWhole
		}
	}
	if !j.record(ctx, internalEntry(call.TopicBackfill, outcome.ID(), ref, outcome)) {
		return false
	}
	j.w.metrics.repairs.WithLabelValues(result).Inc()
	j.w.log.Info("leg looked up in the history",
		"call_session_id", string(ref.Session), "call_leg_id", string(ref.Leg), "result", result,
		"attempt", attempt, "rows", outcome.Rows, "added", outcome.Added)
	return true
}

// isWhole reports whether nothing is missing of a leg together with what its stored
// summary knows; ok is false when that could not be read.
func (j *job) isWhole(ctx context.Context, id call.LegID) (whole, ok bool) {
	view, _ := j.w.table.View(j.id)
	leg, found := view.Leg(id)
	if !found {
		return false, false
	}
	known, _, ok := j.known(ctx, leg)
	holes := leg.Missing
	for _, p := range known {
		holes.Fill(p.typ)
	}
	// Where nothing is known to be missing, something invisible may be: that is what is asked for.
	return ok && leg.Missing.Any() && !holes.Any(), ok
}

// fill appends the events of the history that are not known, and says in the
// outcome what came of it; false when it could not be done.
func (j *job) fill(ctx context.Context, ref call.Ref, raw []json.RawMessage, outcome *session.Backfill) bool {
	var entries []call.Entry
	var rows []past
	for _, row := range raw {
		recalled, ok := j.w.cfg.Recall(row, ref)
		if !ok {
			continue
		}
		event, err := j.w.cfg.Decode(recalled.Entry)
		if err != nil {
			continue
		}
		entries = append(entries, recalled.Entry)
		rows = append(rows, past{event.Type, event.ID, event.OccurredAt, recalled.Exact})
	}
	// Taken after the history was read: what has come in meanwhile is known.
	view, _ := j.w.table.View(j.id)
	leg, ok := view.Leg(ref.Leg)
	if !ok {
		return false
	}
	known, sparse, ok := j.known(ctx, leg)
	if !ok {
		return false
	}
	for _, i := range missing(rows, known, sparse) {
		if !j.store(ctx, entries[i]) {
			return false
		}
		outcome.Added++
	}
	holes, ended := leg.Missing, false
	for _, p := range slices.Concat(known, rows) {
		holes.Fill(p.typ)
	}
	for _, row := range rows {
		ended = ended || row.typ == call.TypeHangup
	}
	outcome.Rows, outcome.Whole = len(rows), ended && !holes.Any()
	return true
}

// known returns the events of a leg that are known, also those that only its
// stored summary knows; sparse tells that there were more than it lists.
func (j *job) known(ctx context.Context, leg *session.LegView) (known []past, sparse, ok bool) {
	for _, e := range leg.Events {
		known = append(known, past{e.Type, e.ID, e.OccurredAt, true})
	}
	k := key(j.id, leg.ID)
	stored, found, err := j.w.cfg.Sink.Last(ctx, k)
	if err != nil {
		return nil, false, false
	}
	if !found {
		return known, false, true
	}
	d, err := compose.Read(k, stored.Body)
	if err != nil {
		return nil, false, false
	}
	before := d.Leg
	for _, e := range before.Events {
		p := past{typ: e.Type, id: e.ID, exact: true}
		if e.OccurredAt != nil {
			p.at = e.OccurredAt.Time
		}
		known = append(known, p)
	}
	return known, before.EventsOmitted > 0 && len(before.Events)+before.EventsOmitted > len(leg.Events), true
}

// store appends an event from the history, if the log takes it within some tries.
func (j *job) store(ctx context.Context, e call.Entry) bool {
	receipt, err := j.appendEntry(ctx, e, backoff.WithMaxTries(recallTries))
	if err != nil {
		j.w.log.Warn("an event from the history could not be appended", "call_leg_id", string(e.Ref.Leg), "error", err)
		return false
	}
	if !receipt.Duplicate {
		j.w.metrics.backfilled.Inc()
	}
	return true
}

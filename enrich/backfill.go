package enrich

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
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

// past is an event as far as it takes to know it again.
type past struct {
	typ, id string
	at      time.Time
	// exact: the time is the event's own. named: so is the id, as far as is stated; of a known event that is a webhook's.
	exact, named bool
	// entry is the one that a row of the history makes.
	entry call.Entry
}

func (p past) is(q past) bool { return p.typ == q.typ && p.id == q.id }

// missing returns those of the rows that are about no event that is known, each event once, by occurrence. sparse: not
// all events are known by name; then only those are taken that a leg has once.
//
// The id in a row can be another than the webhook's, or there is none. Where the rows prove that theirs are the
// webhooks', since one names a known webhook, the ids decide. Where not, the events of a type are counted: each row
// stands for one, rows of the same time for the same, and of as many known ones as there are nothing is missing. A
// time that is the event's own tells which; of others those rows are missing that lie farthest from what is known.
func missing(rows, known []past, sparse bool) (found []past) {
	rows, known = distinct(rows), distinct(known)
	slices.SortStableFunc(rows, func(a, b past) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	isProof := func(row past) bool {
		return row.named && slices.ContainsFunc(known, func(k past) bool { return k.named && k.is(row) })
	}
	proven := slices.ContainsFunc(rows, isProof)
	byType := make(map[string][]past)
	var types []string
	for _, row := range rows {
		if byType[row.typ] == nil {
			types = append(types, row.typ)
		}
		byType[row.typ] = append(byType[row.typ], row)
	}
	for _, typ := range types {
		of := slices.DeleteFunc(slices.Clone(known), func(k past) bool { return k.typ != typ })
		switch once := call.EventTypeOf(typ).Once; {
		case once && len(of) == 0:
			found = append(found, byType[typ][0])
		case !once && !sparse:
			found = append(found, missingOfType(byType[typ], of, proven)...)
		}
	}
	slices.SortStableFunc(found, func(a, b past) int { return a.at.Compare(b.at) })
	return found
}

// distinct returns the events without those of the same type and id as an earlier one.
func distinct(events []past) (all []past) {
	seen := make(map[[2]string]bool, len(events))
	for _, e := range events {
		if key := [2]string{e.typ, e.id}; !seen[key] {
			seen[key] = true
			all = append(all, e)
		}
	}
	return all
}

// missingOfType is missing of the events of one type, whose rows are in order of time.
func missingOfType(rows, known []past, proven bool) (found []past) {
	take := func(match func(row, k past) bool) {
		rows = slices.DeleteFunc(rows, func(row past) bool {
			i := slices.IndexFunc(known, func(k past) bool { return match(row, k) })
			if i >= 0 {
				known = slices.Delete(known, i, i+1)
			}
			return i >= 0
		})
	}
	take(past.is)
	// A webhook of which the rows would have the id is about another event.
	isOther := func(row, k past) bool { return proven && row.named && k.named }
	take(func(row, k past) bool { return row.exact && !isOther(row, k) && row.at.Equal(k.at) })
	take(func(row, k past) bool {
		return row.exact && !isOther(row, k) && row.at.Sub(k.at).Abs() < time.Millisecond
	})

	var loose []past
	var last past
	for _, row := range rows {
		switch {
		case proven && row.named:
			found = append(found, row)
		case row.at.Equal(last.at): // another row about the same event
		case row.exact:
			found = append(found, row)
		default:
			loose = append(loose, row)
		}
		if !proven || !row.named {
			last = row
		}
	}
	slices.SortStableFunc(known, func(a, b past) int { return a.at.Compare(b.at) })
	return append(found, unmatched(loose, known)...)
}

// maxDistances bounds what telling rows apart by their distances may cost: a leg with a thousand events of one type.
const maxDistances = 1_000_000

// unmatched returns the rows that are left when each known event has the one that it is nearest to, so that the
// distances are the least in all and the order is kept. Both are in order of time.
func unmatched(rows, known []past) (left []past) {
	switch {
	case len(known) >= len(rows):
		return nil
	case len(known)*len(rows) > maxDistances:
		return rows[len(known):]
	}
	// cost[i][j] is the least distance of the first i rows to the first j known, every one of which has a row.
	cost := make([][]float64, len(rows)+1)
	for i := range cost {
		cost[i] = make([]float64, len(known)+1)
		for j := 1; j <= len(known); j++ {
			cost[i][j] = math.Inf(1)
			if i >= j {
				cost[i][j] = min(cost[i-1][j], cost[i-1][j-1]+distance(rows[i-1], known[j-1]))
			}
		}
	}
	j := len(known)
	for i := len(rows); i > 0; i-- {
		if j > 0 && cost[i][j] < cost[i-1][j] {
			j--
			continue
		}
		left = append(left, rows[i-1])
	}
	slices.Reverse(left)
	return left
}

func distance(a, b past) float64 { return a.at.Sub(b.at).Abs().Seconds() }

package enrich_test

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// recall is what the service wires in.
func recall(row []byte, leg call.Ref) (enrich.HistoryEvent, bool) {
	got, err := telnyx.FromHistory(row, leg)
	if err != nil {
		return enrich.HistoryEvent{}, false
	}
	env, err := telnyx.ParseEnvelope(got.Body)
	if err != nil {
		return enrich.HistoryEvent{}, false
	}
	return enrich.HistoryEvent{Exact: got.Exact, Named: got.Named, Entry: call.Entry{
		Topic: call.TopicEvent + env.Type, ID: call.BackfillID(env.Key()), Ref: env.Ref, Backfill: true, Data: got.Body,
	}}, true
}

// fakeHistory is what Telnyx has on record.
type fakeHistory struct {
	mu       sync.Mutex
	requests []request
	rows     map[call.LegID][]json.RawMessage
	// answer says what the nth request about a leg gets, n from 1, given what there is. Nil: that.
	answer func(ref call.Ref, n int, there status.Past) status.Past
	// turn is how long a request waits for its turn; nil: no time.
	turn func(ref call.Ref) time.Duration
	// latency is how long an answer takes.
	latency time.Duration
}

// has puts webhooks of a leg on record, in the documented form.
func (h *fakeHistory) has(leg call.LegID, bodies ...[]byte) {
	for _, body := range bodies {
		var delivered struct{ Data json.RawMessage }
		if err := json.Unmarshal(body, &delivered); err != nil {
			panic(err)
		}
		row, err := json.Marshal(map[string]any{
			"record_type": "call_event", "call_leg_id": leg, "type": "webhook", "metadata": delivered.Data,
		})
		if err != nil {
			panic(err)
		}
		h.hasRow(leg, row)
	}
}

func (h *fakeHistory) hasRow(leg call.LegID, row json.RawMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rows == nil {
		h.rows = make(map[call.LegID][]json.RawMessage)
	}
	h.rows[leg] = append(h.rows[leg], row)
}

// of returns the requests about a leg.
func (h *fakeHistory) of(leg call.LegID) []request {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []request
	for _, r := range h.requests {
		if r.leg == leg {
			found = append(found, r)
		}
	}
	return found
}

type historyOf struct {
	*fakeHistory
	r *replica
}

// AskHistory implements enrich.HistorySource.
func (h historyOf) AskHistory(ctx context.Context, r status.Request, done func(status.Past, error)) {
	h.mu.Lock()
	turn := h.turn
	h.mu.Unlock()
	begin := func() {
		if h.r.alive(ctx) == nil && r.Begin() {
			go func() { done(h.history(ctx, r.Ref)) }()
		}
	}
	if turn == nil {
		begin()
		return
	}
	time.AfterFunc(turn(r.Ref), begin)
}

func (h historyOf) history(ctx context.Context, ref call.Ref) (status.Past, error) {
	h.mu.Lock()
	h.requests = append(h.requests, request{ref.Leg, time.Now(), h.r})
	n, answer, latency := 0, h.answer, h.latency
	for _, r := range h.requests {
		if r.leg == ref.Leg {
			n++
		}
	}
	past := status.Past{Answer: status.Answer{Result: status.Answered, HTTPStatus: 200}, Rows: h.rows[ref.Leg]}
	h.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
			return status.Past{}, ctx.Err()
		}
	}
	if answer != nil {
		past = answer(ref, n, past)
	}
	past.Session, past.Leg, past.Control, past.Connection = ref.Session, ref.Leg, ref.Control, ref.Connection
	past.FetchedAt = time.Now().UTC().Truncate(time.Microsecond)
	return past, nil
}

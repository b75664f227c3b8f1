package enrich_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The defaults of the service.
var (
	rules = session.Rules{
		SessionSettle: 5 * time.Second, StatusWindow: 10 * time.Minute,
		SweepAfter: 5 * time.Minute, AmendWindow: 15 * time.Minute,
		Outage: 20 * time.Second, BackfillAfter: 30 * time.Second,
	}
	timing = enrich.Timing{Settle: time.Second, StatusDeadline: 10 * time.Second}
)

// world is everything around the replicas of a deployment, in memory and in
// the virtual time of a synctest bubble.
type world struct {
	t       *testing.T
	log     *fakeLog
	queue   *fakeQueue
	sink    *fakeSink
	status  *fakeStatus
	past    *fakeHistory
	parking *fakeParking
	// keep are the secrets that events are decoded with.
	keep []telnyx.Secret

	replicas      []*replica
	heartbeats    sync.WaitGroup
	stopHeartbeat context.CancelFunc
	// source makes what a replica asks in place of status; nil: it asks that.
	source func(r *replica) enrich.StatusSource
	// stagger and rules are what the replicas are told.
	stagger time.Duration
	rules   session.Rules
	// watch tells the replicas what is published. Nil: nobody does.
	watch enrich.Watch
	// needed is what another reader of the log says that it needs; nil: there is none.
	needed func(context.Context) (uint64, error)
}

// inWorld runs a test in a world of its own with n replicas, and holds what was
// published against the log when the test is through.
func inWorld(t *testing.T, n int, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(callStart)) // the calls are of that day
		w := newWorld(t)
		defer w.end()
		for range n {
			w.start()
		}
		test(w)
	})
}

// end stops everything.
func (w *world) end() {
	for _, r := range w.replicas {
		r.stop()
	}
	w.stopHeartbeat()
	w.heartbeats.Wait()
}

// heartbeat keeps the log's clock going as the service does.
func (w *world) heartbeat(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.log.store(call.Entry{Topic: call.TopicHeartbeat})
		case <-ctx.Done():
			return
		}
	}
}

// silence is a time in which nobody writes the log.
func (w *world) silence(d time.Duration) {
	w.stopHeartbeat()
	w.heartbeats.Wait()
	pass(d)
	w.startHeartbeat()
}

func (w *world) startHeartbeat() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stopHeartbeat = cancel
	w.log.store(call.Entry{Topic: call.TopicHeartbeat})
	w.heartbeats.Go(func() { w.heartbeat(ctx) })
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, log: newFakeLog(), sink: newFakeSink(t), status: &fakeStatus{}, past: &fakeHistory{}, parking: &fakeParking{}, rules: rules}
	w.queue = newFakeQueue(w.log)
	ctx, cancel := context.WithCancel(t.Context())
	w.stopHeartbeat = cancel
	w.heartbeats.Go(func() { w.heartbeat(ctx) })
	return w
}

// deliver is a webhook that ingest has accepted.
func (w *world) deliver(body []byte) call.Receipt {
	w.t.Helper()
	env, err := telnyx.ParseEnvelope(body)
	if err != nil {
		w.t.Fatalf("the webhook %s is none: %v", body, err)
	}
	return w.log.store(call.Entry{
		Topic: call.TopicEvent + env.Type, ID: env.Key(), Ref: env.Ref, Attempt: env.Attempt,
		Signature: "signature", Timestamp: "timestamp", Data: body,
	})
}

// decode is what the service wires in.
func (w *world) decode(e call.Entry) (call.Event, error) {
	ev, err := telnyx.Decode(e.Data, w.keep...)
	ev.Backfill = e.Backfill
	return ev, err
}

// after lets virtual time pass and everybody finish what it brought.
func after(d time.Duration) {
	pass(d)
	synctest.Wait()
}

// replica is one running process.
type replica struct {
	w      *world
	name   string
	worker *enrich.Worker
	dead   atomic.Bool
	// registry has what it counts.
	registry *prometheus.Registry

	cancel context.CancelFunc
	follow context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	kicked chan struct{}
	// held is closed when folding may go on; nil: it may.
	held chan struct{}
	// slow is how long an entry takes to come in at most.
	slow time.Duration
	// folding is told of every entry before it is folded; nil: nobody is.
	folding func(call.Entry)
	rng     *rand.Rand
}

// start starts one more replica.
func (w *world) start() *replica { return w.startWith(nil) }

// startWith lets the test change the replica before it runs.
func (w *world) startWith(change func(r *replica)) *replica {
	r := &replica{
		w: w, name: fmt.Sprintf("replica-%d", len(w.replicas)+1), kicked: make(chan struct{}), registry: prometheus.NewRegistry(),
		rng: rand.New(rand.NewPCG(1, uint64(len(w.replicas)))),
	}
	var source enrich.StatusSource = statusOf{w.status, r}
	if w.source != nil {
		source = w.source(r)
	}
	r.worker = enrich.New(enrich.Config{
		Log: logOf{w.log, r}, Queue: queueOf{w.queue, r}, Status: source, Sink: sinkOf{w.sink, r},
		History: historyOf{w.past, r}, ReadHistory: recall,
		Parking: w.parking, Decode: w.decode, Rules: w.rules, Timing: timing, Stagger: w.stagger,
		Watch: w.watch, Logger: slog.New(slog.DiscardHandler), Registerer: r.registry, Needed: w.needed,
		Read: w.log.read,
	})
	if change != nil {
		change(r)
	}
	w.replicas = append(w.replicas, r)
	work, cancel := context.WithCancel(w.t.Context())
	follow, stopFollow := context.WithCancel(w.t.Context())
	r.cancel, r.follow = cancel, stopFollow
	r.wg.Go(func() {
		if err := r.worker.Run(work); err != nil {
			w.t.Errorf("%s ended: %v", r.name, err)
		}
	})
	r.wg.Go(func() { w.log.follow(follow, r) })
	return r
}

// stop ends the replica in order: what it holds is given back.
func (r *replica) stop() {
	r.cancel()
	r.letFold()
	synctest.Wait()
	r.follow()
	r.wg.Wait()
	if n := r.worker.Jobs(); n > 0 {
		r.w.t.Errorf("%s ended with %d jobs", r.name, n)
	}
}

// die makes the replica dead from this moment: nothing that it says is heard
// any more, and nobody answers it.
func (r *replica) die() {
	r.dead.Store(true)
	r.cancel()
	r.follow()
}

// kill is a crash.
func (r *replica) kill() {
	r.die()
	r.letFold()
	r.wg.Wait()
}

// alive is what every server says to the replica.
func (r *replica) alive(ctx context.Context) error {
	if r.dead.Load() {
		return errDown
	}
	return ctx.Err()
}

// kick returns the channel that is closed when the replica must read the log anew.
func (r *replica) kick() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kicked
}

// replay makes the replica read the log anew.
func (r *replica) replay() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.kicked)
	r.kicked = make(chan struct{})
}

// holdFold keeps the replica from folding until letFold.
func (r *replica) holdFold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = make(chan struct{})
	}
}

func (r *replica) letFold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil {
		close(r.held)
		r.held = nil
	}
}

// folds sets folding.
func (r *replica) folds(folding func(call.Entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folding = folding
}

// mayFold waits until the replica may fold the entry; false when ctx ends.
func (r *replica) mayFold(ctx context.Context, e call.Entry) bool {
	r.mu.Lock()
	folding := r.folding
	r.mu.Unlock()
	if folding != nil {
		folding(e)
	}
	r.mu.Lock()
	held, slow := r.held, time.Duration(0)
	if r.slow > 0 {
		slow = time.Duration(r.rng.Int64N(int64(r.slow)))
	}
	r.mu.Unlock()
	if slow > 0 {
		pass(slow)
	}
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// fakeStatus is the status API.
type fakeStatus struct {
	mu       sync.Mutex
	requests []request
	// answer says what the nth request about a leg gets, n from 1. Nil: it ended.
	answer func(ref call.Ref, n int) status.Answer
	// latency is how long an answer takes; nil: no time.
	latency func(ref call.Ref, n int) time.Duration
	// busy is the replica that gets no turn to ask; nil: all do.
	busy *replica
	// turn is how long a request waits for its turn; nil: no time.
	turn func(ref call.Ref) time.Duration
}

// request is one that was made.
type request struct {
	leg call.LegID
	at  time.Time
	by  *replica
}

// answering sets answer.
func (s *fakeStatus) answering(answer func(ref call.Ref, n int) status.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// of returns the requests about a leg.
func (s *fakeStatus) of(leg call.LegID) []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []request
	for _, r := range s.requests {
		if r.leg == leg {
			found = append(found, r)
		}
	}
	return found
}

type statusOf struct {
	*fakeStatus
	r *replica
}

// Ask implements enrich.StatusSource.
func (s statusOf) Ask(ctx context.Context, r status.Request, done func(status.Answer, error)) {
	if s.busy == s.r {
		return
	}
	begin := func() {
		if s.r.alive(ctx) == nil && r.Begin() {
			go func() { done(s.fetch(ctx, r.Ref)) }()
		}
	}
	if s.turn == nil {
		begin()
		return
	}
	time.AfterFunc(s.turn(r.Ref), begin)
}

func (s statusOf) fetch(ctx context.Context, ref call.Ref) (status.Answer, error) {
	s.mu.Lock()
	s.requests = append(s.requests, request{ref.Leg, time.Now(), s.r})
	n, answer, latency := 0, s.answer, s.latency
	for _, r := range s.requests {
		if r.leg == ref.Leg {
			n++
		}
	}
	s.mu.Unlock()
	if latency != nil {
		select {
		case <-time.After(latency(ref, n)):
		case <-ctx.Done():
			return status.Answer{}, ctx.Err()
		}
	}
	a := ended()
	if answer != nil {
		a = answer(ref, n)
	}
	a.Session, a.Leg, a.Control, a.Connection = ref.Session, ref.Leg, ref.Control, ref.Connection
	a.FetchedAt = time.Now().UTC().Truncate(time.Microsecond)
	return a, nil
}

// ended, alive, notFound and unreachable are answers.
func ended() status.Answer {
	return status.Answer{Result: status.Answered, HTTPStatus: 200, IsAlive: new(false), EndTime: hungUpAt, RecordType: "call"}
}

func alive() status.Answer {
	return status.Answer{Result: status.Answered, HTTPStatus: 200, IsAlive: new(true), RecordType: "call"}
}

func notFound() status.Answer { return status.Answer{Result: status.NotFound, HTTPStatus: 404} }

func unreachable() status.Answer {
	return status.Answer{Result: status.Unreachable, Problem: status.ProblemTimeout}
}

// pass lets virtual time pass: the world is a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// counted adds up over the replicas what a counter with one label has counted, less what it has not.
func (w *world) counted(name string) map[string]float64 {
	w.t.Helper()
	counts := map[string]float64{}
	for _, r := range w.replicas {
		families, err := r.registry.Gather()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if v := m.GetCounter().GetValue(); family.GetName() == name && v > 0 {
					counts[m.GetLabel()[0].GetValue()] += v
				}
			}
		}
	}
	return counts
}

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

package enrich_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/internal/call"
)

// fault is what the sink does wrong with a publication.
type fault int

const (
	noFault fault = iota
	// notStored: an error, and nothing was stored.
	notStored
	// ackLost: an error, and yet it was stored.
	ackLost
	// diesAfter: it was stored, and then the replica died.
	diesAfter
	// diesBefore: the replica died before anything was sent.
	diesBefore
	// tooLarge: it will never be stored.
	tooLarge
	// inProcess: refused for another that is being stored and cannot be read.
	inProcess
	// noRoom: the stream is full.
	noRoom
)

// message is one message of the stream of summaries.
type message struct {
	summary.Stored
	at time.Time
	by *replica
}

// fakeSink stores summaries under the conditions of the design: the first
// revision where nothing is completed, the second where nothing is amended, each
// further one where the last amendment is the one that it was told of.
type fakeSink struct {
	t *testing.T

	mu       sync.Mutex
	messages []message
	ids      map[string]time.Time
	// publishes, lasts and refused count the calls.
	publishes, lasts, refused int
	// readings say what was read and when, for tests that want none.
	readings []string

	// fault is asked for every publication, n counting them from 1. Nil: none.
	fault func(r *replica, d summary.Draft, n int) fault
	// latency is how long a publication is on its way. Nil: no time.
	latency func(r *replica, d summary.Draft) time.Duration
	// aged are the keys of which every message has left the stream.
	aged map[summary.Key]bool
	// failLast is asked for every reading. Nil: none fails.
	failLast func(r *replica, k summary.Key) error
}

func newFakeSink(t *testing.T) *fakeSink { return &fakeSink{t: t, ids: make(map[string]time.Time)} }

// last returns the newest message of a key. The lock is held.
func (s *fakeSink) last(k summary.Key, amended bool) (summary.Stored, bool) {
	for _, v := range slices.Backward(s.messages) {
		if m := v; m.Key == k && (!amended || m.Revision > 1) {
			return m.Stored, true
		}
	}
	return summary.Stored{}, false
}

// failing sets fault.
func (s *fakeSink) failing(f func(r *replica, d summary.Draft, n int) fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// age lets every message of a key leave the stream.
func (s *fakeSink) age(k summary.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aged == nil {
		s.aged = make(map[summary.Key]bool)
	}
	s.aged[k] = true
}

// all returns the messages so far.
func (s *fakeSink) all() []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]message(nil), s.messages...)
}

// of returns the messages of a key.
func (s *fakeSink) of(k summary.Key) []message {
	var found []message
	for _, m := range s.all() {
		if m.Key == k {
			found = append(found, m)
		}
	}
	return found
}

// counts returns publishes, lasts and refused.
func (s *fakeSink) counts() (publishes, lasts, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publishes, s.lasts, s.refused
}

func (s *fakeSink) store(r *replica, d summary.Draft, prev summary.Stored) (summary.Stored, error) {
	id := fmt.Sprintf("%s/%s/%s/%d", d.Key.Kind, d.Key.Session, d.Key.Leg, d.Revision)
	if at, ok := s.ids[id]; ok && time.Since(at) < duplicateWindow {
		s.refused++
		return summary.Stored{}, fmt.Errorf("duplicate: %w", summary.ErrRefused)
	}
	var expected, found uint64
	if last, ok := s.last(d.Key, d.Revision > 1); ok {
		found = last.Seq
	}
	if d.Revision > 2 {
		expected = prev.Seq
	}
	if expected != found {
		s.refused++
		return summary.Stored{}, fmt.Errorf("wrong last sequence: %w", summary.ErrRefused)
	}
	if d.Revision > 1 {
		d.Connection = prev.Connection
	}
	s.ids[id] = time.Now()
	stored := summary.Stored{Draft: d, Seq: uint64(len(s.messages) + 1)}
	stored.Body = bytes.Clone(d.Body)
	s.messages = append(s.messages, message{Stored: stored, at: time.Now(), by: r})
	return stored, nil
}

// publishedElsewhere has another replica publish the next revisions of what stood, with nothing else in them.
func (s *fakeSink) publishedElsewhere(stood []message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range stood {
		var body map[string]any
		if err := json.Unmarshal(m.Body, &body); err != nil {
			s.t.Fatal(err)
		}
		d, prev := m.Draft, m.Stored
		d.Revision++
		body["revision"] = d.Revision
		d.Body, _ = json.Marshal(body) // it was JSON before
		prev.Seq = 0
		if _, err := s.store(nil, d, prev); err != nil {
			s.t.Fatal(err)
		}
	}
}

// valid fails the test on a draft that the real sink would never take.
func (s *fakeSink) valid(d summary.Draft, prev summary.Stored) {
	if d.Revision != prev.Revision+1 || d.Revision > 1 && prev.Key != d.Key {
		s.t.Errorf("revision %d of %+v follows revision %d of %+v", d.Revision, d.Key, prev.Revision, prev.Key)
	}
	if d.Position.Log == "" || d.Position.Seq == 0 || d.PublishedAt.IsZero() {
		s.t.Errorf("draft of %+v says not where it stands: %+v", d.Key, d.Position)
	}
	schematest.Check(s.t, d.Key.Kind, d.Body)
	var body struct {
		Kind     string `json:"kind"`
		Revision int    `json:"revision"`
		Session  string `json:"call_session_id"`
	}
	if err := json.Unmarshal(d.Body, &body); err != nil ||
		body.Kind != d.Key.Kind || body.Revision != d.Revision || body.Session != d.Key.Session {
		s.t.Errorf("draft of %+v has the body %s (%v)", d.Key, d.Body, err)
	}
}

// sinkOf is the sink as one replica has it.
type sinkOf struct {
	*fakeSink
	r *replica
}

// Last implements enrich.Sink.
func (s sinkOf) Last(ctx context.Context, k summary.Key) (summary.Stored, bool, error) {
	if err := s.r.alive(ctx); err != nil {
		return summary.Stored{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasts++
	s.readings = append(s.readings, fmt.Sprintf("%s of %s/%s at %s", k.Kind, k.Session, k.Leg, time.Now().Format("15:04:05.000")))
	if s.failLast != nil {
		if err := s.failLast(s.r, k); err != nil {
			return summary.Stored{}, false, err
		}
	}
	stored, ok := s.last(k, false)
	return stored, ok && !s.aged[k], nil
}

// Publish implements enrich.Sink.
func (s sinkOf) Publish(ctx context.Context, d summary.Draft, prev summary.Stored) (summary.Stored, error) {
	if err := s.r.alive(ctx); err != nil {
		return summary.Stored{}, err
	}
	if s.latency != nil {
		pass(s.latency(s.r, d))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishes++
	s.valid(d, prev)
	var f fault
	if s.fault != nil {
		f = s.fault(s.r, d, s.publishes)
	}
	switch f {
	case notStored:
		return summary.Stored{}, errDown
	case noRoom:
		return summary.Stored{}, fmt.Errorf("publish: %w", call.ErrFull)
	case tooLarge:
		return summary.Stored{}, fmt.Errorf("publish: %w", summary.ErrInvalid)
	case inProcess:
		s.refused++
		return summary.Stored{}, fmt.Errorf("in process: %w", summary.ErrRefused)
	case diesBefore:
		s.r.die()
		return summary.Stored{}, errDown
	case noFault, ackLost, diesAfter:
	}
	stored, err := s.store(s.r, d, prev)
	switch {
	case err != nil:
		return summary.Stored{}, err
	case f == ackLost:
		return summary.Stored{}, errDown
	case f == diesAfter:
		s.r.die()
	}
	return stored, nil
}

// fakeParking keeps what is parked.
type fakeParking struct {
	mu     sync.Mutex
	parked []call.Parked
	// fail is how many more times parking fails.
	fail int
	// silent: it gives no answer.
	silent bool
}

// Park implements enrich.Parking.
func (p *fakeParking) Park(ctx context.Context, what call.Parked) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		<-ctx.Done()
		p.mu.Lock()
		return ctx.Err()
	}
	if p.fail > 0 {
		p.fail--
		return errDown
	}
	p.parked = append(p.parked, what)
	return nil
}

// callStart and hungUpAt bound the calls that these tests invent, by Telnyx's clock.
var (
	callStart = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	hungUpAt  = callStart.Add(30 * time.Second)
)

type fields map[string]any

// leg invents the webhooks of one leg.
type leg struct {
	session, id, control, connection string
}

// newLeg returns the nth leg of a session.
func newLeg(session string, n int) leg {
	return leg{session, fmt.Sprintf("%s-leg%d", session, n), fmt.Sprintf("v3:%s-%d", session, n), "1700000000000000001"}
}

func (l leg) key() summary.Key {
	return summary.Key{Kind: summary.KindLeg, Session: l.session, Leg: l.id}
}

func (l leg) sessionKey() summary.Key {
	return summary.Key{Kind: summary.KindSession, Session: l.session}
}

func stamp(d time.Duration) string {
	return callStart.Add(d).Format("2006-01-02T15:04:05.000000Z")
}

// event returns a webhook of the leg about what happened at an offset from the start.
func (l leg) event(typ string, at time.Duration, more fields) []byte {
	payload := fields{
		"call_session_id": l.session, "call_leg_id": l.id, "call_control_id": l.control,
		"connection_id": l.connection, "from": "+12025550101", "to": "+12025550102",
	}
	for name, value := range more {
		if value == nil {
			delete(payload, name)
		} else {
			payload[name] = value
		}
	}
	return encode(fields{
		"data": fields{
			"record_type": "event", "event_type": typ, "id": fmt.Sprintf("%s:%s:%v", l.id, typ, at),
			"occurred_at": stamp(at), "payload": payload,
		},
		"meta": fields{"attempt": 1},
	})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (l leg) initiated() []byte {
	return l.event(call.TypeInitiated, 0, fields{"direction": "incoming", "start_time": stamp(0)})
}

func (l leg) answered() []byte {
	return l.event(call.TypeAnswered, 2*time.Second, fields{"start_time": stamp(0)})
}

func (l leg) hangup() []byte {
	return l.event(call.TypeHangup, 30*time.Second, fields{
		"start_time": stamp(0), "end_time": stamp(30 * time.Second),
		"hangup_cause": "normal_clearing", "hangup_source": "caller", "sip_hangup_cause": "200",
	})
}

func (l leg) recording(n int) []byte {
	return l.event(call.TypeRecordingSaved, 31*time.Second+time.Duration(n)*time.Millisecond, fields{
		"recording_id": fmt.Sprintf("%s-rec%d", l.id, n), "channels": "dual", "format": "mp3",
		"recording_started_at": stamp(3 * time.Second), "recording_ended_at": stamp(30 * time.Second),
	})
}

func (l leg) cost(amount string) []byte {
	return l.event(call.TypeCost, 33*time.Second, fields{
		"status": "success", "total_cost": amount, "billed_duration_secs": 60,
		"cost_parts": []fields{{"call_part": "sip-trunking", "cost": amount, "currency": "USD", "rate": amount, "billed_duration_secs": 60}},
	})
}

// lives delivers all of a leg's life, up to its hangup.
func (w *world) lives(l leg) {
	w.deliver(l.initiated())
	w.deliver(l.answered())
	w.deliver(l.hangup())
}

// legOf and sessionOf return the newest summary of a key; the test ends when there is none.
func (w *world) legOf(l leg) summary.Leg { return newest[summary.Leg](w, l.key()) }

func (w *world) sessionOf(l leg) summary.Session { return newest[summary.Session](w, l.sessionKey()) }

func newest[T any](w *world, k summary.Key) T {
	w.t.Helper()
	var v T
	messages := w.sink.of(k)
	if len(messages) == 0 {
		w.t.Fatalf("nothing was published about %+v", k)
	}
	if err := json.Unmarshal(messages[len(messages)-1].Body, &v); err != nil {
		w.t.Fatal(err)
	}
	return v
}

// revisions returns the published messages about a key as "1 completed", "2 amended recording,cost".
func (w *world) revisions(k summary.Key) []string {
	var lines []string
	for _, m := range w.sink.of(k) {
		lines = append(lines, line(w.t, m))
	}
	return lines
}

func line(t *testing.T, m message) string {
	var head struct {
		Reasons []string
	}
	if err := json.Unmarshal(m.Body, &head); err != nil {
		t.Fatal(err)
	}
	if m.Revision == 1 {
		return "1 completed"
	}
	s := fmt.Sprintf("%d amended", m.Revision)
	for i, r := range head.Reasons {
		s += map[bool]string{true: " ", false: ","}[i == 0] + r
	}
	return s
}

// wantRevisions holds the messages about a key against what is wanted.
func (w *world) wantRevisions(k summary.Key, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.revisions(k)); diff != "" {
		w.t.Errorf("messages about %s %s%s (-want +got):\n%s", k.Kind, k.Session, k.Leg, diff)
	}
}

// settled lets everything come to rest and holds the result against the log:
// every task is done, every leg and session that is over has exactly one completed message,
// and its newest revision says what a fresh fold of the whole log says.
func (w *world) settled() {
	w.t.Helper()
	after(30 * time.Second)
	w.consistent()
	if open := w.queue.open(); len(open) > 0 {
		w.t.Errorf("tasks %v are not done", open)
	}
	w.complete()
}

// consistent checks each key's messages against each other.
func (w *world) consistent() {
	w.t.Helper()
	byKey := make(map[summary.Key][]message)
	for _, m := range w.sink.all() {
		byKey[m.Key] = append(byKey[m.Key], m)
	}
	for k, messages := range byKey {
		for i, m := range messages {
			if m.Revision != i+1 {
				w.t.Errorf("message %d about %+v is revision %d", i, k, m.Revision)
			}
			var head struct {
				Changed []string
				Reasons []summary.Reason
			}
			if err := json.Unmarshal(m.Body, &head); err != nil {
				w.t.Fatal(err)
			}
			if amended := i > 0; amended != (len(head.Changed) > 0) || amended != (len(head.Reasons) > 0) {
				w.t.Errorf("revision %d of %+v says changed %v, reasons %v", m.Revision, k, head.Changed, head.Reasons)
			}
			if i > 0 && string(content(w.t, m)) == string(content(w.t, messages[i-1])) {
				w.t.Errorf("revision %d of %+v says nothing new", m.Revision, k)
			}
		}
	}
}

func content(t *testing.T, m message) []byte {
	t.Helper()
	var b []byte
	var err error
	if m.Key.Kind == summary.KindLeg {
		var l summary.Leg
		if err = json.Unmarshal(m.Body, &l); err == nil {
			b, err = compose.LegContent(l)
		}
	} else {
		var s summary.Session
		if err = json.Unmarshal(m.Body, &s); err == nil {
			b, err = compose.SessionContent(s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// complete holds what is published against a fresh fold of the log, which must
// still hold everything.
func (w *world) complete() {
	w.t.Helper()
	entries := w.log.all()
	if w.log.first != 1 {
		return
	}
	table := session.New(session.Config{Rules: rules, Decode: w.decode})
	table.Restart(call.Log{ID: "oracle", First: 1, Last: uint64(len(entries))})
	var ids []call.SessionID
	for _, e := range entries {
		table.Fold(e)
		if e.Ref.Session != "" && !slices.Contains(ids, e.Ref.Session) {
			ids = append(ids, e.Ref.Session)
		}
	}
	for _, id := range ids {
		view, ok := table.View(id)
		if !ok {
			w.t.Errorf("session %s is not in the log", id)
			continue
		}
		w.completeSession(&view)
	}
}

func (w *world) completeSession(view *session.View) {
	w.t.Helper()
	var legs []summary.Leg
	for i := range view.Legs {
		v := &view.Legs[i]
		if v.Ending == session.NotOver {
			continue
		}
		k := summary.Key{Kind: summary.KindLeg, Session: string(view.ID), Leg: string(v.ID)}
		want, err := compose.LegContent(compose.Leg(view.ID, v))
		if err != nil {
			w.t.Fatal(err)
		}
		if len(w.sink.of(k)) == 0 {
			w.t.Errorf("leg %s is over and has no summary", v.ID)
			continue
		}
		stored := newest[summary.Leg](w, k)
		got, err := compose.LegContent(stored)
		if err != nil {
			w.t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			w.t.Errorf("leg %s is not what the log says (-log +published):\n%s", v.ID, diff)
		}
		legs = append(legs, stored)
	}
	if !view.Over {
		return
	}
	k := summary.Key{Kind: summary.KindSession, Session: string(view.ID)}
	if len(w.sink.of(k)) == 0 {
		w.t.Errorf("session %s is over and has no summary", view.ID)
		return
	}
	want, err := compose.SessionContent(compose.Session(view, legs))
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := compose.SessionContent(newest[summary.Session](w, k))
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		w.t.Errorf("session %s is not what the log says (-log +published):\n%s", view.ID, diff)
	}
}

// sleepUntil lets virtual time pass up to an offset from a moment.
func sleepUntil(from time.Time, offset time.Duration) {
	pass(time.Until(from.Add(offset)))
	synctest.Wait()
}

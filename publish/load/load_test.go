package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/loadtest"
)

var errAway = errors.New("the warehouse is away")

// memory is a target that takes two messages at a time. What it answers is decided by load.
type memory struct {
	load func(rows []load.Row) error
	// away keeps it from being opened.
	away atomic.Bool

	mu       sync.Mutex
	stored   []load.Row
	rejected []load.Rejected
}

func (m *memory) Open(context.Context) (string, error) {
	if m.away.Load() {
		return "", errAway
	}
	return "memory", nil
}

func (*memory) Close(context.Context) error { return nil }

func (*memory) Batches() load.Batches {
	return load.Batches{Messages: 2, Bytes: 1 << 20, Linger: time.Second}
}

func (m *memory) Load(_ context.Context, rows []load.Row) (int, error) {
	if err := m.load(rows); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored = append(m.stored, rows...)
	return len(rows), nil
}

func (m *memory) Reject(_ context.Context, rejected []load.Rejected) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rejected = append(m.rejected, rejected...)
	return nil
}

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = time.Minute

// run loads until the test ends.
func run(t *testing.T, s *natsdtest.Server, target load.Target) *load.Loader {
	t.Helper()
	return runAs(t, s, "warehouse", target)
}

func runAs(t *testing.T, s *natsdtest.Server, name string, target load.Target) *load.Loader {
	t.Helper()
	l, err := load.New(load.Config{JetStream: s.JS, Stream: s.Layout.Calls, Name: name, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// until waits until something is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick, late := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// publish publishes so many messages, as Legato does.
func publish(t *testing.T, s *natsdtest.Server, messages int) {
	t.Helper()
	loadtest.Plan{Legs: 2 * messages}.Feed(t, s.Conn).Publish(messages)
}

func TestALoaderIsNotIdleWhileItsWarehouseHangs(t *testing.T) {
	s := natsdtest.Run(t)
	entered, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l := run(t, s, &memory{load: func([]load.Row) error {
		once.Do(func() { close(entered) }) // the messages may come in two batches
		<-proceed
		return nil
	}})
	publish(t, s, 2)
	<-entered
	before := l.Progress().LastBatch
	l.Idle()
	if p := l.Progress(); p.LastBatch != before {
		t.Errorf("while the warehouse hangs the loader says %+v", p)
	}
	close(proceed)
	if err := loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "warehouse", patience); err != nil {
		t.Fatal(err)
	}
	until(t, "the loader has loaded both", func() bool { return l.Progress().Loaded == 2 })
	before = l.Progress().LastBatch
	l.Idle()
	if p := l.Progress(); !p.LastBatch.After(before) {
		t.Errorf("with nothing to do the loader says %+v", p)
	}
}

func TestWhatWaitedForATargetThatFailedComesAgainAtOnce(t *testing.T) {
	s := natsdtest.Run(t)
	const messages = 6
	entered, fail := make(chan struct{}), make(chan struct{})
	var once sync.Once
	run(t, s, &memory{load: func([]load.Row) (err error) {
		once.Do(func() {
			close(entered)
			<-fail
			err = errAway
		})
		return err
	}})
	publish(t, s, messages)
	<-entered
	consumer, err := s.JS.Consumer(t.Context(), s.Layout.Calls, "warehouse")
	if err != nil {
		t.Fatal(err)
	}
	// One batch is being loaded, one waits, and one is gathered.
	until(t, "all are under way", func() bool {
		info, err := consumer.Info(t.Context())
		return err == nil && info.NumAckPending == messages
	})
	close(fail)
	// Well before the server would deliver again what nobody has given back.
	if err := loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "warehouse", 15*time.Second); err != nil {
		t.Error(err)
	}
}

func TestWhileTheWarehouseIsAwayThePendingAndTheLagGrow(t *testing.T) {
	s := natsdtest.Run(t)
	target := new(memory)
	target.load = func([]load.Row) error {
		if target.away.Load() {
			return errAway
		}
		return nil
	}
	l := run(t, s, target)
	feed := loadtest.Plan{Legs: 20}.Feed(t, s.Conn)
	feed.Publish(4)
	until(t, "what is there is loaded", func() bool { p := l.Progress(); return p.Loaded == 4 && p.Pending == 0 })
	if got := gauge(t, l, "legato_load_lag_seconds"); got != 0 {
		t.Errorf("with nothing pending the lag is %v", got)
	}
	target.away.Store(true)
	for _, want := range []float64{5, 9} {
		feed.Publish(int(want) - int(gauge(t, l, "legato_load_pending_messages")))
		until(t, "they are pending", func() bool { return gauge(t, l, "legato_load_pending_messages") == want })
		before := gauge(t, l, "legato_load_lag_seconds")
		until(t, "the lag grows", func() bool { return before > 0 && gauge(t, l, "legato_load_lag_seconds") > before })
	}
	// And for one that has never reached it.
	other := runAs(t, s, "another", target)
	until(t, "all are pending for it", func() bool { return gauge(t, other, "legato_load_pending_messages") == 13 })
	until(t, "its lag grows", func() bool { return gauge(t, other, "legato_load_lag_seconds") > 0 })
	target.away.Store(false)
	until(t, "nothing is pending any more", func() bool {
		return gauge(t, l, "legato_load_pending_messages") == 0 && gauge(t, l, "legato_load_lag_seconds") == 0
	})
}

// gauge is what a loader says to Prometheus.
func gauge(t *testing.T, l *load.Loader, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(l)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func TestWhatLegatoDidNotWriteReplacesNothing(t *testing.T) {
	s := natsdtest.Run(t)
	target := &memory{load: func([]load.Row) error { return nil }}
	run(t, s, target)
	leg := loadtest.Message{Subject: legSubject, Body: []byte(`{"kind":"leg","schema":1,"revision":1,"call_session_id":"s1","call_leg_id":"l1"}`)}
	foreign := nats.Msg{Subject: "calls.leg.amended.17.s1.l1", Data: []byte(strings.Replace(string(leg.Body), `"revision":1`, `"revision":999`, 1))}
	for _, m := range []*nats.Msg{leg.Msg(), &foreign} {
		if _, err := s.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "warehouse", patience); err != nil {
		t.Fatal(err)
	}
	target.mu.Lock()
	defer target.mu.Unlock()
	if len(target.stored) != 1 || target.stored[0].Revision != 1 {
		t.Errorf("stored is %+v", target.stored)
	}
	if len(target.rejected) != 1 || string(target.rejected[0].Body) != string(foreign.Data) {
		t.Errorf("set aside is %+v", target.rejected)
	}
}

const legSubject = "calls.leg.completed.17.s1.l1"

func TestAMessageThatIsNoRowSaysWhy(t *testing.T) {
	tests := []struct{ name, subject, body, want string }{
		{"a leg", "calls.leg.amended.17.s1.l1", `{"kind":"leg","schema":1,"revision":2,"call_session_id":"s1","call_leg_id":"l1"}`, ""},
		{"a session", "emea.session.amended._.s1", `{"kind":"session","schema":1,"revision":2,"call_session_id":"s1"}`, ""},
		{"without the headers", legSubject, `{"kind":"leg","schema":1,"revision":999,"call_session_id":"s1","call_leg_id":"l1"}`, "the headers are none of a summary"},
		{"another subject", "calls.other.s1", `{}`, "the subject is none of a summary"},
		{"nothing", legSubject, ``, "the message is empty"},
		{"half a body", legSubject, `{"kind":"leg"`, "not JSON"},
		{"a list", legSubject, `[]`, "not a JSON object"},
		{"another kind", legSubject, `{"kind":"session","schema":1,"revision":1,"call_session_id":"s1"}`, "kind is not that of the subject"},
		{"a later schema", legSubject, `{"kind":"leg","schema":2,"revision":1}`, "schema is 2, and only 1 is known"},
		{"another session", legSubject, `{"kind":"leg","schema":1,"revision":1,"call_session_id":"+12025550111","call_leg_id":"l1"}`, "call_session_id is not that of the subject"},
		{"another leg", legSubject, `{"kind":"leg","schema":1,"revision":1,"call_session_id":"s1","call_leg_id":"+12025550111"}`, "call_leg_id is not that of the subject"},
		{"no revision", legSubject, `{"kind":"leg","schema":1,"call_session_id":"s1","call_leg_id":"l1"}`, "revision is less than 1"},
		{"another revision", legSubject, `{"kind":"leg","schema":1,"revision":999,"call_session_id":"s1","call_leg_id":"l1"}`, "revision is not that of the header"},
		{"a time that is none", legSubject, `{"kind":"leg","started_at":"+12025550111"}`, "started_at: is not of type timestamp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := loadtest.Message{Subject: tt.subject, Body: []byte(tt.body)}.Msg().Header
			if tt.name == "without the headers" {
				header = nil
			}
			row, err := load.Parse(load.Origin{Subject: tt.subject}, header, []byte(tt.body))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if err == nil && (row.Revision != 2 || row.Key.Session != "s1" || (row.Key.Kind == summary.KindLeg) != (row.Key.Leg == "l1")) {
				t.Errorf("got %+v", row)
			}
		})
	}
}

func TestATextThatNoWarehouseStoresIsReplaced(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"nothing to replace", `{"a":"b\n\\u0000"}`, `{"a":"b\n\\u0000"}`},
		{"U+0000", `{"a":"x\u0000y"}`, `{"a":"x\ufffdy"}`},
		{"U+0000 behind a backslash", `{"a":"\\\u0000"}`, `{"a":"\\\ufffd"}`},
		{"half a pair, the high one", `{"a":"\ud83c!"}`, `{"a":"\ufffd!"}`},
		{"half a pair, the low one", `{"a":"\uDFB5"}`, `{"a":"\ufffd"}`},
		{"two high ones", `{"a":"\ud83c\ud83c\udfb5"}`, `{"a":"\ufffd\ud83c\udfb5"}`},
		{"a pair", `{"a":"\ud83c\udfb5"}`, `{"a":"\ud83c\udfb5"}`},
		{"bytes that are not UTF-8", "{\"a\":\"\xff\"}", "{\"a\":\"\uFFFD\"}"},
		{"half an escape", `{"a":"\u00`, `{"a":"\u00`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := load.Clean(tt.body); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{`{"a":"\u0000\\\ud83c\udfb5"}`, "\\u", `\ud800\`, "\xff\\u0000", `"\ud83c\u0041"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got := load.Clean(body)
		if !utf8.ValidString(got) || load.Clean(got) != got {
			t.Fatalf("%q became %q", body, got)
		}
		var before, after any
		if !utf8.ValidString(body) || json.Unmarshal([]byte(body), &before) != nil {
			return // encoding/json replaces each byte, and not each run of them
		}
		// encoding/json replaces halves of pairs by itself.
		if err := json.Unmarshal([]byte(got), &after); err != nil {
			t.Fatalf("%q is no JSON any more: %v", got, err)
		}
		text := func(v any) string {
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(string(data), `\u0000`, "\uFFFD")
		}
		if strings.Contains(body, `\\u0000`) {
			return // a text that spells the escape is not told from it here
		}
		if text(before) != text(after) {
			t.Errorf("%q became %q", body, got)
		}
	})
}

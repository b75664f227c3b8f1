package session_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// busy is a log of calls with texts as long as Telnyx's, that nothing shares memory with.
type busy struct {
	table *session.Table
	seq   uint64
	at    time.Time
	next  call.Event
}

// step is what one call says, in order.
var steps = []string{
	call.TypeInitiated, call.TypeAnswered, "call.playback.started", "call.playback.ended", call.TypeBridged,
	call.TypeHangup, call.TypeCost,
}

func newBusy(last uint64) *busy {
	b := &busy{at: time.Now()}
	b.table = session.New(session.Config{
		Rules:  rules,
		Decode: func(call.Entry) (call.Event, error) { return b.next, nil },
		Read:   func([]uint64) ([]*call.Entry, error) { return nil, errors.New("nothing comes late here") },
	})
	b.table.Restart(call.Log{ID: "log", First: 1, Last: last})
	return b
}

// uuid is a text of a UUID's length.
func uuid(kind string, n int) string { return fmt.Sprintf("%s-%032d", kind[:3], n) }

// make prepares event number step of call n; its texts are made anew, as a decoder makes them.
func (b *busy) make(n, step int) call.Entry {
	session := call.SessionID(uuid("session", n))
	b.next = call.Event{
		ID: uuid("event", n*len(steps)+step), Type: strings.Clone(steps[step]), OccurredAt: b.at,
		Ref: call.Ref{
			Session: session, Leg: call.LegID(uuid("leg", n)), Connection: call.ConnectionID(fmt.Sprintf("%019d", 149440)),
			Control: call.ControlID("v3:" + uuid("control", n) + "MDDnl5xGWIn4jdf3fZ"),
		},
		Attempt: 1,
		Facts: call.Facts{
			From: fmt.Sprintf("+1312%07d", n), To: fmt.Sprintf("+1313%07d", n), StartTime: b.at,
			ClientState: fmt.Sprintf("aGF2ZSBhIG5pY2UgZGF5ID1d%020d", n),
		},
	}
	switch step {
	case 0:
		b.next.Detail = &call.Initiated{Direction: strings.Clone("incoming")}
	case 5:
		mos := 4.5
		b.next.Detail = &call.Hangup{
			Cause: strings.Clone("normal_clearing"), Source: strings.Clone("caller"), SIPCode: strings.Clone("200"), EndTime: b.at,
			Quality: &call.Quality{Inbound: &call.Stream{MOS: &mos}, Outbound: &call.Stream{}},
		}
	}
	b.seq++
	return call.Entry{Seq: b.seq, ReceivedAt: b.at, Topic: call.TopicEvent + b.next.Type}
}

// BenchmarkFold folds one event of a live call, of 100,000.
func BenchmarkFold(b *testing.B) {
	for _, live := range []bool{true, false} {
		b.Run(map[bool]string{true: "live", false: "replay"}[live], func(b *testing.B) {
			last := uint64(0)
			if !live {
				last = 1 << 60
			}
			l := newBusy(last)
			b.ReportAllocs()
			n, made := 0, 0.0
			for b.Loop() {
				// Making the entry is not what is measured: its time is reported apart.
				begin := time.Now()
				e := l.make(n/len(steps)%100_000+n/700_000*100_000, n%len(steps))
				made += float64(time.Since(begin))
				l.table.Fold(e)
				n++
			}
			b.ReportMetric(made/float64(n), "ns-making/op")
		})
	}
}

// BenchmarkReplay reads a log of 200,000 events and catches up.
func BenchmarkReplay(b *testing.B) {
	const events = 200_000
	source := newBusy(0)
	decoded := make([]call.Event, events)
	entries := make([]call.Entry, events)
	for i := range events {
		entries[i] = source.make(i/len(steps), i%len(steps))
		decoded[i] = source.next
	}
	for b.Loop() {
		table := session.New(session.Config{Rules: rules, Decode: func(e call.Entry) (call.Event, error) { return decoded[e.Seq-1], nil }})
		table.Restart(call.Log{ID: "log", First: 1, Last: events})
		for i := range entries {
			table.Fold(entries[i])
		}
		if !table.HasCaughtUp() {
			b.Fatal("not caught up")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
}

// BenchmarkView looks at a leg of seven events.
func BenchmarkView(b *testing.B) {
	l := newBusy(0)
	for step := range steps {
		l.table.Fold(l.make(1, step))
	}
	id := call.SessionID(uuid("session", 1))
	b.ReportAllocs()
	for b.Loop() {
		if v, ok := l.table.View(id); !ok || len(v.Legs[0].Events) != len(steps) {
			b.Fatal("not as supposed")
		}
	}
}

// BenchmarkSchedule folds a check into one of 100,000 sessions: almost all of
// it is finding out what is due next, and its place in the schedule.
func BenchmarkSchedule(b *testing.B) {
	const legs = 100_000
	l := newBusy(0)
	checks := make([]call.Entry, legs)
	for n := range legs {
		l.table.Fold(l.make(n, 0))
		c := session.Check{Kind: "none", Session: call.SessionID(uuid("session", n))}
		checks[n] = call.Entry{Topic: call.TopicCheck, Data: encode(b, c)}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e := checks[n*7919%legs]
		l.seq++
		e.Seq, e.ReceivedAt = l.seq, l.at
		l.table.Fold(e)
		n++
	}
}

// BenchmarkDue hands out the sweeps of 100,000 silent legs, 256 at a time.
func BenchmarkDue(b *testing.B) {
	const legs = 100_000
	for b.Loop() {
		b.StopTimer()
		l := newBusy(0)
		l.at = l.at.Add(-time.Hour)
		for n := range legs {
			l.table.Fold(l.make(n, 0))
		}
		l.at = l.at.Add(time.Hour)
		l.seq++
		l.table.Fold(call.Entry{Seq: l.seq, ReceivedAt: l.at, Topic: call.TopicHeartbeat})
		b.StartTimer()
		for n := 0; n < legs; {
			checks, _, _ := l.table.Due(256)
			n += len(checks)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/legs, "ns/check")
}

// heldPerLeg is the heap that open legs of 2 or 3 events take, each with its session.
func heldPerLeg(legs int) float64 {
	before := heap()
	l := newBusy(0)
	for n := range legs {
		for step := range 2 + n%2 {
			l.table.Fold(l.make(n, step))
		}
	}
	l.next = call.Event{}
	held := float64(heap()-before) / float64(legs)
	runtime.KeepAlive(l)
	return held
}

// heldPerFinishedLeg is the heap that finished legs take, each with its session, a status answer and its settling, and in
// how many objects.
func heldPerFinishedLeg(tb testing.TB, legs int) (bytes, objects float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := newBusy(0)
	own := func(topic string, body any) {
		l.seq++
		l.table.Fold(call.Entry{Seq: l.seq, ReceivedAt: l.at, Topic: topic, Data: encode(tb, body)})
	}
	for n := range legs {
		for step := range len(steps) - 1 { // but for the cost
			l.table.Fold(l.make(n, step))
		}
		ref, end := l.next.Ref, l.at
		over := false
		own(call.TopicStatus, session.Answer{Proven: true, Answer: status.Answer{
			Session: ref.Session, Leg: ref.Leg, Control: ref.Control, Connection: ref.Connection, Attempt: 1,
			FetchedAt: end, Result: status.Answered, HTTPStatus: 200, IsAlive: &over, StartTime: end.Add(-time.Minute), EndTime: end,
			ClientState: l.next.Facts.ClientState, RecordType: "call",
		}})
		own(call.TopicCheck, session.Check{Kind: session.CheckSettle, Session: ref.Session, Upto: l.seq})
		l.table.Published(ref.Session, ref.Leg, 1)
		l.table.Published(ref.Session, "", 1)
	}
	l.next = call.Event{}
	l.seq++
	l.table.Fold(call.Entry{Seq: l.seq, ReceivedAt: l.at.Add(5 * time.Minute), Topic: call.TopicHeartbeat})
	l.table.SetFloor(l.seq)
	for before := -1; l.table.Packed() > before; {
		before = l.table.Packed()
		l.table.Due(256)
	}
	if got := l.table.Packed(); got != legs {
		tb.Fatalf("%d of %d sessions are packed", got, legs)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(l)
	return float64(after.HeapAlloc-before.HeapAlloc) / float64(legs), float64(after.HeapObjects-before.HeapObjects) / float64(legs)
}

// BenchmarkHeapPerFinishedLeg reports the memory of 50,000 finished legs: they stay for the amend window.
func BenchmarkHeapPerFinishedLeg(b *testing.B) {
	for b.Loop() {
		bytes, objects := heldPerFinishedLeg(b, 50_000)
		b.ReportMetric(bytes, "B/leg")
		b.ReportMetric(objects, "objects/leg")
	}
}

func TestAFinishedLegWithItsSessionTakesLessThan500Bytes(t *testing.T) {
	if got, objects := heldPerFinishedLeg(t, 20_000); got > 500 || objects > 3 {
		t.Errorf("%.0f bytes and %.1f objects a leg", got, objects)
	}
}

// BenchmarkHeapPerOpenLeg reports the memory of 100,000 open legs.
func BenchmarkHeapPerOpenLeg(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(heldPerLeg(100_000), "B/leg")
	}
}

func TestAnOpenLegWithItsSessionTakesLessThan2100Bytes(t *testing.T) {
	if got := heldPerLeg(20_000); got > 2100 {
		t.Errorf("%.0f bytes a leg", got)
	}
}

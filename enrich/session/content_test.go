package session_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

var malformed = []string{
	``, `null`, `[]`, `0`, `"text"`, `{`, `{}`, "\x00\xff", `{"kind":7}`, `{"kind":"settle"}`, `{"kind":"nonsense","call_session_id":"s"}`,
	`{"kind":"settle","call_session_id":"s","upto":18446744073709551615}`,
	`{"kind":"expire","call_session_id":"s","call_leg_id":"leg-0","upto":18446744073709551615}`,
	`{"kind":"expire","call_session_id":"s","call_leg_id":"unknown","upto":1}`,
	`{"kind":"status","call_session_id":"s","call_leg_id":"leg-0","attempt":9223372036854775807}`,
	`{"kind":"status","call_session_id":"s","call_leg_id":"leg-0","attempt":-9223372036854775808}`,
	`{"kind":"status","call_session_id":"unknown","call_leg_id":"leg-0","attempt":1}`,
	`{"call_session_id":"s","call_leg_id":"leg-0"}`,
	`{"call_session_id":"s","call_leg_id":"leg-0","attempt":9223372036854775807,"fetched_at":"9999-12-31T23:59:59Z","result":"answered","is_alive":false}`,
	`{"call_session_id":"s","call_leg_id":"leg-0","attempt":-1,"fetched_at":"0001-01-01T00:00:00Z","result":"rate_limited","retry_after_seconds":1e308}`,
	`{"call_session_id":"s","call_leg_id":"leg-0","result":"answered","is_alive":true,"call_duration":-1e308}`,
	`{"call_session_id":"s","call_leg_id":"unknown","result":"answered"}`,
	`{"call_session_id":"s","call_leg_id":"leg-0","result":"a word of later","start_time":"yesterday"}`,
	`{"call_session_id":["s"],"call_leg_id":{"a":1},"attempt":"one","fetched_at":5}`,
	`{"call_session_id":"","call_leg_id":""}`,
	strings.Repeat(`[`, 20_000),
}

func TestAMalformedEntryStopsNothing(t *testing.T) {
	for _, topic := range []string{call.TopicStatus, call.TopicCheck, "event.", "event.call.hangup", "internal.later", "internal.", "", "x"} {
		for _, body := range malformed {
			t.Run(fmt.Sprintf("%q %.60q", topic, body), func(t *testing.T) {
				tp := newTape(t)
				tp.says(call.TypeInitiated, ref(0))
				tp.fold(call.Entry{Topic: topic, Data: []byte(body)})
				seq := tp.last()
				if (tp.table.Unusable(seq) != nil) != (len(tp.bad) > 0) {
					t.Errorf("unusable: %v, reported %v", tp.table.Unusable(seq), tp.bad)
				}
				survives(t, tp)
				if tp.table.SetFloor(tp.last()); tp.table.Unusable(seq) != nil {
					t.Error("what the queue is through with is remembered as unusable")
				}
			})
		}
	}
}

// survives holds that the table goes on after whatever it was given.
func survives(t *testing.T, tp *tape) {
	t.Helper()
	if got := tp.table.Position(); got != tp.last() {
		t.Fatalf("position %d; want %d", got, tp.last())
	}
	before := len(tp.leg(ref(0)).Events)
	tp.says(call.TypeHangup, ref(0))
	if l := tp.leg(ref(0)); len(l.Events) != before+1 || l.Ending != session.ByHangup {
		t.Errorf("the leg has %d events and ended by %d", len(l.Events), l.Ending)
	}
	for _, c := range tp.due() {
		_, _ = c.ID(), c.Ref()
	}
	tp.table.Stats()
	tp.table.Needed()
}

func TestADecoderThatPanicsStopsNothing(t *testing.T) {
	tp := newTape(t)
	tp.says(call.TypeInitiated, ref(0))
	tp.fold(call.Entry{Topic: "event.call.hangup", Data: []byte("1000")}) // out of range
	if err := tp.table.Unusable(2); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("unusable: %v; want the panic", err)
	}
	survives(t, tp)
}

func FuzzFold(f *testing.F) {
	for _, body := range malformed {
		f.Add(true, []byte(body), []byte(body))
		f.Add(false, []byte(body), []byte(`{"call_session_id":"s","call_leg_id":"leg-0","attempt":1,"result":"answered","is_alive":false}`))
	}
	f.Fuzz(func(t *testing.T, hangup bool, one, other []byte) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		if hangup {
			tp.says(call.TypeHangup, ref(0))
		}
		for _, body := range [][]byte{one, other, one} {
			tp.fold(call.Entry{Topic: call.TopicStatus, Data: body})
			tp.fold(call.Entry{Topic: call.TopicCheck, Data: body})
		}
		for _, c := range tp.due() {
			tp.check(c)
		}
		survives(t, tp)
		// Whatever was read, a replay reads the same.
		want, _ := tp.table.View("s")
		got, _ := tp.replay().View("s")
		if want.Over != got.Over || want.Legs[0].Ending != got.Legs[0].Ending || !want.Legs[0].Since.Equal(got.Legs[0].Since) {
			t.Errorf("a replay gives another view: %+v, %+v", want, got)
		}
	})
}

func TestReadersDoNotDisturbTheFold(t *testing.T) {
	const entries = 2000
	tp := newTape(t)
	table := tp.table
	stop := make(chan struct{})
	readers := []func(int){
		func(int) {
			if v, ok := table.View("s"); ok {
				for _, e := range v.Events {
					_ = e.Facts.From + string(e.Facts.Control)
				}
				for _, l := range v.Legs {
					for _, e := range l.Events {
						_ = e.Facts.From + string(e.Facts.Control)
					}
				}
			}
		},
		func(i int) { table.Place(ref(i % 9)); table.Place(call.Ref{Control: ref(i % 9).Control}) },
		func(int) { table.Due(10) },
		func(int) { _ = table.Wait(t.Context(), table.Position()); table.HasCaughtUp(); table.Now() },
		func(int) { table.Stats(); table.Needed(); table.Floor() },
		func(int) { table.SetFloor(table.Position()); table.SetLag(time.Millisecond) },
		func(i int) {
			_ = table.Unusable(uint64(i))
			table.Proven("1")
			closed(table.CaughtUp())
			closed(table.Restarted())
		},
	}
	done := make(chan struct{}, len(readers))
	for _, read := range readers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := 0; ; i++ {
				read(i)
				runtime.Gosched()
				if closed(stop) {
					return
				}
			}
		}()
	}
	for i := range entries {
		r := ref(i % 9)
		switch i % 7 {
		case 0:
			tp.event(call.Event{Type: call.TypeAnswered, Ref: call.Ref{Session: "s", Control: r.Control}, Facts: call.Facts{From: "+1"}})
		case 1:
			tp.event(call.Event{Type: call.TypeAnswered, Ref: call.Ref{Control: r.Control + "-alias"}, Facts: call.Facts{From: "+1"}})
		case 2:
			tp.answer(r, unreachable(i))
		case 3:
			r.Control += "-alias"
			tp.event(call.Event{Type: call.TypeBridged, Ref: r, Facts: call.Facts{From: "+1"}})
		case 4:
			tp.fold(call.Entry{Topic: call.TopicCheck, Data: []byte("{")})
		default:
			tp.event(call.Event{Type: call.TypeInitiated, Ref: r, Facts: call.Facts{From: "+1"}})
		}
		if i%200 == 199 {
			table.Restart(call.Log{ID: fmt.Sprint("epoch ", i), First: tp.last() + 1, Last: tp.last() + 10})
		}
	}
	if err := table.Wait(t.Context(), tp.last()); err != nil {
		t.Error(err)
	}
	close(stop)
	for range readers {
		<-done
	}
}

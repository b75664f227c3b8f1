package session_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestATableIsLiveOnceItHasReadWhatWasInTheLogAtItsStart(t *testing.T) {
	tp := newTape(t)
	for range 3 {
		tp.says(call.TypeInitiated, ref(0))
	}
	for name, log := range map[string]call.Log{
		"an empty log": {ID: "b", First: 1}, "an empty log that was trimmed": {ID: "b", First: 8, Last: 7},
		"a log with entries": {ID: "b", First: 1, Last: 3}, "a log of which the first entries are gone": {ID: "b", First: 2, Last: 3},
	} {
		t.Run(name, func(t *testing.T) {
			table := tp.newTable()
			caughtUp, restarted := table.CaughtUp(), table.Restarted()
			if closed(caughtUp) || table.HasCaughtUp() {
				t.Fatal("caught up before it followed a log")
			}
			table.Restart(log)
			if !closed(restarted) {
				t.Error("the restart was not signalled")
			}
			for seq := log.First; seq <= log.Last; seq++ {
				if closed(caughtUp) || table.HasCaughtUp() {
					t.Fatalf("live at position %d, before %d", table.Position(), log.Last)
				}
				if checks, wait, _ := table.Due(10); len(checks) > 0 || wait <= 0 {
					t.Errorf("in the replay %v is due, next call in %v", checks, wait)
				}
				table.Fold(tp.log[seq-1])
			}
			if !closed(caughtUp) || !table.HasCaughtUp() || table.Position() != max(log.Last, log.First-1) {
				t.Errorf("not live at position %d", table.Position())
			}
		})
	}
}

func TestARestartDiscardsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, _ := hungUp(t, alive)
		tp.says(call.TypeCost, call.Ref{Control: "v3:unknown"})
		tp.fold(call.Entry{Topic: call.TopicStatus, Data: []byte("no JSON")})
		bad := tp.last()
		tp.answer(ref(0), alive(2))
		tp.table.SetFloor(2)
		if tp.table.Unusable(bad) == nil || !tp.table.Proven(ref(0).Connection) {
			t.Fatal("the tape is not as supposed")
		}
		caughtUp, restarted := tp.table.CaughtUp(), tp.table.Restarted()

		tp.table.Restart(call.Log{ID: "second epoch", First: 1, Last: 2})
		if !closed(restarted) || closed(tp.table.Restarted()) {
			t.Error("the restart was not signalled, or the next one was")
		}
		if tp.table.CaughtUp() == caughtUp || closed(tp.table.CaughtUp()) || tp.table.HasCaughtUp() {
			t.Error("caught up with a log that was not read")
		}
		v, ok := tp.table.View("s")
		if ok || v.Position != 0 || v.Log != "second epoch" {
			t.Errorf("known %t, position %d of log %q", ok, v.Position, v.Log)
		}
		if p := tp.table.Place(ref(0)); p != (session.Place{Idle: true}) {
			t.Errorf("the leg is at %+v", p)
		}
		if got := tp.table.Stats(); got != (session.Stats{}) {
			t.Errorf("left: %+v", got)
		}
		if tp.table.Unusable(bad) != nil || tp.table.Proven(ref(0).Connection) || tp.table.Floor() != 0 || tp.table.Needed() != 1 {
			t.Error("what was known of the first log is known of the second")
		}

		// The second log has other things in it.
		tp.before, tp.log = 0, nil
		tp.says(call.TypeInitiated, ref(7))
		during := tp.table.CaughtUp()
		tp.table.Restart(call.Log{ID: "third epoch", First: 1, Last: 1})
		if tp.table.CaughtUp() != during {
			t.Error("a restart in a replay has another end than the replay")
		}
		tp.before, tp.log = 0, nil
		tp.says(call.TypeInitiated, ref(8))
		if !closed(during) {
			t.Error("not caught up")
		}
		if got := counted(tp.table); got != (session.Stats{Sessions: 1, Legs: 1, OpenSessions: 1, OpenLegs: 1}) {
			t.Errorf("after the replay: %+v", got)
		}
	})
}

func TestALogIsKnownByItsIDAndWhenItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		want := func(id string, began time.Time) {
			t.Helper()
			if gotID, gotBegan := tp.table.Epoch(); gotID != id || !gotBegan.Equal(began) {
				t.Errorf("log %q that began at %v; want %q, %v", gotID, gotBegan, id, began)
			}
		}
		want("first epoch", time.Time{})
		first := time.Now()
		tp.probe()
		pass(time.Second)
		tp.probe()
		want("first epoch", first)
		tp.table.Restart(call.Log{ID: "second epoch", First: 1})
		want("second epoch", time.Time{})
	})
}

func TestAfterAReplayTheSameIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		for i := range 5 {
			r := ref(i)
			r.Session = call.SessionID(r.Leg)
			tp.says(call.TypeInitiated, r)
			pass(time.Second)
			if i%2 == 0 {
				tp.says(call.TypeHangup, r)
				tp.answer(r, alive(1))
			}
			pass(time.Minute)
			tp.run(time.Now(), nil)
		}
		for range 400 {
			other := tp.replay()
			want, _, _ := tp.table.Due(100)
			got, _, _ := other.Due(100)
			if diff := gocmp.Diff(byID(want), byID(got)); diff != "" {
				t.Fatalf("due (-live +replayed):\n%s", diff)
			}
			for _, c := range want {
				tp.check(c)
			}
			pass(time.Second)
		}
	})
}

func byID(checks []session.Check) map[string]session.Check {
	m := make(map[string]session.Check)
	for _, c := range checks {
		m[c.ID()] = c
	}
	return m
}

func TestWaitReturnsWhenAnEntryIsFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		wait := func(seq uint64) <-chan error {
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				done <- tp.table.Wait(ctx, seq)
			}()
			synctest.Wait()
			return done
		}
		pending := func(done <-chan error) bool { synctest.Wait(); return len(done) == 0 }

		first, second, never := wait(1), wait(2), wait(9)
		if !pending(first) {
			t.Error("it returned before anything was folded")
		}
		tp.probe()
		if pending(first) || !pending(second) {
			t.Error("after the first entry the first one, and only it, is to return")
		}
		tp.table.Restart(call.Log{ID: "again", First: 1, Last: 2})
		if !pending(second) {
			t.Error("it returned although its entry was never folded")
		}
		tp.before, tp.log = 0, nil
		tp.probe()
		third := wait(1)
		tp.probe()
		if err := <-second; err != nil {
			t.Errorf("across a restart: %v", err)
		}
		if err := <-third; err != nil {
			t.Errorf("for an entry that was folded: %v", err)
		}
		tp.table.Restart(call.Log{ID: "trimmed", First: 5, Last: 9})
		if pending(wait(4)) {
			t.Error("it waits for an entry that the log does not hold any more")
		}
		if err := <-never; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("for an entry that never comes: %v", err)
		}
	})
}

func TestTheClockIsTheLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		var seq uint64
		// fold folds an entry that was stamped by a clock hours ahead and took a while to come.
		const ahead = 3 * time.Hour
		fold := func(delay time.Duration) {
			seq++
			tp.table.Fold(call.Entry{Seq: seq, ReceivedAt: time.Now().Add(ahead - delay), Topic: call.TopicHeartbeat})
		}
		behind := func() time.Duration { return time.Now().Add(ahead).Sub(tp.table.Now()) }

		if got := behind(); got != ahead {
			t.Errorf("before any entry the clock is %v behind; want this machine's time", got)
		}
		fold(50 * time.Millisecond)
		pass(20 * time.Second)
		if got := behind(); got != 50*time.Millisecond {
			t.Errorf("behind by %v; want the delay of the entry", got)
		}
		fold(10 * time.Millisecond)
		if got := behind(); got != 10*time.Millisecond {
			t.Errorf("behind by %v; want the delay of the fastest entry", got)
		}
		fold(2 * time.Second)
		if got := behind(); got != 10*time.Millisecond {
			t.Errorf("behind by %v after a slow entry; want the fastest one's delay", got)
		}
		pass(31 * time.Second)
		fold(30 * time.Millisecond)
		if got := behind(); got != 30*time.Millisecond {
			t.Errorf("behind by %v; want the delay of a fresh entry", got)
		}
	})
}

func TestAMachineWhoseClockIsWrongDecidesByTheLogs(t *testing.T) {
	for name, off := range map[string]time.Duration{"hours behind the log": 7 * time.Hour, "hours ahead of the log": -7 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.events = []call.Event{{ID: "a", Type: call.TypeInitiated, Ref: call.Ref{Session: "s", Leg: "l"}}}
				entry := func(seq uint64, topic string) call.Entry {
					return call.Entry{Seq: seq, ReceivedAt: time.Now().Add(off), Topic: topic, Data: []byte("0")}
				}
				table := tp.newTable()
				table.Restart(call.Log{ID: "log", First: 1, Last: 1})
				table.Fold(entry(1, "event."))
				if checks, _, _ := table.Due(10); len(checks) != 0 {
					t.Errorf("due right after the replay: %v", checks)
				}
				pass(time.Second)
				table.Fold(entry(2, call.TopicHeartbeat))
				if checks, wait, _ := table.Due(10); len(checks) != 0 || wait > legLife {
					t.Errorf("due %v, next call in %v", checks, wait)
				}
				pass(legLife)
				if checks, _, _ := table.Due(10); len(checks) != 1 || checks[0].Kind != session.CheckExpire {
					t.Errorf("due %v; want the expiry", checks)
				}
			})
		})
	}
}

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

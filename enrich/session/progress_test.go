package session_test

import (
	"context"
	"errors"
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

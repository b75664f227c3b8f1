package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

// finished records a call of which nothing is to come.
func (tp *tape) finished(r call.Ref) {
	for _, typ := range []string{call.TypeInitiated, call.TypeAnswered, call.TypeHangup} {
		tp.says(typ, r)
	}
	tp.answer(r, ended(1))
	tp.settled(r)
}

// settled records that a session is quiet.
func (tp *tape) settled(r call.Ref) {
	tp.check(session.Check{Kind: session.CheckSettle, Session: r.Session, Upto: tp.last()})
}

func TestFinishedCallsAreNotReplayedUntilSomethingComesOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		r, other := ref(0), call.Ref{Session: "another", Leg: "its leg", Control: "v3:another", Connection: "1"}
		tp.finished(r)
		tp.finished(other)
		tp.probe()
		table := tp.replay()
		if got := table.Packed(); got != 2 {
			t.Fatalf("%d sessions are packed after the replay; want 2", got)
		}
		if diff := cmp.Diff(tp.table.Stats(), table.Stats()); diff != "" {
			t.Errorf("(-live +replayed):\n%s", diff)
		}
		if got, want := table.Needed(), tp.table.Needed(); got != want {
			t.Errorf("the log is needed from %d; want %d", got, want)
		}
		if !table.HasCaughtUp() || table.Position() != tp.last() || !table.Proven(r.Connection) {
			t.Errorf("caught up: %v, at %d, the connection is proven: %v", table.HasCaughtUp(), table.Position(), table.Proven(r.Connection))
		}
		want, _ := tp.table.View(r.Session)
		got, ok := table.View(r.Session)
		if diff := cmp.Diff(unversioned(want), unversioned(got)); !ok || diff != "" {
			t.Errorf("(-live +replayed):\n%s", diff)
		}
		if left := table.Packed(); left != 1 {
			t.Errorf("%d sessions are packed when one was looked at; want 1", left)
		}
		// Late news, by an id alone.
		late := tp.says(call.TypeCost, call.Ref{Control: other.Control})
		table.Fold(tp.log[late-1])
		want, _ = tp.table.View(other.Session)
		got, _ = table.View(other.Session)
		if diff := cmp.Diff(unversioned(want), unversioned(got)); diff != "" {
			t.Errorf("after late news (-live +replayed):\n%s", diff)
		}
	})
}

func TestACallInDoubtIsReplayed(t *testing.T) {
	const endOfLog = "it is the end of the log"
	r := ref(0)
	for name, record := range map[string]func(tp *tape){
		"its leg lives": func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.answer(r, ended(1))
			tp.settled(r)
		},
		"a leg of it lives": func(tp *tape) {
			tp.says(call.TypeInitiated, ref(1))
			tp.finished(r)
		},
		"it was not quiet": func(tp *tape) {
			tp.finished(r)
			tp.says(call.TypeCost, r)
		},
		"its status is not known": func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.says(call.TypeHangup, r)
			tp.answer(r, unreachable(1))
			tp.settled(r)
		},
		"its beginning is not known": func(tp *tape) {
			tp.says(call.TypeHangup, r)
			tp.answer(r, ended(1))
			tp.settled(r)
		},
		"an event may be missing": func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.says(call.TypeBridged, r)
			tp.says(call.TypeHangup, r)
			tp.answer(r, ended(1))
			tp.settled(r)
		},
		"it lived while nobody wrote the log": func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			pass(time.Minute)
			tp.says(call.TypeAnswered, r)
			tp.says(call.TypeHangup, r)
			tp.answer(r, ended(1))
			tp.settled(r)
		},
		"its leg is another session's as well": func(tp *tape) {
			tp.finished(r)
			another := r
			another.Session = "another"
			tp.says(call.TypeInitiated, another)
		},
		"an event names its leg alone": func(tp *tape) {
			tp.says(call.TypeAnswered, call.Ref{Leg: r.Leg})
			tp.finished(r)
		},
		"an event names its control id alone": func(tp *tape) {
			tp.finished(r)
			tp.says(call.TypeCost, call.Ref{Control: r.Control})
		},
		endOfLog: func(tp *tape) { tp.finished(r) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.rules.Outage, tp.rules.BackfillAfter = 30*time.Second, 30*time.Second
				tp.table = tp.newTable()
				tp.table.Restart(call.Log{ID: "first epoch", First: 1})
				record(tp)
				if name != endOfLog {
					tp.probe()
				}
				table := tp.replay()
				if got := table.Packed(); got != 0 {
					t.Fatalf("%d sessions are packed", got)
				}
				want, _ := tp.table.View(r.Session)
				got, _ := table.View(r.Session)
				if diff := cmp.Diff(unversioned(want), unversioned(got)); diff != "" {
					t.Errorf("(-live +replayed):\n%s", diff)
				}
				if diff := cmp.Diff(tp.table.Schedule(r.Session), table.Schedule(r.Session)); diff != "" {
					t.Errorf("what is to come (-live +replayed):\n%s", diff)
				}
			})
		})
	}
}

func TestACallThatWasNotReplayedIsKeptUntilItsSummaryIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		r := ref(0)
		tp.finished(r)
		pass(rules.AmendWindow + time.Minute)
		tp.probe()
		table := tp.replay()
		tp.probe()
		table.Fold(tp.log[len(tp.log)-1]) // sets the clock
		wants := func(when string, packed int, tally session.Tally) {
			t.Helper()
			table.Due(10)
			if diff := cmp.Diff(tally, table.Tally()); diff != "" || table.Packed() != packed {
				t.Errorf("%s %d sessions are packed; want %d. Tally (-want +got):\n%s", when, table.Packed(), packed, diff)
			}
		}
		wants("before the queue is through with it", 1, session.Tally{Over: 1, Pending: 1})
		table.SetFloor(tp.last())
		wants("before its summary is found", 1, session.Tally{Over: 1, Pending: 1})
		table.Published(r.Session, r.Leg, 2)
		table.Published(r.Session, "", 1)
		if v, _ := table.View(r.Session); v.Revision != 1 || v.Legs[0].Revision != 2 {
			t.Errorf("revision %d of the session and %d of the leg; want 1 and 2", v.Revision, v.Legs[0].Revision)
		}
		pass(time.Minute)
		wants("when its time is over", 0, session.Tally{Over: 1, Completed: 1})

		lost := tp.replay()
		tp.probe()
		lost.Fold(tp.log[len(tp.log)-1])
		lost.SetFloor(tp.last())
		pass(3 * time.Minute)
		lost.Due(10)
		if diff := cmp.Diff(session.Tally{Over: 1}, lost.Tally()); diff != "" || lost.Packed() != 0 {
			t.Errorf("one whose summary is not found: %d are packed; tally (-want +got):\n%s", lost.Packed(), diff)
		}
	})
}

package session_test

import (
	"errors"
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
		"an event of a leg that it does not name came at a second attempt": func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.event(call.Event{Type: call.TypeDTMF, Attempt: 2, Ref: call.Ref{Session: r.Session, Control: r.Control}})
			tp.says(call.TypeAnswered, r)
			tp.says(call.TypeHangup, r)
			tp.answer(r, ended(1))
			tp.settled(r)
		},
		"its status has an end, and says that it lives": func(tp *tape) {
			tp.says(call.TypeInitiated, r)
			tp.says(call.TypeAnswered, r)
			tp.says(call.TypeHangup, r)
			lives := alive(1)
			lives.EndTime = time.Now().UTC()
			tp.answer(r, lives)
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

func TestAnEntryThatCannotBeDecodedIsFoundWhenItsFinishedCallIsRead(t *testing.T) {
	r, other := ref(0), ref(1)
	for name, bad := range map[string]map[string]call.Ref{
		"one event":                             {call.TypeCost: r},
		"the first event of one leg of several": {call.TypeDTMF: other},
		"all events of a leg":                   {call.TypeInitiated: other, call.TypeAnswered: other, call.TypeHangup: other},
		"all events of the leg that was first":  {call.TypeInitiated: r, call.TypeAnswered: r, call.TypeHangup: r},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				var unusable []uint64
				isBad := func(typ string, r call.Ref) bool { of, ok := bad[typ]; return ok && of == r }
				says := func(typ string, r call.Ref) {
					if isBad(typ, r) {
						unusable = append(unusable, tp.fold(call.Entry{Topic: call.TopicEvent + typ, Ref: r, Data: []byte("no number")}))
					} else if typ != call.TypeDTMF && typ != call.TypeCost {
						tp.says(typ, r)
					}
				}
				for _, typ := range []string{call.TypeDTMF, call.TypeInitiated, call.TypeAnswered, call.TypeCost, call.TypeHangup} {
					for _, r := range []call.Ref{r, other} {
						says(typ, r)
					}
				}
				tp.answer(r, ended(1))
				tp.answer(other, ended(1))
				tp.settled(r)
				tp.probe()
				table := tp.replay()
				if got := table.Packed(); got != 1 {
					t.Fatalf("%d sessions are packed", got)
				}
				for i, r := range []call.Ref{r, other} {
					table.Published(r.Session, r.Leg, i+2)
				}
				table.Place(r)
				for _, seq := range unusable {
					if table.Unusable(seq) == nil {
						t.Errorf("entry %d counts as folded", seq)
					}
				}
				want, _ := tp.table.View(r.Session)
				got, _ := table.View(r.Session)
				for i := range want.Legs {
					want.Legs[i].Revision = 2
					if want.Legs[i].ID == other.Leg {
						want.Legs[i].Revision = 3
					}
				}
				if diff := cmp.Diff(unversioned(want), unversioned(got)); diff != "" {
					t.Errorf("(-live +read back):\n%s", diff)
				}
				if tally := table.Tally(); tally.Pending != 0 {
					t.Errorf("%+v", tally)
				}
			})
		})
	}
}

func TestAFinishedCallOfWhichNothingCanBeDecodedLeavesItsEntriesToBeParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.finished(ref(0))
		tp.probe()
		table := session.New(session.Config{
			Rules:  tp.rules,
			Decode: func(call.Entry) (call.Event, error) { return call.Event{}, errors.New("of another version") },
			Read:   tp.read,
		})
		tp.follow(table)
		if got := table.Packed(); got != 1 {
			t.Fatalf("%d sessions are packed", got)
		}
		if place := table.Place(ref(0)); place.Session != "" || table.Unusable(1) == nil {
			t.Errorf("it is at %+v, and its first entry is unusable by %v", place, table.Unusable(1))
		}
	})
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

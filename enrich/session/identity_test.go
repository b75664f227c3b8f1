package session_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

func TestALegGoesByNoControlIDAfterItWasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		// The delivery that stands does not name the control id that a later one named.
		ev := call.Event{ID: "x", Type: call.TypeHangup, Ref: call.Ref{Session: "s", Leg: ref(0).Leg}}
		tp.event(ev)
		ev.Ref.Control = "v3:named"
		tp.event(ev)
		ev.Ref.Control = "v3:also"
		tp.event(ev)
		tp.answer(ref(0), ended(1))
		tp.run(time.Now().Add(time.Minute), nil)
		tp.table.SetFloor(tp.last())
		tp.run(time.Now().Add(time.Hour), nil)
		for _, c := range []call.ControlID{"v3:named", "v3:also"} {
			tp.says(call.TypeCost, call.Ref{Control: c})
		}
		if got := tp.table.Stats(); got != (session.Stats{Orphans: 2}) {
			t.Errorf("%+v; want two orphans and nothing else", got)
		}
	})
}

func TestOrphansLeaveWithTheAmendWindowAndAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.probe()
		for i := range 3 {
			tp.says(call.TypeAnswered, call.Ref{Control: ref(i).Control})
			tp.says(call.TypeHangup, call.Ref{Leg: ref(i).Leg})
		}
		tp.fold(tp.log[1]) // a redelivery is no other event
		if got := tp.table.Needed(); got != 2 {
			t.Errorf("the log is needed from %d; want from the first orphan on", got)
		}
		pass(rules.AmendWindow)
		tp.says(call.TypeInitiated, ref(0))
		if got := counted(tp.table); got != (session.Stats{Sessions: 1, Legs: 1, OpenSessions: 1, Orphans: 4}) {
			t.Errorf("at the end of the window: %+v", got)
		}
		pass(time.Second)
		tp.says(call.TypeInitiated, ref(1))
		if l := tp.leg(ref(1)); len(l.Events) != 1 {
			t.Errorf("%d events; want none adopted after the window", len(l.Events))
		}
		if got := tp.table.Needed(); got != 2 {
			t.Errorf("the log is needed from %d; want from the orphan on that was adopted", got)
		}
		pass(2 * time.Minute)
		_, _, expired := tp.table.Due(1)
		if expired != 4 || tp.table.Stats().Orphans != 0 {
			t.Errorf("%d expired and %d left; want 4 and none", expired, tp.table.Stats().Orphans)
		}
		if _, _, again := tp.table.Due(1); again != 0 {
			t.Errorf("%d counted again", again)
		}
	})
}

// Of a session of which no leg ever becomes known there is no summary: what named it is counted when it is forgotten.
func TestEventsThatNameOnlyASessionAreCountedWhereNoLegBecomesKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says("conference.created", call.Ref{Session: "s"})
		tp.says("conference.ended", call.Ref{Session: "s"})
		tp.says("conference.created", call.Ref{Session: ref(0).Session + "-other"})
		tp.says(call.TypeInitiated, call.Ref{Session: ref(0).Session + "-other", Leg: "leg"})
		lost, deadline := 0, time.Now().Add(2*rules.AmendWindow)
		for time.Now().Before(deadline) {
			tp.probe()
			tp.table.SetFloor(tp.last())
			_, _, expired := tp.table.Due(1)
			lost += expired
			pass(time.Minute)
		}
		if lost != 2 {
			t.Errorf("%d events are counted as lost, want the two of the session without a leg", lost)
		}
	})
}

func TestAReplayAdoptsTheOrphansThatWereAdopted(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"adopted in time": rules.AmendWindow - time.Second, "too late": rules.AmendWindow + time.Second,
		"when they had long been forgotten": 2 * rules.AmendWindow,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.says(call.TypeHangup, call.Ref{Control: ref(0).Control})
				tp.run(time.Now().Add(after), nil)
				tp.says(call.TypeInitiated, ref(0))
				want, _ := contentOf(tp.table, "s")
				got, _ := contentOf(tp.replay(), "s")
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("(-live +replayed):\n%s", diff)
				}
				if over := want.OpenLegs == 0; over != (after < rules.AmendWindow) {
					t.Errorf("over is %t", over)
				}
			})
		})
	}
}

// TestForgottenSessionsLeaveNothingBehind has thousands of calls come and go
// while one stays, and looks at what is left.
func TestForgottenSessionsLeaveNothingBehind(t *testing.T) {
	const calls = 5000
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, call.Ref{Session: "stays", Leg: "stays"}) // the oldest of all, and no control id: nothing is due
		round := func(n int) {
			for i := range calls {
				r := call.Ref{
					Session: call.SessionID(fmt.Sprintf("session-%d-%d", n, i)), Leg: call.LegID(fmt.Sprintf("leg-%d-%d", n, i)),
					Control: call.ControlID(fmt.Sprintf("v3:%d-%d", n, i)),
				}
				tp.says(call.TypeHangup, call.Ref{Control: r.Control}) // an orphan first
				tp.says(call.TypeInitiated, r)
				tp.answer(r, ended(1))
			}
			tp.run(time.Now().Add(10*time.Second), nil)
			tp.table.SetFloor(tp.last())
			tp.before, tp.log, tp.events, tp.changed = tp.last(), nil, nil, nil
			pass(rules.AmendWindow + 2*time.Minute)
			for {
				checks, wait, _ := tp.table.Due(100)
				if len(checks) == 0 && wait > 0 {
					break
				}
			}
			if got := counted(tp.table); got != (session.Stats{Sessions: 1, Legs: 1, OpenSessions: 1, OpenLegs: 1}) {
				t.Fatalf("left: %+v", got)
			}
		}
		round(0)
		before := heap()
		for n := range 4 {
			round(n + 1)
		}
		// 20,000 sessions of some 2 KiB would be 40 MB.
		grown := int64(heap()) - int64(before)
		if grown > 2<<20 {
			t.Errorf("%d bytes are still held", grown)
		}
		if got := tp.table.Needed(); got != 1 {
			t.Errorf("the log is needed from %d; want 1", got)
		}
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestOrphansFindTheirLeg(t *testing.T) {
	full := ref(0)
	bare := call.Ref{Session: full.Session, Leg: full.Leg}
	byControl := call.Ref{Control: full.Control}
	for name, refs := range map[string][]call.Ref{
		"a control id that the leg's first event names":    {byControl, full},
		"a control id that a later event of the leg names": {byControl, bare, full},
		"a leg id": {{Leg: full.Leg}, full},
		"a control id that only an orphan of the leg names":  {byControl, {Leg: full.Leg, Control: full.Control}, bare},
		"session and control id":                             {{Session: "s", Control: full.Control}, full},
		"session and control id, stated by an orphan":        {{Session: "s", Control: full.Control}, {Leg: full.Leg, Control: full.Control}, bare},
		"a second control id of the leg":                     {{Control: "v3:alias"}, full, {Session: "s", Leg: full.Leg, Control: "v3:alias"}},
		"a control id that comes after the leg was known":    {full, byControl},
		"session and control id after the leg was known":     {full, {Session: "s", Control: full.Control}},
		"a second control id after the leg was known by two": {full, {Session: "s", Leg: full.Leg, Control: "v3:alias"}, {Control: "v3:alias"}},
	} {
		t.Run(name, func(t *testing.T) {
			tp := newTape(t)
			for _, r := range refs {
				tp.says(call.TypeAnswered, r)
			}
			v := tp.view("s")
			if l := tp.leg(full); len(l.Events) != len(refs) || len(v.Events) != 0 || tp.table.Stats().Orphans != 0 {
				t.Errorf("the leg has %d of %d events, the session %d, %d are orphans",
					len(l.Events), len(refs), len(v.Events), tp.table.Stats().Orphans)
			}
			if v.FirstAt != tp.log[0].ReceivedAt {
				t.Errorf("first received at %v; want %v", v.FirstAt, tp.log[0].ReceivedAt)
			}
		})
	}
}

func TestAControlIDOfTwoSessionsLeadsToTheLegOfTheSessionThatIsNamed(t *testing.T) {
	a, b := ref(0), ref(1)
	b.Session, b.Control = "other", a.Control
	for name, refs := range map[string][]call.Ref{
		"stated after both legs were known":  {a, b, {Session: "other", Control: a.Control}},
		"stated before the leg was known":    {a, {Session: "other", Control: a.Control}, b},
		"stated before either leg was known": {{Session: "other", Control: a.Control}, a, b},
	} {
		t.Run(name, func(t *testing.T) {
			tp := newTape(t)
			for _, r := range refs {
				tp.says(call.TypeAnswered, r)
			}
			if got := len(tp.leg(b).Events); got != 2 {
				t.Errorf("%d events of the leg; want 2", got)
			}
		})
	}
}

func TestWhereEventsDisagreeTheFirstByOccurrenceStands(t *testing.T) {
	first, second := ref(0), ref(0)
	second.Control, second.Connection = "v3:other", "2"
	for name, secondFirst := range map[string]bool{
		"received in order of occurrence":    false,
		"received against the order of time": true,
	} {
		t.Run(name, func(t *testing.T) {
			tp := newTape(t)
			a := call.Event{Type: call.TypeInitiated, Ref: first, OccurredAt: epoch}
			b := call.Event{Type: call.TypeAnswered, Ref: second, OccurredAt: epoch.Add(time.Second)}
			if secondFirst {
				a, b = b, a
			}
			tp.event(a)
			tp.event(b)
			if l := tp.leg(first); l.Control != first.Control || l.Connection != first.Connection {
				t.Errorf("control %s of connection %s; want %s of %s", l.Control, l.Connection, first.Control, first.Connection)
			}
			for _, c := range []call.ControlID{first.Control, second.Control} {
				if p := tp.table.Place(call.Ref{Control: c}); p.Leg != first.Leg {
					t.Errorf("control id %s leads to leg %q", c, p.Leg)
				}
			}
		})
	}
}

func TestEventsThatNameNothingAreOrphans(t *testing.T) {
	tp := newTape(t)
	tp.says(call.TypeInitiated, ref(0))
	tp.event(call.Event{})
	tp.event(call.Event{Type: call.TypeHangup, Ref: call.Ref{Connection: "1"}})
	survives(t, tp)
	if got := counted(tp.table); got != (session.Stats{Sessions: 1, Legs: 1, OpenSessions: 1, Orphans: 2}) {
		t.Errorf("%+v", got)
	}
}

func TestATablePlacesEntries(t *testing.T) {
	tp := newTape(t)
	r := ref(0)
	check := func(want session.Place, refs ...call.Ref) {
		t.Helper()
		want.Position = tp.last()
		for _, ref := range refs {
			if diff := gocmp.Diff(want, tp.table.Place(ref)); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", ref, diff)
			}
		}
	}
	all := []call.Ref{r, {Leg: r.Leg}, {Control: r.Control}, {Session: "s", Control: r.Control}}
	check(session.Place{Idle: true}, all...)
	tp.says(call.TypeAnswered, r)
	check(session.Place{Session: "s", Leg: r.Leg}, all...) // its history has no beginning
	tp.says(call.TypeInitiated, r)
	check(session.Place{Session: "s", Leg: r.Leg, Idle: true}, all...)
	check(session.Place{Session: "s", Idle: true}, call.Ref{Session: "s"}, call.Ref{Session: "s", Leg: "other"})
	check(session.Place{Idle: true}, call.Ref{Session: "other"}, call.Ref{Leg: "other"}, call.Ref{Control: "other"},
		call.Ref{}, call.Ref{Connection: r.Connection}, call.Ref{Leg: "other", Control: r.Control})
	tp.says(call.TypeHangup, r)
	check(session.Place{Session: "s", Leg: r.Leg}, all...)
	check(session.Place{Session: "s", Idle: true}, call.Ref{Session: "s"})
	tp.check(session.Check{Kind: session.CheckSettle, Session: "s", Upto: tp.last()})
	check(session.Place{Session: "s"}, call.Ref{Session: "s"})
}

func TestALegIsOverForWhoeverAsksByAnyOfItsIDs(t *testing.T) {
	tp := newTape(t)
	first, second := ref(0), ref(1)
	over := func(want bool, when string, refs ...call.Ref) {
		t.Helper()
		for _, r := range refs {
			got := tp.table.Standing(r)
			if got.Over != want || got.Position != tp.last() || got.Known != (tp.last() > 0) {
				t.Errorf("%s: %+v stands %+v, want over %t at %d", when, r, got, want, tp.last())
			}
		}
	}
	all := []call.Ref{first, {Leg: first.Leg}, {Control: first.Control}, {Session: "s", Control: first.Control}}
	over(false, "before anything", append(all, call.Ref{Session: "s"})...)
	tp.says(call.TypeInitiated, first)
	tp.says(call.TypeInitiated, second)
	over(false, "while both live", append(all, call.Ref{Session: "s"})...)
	tp.says(call.TypeHangup, first)
	over(true, "after its hangup", all...)
	over(false, "while the other lives", second, call.Ref{Session: "s"})
	over(false, "of which nothing is known", call.Ref{Session: "s", Leg: "another"})
	tp.says(call.TypeHangup, second)
	over(true, "after both hangups", second, call.Ref{Session: "s", Control: "another"})
	over(false, "when a conference may go on that it has created", call.Ref{Session: "s"})
}

func TestASessionThatIsPackedWhileLateNewsComesIsNoSecondOne(t *testing.T) {
	tp := newTape(t)
	tp.finished(ref(0))
	packed := tp.table.PackBefore(func() { tp.says(call.TypeCost, ref(0)) })
	if st := tp.table.Stats(); packed != 1 || st.Sessions != 1 {
		t.Errorf("%d were packed, and there are %d sessions; want 1", packed, st.Sessions)
	}
	if got := len(tp.leg(ref(0)).Events); got != 4 {
		t.Errorf("its leg has %d events; want 4", got)
	}
	answer := call.Entry{Topic: call.TopicStatus, ID: "learned", Ref: ref(0)}
	a := ended(2)
	a.Session, a.Leg = ref(0).Session, ref(0).Leg
	answer.Data = encode(t, a)
	tp.table.PackBefore(func() {
		if _, known := tp.table.Learn(answer); !known {
			t.Error("nothing is learned of it")
		}
	})
}

func TestAPackedSessionThatCannotBeReadBackIsForgotten(t *testing.T) {
	tp := newTape(t)
	gone, said := errors.New("the disk is damaged"), error(nil)
	table := session.New(session.Config{
		Rules:      tp.rules,
		Decode:     func(call.Entry) (call.Event, error) { return tp.events[0], nil },
		Read:       func([]uint64) ([]*call.Entry, error) { return nil, gone },
		Unreadable: func(err error) { said = err },
	})
	table.Restart(call.Log{ID: "log", First: 1})
	tp.says(call.TypeHangup, ref(0))
	table.Fold(tp.log[0])
	if n := table.PackAll(); n != 1 {
		t.Fatalf("%d sessions are packed", n)
	}
	if st := table.Stats(); st.Sessions != 1 || st.Legs != 1 || table.Needed() != 1 {
		t.Errorf("with a packed session the table holds %+v, and needs the log from %d", st, table.Needed())
	}
	late := tp.log[0]
	late.Seq = 2
	table.Fold(late)
	if !errors.Is(said, gone) {
		t.Errorf("it was said: %v", said)
	}
	v, ok := table.View("s")
	if !ok || v.Epoch != 2 || len(v.Legs) != 1 {
		t.Errorf("what came late makes %+v, %t; want a session that begins with it", v, ok)
	}
	if st := table.Stats(); st.Sessions != 1 || table.Needed() != 2 {
		t.Errorf("the table holds %+v, and needs the log from %d", st, table.Needed())
	}
}

func TestAPackedSessionThatIsToBePublishedIsTriedToBeReadForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.finished(ref(0))
		tp.probe()
		gone, said := errors.New("the disk is damaged"), error(nil)
		table := session.New(session.Config{
			Rules:      tp.rules,
			Decode:     func(call.Entry) (call.Event, error) { return tp.events[0], nil },
			Read:       func([]uint64) ([]*call.Entry, error) { return nil, gone },
			Unreadable: func(err error) { said = err },
		})
		tp.follow(table)
		for range 60 {
			if p := table.Place(ref(0)); !p.Unread || p.Session != "" || said != nil || table.Packed() != 1 || table.Unusable(1) != nil {
				t.Fatalf("it is at %+v, and it was said: %v", p, said)
			}
			pass(time.Second)
		}
		if p := table.Place(ref(0)); p.Unread || !errors.Is(said, gone) || table.Packed() != 0 || table.Tally().Pending != 0 {
			t.Errorf("after a minute it is at %+v, and it was said: %v; %+v", p, said, table.Tally())
		}
		for seq := range tp.last() - 1 {
			if table.Unusable(seq+1) == nil {
				t.Errorf("the task of entry %d would be taken for done", seq+1)
			}
		}
	})
}

// The fold cannot wait for long, and what it reads next decides about late news: it tries a few times more.
func TestAPackedSessionThatIsToBePublishedOutlivesAReadThatFailsForLateNews(t *testing.T) {
	late := map[string]func(*tape, *session.Table){
		"folded": func(tp *tape, table *session.Table) {
			tp.says(call.TypeCost, ref(0))
			table.Fold(tp.log[len(tp.log)-1])
		},
		"learned": func(_ *tape, table *session.Table) {
			a := ended(2)
			a.Session, a.Leg = ref(0).Session, ref(0).Leg
			if _, known := table.Learn(call.Entry{Topic: call.TopicStatus, ID: "learned", Ref: ref(0), Data: encode(t, a)}); !known {
				t.Error("nothing is learned of it")
			}
		},
	}
	for name, comes := range late {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.finished(ref(0))
				tp.probe()
				table, failing := tp.failing()
				tp.follow(table)
				*failing = 1
				comes(tp, table)
				if p := table.Place(ref(0)); p.Unread || p.Session != "s" || *failing != 0 {
					t.Errorf("it is at %+v, and %d reads are still to fail", p, *failing)
				}
				if err, pending := table.Unusable(1), table.Tally().Pending; err != nil || pending != 1 {
					t.Errorf("the task of its first entry would be parked for %v; %d legs are to be published", err, pending)
				}
			})
		})
	}
}

func TestReadsThatFailFarApartForgetNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.finished(ref(0))
		tp.probe()
		table, failing := tp.failing()
		tp.follow(table)
		for range 3 {
			*failing = 1
			if p := table.Place(ref(0)); !p.Unread || table.Packed() != 1 {
				t.Fatalf("it is at %+v", p)
			}
			pass(2 * time.Minute)
		}
		if p := table.Place(ref(0)); p.Unread || p.Session != "s" {
			t.Errorf("when it can be read it is at %+v", p)
		}
	})
}

// failing returns another table for the same log, and how many of its next reads fail.
func (tp *tape) failing() (table *session.Table, reads *int) {
	reads = new(int)
	cfg := tp.config()
	cfg.Unreadable = nil
	cfg.Read = func(seqs []uint64) ([]*call.Entry, error) {
		if *reads > 0 {
			*reads--
			return nil, errors.New("too many open files")
		}
		return tp.read(seqs)
	}
	return session.New(cfg), reads
}

package session_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// world is calls, the provider's status API and a queue with a worker that does
// with its tasks what the fold supposes of it. Everything happens at a time of its own.
type world struct {
	*tape
	t      *choices
	coming []deed
	ends   map[call.LegID]time.Time
	last   map[call.SessionID]session.View
	// lossy tasks vanish, as when they are parked.
	lossy bool
	lost  map[call.LegID]int
	tasks int // under way
	steps int
}

type deed struct {
	at time.Time
	do func()
}

func (w *world) in(d time.Duration, do func()) {
	at := time.Now().Add(d)
	i, _ := slices.BinarySearchFunc(w.coming, at, func(d deed, at time.Time) int {
		if d.at.After(at) {
			return 1
		}
		return -1
	})
	w.coming = slices.Insert(w.coming, i, deed{at, do})
}

func (w *world) seconds(most int) time.Duration { return time.Duration(w.t.upTo(most)) * time.Second }

// call plans one leg's webhooks, in half of the calls some late, some lost, some naming only a part of its ids.
func (w *world) call(r call.Ref) {
	plain := w.t.upTo(1) == 1
	start := w.seconds(100)
	length := w.seconds(60) * time.Duration(1+119*w.t.upTo(1))
	w.ends[r.Leg] = time.Now().Add(start + length)
	at := []time.Duration{start, start + length/2, start + length, start + length}
	for i, typ := range []string{call.TypeInitiated, call.TypeAnswered, call.TypeHangup, call.TypeCost} {
		named := r
		disturbance := 9
		if !plain {
			disturbance = w.t.upTo(9)
		}
		switch disturbance {
		case 0:
			named.Session, named.Leg = "", ""
		case 1:
			named.Leg = ""
		case 2:
			named.Session = ""
		case 3:
			named.Control = ""
		case 4: // lost
			if typ != call.TypeAnswered {
				continue
			}
		}
		ev := call.Event{ID: fmt.Sprint(r.Leg, i), Type: typ, Ref: named, OccurredAt: time.Now().UTC().Add(at[i])}
		for attempt := range 1 + w.t.upTo(1) {
			late := w.seconds(3)
			if plain && attempt > 0 {
				break
			}
			if !plain && w.t.upTo(5) == 0 {
				late = w.seconds(600)
			}
			ev.Attempt = attempt + 1
			again := ev
			w.in(at[i]+late, func() { w.event(again) })
		}
	}
}

// api is what the provider would say about a leg now.
func (w *world) api(r call.Ref, attempt int) session.Answer {
	since := time.Since(w.ends[r.Leg])
	switch w.t.upTo(9) {
	case 0:
		return unreachable(attempt)
	case 1:
		if since < 0 {
			return dead(attempt) // not dialled yet, it says
		}
	}
	switch {
	case since < 2*time.Second:
		return alive(attempt)
	case since < 10*time.Minute:
		a := ended(attempt)
		a.EndTime = w.ends[r.Leg].UTC()
		return a
	}
	return notFound(attempt, w.table.Proven(r.Connection))
}

func (w *world) ask(r call.Ref, attempt int) {
	w.tasks++
	w.in(w.seconds(3), func() {
		w.tasks--
		a := w.api(r, attempt)
		w.answer(r, a)
	})
}

// work is what becomes of the task of one entry.
func (w *world) work(e call.Entry) {
	w.tasks--
	place := w.table.Place(e.Ref)
	if place.Session == "" || place.Idle && e.Topic != call.TopicCheck {
		return
	}
	v, ok := w.table.View(place.Session)
	if !ok {
		w.t.Fatalf("a session was forgotten while entry %d was with a worker", e.Seq)
	}
	l, ok := v.Leg(place.Leg)
	if !ok || l.Control == "" || l.Confirmed != nil {
		return
	}
	if w.lossy && w.t.upTo(3) == 0 {
		w.lost[l.ID]++
		return
	}
	r := call.Ref{Session: v.ID, Leg: l.ID, Control: l.Control, Connection: l.Connection}
	switch e.Topic {
	case call.TopicEvent + call.TypeHangup:
		if l.Ending == session.ByHangup && l.AskedSince == 0 {
			w.ask(r, l.Asked+1)
		}
	case call.TopicCheck:
		var c session.Check
		if err := json.Unmarshal(e.Data, &c); err != nil {
			w.t.Fatal(err)
		}
		if c.Kind == session.CheckStatus && c.Attempt > l.Asked {
			w.ask(r, c.Attempt)
		}
	}
}

// step folds what is new in the log into what the test knows, and queues its tasks.
func (w *world) step(from int) {
	for _, e := range w.log[from:] {
		w.tasks++
		w.in(time.Second+w.seconds(2), func() { w.work(e) })
	}
	for _, id := range w.changed {
		if v, ok := w.table.View(id); ok {
			w.last[id] = v
			w.publish(&v)
		}
	}
	w.changed = w.changed[:0]
}

// publish is what becomes of a session that is over.
func (w *world) publish(v *session.View) {
	if !v.Over {
		return
	}
	for _, l := range v.Legs {
		w.table.Published(v.ID, l.ID, 1)
	}
	w.table.Published(v.ID, "", 1)
}

// run lets the world go on until nothing is planned and nothing becomes due before the given time.
func (w *world) run(until time.Time) {
	for {
		w.steps++
		from := len(w.log)
		checks, wait, _ := w.table.Due(4)
		w.t.packed += w.table.Packed()
		for _, c := range checks {
			w.check(c)
		}
		for len(w.coming) > 0 && !w.coming[0].at.After(time.Now()) {
			do := w.coming[0].do
			w.coming = w.coming[1:]
			do()
		}
		w.step(from)
		if len(w.log) > from {
			continue
		}
		if w.tasks == 0 {
			w.table.SetFloor(w.tape.last())
		}
		next := min(max(wait, time.Millisecond), time.Until(until))
		if len(w.coming) > 0 {
			next = min(next, time.Until(w.coming[0].at))
		}
		if next <= 0 && !time.Now().Before(until) {
			return
		}
		pass(max(next, 0))
	}
}

// isKnownInTime reports whether there was time for three checks of a leg's status when the first entry named it: its
// hangup can have waited, known by its control id alone, until the window was nearly over.
func (w *world) isKnownInTime(v *session.View, l *session.LegView) bool {
	for _, e := range w.log {
		if e.Seq >= v.Epoch && e.Ref.Leg == l.ID {
			return l.Until.Sub(e.ReceivedAt) > 5*time.Minute
		}
	}
	return false
}

// compare holds a table that reads the log only now against the one that followed it.
func (w *world) compare() {
	other := w.replay()
	w.t.skimmed += other.Packed()
	for id := range w.last {
		live, ok := w.table.View(id)
		replayed, _ := other.View(id)
		if !ok || live.FirstAt.After(replayed.FirstAt) {
			continue // it was forgotten, and perhaps came back; who replays remembers it for a while
		}
		for _, v := range []*session.View{&live, &replayed} {
			*v = unversioned(*v)
			v.Position, v.Revision = 0, 0
			for i := range v.Legs {
				v.Legs[i].Revision = 0
			}
		}
		if diff := gocmp.Diff(live, replayed); diff != "" {
			w.t.Fatalf("session %s (-live +replayed):\n%s", id, diff)
		}
	}
}

func TestEveryCallComesToAnEnd(t *testing.T) {
	for name, lossy := range map[string]bool{"with a queue that does its work": false, "with a queue that loses tasks": true} {
		t.Run(name, func(t *testing.T) {
			packed, skimmed := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				c := &choices{
					drawn: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "choices"),
					more:  rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)),
				}
				// A bubble for each: what rapid measures its own time by must not pass in days.
				synctest.Test(t, func(*testing.T) {
					defer func() {
						if p := recover(); p != nil && p != any(failed{}) {
							panic(p)
						}
					}()
					testLife(c, lossy)
				})
				if c.failure != "" {
					rt.Fatal(c.failure)
				}
				packed += c.packed
				skimmed += c.skimmed
			})
			if packed == 0 || skimmed == 0 {
				t.Errorf("%d sessions were packed, %d in replays", packed, skimmed)
			}
		})
	}
}

// choices are drawn outside the bubble, and failures are reported outside it:
// rapid must stay in its own goroutine.
type choices struct {
	drawn   []byte
	more    *rand.Rand // when drawn is used up
	failure string
	packed  int // how many sessions were, at each step
	skimmed int // how many were by a look at the log, before a replay
}

func (c *choices) upTo(most int) int {
	if len(c.drawn) == 0 {
		return c.more.IntN(most + 1)
	}
	n := int(c.drawn[0])
	if c.drawn = c.drawn[1:]; most > 255 {
		n *= most / 255
	}
	return n % (most + 1)
}

func (c *choices) Helper()           {}
func (c *choices) Fatal(args ...any) { c.Fatalf("%s", fmt.Sprint(args...)) }
func (c *choices) Fatalf(format string, args ...any) {
	c.Errorf(format, args...)
	panic(failed{})
}

type failed struct{}

func (c *choices) Errorf(format string, args ...any) {
	c.failure += fmt.Sprintf(format, args...) + "\n"
}

func testLife(t *choices, lossy bool) {
	w := &world{
		t: t, ends: make(map[call.LegID]time.Time), last: make(map[call.SessionID]session.View),
		lossy: lossy, lost: make(map[call.LegID]int),
	}
	w.tape = newTapeOf(t)
	w.probe()
	begin := time.Now()
	for s := range 1 + t.upTo(1) {
		for l := range 1 + t.upTo(1) {
			r := call.Ref{
				Session: call.SessionID(fmt.Sprint("s", s)), Leg: call.LegID(fmt.Sprint("s", s, "l", l)),
				Control: call.ControlID(fmt.Sprint("v3:", s, l)), Connection: "1",
			}
			w.call(r)
		}
	}
	for range t.upTo(3) {
		w.run(time.Now().Add(w.seconds(2000)))
		w.compare()
	}
	// A replay is shortened most where calls are over and none is forgotten.
	for w.table.Packed() == 0 && time.Since(begin) < time.Hour {
		w.run(time.Now().Add(20 * time.Second))
	}
	w.compare()
	w.run(begin.Add(24 * time.Hour))
	if st := w.table.Stats(); st != (session.Stats{}) {
		t.Fatalf("after a day the table still holds %+v", st)
	}
	if got, want := w.table.Needed(), w.tape.last()+1; got != want {
		t.Fatalf("the log is needed from %d; want %d", got, want)
	}
	for id, v := range w.last {
		if len(v.Legs) > 0 && (!v.Over || v.Settles == 0) {
			t.Errorf("session %s was never over", id)
		}
		for _, l := range v.Legs {
			if l.Ending == session.NotOver {
				t.Errorf("leg %s was forgotten alive", l.ID)
			}
			if !l.Final && w.lost[l.ID] == 0 {
				t.Errorf("leg %s: nothing of it was lost, and yet asking about it never came to an end", l.ID)
			}
			if l.Ending == session.ByHangup && l.Control != "" && l.Confirmed == nil && l.AskedSince == 0 && w.lost[l.ID] < 3 && w.isKnownInTime(&v, &l) {
				t.Errorf("leg %s hung up and was never asked about", l.ID)
			}
			if l.Asked > 90 {
				t.Errorf("leg %s was asked about %d times", l.ID, l.Asked)
			}
		}
	}
}

// closesAfter is when the asking about a leg has ended at the latest, counted from its end.
const closesAfter = lastAttempt + time.Minute

func rateLimited(n int) session.Answer {
	return session.Answer{Answer: status.Answer{Attempt: n, Result: status.RateLimited}}
}

// Whoever gets no answer, or only some, or none in the end: when its window is over a leg is final, by the log alone.
func TestEveryLegIsFinalWhenItsWindowIsOver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		answers := rapid.SliceOfN(rapid.SampledFrom([]func(int) session.Answer{nil, alive, unreachable, rateLimited}), 1, 12).Draw(rt, "answers")
		hangupFirst := rapid.Bool().Draw(rt, "the hangup's task asks")
		failure := ""
		synctest.Test(t, func(t *testing.T) {
			tp := newTape(t)
			tp.says(call.TypeInitiated, ref(0))
			pass(20 * time.Second)
			tp.says(call.TypeHangup, ref(0))
			end := time.Now()
			n := 0
			next := func(r call.Ref, attempt int) {
				answer := answers[min(n, len(answers)-1)]
				if n++; answer != nil {
					tp.answer(r, answer(attempt))
				}
			}
			if pass(time.Second); hangupFirst {
				next(ref(0), 1)
			}
			all := tp.run(end.Add(time.Hour), func(c session.Check) {
				if c.Kind == session.CheckStatus {
					next(c.Ref(), c.Attempt)
				}
			})
			if !tp.leg(ref(0)).Final {
				failure = fmt.Sprintf("an hour after its end it is not final; checks %v", all)
			}
			for _, c := range all {
				if after := c.at.Sub(end); c.Kind == session.CheckStatus && after > closesAfter || c.Kind == session.CheckClose && after != closesAfter {
					failure = fmt.Sprintf("%s %v after the end; want all over after %v", c.Kind, after, closesAfter)
				}
			}
			if v, _ := tp.replay().View("s"); !v.Legs[0].Final {
				failure = "by the log alone it is not final"
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

func TestALegThatNobodyAskedAboutIsClosedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		tp.says(call.TypeHangup, ref(0))
		end := time.Now()
		all := tp.run(end.Add(time.Hour), nil)
		if l := tp.leg(ref(0)); !l.Final || l.AskedSince != 0 {
			t.Errorf("final %t after %d answers", l.Final, l.AskedSince)
		}
		checks := onlyStatus(all)
		if len(checks) < 3 || len(checks) > 7 || checks[0].at.Sub(end) != time.Minute {
			t.Errorf("checks %v; want one a minute after the end, and some that make up for a place that was lost", checks)
		}
		if closes := of(all, session.CheckClose); len(closes) != 1 || closes[0].at.Sub(end) != closesAfter {
			t.Errorf("closed by %v; want once, %v after the end", closes, closesAfter)
		}
	})
}

func TestInAShortWindowALegIsLookedForInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		short := rules
		short.StatusWindow = time.Minute
		tp.rules = short
		tp.table = tp.newTable()
		tp.table.Restart(call.Log{ID: "short", First: 1})
		tp.says(call.TypeInitiated, ref(0))
		tp.says(call.TypeHangup, ref(0))
		end := time.Now()
		checks := onlyStatus(tp.run(end.Add(time.Hour), nil))
		if len(checks) < 3 || checks[2].at.Sub(end) > short.StatusWindow {
			t.Errorf("checks %v; want three within %v", checks, short.StatusWindow)
		}
		if !tp.leg(ref(0)).Final {
			t.Error("it is not final")
		}
	})
}

func TestAnAttemptIsWantedUntilThereIsNoTimeForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp, end := hungUp(t, nil)
		wants := func(attempt int) bool { return tp.table.Wants("s", ref(0).Leg, attempt) }
		if !wants(1) || tp.table.Wants("s", "another", 1) || tp.table.Wants("another", ref(0).Leg, 1) {
			t.Error("at first only its own attempt is wanted")
		}
		tp.answer(ref(0), alive(1))
		if wants(1) || !wants(2) {
			t.Error("after an answer the next attempt is wanted")
		}
		tp.run(end.Add(closesAfter-status.MaxTimeout-time.Second), nil)
		if !wants(9) {
			t.Error("not wanted while there is time for an answer")
		}
		pass(time.Second)
		if wants(9) {
			t.Error("still wanted though an answer could come too late")
		}
		tp.answer(ref(0), ended(9))
		if wants(10) {
			t.Error("wanted after a confirmation")
		}
	})
}

// The clock of the log is the leader's: another leader's may be hours ahead. That is no silence of a leg.
func TestALegIsNotExpiredUnaskedWhenTheLogsClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		tp.probe()
		tp.ahead = 5 * time.Hour
		tp.probe()
		all := tp.run(time.Now().Add(10*time.Minute), func(c session.Check) {
			if c.Kind == session.CheckStatus {
				tp.answer(c.Ref(), alive(c.Attempt))
			}
		})
		if expired := of(all, session.CheckExpire); len(expired) > 0 || tp.leg(ref(0)).Ending != session.NotOver {
			t.Errorf("it was closed by %v", expired)
		}
	})
}

func TestTheMemoryOfALegDoesNotGrowWithItsSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		n := 0
		for range 4 {
			tp.run(time.Now().Add(55*time.Minute), func(c session.Check) {
				if n++; n%5 == 0 {
					tp.answer(c.Ref(), unreachable(c.Attempt))
				} else {
					tp.answer(c.Ref(), alive(c.Attempt))
				}
			})
		}
		l := tp.leg(ref(0))
		if n < 40 || l.Asked != n || l.Last.Attempt != n || len(l.Answers) > 7 {
			t.Errorf("after %d answers %d are kept, and the last attempt is %d", n, len(l.Answers), l.Asked)
		}
		pass(time.Second)
		tp.says(call.TypeHangup, ref(0))
		if l := tp.leg(ref(0)); l.AskedSince != 0 {
			t.Errorf("%d answers count as received since the end", l.AskedSince)
		}
		tp.answer(ref(0), session.Answer{Answer: status.Answer{Attempt: n + 1, Result: status.Answered, IsAlive: new(false)}})
		if l := tp.leg(ref(0)); l.Confirmed == nil {
			t.Error("that it was seen alive is forgotten")
		}
	})
}

// The clock of the log is the leader's: another leader's may be minutes behind. Nobody waits until it has caught up.
func TestNothingIsHeldBackWhenTheLogsClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		tp.says(call.TypeInitiated, ref(0))
		pass(28 * time.Second)
		tp.says(call.TypeHangup, ref(0))
		pass(3 * time.Second)
		before := tp.table.NowOf(ref(0).Session)
		tp.ahead = -10 * time.Minute
		tp.probe() // more than half a minute after the entry that the clock was counted from
		if back := before.Sub(tp.table.Now()); back < 9*time.Minute {
			t.Fatalf("the clock was set back by %v", back)
		}
		if now := tp.table.NowOf(ref(0).Session); now.Before(before) {
			t.Errorf("for the work on the session it is %v, %v before what it was", now, before.Sub(now))
		}
		settled := time.Time{}
		tp.run(time.Now().Add(time.Minute), func(c session.Check) {
			if c.Kind == session.CheckSettle && settled.IsZero() {
				settled = time.Now()
			}
		})
		if settled.IsZero() {
			t.Error("the session is not found quiet within a minute")
		}
	})
}

package enrich_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

func TestDecideFirst(t *testing.T) {
	at := func(d time.Duration) time.Time { return callStart.Add(d) }
	confirmed := &session.Received{}
	for name, c := range map[string]struct {
		view   session.LegView
		owner  bool
		after  time.Duration // since it is over
		reason string
		until  time.Duration // 0: acts, or nothing to wait for
	}{
		"a live leg":                            {session.LegView{}, true, time.Hour, "not_over", 0},
		"settling":                              {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, true, 999 * time.Millisecond, "settling", time.Second},
		"settled and confirmed":                 {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, true, time.Second, "confirmed", 0},
		"settled and final":                     {session.LegView{Ending: session.Gone, Final: true}, true, time.Second, "final", 0},
		"waiting for the status":                {session.LegView{Ending: session.ByHangup}, true, 9 * time.Second, "awaiting_status", 10 * time.Second},
		"at the deadline":                       {session.LegView{Ending: session.ByHangup}, true, 10 * time.Second, "deadline", 0},
		"another's leg settles longer":          {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, false, time.Second, "settling", 3 * time.Second},
		"another's leg, settled":                {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, false, 3 * time.Second, "confirmed", 0},
		"another's leg has a later deadline":    {session.LegView{Ending: session.ByHangup}, false, 11 * time.Second, "awaiting_status", 12 * time.Second},
		"another's leg, past the late deadline": {session.LegView{Ending: session.ByHangup}, false, 12 * time.Second, "deadline", 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.view
			v.Since = callStart
			got := enrich.DecideFirst(&v, timing, c.owner, at(c.after))
			wantAct := c.until == 0 && c.view.Ending != session.NotOver
			if got.Reason() != c.reason || got.Act() != wantAct || c.until > 0 && !got.Until().Equal(at(c.until)) || c.until == 0 && !got.Until().IsZero() {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestADeadlineBeforeTheSettleTimeWaitsForIt(t *testing.T) {
	v := session.LegView{Ending: session.ByHangup, Since: callStart}
	short := enrich.Timing{Settle: 5 * time.Second, StatusDeadline: time.Second}
	if got := enrich.DecideFirst(&v, short, true, callStart.Add(2*time.Second)); got.Act() {
		t.Errorf("got %+v", got)
	}
	if got := enrich.DecideFirst(&v, short, true, callStart.Add(5*time.Second)); !got.Act() {
		t.Errorf("got %+v", got)
	}
}

func TestDecideAmend(t *testing.T) {
	if got := enrich.DecideAmend(callStart, callStart.Add(1999*time.Millisecond)); got.Act() || !got.Until().Equal(callStart.Add(2*time.Second)) {
		t.Errorf("collecting: %+v", got)
	}
	if got := enrich.DecideAmend(callStart, callStart.Add(2*time.Second)); !got.Act() {
		t.Errorf("collected: %+v", got)
	}
	if got := enrich.DecideAmend(time.Time{}, callStart); !got.Act() {
		t.Errorf("news of no time: %+v", got)
	}
}

func TestDecideAsk(t *testing.T) {
	over := session.LegView{Control: "c", Ending: session.ByHangup, Since: callStart}
	with := func(change func(v *session.LegView)) session.LegView { v := over; change(&v); return v }
	for name, c := range map[string]struct {
		view    session.LegView
		hangup  bool
		check   int
		after   time.Duration
		attempt int
		until   time.Duration
	}{
		"after the settle time":                       {over, true, 0, time.Second, 1, 0},
		"not before it":                               {over, true, 0, 500 * time.Millisecond, 0, time.Second},
		"the next after those of the sweep":           {with(func(v *session.LegView) { v.Asked = 3 }), true, 0, time.Second, 4, 0},
		"once":                                        {with(func(v *session.LegView) { v.Asked, v.AskedSince = 1, 1 }), true, 0, time.Second, 0, 0},
		"not when it is confirmed":                    {with(func(v *session.LegView) { v.Confirmed = &session.Received{} }), true, 5, time.Second, 0, 0},
		"not without a control id":                    {with(func(v *session.LegView) { v.Control = "" }), true, 5, time.Second, 0, 0},
		"what a check asks for, at once":              {over, false, 4, 0, 4, 0},
		"not what was asked already":                  {with(func(v *session.LegView) { v.Asked, v.AskedSince = 4, 1 }), false, 4, time.Hour, 0, 0},
		"with another task when nobody has":           {over, false, 0, 12 * time.Second, 1, 0},
		"with another task not before others may":     {over, false, 0, 11 * time.Second, 0, 12 * time.Second},
		"not about a leg that is over in another way": {with(func(v *session.LegView) { v.Ending = session.Gone }), true, 0, time.Hour, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			attempt, until := enrich.DecideAsk(&c.view, timing, c.hangup, c.check, callStart.Add(c.after))
			if attempt != c.attempt || c.until > 0 && !until.Equal(callStart.Add(c.until)) || c.until == 0 && !until.IsZero() {
				t.Errorf("got %d, %v", attempt, until)
			}
		})
	}
}

func TestNewsSince(t *testing.T) {
	at := func(s int) time.Time { return callStart.Add(time.Duration(s) * time.Second) }
	v := &session.LegView{
		Events:  []*session.Event{{Seq: 9, ReceivedAt: at(9)}, {Seq: 2, ReceivedAt: at(2)}, {Seq: 6, ReceivedAt: at(6)}},
		Answers: []*session.Received{{Seq: 3, At: at(3)}, {Seq: 11, At: at(11)}, {Seq: 10, At: at(10)}},
	}
	for position, want := range map[uint64]time.Time{0: at(2), 2: at(6), 6: at(9), 9: at(11), 10: at(11), 11: {}} {
		if got := enrich.NewsSince(v, position); !got.Equal(want) {
			t.Errorf("after %d: %v, want %v", position, got, want)
		}
	}
}

// checksOf returns the checks that the log holds.
func (w *world) checksOf(kind session.CheckKind) []session.Check {
	w.t.Helper()
	var found []session.Check
	for _, e := range w.log.all() {
		var c session.Check
		if e.Topic != call.TopicCheck {
			continue
		}
		if err := json.Unmarshal(e.Data, &c); err != nil {
			w.t.Fatal(err)
		}
		if c.Kind == kind {
			found = append(found, c)
		}
	}
	return found
}

// Replicas that find the same thing due at the same time append it once: what
// names a check is in the log.
func TestOfSeveralReplicasOneAppendsACheck(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.log.untrimmed = true
		unreachedLeg, silentLeg, nameless := newLeg("s1", 1), newLeg("s2", 1), newLeg("s3", 1)
		nameless.control = ""
		w.status.answering(func(ref call.Ref, _ int) status.Answer {
			if ref.Leg == call.LegID(silentLeg.id) {
				return alive()
			}
			return unreachable()
		})
		w.lives(unreachedLeg)
		w.deliver(silentLeg.initiated())
		w.deliver(nameless.initiated())
		after(4*time.Hour + 16*time.Minute)
		for kind, atLeast := range map[session.CheckKind]int{session.CheckStatus: 50, session.CheckSettle: 2, session.CheckExpire: 1} {
			checks := w.checksOf(kind)
			if len(checks) < atLeast {
				t.Errorf("the log has %d checks of the kind %s", len(checks), kind)
			}
			seen := make(map[session.Check]int)
			for _, c := range checks {
				if seen[c]++; seen[c] == 2 {
					t.Errorf("the log has the check %+v more than once", c)
				}
			}
		}
	})
}

// What waits for its status is no task: however many such legs there are, the
// queue holds none of them, and the next call comes through.
func TestWhatIsDelayedDoesNotFillTheQueue(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.queue.atMost(40)
		waiting := make(map[string]bool)
		w.status.answering(func(ref call.Ref, _ int) status.Answer {
			if waiting[string(ref.Session)] {
				return unreachable()
			}
			return ended()
		})
		var legs []leg
		for i := range 30 {
			a := newLeg(fmt.Sprintf("waits%d", i), 1)
			waiting[a.session] = true
			legs = append(legs, a)
		}
		for _, a := range legs {
			w.lives(a)
		}
		// The deadline, and what a request about the status may take.
		after(timing.Settle + timing.StatusDeadline + 20*time.Second)
		if held := w.queue.held(); len(held) > 0 {
			t.Errorf("the queue holds the tasks %v of legs whose summaries are out", held)
		}
		for _, a := range legs {
			w.wantRevisions(a.key(), "1 completed")
			if got := w.legOf(a).Status.State; got != summary.StatusPending {
				t.Errorf("the status of leg %s is %v", a.id, got)
			}
		}
		for i := range 5 {
			b := newLeg(fmt.Sprintf("next%d", i), 1)
			begun := time.Now()
			w.lives(b)
			sleepUntil(begun, timing.Settle+2*time.Second)
			w.wantRevisions(b.key(), "1 completed")
			after(time.Minute)
		}
		after(12 * time.Minute)
		w.settled()
		for _, a := range legs {
			if got := w.legOf(a).Status; !got.Final {
				t.Errorf("in the end the status of leg %s is %+v", a.id, got)
			}
		}
	})
}

// A refused publication says only that something else stands there. What the
// loser knew and the winner did not must come out all the same.
func TestWhatTheLoserOfARaceKnowsComesOut(t *testing.T) {
	const (
		rival = 0 // is on its way first and for long, and knows nothing of the cost
		loser = 1 // knows the cost, and comes second
	)
	for _, tt := range []struct {
		name string
		// contested is the key and revision that both want to publish.
		contested func(a leg) summary.Key
		revision  int
		// slow is how long the rival's publication is on its way.
		slow time.Duration
		// begin brings the call so far that the rival is about to publish it.
		begin func(w *world, a leg)
	}{
		{"the first amendment of a leg", leg.key, 2, 4 * time.Second, func(w *world, a leg) {
			w.lives(a)
			after(20 * time.Second)
			w.deliver(a.recording(1))
			after(2200 * time.Millisecond)
		}},
		{"a session", leg.sessionKey, 1, 8 * time.Second, func(w *world, a leg) {
			w.lives(a)
			after(5200 * time.Millisecond)
		}},
		{"the first amendment of a session", leg.sessionKey, 2, 8 * time.Second, func(w *world, a leg) {
			w.lives(a)
			after(20 * time.Second)
			w.deliver(a.recording(1))
			after(5200 * time.Millisecond)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				a := newLeg("s1", 1)
				cost := uint64(math.MaxUint64)
				w.queue.routed(func(e call.Entry) *replica {
					if e.Seq < cost {
						return w.replicas[rival]
					}
					return w.replicas[loser]
				})
				w.sink.latency = func(r *replica, d summary.Draft) time.Duration {
					switch {
					case d.Key != tt.contested(a) || d.Revision != tt.revision:
						return 0
					case r == w.replicas[rival]:
						return tt.slow
					}
					return tt.slow + 200*time.Millisecond
				}
				tt.begin(w, a)
				w.queue.mu.Lock()
				cost = w.queue.next
				w.queue.mu.Unlock()
				w.deliver(a.cost("0.01"))
				// Without waiting for the check that finds the session quiet again.
				after(rules.SessionSettle - 100*time.Millisecond)
				if got := w.legOf(a); got.Cost == nil {
					t.Errorf("the leg has no cost: %v", w.revisions(a.key()))
				}
				w.settled()
				if _, _, refused := w.sink.counts(); refused == 0 {
					t.Error("nobody was refused: the race did not take place")
				}
				contested := w.sink.of(tt.contested(a))
				if len(contested) < tt.revision || contested[tt.revision-1].by != w.replicas[rival] {
					t.Errorf("the race went otherwise: %v", w.revisions(tt.contested(a)))
				}
				if got := w.sessionOf(a); got.Cost == nil || got.Legs[0].Revision != w.legOf(a).Revision {
					t.Errorf("the session does not know the leg's newest revision: %v", w.revisions(a.sessionKey()))
				}
			})
		})
	}
}

// Something that is being stored is in the way and cannot be read yet.
func TestARefusedPublicationIsTriedAgainAfterAPause(t *testing.T) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		t.Run(kind, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a, tries := newLeg("s1", 1), 0
				w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
					if d.Key.Kind == kind {
						if tries++; tries <= 5 {
							return inProcess
						}
					}
					return noFault
				})
				w.lives(a)
				after(5500 * time.Millisecond)
				if tries < 3 || tries > 7 {
					t.Errorf("it was tried %d times", tries)
				}
				w.settled()
				w.wantRevisions(a.key(), "1 completed")
				w.wantRevisions(a.sessionKey(), "1 completed")
				first := w.sink.of(summary.Key{Kind: kind, Session: a.session, Leg: map[string]string{summary.KindLeg: a.id}[kind]})[0]
				due := a.hungUp(w).Add(map[string]time.Duration{summary.KindLeg: timing.Settle, summary.KindSession: rules.SessionSettle}[kind])
				if late := first.at.Sub(due); late < 500*time.Millisecond || late > 3*time.Second {
					t.Errorf("5 refusals took %v", late)
				}
			})
		})
	}
}

// hungUp is when the log got the leg's hangup.
func (l leg) hungUp(w *world) time.Time {
	w.t.Helper()
	for _, e := range w.log.all() {
		if e.Topic == call.TopicEvent+call.TypeHangup && e.Ref.Leg == call.LegID(l.id) {
			return e.ReceivedAt
		}
	}
	w.t.Fatal("the log has no hangup")
	return time.Time{}
}

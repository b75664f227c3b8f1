package enrich_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

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

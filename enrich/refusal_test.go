package enrich_test

import (
	"math"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

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

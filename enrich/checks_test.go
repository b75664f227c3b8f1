package enrich_test

import (
	"encoding/json"
	"fmt"
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

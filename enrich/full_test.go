package enrich_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// fill makes the log one that has no room left, for as long as it has as much in it as now.
func (w *world) fill() {
	size := func() (n int) { // heartbeats are not counted: the world's go on
		for _, e := range w.log.entries {
			if e.Topic != call.TopicHeartbeat {
				n += len(e.Data)
			}
		}
		return n
	}
	w.log.mu.Lock()
	limit := size()
	w.log.mu.Unlock()
	w.log.refusing(func(*replica, call.Entry) error {
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		if size() >= limit {
			return fmt.Errorf("the log: %w", call.ErrFull)
		}
		return nil
	})
}

// remains are the topics of what is left in the log beside heartbeats.
func (w *world) remains() (topics []string) {
	for _, e := range w.log.all() {
		if e.Topic != call.TopicHeartbeat {
			topics = append(topics, e.Topic)
		}
	}
	return topics
}

// A log to which nothing can be added any more, not even what Legato itself learns, must not wait for that: what is
// over and quiet is published, forgotten and trimmed, at default times.
func TestAFullLogIsEmptyWhenItsCallsAreOver(t *testing.T) {
	const calls = 40
	for name, how := range map[string]struct {
		replicas int
		// hungUp: the log still took the hangups.
		hungUp bool
		answer func(call.Ref, int) status.Answer
		within time.Duration
		state  summary.StatusState
	}{
		"the status API answers":                              {1, true, nil, time.Hour, summary.StatusConfirmed},
		"the status API is away":                              {1, true, func(call.Ref, int) status.Answer { return unreachable() }, time.Hour, ""},
		"two replicas":                                        {2, true, nil, time.Hour, summary.StatusConfirmed},
		"the hangups are lost":                                {1, false, nil, time.Hour, summary.StatusConfirmed},
		"the hangups are lost and the status API is away":     {1, false, func(call.Ref, int) status.Answer { return unreachable() }, 6 * time.Hour, ""},
		"the hangups are lost and nobody knows the calls yet": {2, false, func(call.Ref, int) status.Answer { return notFound() }, 6 * time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.end()
				w.status.answering(how.answer)
				for range how.replicas {
					w.start()
				}
				var legs []leg
				for n := range calls {
					l := newLeg(fmt.Sprintf("s%d", n), n)
					legs = append(legs, l)
					w.deliver(l.initiated())
					w.deliver(l.answered())
					if how.hungUp {
						w.deliver(l.hangup())
					}
				}
				w.fill()
				after(how.within)
				for _, l := range legs {
					for _, k := range []summary.Key{l.key(), l.sessionKey()} {
						completed := 0
						for _, m := range w.sink.of(k) {
							if m.Revision == 1 {
								completed++
							}
						}
						if completed != 1 {
							t.Errorf("%s %s was completed %d times", k.Kind, k.Session, completed)
						}
					}
					if how.state != "" && !t.Failed() {
						if got := w.legOf(l).Status.State; got != how.state {
							t.Errorf("the status of %s is %s, want %s", l.id, got, how.state)
						}
					}
				}
				if left := w.remains(); len(left) > 0 {
					t.Errorf("%d entries are left in the log: %s", len(left), strings.Join(slices.Compact(slices.Sorted(slices.Values(left))), ", "))
				}
			})
		})
	}
}

// What is asked about legs that live, and what says no more than that they do or cannot be asked about, must take none of
// the room in which calls end; what is asked about legs that are over may.
func TestWhatIsAskedAboutLegsThatLiveIsMarkedAsASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		w.status.answering(func(_ call.Ref, n int) status.Answer {
			if n == 1 {
				return alive()
			}
			return unreachable()
		})
		w.start()
		l := newLeg("s", 1)
		w.deliver(l.initiated())
		after(12 * time.Minute)
		marked := func(from int) (swept, other int) {
			for _, e := range w.log.all()[from:] {
				switch {
				case e.Topic != call.TopicStatus && !strings.HasPrefix(e.ID, "check/status/"):
				case e.Sweep:
					swept++
				default:
					other++
				}
			}
			return swept, other
		}
		if swept, other := marked(0); swept < 4 || other != 0 {
			t.Errorf("of what was asked about a live leg %d entries are marked and %d are not", swept, other)
		}
		from := len(w.log.all())
		w.deliver(l.hangup())
		after(12 * time.Minute)
		if swept, other := marked(from); swept != 0 || other < 4 {
			t.Errorf("of what was asked about a leg that is over %d entries are marked and %d are not", swept, other)
		}
	})
}

// A session whose summaries could not be stored is not forgotten, however long its amend window is over: it is published
// when there is room, also where the log has none either, so that no task of the queue stands for it.
func TestNoSessionIsForgottenBeforeItsSummariesAreStored(t *testing.T) {
	for name, how := range map[string]struct {
		replicas int
		logFull  bool
	}{
		"one replica": {1, false}, "two replicas": {2, false}, "the log is full": {1, true}, "the log is full, two replicas": {2, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, how.replicas, func(w *world) {
				w.sink.failing(func(*replica, summary.Draft, int) fault { return noRoom })
				var legs []leg
				for n := range 4 {
					l := newLeg(fmt.Sprintf("s%d", n), n)
					legs = append(legs, l)
					w.deliver(l.initiated())
					w.deliver(l.hangup())
				}
				if how.logFull {
					w.fill()
				}
				after(2 * time.Hour) // the amend window is of 15 minutes
				w.sink.failing(nil)
				after(2 * time.Minute)
				for _, l := range legs {
					w.wantRevisions(l.key(), "1 completed")
					w.wantRevisions(l.sessionKey(), "1 completed")
				}
			})
		})
	}
}

// However long there is no room for a summary, its tasks stay with the replica that has them.
func TestTasksAreHeldWhileThereIsNoRoomForSummaries(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.sink.failing(func(*replica, summary.Draft, int) fault { return noRoom })
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		hangup := w.deliver(a.hangup()).Seq
		after(3 * time.Minute)
		if n := w.queue.deliveries(hangup); n != 1 {
			t.Errorf("the task of the hangup was handed out %d times", n)
		}
		w.sink.failing(nil)
		after(time.Minute)
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
	})
}

// An answer for which the log had no room is known to the replica that got it alone. The others take nothing back that was
// published by it.
func TestAConfirmationThatOneReplicaKnowsAloneIsNotTakenBack(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.status.answering(func(_ call.Ref, n int) status.Answer {
			if n == 1 {
				return ended()
			}
			return unreachable()
		})
		w.log.refusing(func(_ *replica, e call.Entry) error {
			if e.Topic == call.TopicStatus {
				return fmt.Errorf("the log: %w", call.ErrFull)
			}
			return nil
		})
		a := newLeg("s1", 1)
		w.lives(a)
		after(20 * time.Second)
		if got := w.legOf(a).Status.State; got != summary.StatusConfirmed {
			t.Fatalf("the status is %s: %v", got, w.revisions(a.key()))
		}
		w.log.refusing(nil)
		for n := range 12 {
			w.deliver(a.recording(n))
			after(10 * time.Second)
		}
		after(15 * time.Minute)
		for _, m := range w.sink.of(a.key()) {
			var l summary.Leg
			if err := json.Unmarshal(m.Body, &l); err != nil {
				t.Fatal(err)
			}
			if l.Status.State != summary.StatusConfirmed {
				t.Errorf("revision %d is %s: %v", m.Revision, l.Status.State, l.Reasons)
			}
		}
		if got := w.legOf(a); len(got.Recordings) != 12 {
			t.Errorf("%d recordings of 12", len(got.Recordings))
		}
		if got := w.sessionOf(a); got.StatusState != summary.StatusConfirmed {
			t.Errorf("the session is %s", got.StatusState)
		}
	})
}

package enrich_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

func TestACallIsSummarizedAfterItsSettleTimes(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(30 * time.Second)
		begun := time.Now()
		w.deliver(a.hangup())
		sleepUntil(begun, 999*time.Millisecond)
		if got := w.sink.all(); len(got) > 0 {
			t.Errorf("published before the settle time: %+v", got)
		}
		sleepUntil(begun, 1100*time.Millisecond)
		w.wantRevisions(a.key(), "1 completed")
		sleepUntil(begun, 4999*time.Millisecond)
		w.wantRevisions(a.sessionKey())
		sleepUntil(begun, 5100*time.Millisecond)
		w.wantRevisions(a.sessionKey(), "1 completed")
		w.settled()

		if got := w.legOf(a); got.Status.State != summary.StatusConfirmed || !got.Status.Final || got.Outcome != summary.OutcomeAnswered {
			t.Errorf("got %+v", got)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != 1 {
			t.Errorf("the status was asked for %d times", n)
		}
		if publishes, lasts, refused := w.sink.counts(); publishes != 2 || lasts != 0 || refused != 0 {
			t.Errorf("%d publications, %d readings, %d refusals, want 2, 0, 0", publishes, lasts, refused)
			t.Logf("read: %q; the tasks given back: %v", w.sink.readings, w.queue.naked)
		}
	})
}

// A task is acknowledged only when nothing of it is left to publish.
func TestATaskIsHeldUntilItsSummaryIsOut(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
			acked := func(topic string) bool {
				w.queue.mu.Lock()
				defer w.queue.mu.Unlock()
				for _, seq := range w.queue.acked {
					if e := w.log.entries[seq-1]; e.Topic == topic && e.Ref.Session == call.SessionID(d.Key.Session) {
						return true
					}
				}
				return false
			}
			if d.Key.Kind == summary.KindLeg && acked(call.TopicEvent+call.TypeHangup) {
				t.Error("the hangup was acknowledged before the leg was published")
			}
			if d.Key.Kind == summary.KindSession && acked(call.TopicCheck) {
				t.Error("the check was acknowledged before the session was published")
			}
			return noFault
		})
		w.lives(a)
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
	})
}

func TestACrashAfterPublishingPublishesNoSecondTime(t *testing.T) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		for _, when := range []struct {
			name string
			fault
		}{{"before", diesBefore}, {"after", diesAfter}} {
			t.Run(kind+" "+when.name, func(t *testing.T) {
				inWorld(t, 2, func(w *world) {
					a := newLeg("s1", 1)
					died := false
					w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
						if d.Key.Kind == kind && !died {
							died = true
							return when.fault
						}
						return noFault
					})
					w.lives(a)
					after(time.Minute)
					if !died {
						t.Error("nobody died")
					}
					w.settled()
					w.wantRevisions(a.key(), "1 completed")
					w.wantRevisions(a.sessionKey(), "1 completed")
				})
			})
		}
	}
}

func TestACrashOfTheOnlyReplicaIsMadeUpForByTheNext(t *testing.T) {
	for at := 100 * time.Millisecond; at < 8*time.Second; at += 300 * time.Millisecond {
		inWorld(t, 1, func(w *world) {
			a := newLeg("s1", 1)
			w.status.latency = func(call.Ref, int) time.Duration { return 700 * time.Millisecond }
			w.lives(a)
			after(at)
			w.replicas[0].kill()
			after(3 * time.Second)
			w.start()
			w.settled()
			// Where nobody had asked in time, the deadline is over when the next one gets the task.
			if got := w.revisions(a.key()); got[0] != "1 completed" || len(got) == 2 && got[1] != "2 amended status_confirmed" || len(got) > 2 {
				t.Errorf("killed after %v: %v", at, got)
			}
			if got := w.legOf(a).Status.State; got != summary.StatusConfirmed {
				t.Errorf("killed after %v: the status is %v", at, got)
			}
		})
	}
}

func TestALostAcknowledgementOfAPublicationMakesNoSecondOne(t *testing.T) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		for revision := 1; revision <= 3; revision++ {
			t.Run(fmt.Sprintf("%s %d", kind, revision), func(t *testing.T) {
				inWorld(t, 1, func(w *world) {
					a, lost := newLeg("s1", 1), 0
					w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
						if d.Key.Kind == kind && d.Revision == revision && lost < 1 {
							lost++
							return ackLost
						}
						return noFault
					})
					w.lives(a)
					after(20 * time.Second)
					w.deliver(a.recording(1))
					after(20 * time.Second)
					w.deliver(a.cost("0.0050"))
					w.settled()
					w.wantRevisions(a.key(), "1 completed", "2 amended recording", "3 amended cost")
					w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised", "3 amended leg_revised")
				})
			})
		}
	}
}

func TestOfTwoReplicasInARaceOneCompletes(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a := newLeg("s1", 1)
		// The first replica gets the hangup, and what it publishes takes longer than the other's patience.
		w.queue.routed(func(e call.Entry) *replica {
			return w.replicas[map[bool]int{true: 0, false: 1}[e.Topic == call.TopicEvent+call.TypeHangup]]
		})
		w.sink.latency = func(r *replica, d summary.Draft) time.Duration {
			if r == w.replicas[0] && d.Key.Kind == summary.KindLeg {
				return 4 * time.Second
			}
			return 0
		}
		w.lives(a)
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		if by := w.sink.of(a.key())[0].by; by != w.replicas[1] {
			t.Error("the race did not take place")
		}
		if _, _, refused := w.sink.counts(); refused == 0 {
			t.Error("nobody was refused")
		}
	})
}

// The first replica publishes and dies before its acknowledgement; the second,
// which gets the hangup then, has folded the hangup but not what came after it.
func TestAPoorerViewNeverReplacesARicherOne(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		first := w.replicas[0]
		w.lives(a)
		after(100 * time.Millisecond)
		late := w.start()
		after(100 * time.Millisecond)
		w.queue.routed(func(call.Entry) *replica { return first })
		late.holdFold() // it has folded the hangup, and will not fold the answer
		w.sink.failing(func(r *replica, d summary.Draft, _ int) fault {
			if r == first && d.Key.Kind == summary.KindLeg {
				return diesAfter
			}
			return noFault
		})
		after(2 * time.Second)
		if !first.dead.Load() {
			t.Fatal("the first replica lives")
		}
		w.queue.routed(nil)
		after(time.Minute)
		if got := w.sink.all(); len(got) != 1 {
			t.Errorf("%d messages while the second replica lags, want 1", len(got))
		}
		late.letFold()
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
	})
}

// The second replica remembers what it published itself, and has not folded what the first has amended since.
func TestAPoorerViewOfASessionNeverReplacesARicherOne(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a := newLeg("s1", 1)
		first, late := w.replicas[0], w.replicas[1]
		w.queue.routed(func(e call.Entry) *replica {
			if e.Topic == call.TopicEvent+call.TypeHangup {
				return late // which remembers the leg, and not the session
			}
			return first
		})
		w.lives(a)
		after(20 * time.Second)
		w.wantRevisions(a.sessionKey(), "1 completed")
		// A redelivery that the second replica folds; its task waits.
		nobody := &replica{}
		w.queue.routed(func(e call.Entry) *replica {
			if e.ID == "again" {
				return nobody
			}
			return first
		})
		seq := w.log.store(call.Entry{Topic: call.TopicEvent + call.TypeAnswered, ID: "again", Ref: call.Ref{
			Session: call.SessionID(a.session), Leg: call.LegID(a.id),
		}, Data: a.answered()}).Seq
		after(100 * time.Millisecond)
		late.holdFold()
		w.deliver(a.cost("0.01"))
		after(time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
		w.queue.routed(func(e call.Entry) *replica {
			if e.Seq == seq {
				return late
			}
			return first
		})
		after(10 * time.Second)
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
		if n := w.queue.deliveries(seq); n != 1 {
			t.Errorf("the task was handed out %d times, and should be waiting", n)
		}
		late.letFold()
		w.queue.routed(nil)
		w.settled()
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
	})
}

func TestTheStatusIsAskedForOnceALeg(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.status.latency = func(call.Ref, int) time.Duration { return 300 * time.Millisecond }
		var legs []leg
		for i := range 20 {
			a := newLeg(fmt.Sprintf("s%d", i), 1)
			legs = append(legs, a)
			w.lives(a)
			after(50 * time.Millisecond)
		}
		after(time.Minute)
		for _, a := range legs {
			w.deliver(a.cost("0.01"))
		}
		after(2 * time.Minute)
		for _, a := range legs {
			w.deliver(a.hangup()) // outside the window in which the log knows it
		}
		w.settled()
		for _, a := range legs {
			if n := len(w.status.of(call.LegID(a.id))); n != 1 {
				t.Errorf("leg %s was asked about %d times", a.id, n)
			}
			w.wantRevisions(a.key(), "1 completed", "2 amended cost")
		}
	})
}

func TestARedeliveredHangupIsNotAskedAboutAgain(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a := newLeg("s1", 1)
		w.queue.routed(func(e call.Entry) *replica {
			if e.Topic == call.TopicEvent+call.TypeHangup {
				return w.replicas[0]
			}
			return nil
		})
		w.status.latency = func(call.Ref, int) time.Duration { return 300 * time.Millisecond }
		w.sink.failing(func(r *replica, _ summary.Draft, _ int) fault {
			if r == w.replicas[0] {
				return diesBefore // its answer is in the log
			}
			return noFault
		})
		w.lives(a)
		after(2 * time.Second)
		w.queue.routed(nil)
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		if n := len(w.status.of(call.LegID(a.id))); n != 1 {
			t.Errorf("the status was asked for %d times", n)
		}
	})
}

func TestLateEventsInAShortTimeMakeOneAmendment(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.lives(a)
		after(20 * time.Second)
		w.deliver(a.recording(1))
		after(800 * time.Millisecond)
		w.deliver(a.recording(2))
		after(800 * time.Millisecond)
		w.deliver(a.cost("0.01"))
		w.settled()
		w.wantRevisions(a.key(), "1 completed", "2 amended recording,cost")
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
	})
}

// What brought no news before must not shorten the wait for the news of now.
func TestFailedAttemptsDoNotSplitAnAmendment(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.status.answering(func(call.Ref, int) status.Answer { return unreachable() })
		w.lives(a)
		after(20 * time.Second)
		w.deliver(a.recording(1))
		after(800 * time.Millisecond)
		w.deliver(a.cost("0.01"))
		after(10 * time.Second)
		w.wantRevisions(a.key(), "1 completed", "2 amended recording,cost")
		after(15 * time.Minute)
		w.settled()
	})
}

func TestARedeliveryNeverAmends(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a := newLeg("s1", 1)
		w.lives(a)
		after(3 * time.Minute) // the log has forgotten the ids
		for _, body := range [][]byte{a.hangup(), a.answered(), a.initiated()} {
			again := []byte(strings.Replace(string(body), `"attempt":1`, `"attempt":2`, 1))
			if w.deliver(again).Duplicate {
				t.Error("the log took the redelivery for a duplicate")
			}
			after(time.Second)
		}
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		if publishes, _, _ := w.sink.counts(); publishes != 2 {
			t.Errorf("%d publications were tried", publishes)
		}
	})
}

func TestAfterTheDeadlineTheStatusIsPending(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.status.answering(func(_ call.Ref, n int) status.Answer {
			if n < 6 {
				return alive()
			}
			return ended()
		})
		begun := time.Now()
		w.lives(a)
		sleepUntil(begun, 9900*time.Millisecond)
		w.wantRevisions(a.key())
		sleepUntil(begun, 10100*time.Millisecond)
		w.wantRevisions(a.key(), "1 completed")
		if got := w.legOf(a).Status; got.State != summary.StatusPending || got.Final {
			t.Errorf("at the deadline the status is %+v", got)
		}
		after(2 * time.Minute)
		w.settled()
		w.wantRevisions(a.key(), "1 completed", "2 amended status_confirmed")
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
		if got := w.legOf(a).Status; got.State != summary.StatusConfirmed || !got.Final {
			t.Errorf("in the end the status is %+v", got)
		}
		if got := w.sessionOf(a).StatusState; got != summary.StatusConfirmed {
			t.Errorf("in the end the session's status is %v", got)
		}
	})
}

func TestAStatusThatNeverComesIsFinalAfterTheWindow(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(call.Ref, int) status.Answer
		want   summary.StatusState
	}{
		"not found":   {func(call.Ref, int) status.Answer { return notFound() }, summary.StatusNotFound},
		"unreachable": {func(call.Ref, int) status.Answer { return unreachable() }, summary.StatusUnreachable},
		"alive":       {func(call.Ref, int) status.Answer { return alive() }, summary.StatusPending},
		"changing its mind": {func(_ call.Ref, n int) status.Answer {
			return []status.Answer{unreachable(), {Result: status.RateLimited, HTTPStatus: 429}, {Result: status.Denied, HTTPStatus: 401}}[n%3]
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				w.status.answering(c.answer)
				w.lives(a)
				after(10500 * time.Millisecond)
				w.wantRevisions(a.key(), "1 completed")
				if got := w.legOf(a).Status; got.State != summary.StatusPending || got.Final {
					t.Errorf("at the deadline the status is %+v", got)
				}
				after(12 * time.Minute)
				w.settled()
				w.wantRevisions(a.key(), "1 completed", "2 amended status_failed")
				got := w.legOf(a).Status
				if !got.Final || c.want != "" && got.State != c.want {
					t.Errorf("in the end the status is %+v, want %v", got, c.want)
				}
				if n := len(w.status.of(call.LegID(a.id))); n < 10 || n > 25 {
					t.Errorf("the status was asked for %d times", n)
				}
			})
		})
	}
}

// A request that outlasts the deadline must not be the last one.
func TestASlowAnswerIsNotLost(t *testing.T) {
	for _, latency := range []time.Duration{9500 * time.Millisecond, 12 * time.Second, 90 * time.Second} {
		t.Run(latency.String(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				w.status.latency = func(_ call.Ref, n int) time.Duration {
					if n == 1 {
						return latency
					}
					return time.Second
				}
				w.lives(a)
				after(10500 * time.Millisecond)
				w.wantRevisions(a.key(), "1 completed")
				after(12 * time.Second)
				if n := w.queue.deliveries(3); n != -1 {
					t.Errorf("after 22 s the hangup is held, handed out %d times", n)
				}
				after(12 * time.Minute)
				w.settled()
				w.wantRevisions(a.key(), "1 completed", "2 amended status_confirmed")
			})
		})
	}
}

func TestTheCalendarSurvivesARestart(t *testing.T) {
	for at := 2 * time.Second; at < 8*time.Minute; at += at / 2 {
		inWorld(t, 1, func(w *world) {
			a := newLeg("s1", 1)
			w.status.answering(func(call.Ref, int) status.Answer { return unreachable() })
			w.lives(a)
			after(at)
			w.replicas[0].kill()
			after(time.Second)
			w.start()
			after(13 * time.Minute)
			w.settled()
			w.wantRevisions(a.key(), "1 completed", "2 amended status_failed")
			requests := w.status.of(call.LegID(a.id))
			if n := len(requests); n < 10 || n > 25 {
				t.Errorf("the status was asked for %d times", n)
			}
			for i, r := range requests[1:] {
				if gap := r.at.Sub(requests[i].at); gap > 2*time.Minute+10*time.Second {
					t.Errorf("no request for %v after request %d", gap, i+1)
				}
			}
		})
	}
}

func TestWorkResumesWhenTheSinkIsBack(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		w.sink.failing(func(*replica, summary.Draft, int) fault {
			if down.Load() {
				return notStored
			}
			return noFault
		})
		w.sink.failLast = func(*replica, summary.Key) error {
			if down.Load() {
				return errDown
			}
			return nil
		}
		var legs []leg
		for i := range 5 {
			a := newLeg(fmt.Sprintf("s%d", i), 1)
			legs = append(legs, a)
			w.lives(a)
		}
		after(time.Minute)
		for _, e := range w.log.all() {
			if n := w.queue.deliveries(e.Seq); n > 1 {
				t.Errorf("task %d was handed out %d times", e.Seq, n)
			}
		}
		publishes, lasts, _ := w.sink.counts()
		// One try in up to three seconds, for each session on each replica.
		if n := publishes + lasts; n > 5*2*30 {
			t.Errorf("%d calls of the sink in a minute", n)
		}
		down.Store(false)
		w.settled()
		for _, a := range legs {
			w.wantRevisions(a.key(), "1 completed")
			w.wantRevisions(a.sessionKey(), "1 completed")
		}
		if got := w.parking.parked; len(got) > 0 {
			t.Errorf("parked %v", got)
		}
	})
}

func TestWorkResumesWhenTheLogCanBeWrittenAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var refused atomic.Int32
		var down atomic.Bool
		down.Store(true)
		w.log.refusing(func(*replica, call.Entry) error {
			if down.Load() {
				refused.Add(1)
				return errDown
			}
			return nil
		})
		a := newLeg("s1", 1)
		w.lives(a)
		after(time.Minute)
		if n := refused.Load(); n > 60 {
			t.Errorf("%d appends in a minute", n)
		}
		down.Store(false)
		w.settled()
		// The answer and the check come into the log in one order or the other.
		for _, k := range []summary.Key{a.key(), a.sessionKey()} {
			if got := w.revisions(k); !slices.Contains(got, "1 completed") || len(got) > 2 {
				t.Errorf("got %v", got)
			}
		}
		if got := w.legOf(a).Status.State; got != summary.StatusConfirmed {
			t.Errorf("the status is %v", got)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != 1 {
			t.Errorf("the status was asked for %d times", n)
		}
	})
}

func TestWhatCannotBeDoneIsParked(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s2", 1)
		tries := 0
		w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
			if d.Key == a.key() {
				tries++
				return tooLarge
			}
			return noFault
		})
		w.parking.fail = 1
		w.lives(a)
		w.lives(b)
		after(10 * time.Minute)
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are not done", open)
		}
		w.wantRevisions(a.key())
		w.wantRevisions(b.key(), "1 completed")
		if len(w.parking.parked) == 0 || len(w.queue.ended) == 0 {
			t.Errorf("%d parked, %d terminated", len(w.parking.parked), len(w.queue.ended))
		}
		for _, p := range w.parking.parked {
			if p.Reason != "poison" || len(p.Data) == 0 || p.Seq == 0 || p.Topic == "" || p.Ref.Session != "s1" {
				t.Errorf("parked as %+v", p)
			}
		}
		if tries < 20 || tries > 100 {
			t.Errorf("it was tried %d times", tries)
		}
	})
}

// Put back under other ids, the same entries give again the work that was given up.
func TestWhatWasParkedIsDoneWhenItIsPutBack(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		broken := true
		w.sink.failing(func(*replica, summary.Draft, int) fault {
			if broken {
				return tooLarge
			}
			return noFault
		})
		w.lives(a)
		after(3 * time.Minute)
		w.wantRevisions(a.key())
		if len(w.parking.parked) == 0 {
			t.Fatal("nothing was parked")
		}
		broken = false
		for i, p := range slices.Clone(w.parking.parked) {
			w.log.store(call.Entry{Topic: p.Topic, ID: fmt.Sprintf("retry/%d", i), Ref: p.Ref, Signature: p.Signature, Timestamp: p.Timestamp, Data: p.Data})
		}
		after(time.Minute)
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are not done", open)
		}
	})
}

func TestAnUndecodableEntryIsParked(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a := newLeg("s1", 1)
		bad := call.Entry{Topic: call.TopicEvent + "call.hangup", ID: "bad", Ref: call.Ref{Session: "s1"}, Data: []byte("{"), Signature: "sig"}
		w.log.store(bad)
		w.log.store(call.Entry{Topic: call.TopicStatus, ID: "bad status", Data: []byte("[]")})
		w.log.store(call.Entry{Topic: call.TopicCheck, ID: "bad check", Data: []byte("1")})
		w.log.store(call.Entry{Topic: "internal.later", ID: "of a newer version", Data: []byte("1")})
		w.lives(a)
		after(20 * time.Second)
		w.wantRevisions(a.sessionKey(), "1 completed")
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are not done", open)
		}
		if len(w.parking.parked) != 3 || len(w.queue.ended) != 3 {
			t.Fatalf("%d parked, %d terminated", len(w.parking.parked), len(w.queue.ended))
		}
		i := slices.IndexFunc(w.parking.parked, func(p call.Parked) bool { return string(p.Data) == "{" })
		if i < 0 || w.parking.parked[i].Reason != "undecodable" || w.parking.parked[i].Signature != "sig" {
			t.Errorf("parked %+v", w.parking.parked)
		}
	})
}

// Whenever the log must be read anew, work is given back and done later.
func TestAReplayLosesNoWork(t *testing.T) {
	for at := 900 * time.Millisecond; at < 7*time.Second; at += 700 * time.Millisecond {
		inWorld(t, 1, func(w *world) {
			var legs []leg
			for i := range 50 {
				a := newLeg(fmt.Sprintf("s%d", i), 1)
				legs = append(legs, a)
				w.lives(a)
			}
			pass(at) // together with what is due then
			w.replicas[0].replay()
			after(2 * time.Minute)
			for _, a := range legs {
				w.wantRevisions(a.key(), "1 completed")
				w.wantRevisions(a.sessionKey(), "1 completed")
			}
			w.settled()
		})
	}
}

// The moment between the table's restart and the worker's hearing of it.
func TestASessionThatAReplayHasNotReachedIsNotDone(t *testing.T) {
	for _, at := range []time.Duration{500 * time.Millisecond, time.Second} { // settling; looking again
		inWorld(t, 1, func(w *world) {
			var legs []leg
			for i := range 100 {
				a := newLeg(fmt.Sprintf("s%d", i), 1)
				legs = append(legs, a)
				w.lives(a)
			}
			pass(at)
			w.replicas[0].holdFold()
			w.replicas[0].replay()
			after(3 * time.Second)
			if at < timing.Settle && len(w.queue.naked) < len(legs) {
				t.Errorf("%d tasks of %d legs were given back", len(w.queue.naked), len(legs))
			}
			w.replicas[0].letFold()
			after(time.Minute)
			for _, a := range legs {
				w.wantRevisions(a.key(), "1 completed")
				w.wantRevisions(a.sessionKey(), "1 completed")
			}
			w.settled()
		})
	}
}

func TestAGracefulStopGivesTasksBackAtOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(time.Second)
		w.deliver(a.hangup())
		after(500 * time.Millisecond)
		w.replicas[0].stop()
		if got := w.queue.naked; !slices.Equal(got, []uint64{3}) {
			t.Errorf("given back: %v, want the hangup", got)
		}
		begun := time.Now()
		w.start()
		sleepUntil(begun, time.Second)
		w.wantRevisions(a.key(), "1 completed")
		w.settled()
	})
}

func TestASessionIsAmendedWhenALegJoinsLater(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.lives(a)
		after(20 * time.Second)
		w.wantRevisions(a.sessionKey(), "1 completed")
		w.deliver(b.initiated())
		after(time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed") // not while it lives
		w.deliver(b.answered())
		w.deliver(b.hangup())
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(b.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_added")
		if got := w.sessionOf(a); got.LegCount != 2 || len(got.Legs) != 2 {
			t.Errorf("the session has %d legs", got.LegCount)
		}
	})
}

// A hangup that names only its control id belongs to no call when it comes.
func TestAHangupThatFindsItsLegLaterIsAskedAbout(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.event(call.TypeHangup, 30*time.Second, fields{
			"call_session_id": nil, "call_leg_id": nil,
			"hangup_cause": "normal_clearing", "hangup_source": "caller", "end_time": stamp(30 * time.Second),
		}))
		after(3 * time.Second)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(13 * time.Minute)
		w.settled()
		if got := w.legOf(a).Status; got.State != summary.StatusConfirmed {
			t.Errorf("the status is %+v", got)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != 1 {
			t.Errorf("the status was asked for %d times", n)
		}
	})
}

func TestALegWithoutAControlIDIsNotAskedAbout(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		a.control = ""
		w.lives(a)
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		if got := w.legOf(a).Status; got.State != summary.StatusNotAsked || !got.Final {
			t.Errorf("the status is %+v", got)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != 0 {
			t.Errorf("the status was asked for %d times", n)
		}
	})
}

func TestALegWhoseHangupIsLostIsFoundBySweeping(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		a := newLeg("s1", 1)
		w.status.answering(func(_ call.Ref, n int) status.Answer {
			if n < 3 {
				return alive()
			}
			return ended()
		})
		begun := time.Now()
		w.deliver(a.initiated())
		w.deliver(a.answered())
		sleepUntil(begun, 14*time.Minute)
		w.wantRevisions(a.key())
		after(3 * time.Minute)
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		if got := w.legOf(a); got.EndedBy != summary.EndedByStatus || got.Sources["ended_at"] != summary.SourceStatus {
			t.Errorf("got %+v", got)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != 3 {
			t.Errorf("the status was asked for %d times", n)
		}
		if diff := cmp.Diff(map[string]float64{"alive": 2, "ended": 1}, w.counted("legato_sweeps_total")); diff != "" {
			t.Errorf("sweeps (-want +got):\n%s", diff)
		}
		// And then it comes after all.
		w.deliver(a.hangup())
		w.settled()
		w.wantRevisions(a.key(), "1 completed", "2 amended late_event")
		if got := w.legOf(a); got.EndedBy != summary.EndedByHangup {
			t.Errorf("got %+v", got)
		}
	})
}

func TestALegOfWhichNothingIsHeardExpires(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		a.control = ""
		w.deliver(a.initiated())
		after(4*time.Hour + 14*time.Minute)
		w.wantRevisions(a.key())
		after(2 * time.Minute)
		w.settled()
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		if got := w.legOf(a); got.EndedBy != summary.EndedByExpired || got.Outcome != summary.OutcomeUnknown {
			t.Errorf("got %+v", got)
		}
	})
}

// forgotten lets so much time pass that no replica remembers the calls.
func (w *world) forgotten() {
	w.t.Helper()
	after(40 * time.Minute)
	for _, r := range w.replicas {
		if n := r.worker.Table().Stats().Sessions; n > 0 && !r.dead.Load() {
			w.t.Errorf("%s remembers %d sessions", r.name, n)
		}
	}
}

func TestALateEventOfADepartedLegIsMergedOntoItsSummary(t *testing.T) {
	for replicas := 1; replicas <= 2; replicas++ {
		inWorld(t, replicas, func(w *world) {
			a, b := newLeg("s1", 1), newLeg("s1", 2)
			w.lives(a)
			w.lives(b)
			w.forgotten()
			before, session := w.legOf(a), w.sessionOf(a)
			w.deliver(a.recording(1))
			w.deliver(a.cost("0.0100"))
			after(20 * time.Second)
			w.wantRevisions(a.key(), "1 completed", "2 amended recording,cost")
			w.wantRevisions(b.key(), "1 completed")
			w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
			got := w.legOf(a)
			if got.Outcome != before.Outcome || !got.EndedAt.Equal(before.EndedAt.Time) || got.Status.State != before.Status.State ||
				got.EndedBy != before.EndedBy || len(got.Events) != 5 || len(got.Recordings) != 1 || got.Cost == nil {
				t.Errorf("got %+v", got)
			}
			if got := w.sessionOf(a); got.LegCount != 2 || got.Outcome != session.Outcome || got.Cost == nil || got.Cost.LegsCosted != 1 {
				t.Errorf("got %+v", got)
			}
			// It is a leg that never hangs up, and must not be kept for one that lives.
			after(6 * time.Hour)
			w.consistent()
			w.wantRevisions(a.key(), "1 completed", "2 amended recording,cost")
			w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
			if open := w.queue.open(); len(open) > 0 {
				t.Errorf("tasks %v are not done", open)
			}
		})
	}
}

func TestARedeliveryToADepartedLegChangesNothing(t *testing.T) {
	for name, again := range map[string]func(a leg) []byte{
		"initiated": leg.initiated, "answered": leg.answered, "hangup": leg.hangup,
	} {
		for _, only := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, only event: %v", name, only), func(t *testing.T) {
				if only && name != "hangup" {
					return // it would never have been over
				}
				inWorld(t, 1, func(w *world) {
					a := newLeg("s1", 1)
					w.status.answering(func(_ call.Ref, n int) status.Answer {
						if n > 1 {
							return notFound()
						}
						return ended()
					})
					if only {
						w.deliver(a.hangup())
					} else {
						w.lives(a)
					}
					w.forgotten()
					w.deliver(again(a))
					after(6 * time.Hour)
					w.consistent()
					w.wantRevisions(a.key(), "1 completed")
					w.wantRevisions(a.sessionKey(), "1 completed")
				})
			})
		}
	}
}

// The hangup of a leg that the status API had ended comes after its call has left the log.
func TestALateHangupOfADepartedLegKeepsWhatWasKnown(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(6 * time.Minute)
		w.wantRevisions(a.key(), "1 completed")
		w.forgotten()
		w.status.answering(func(call.Ref, int) status.Answer { return notFound() })
		w.deliver(a.hangup())
		after(time.Hour)
		w.consistent()
		w.wantRevisions(a.key(), "1 completed", "2 amended late_event")
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
		got := w.legOf(a)
		if got.EndedBy != summary.EndedByHangup || got.Direction != "incoming" || got.Status.State != summary.StatusConfirmed ||
			got.Hangup == nil || got.Hangup.Party != summary.PartyRemote || len(got.Events) != 3 {
			t.Errorf("got %+v", got)
		}
		if s := w.sessionOf(a); s.Direction != "incoming" || s.Hangup == nil || s.AnsweredAt == nil {
			t.Errorf("got %+v", s)
		}
	})
}

func TestAnotherLogIsFollowedFromItsBeginning(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s2", 1)
		w.lives(a)
		after(20 * time.Second)
		w.log.recreate()
		after(2 * time.Second)
		w.deliver(a.cost("0.01")) // what came before it is gone
		w.lives(b)
		after(time.Minute)
		w.consistent()
		w.wantRevisions(a.key(), "1 completed", "2 amended cost")
		w.wantRevisions(b.key(), "1 completed")
		w.wantRevisions(b.sessionKey(), "1 completed")
		if got := w.legOf(a); len(got.Events) != 4 || got.Outcome != summary.OutcomeAnswered {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheLogIsTrimmedOnlyBelowWhatIsNeeded(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		long := newLeg("long", 1)
		for i := range 3 {
			w.lives(newLeg(fmt.Sprintf("early%d", i), 1))
		}
		after(time.Minute)
		w.status.answering(func(ref call.Ref, _ int) status.Answer {
			if ref.Leg == call.LegID(long.id) {
				return alive()
			}
			return ended()
		})
		need := w.deliver(long.initiated()).Seq
		for i := range 60 {
			w.lives(newLeg(fmt.Sprintf("s%d", i), 1))
			after(time.Minute)
			if w.log.first > need {
				t.Fatalf("the log begins at %d, the long call at %d", w.log.first, need)
			}
		}
		if w.log.first < need/2 {
			t.Errorf("after an hour the log begins at %d, needed is %d", w.log.first, need)
		}
		w.status.answering(nil)
		w.deliver(long.hangup())
		after(20 * time.Second)
		w.wantRevisions(long.key(), "1 completed")
		if got := w.legOf(long); got.Direction != "incoming" {
			t.Errorf("got %+v", got)
		}
		w.forgotten()
		// What is left are the heartbeats of the margin.
		if last := w.log.first + uint64(len(w.log.entries)); w.log.first+60 < last {
			t.Errorf("%d entries are kept when nothing is needed", last-w.log.first)
		}
		synctest.Wait()
	})
}

// What was stated and cannot be read is counted by its field, and never told.
func TestAFieldThatCannotBeReadIsCounted(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.event(call.TypeInitiated, 0, fields{"direction": "incoming", "start_time": stamp(0), "tags": fields{"secret": "words"}}))
		w.deliver(a.hangup())
		after(30 * time.Second)
		if got := w.legOf(a); !slices.Contains(got.Notes, summary.NoteFieldUnread) || !slices.Equal(got.UnreadFields, []string{"tags"}) {
			t.Errorf("notes %v, unread %v", got.Notes, got.UnreadFields)
		}
		if got := w.counted("legato_fields_unread_total"); !maps.Equal(got, map[string]float64{"tags": 1}) {
			t.Errorf("counted are %v", got)
		}
	})
}

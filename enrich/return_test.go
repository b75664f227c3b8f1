package enrich_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// A replica that is cut off, with a task in hand and without the answer that others have
// got meanwhile, comes back before its fold does.
func TestAReplicaThatComesBackTakesNothingBack(t *testing.T) {
	for _, cut := range []time.Duration{30 * time.Second, 75 * time.Second, 10 * time.Minute} {
		t.Run(cut.String(), func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				cutOff, other := w.replicas[0], w.replicas[1]
				w.status.busy = cutOff
				a := newLeg("s1", 1)
				w.deliver(a.initiated())
				w.deliver(a.answered())
				after(time.Second)
				w.queue.routed(func(e call.Entry) *replica {
					if e.Topic == call.TopicEvent+call.TypeHangup {
						return cutOff
					}
					return other
				})
				w.deliver(a.hangup())
				after(5 * time.Second)
				cutOff.dead.Store(true)
				cutOff.holdFold()
				w.queue.routed(func(call.Entry) *replica { return other })
				after(cut)
				cutOff.dead.Store(false)
				after(4 * time.Second)
				cutOff.letFold()
				w.queue.routed(nil)
				after(20 * time.Minute)
				w.consistent()
				if s := w.legOf(a).Status; s.State != summary.StatusConfirmed || !s.Final {
					t.Errorf("after %v the status is %s, final %t: %v", w.revisions(a.key()), s.State, s.Final, w.revisions(a.sessionKey()))
				}
			})
		})
	}
}

// A crash between the end of a call and its summary: the next start finds the call finished in the log, and reads it back
// for the tasks that come again.
func TestACallThatCannotBeReadBackAtOnceIsPublished(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.sink.failing(func(*replica, summary.Draft, int) fault { return notStored })
		a := newLeg("s1", 1)
		w.lives(a)
		after(20 * time.Second)
		w.replicas[0].kill()
		w.sink.failing(nil)
		w.log.unreadable = 1
		w.start()
		after(time.Minute)
		if w.log.unreadable > 0 {
			t.Error("nothing was read back")
		}
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
	})
}

// What comes when a call is over does not make an expired leg live again.
func TestALateRecordingOfAnExpiredLegIsPublishedAtOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.status.busy = w.replicas[0]
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(4*time.Hour + 16*time.Minute)
		w.wantRevisions(a.key(), "1 completed")
		w.deliver(a.recording(1))
		after(20 * time.Second)
		w.wantRevisions(a.key(), "1 completed", "2 amended recording")
		if by := w.legOf(a).EndedBy; by != summary.EndedByExpired {
			t.Errorf("ended by %s", by)
		}
	})
}

// One answer that Telnyx does not know the leg is no last word where the call goes on.
func TestALegThatGoesOnThoughItWasNotFoundIsNotOver(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.lives(newLeg("s0", 1)) // proves the connection
		after(20 * time.Second)
		w.status.answering(func(_ call.Ref, n int) status.Answer {
			if n == 1 {
				return notFound()
			}
			return ended()
		})
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(6 * time.Minute)
		w.wantRevisions(a.key(), "1 completed")
		if by := w.legOf(a).EndedBy; by != summary.EndedByGone {
			t.Errorf("ended by %s after it was not found", by)
		}
		w.deliver(a.event(call.TypeBridged, 7*time.Minute, nil))
		after(time.Minute)
		if w.replicas[0].worker.Table().Standing(call.Ref{Session: "s1", Leg: call.LegID(a.id)}).Over {
			t.Error("it is over after a sign of life")
		}
		w.deliver(a.event(call.TypeHangup, 8*time.Minute, fields{"hangup_cause": "normal_clearing"}))
		after(20 * time.Second)
		w.wantRevisions(a.key(), "1 completed", "2 amended status_failed,late_event", "3 amended status_confirmed")
		if l := w.legOf(a); l.EndedBy != summary.EndedByHangup || l.Status.State != summary.StatusConfirmed || !l.Status.Final {
			t.Errorf("ended by %s, status %s, final %t", l.EndedBy, l.Status.State, l.Status.Final)
		}
	})
}

// A hangup that comes after Telnyx has forgotten the leg is not asked about all over again.
func TestALateHangupOfALegThatIsGoneTakesNothingFinalBack(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.lives(newLeg("s0", 1)) // proves the connection
		after(20 * time.Second)
		w.status.answering(func(call.Ref, int) status.Answer { return notFound() })
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(6 * time.Minute)
		asked := len(w.status.of(call.LegID(a.id)))
		w.deliver(a.hangup())
		after(20 * time.Minute)
		w.wantRevisions(a.key(), "1 completed", "2 amended late_event")
		if s := w.legOf(a).Status; s.State != summary.StatusNotFound || !s.Final {
			t.Errorf("status %s, final %t", s.State, s.Final)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != asked {
			t.Errorf("asked %d times more", n-asked)
		}
	})
}

// A webhook that comes after its repair, within the time in which the log knows ids, is
// stored as it came, with its signature, and stands before what was filled in.
func TestAWebhookAfterItsRepairIsStoredAsItCame(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.log.untrimmed = true
		a := newLeg("s1", 1)
		w.past.has(call.LegID(a.id), a.initiated(), a.answered(), a.hangup())
		w.deliver(a.initiated())
		w.deliver(a.hangup())
		after(45 * time.Second)
		if got := w.legOf(a).Sources["answered_at"]; got != summary.SourceBackfill {
			t.Fatalf("the answer was not filled in: %s", got)
		}
		if r := w.deliver(a.answered()); r.Duplicate {
			t.Error("the webhook was refused as a repetition of what was filled in")
		}
		w.settled()
		if got := w.legOf(a).Sources["answered_at"]; got != summary.SourceWebhook {
			t.Errorf("answered_at is from %s", got)
		}
	})
}

// A start on a log that holds the latter halves of finished calls asks for none of them:
// their summaries are whole.
func TestAStartDoesNotAskForWhatSummariesKnow(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		long, a := newLeg("long", 1), newLeg("s1", 1)
		w.status.answering(func(ref call.Ref, _ int) status.Answer {
			if ref.Leg == call.LegID(long.id) {
				return alive()
			}
			return ended()
		})
		w.deliver(a.initiated())
		after(time.Second)
		w.deliver(long.initiated())
		after(time.Second)
		w.deliver(a.answered())
		w.deliver(a.hangup())
		after(40 * time.Minute)
		if w.log.first == 1 {
			t.Fatal("the log was not trimmed")
		}
		second := w.start()
		after(3 * time.Minute)
		if n := len(w.past.of(call.LegID(a.id))); n > 0 {
			t.Errorf("the history was asked %d times", n)
		}
		w.wantRevisions(a.key(), "1 completed")
		after(40 * time.Minute)
		if st := second.worker.Table().Stats(); st.Sessions != 1 {
			t.Errorf("%d sessions are remembered", st.Sessions)
		}
	})
}

// The log ends below what it held, as after a failure of its disk: no fold will
// soon pass the position of what was published, and what was known then is known no more.
func TestASummaryWhosePositionTheLogHasLostIsMergedWith(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.initiated())
		for range 200 {
			w.log.store(call.Entry{Topic: call.TopicHeartbeat})
		}
		w.deliver(a.answered())
		after(time.Second)
		w.deliver(a.hangup())
		after(20 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		w.wantRevisions(a.sessionKey(), "1 completed")
		stood := w.sink.of(a.key())[0].Position.Seq

		w.shrink(1)
		after(time.Second)
		again := w.deliver(a.hangup()).Seq
		after(2 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		if w.queue.deliveries(again) == -1 {
			t.Error("the hangup was done before anything is known about the stored summary")
		}
		// The log ends below it, so there is nothing to wait for.
		after(20 * time.Second)
		if folded := w.replicas[0].worker.Table().Position(); folded >= stood {
			t.Fatalf("the fold is at %d and has passed the stored position %d: nothing was tested", folded, stood)
		}
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are not done", open)
		}
		// That it was answered is in the stored summary alone.
		if got := w.legOf(a); got.Outcome != summary.OutcomeAnswered || got.AnsweredAt == nil || len(got.Events) != 3 {
			t.Errorf("got %+v", got)
		}
		w.consistent()
	})
}

// shrink takes from the log what comes after an entry. The queue goes back with it.
func (w *world) shrink(last uint64) {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	w.log.entries = w.log.entries[:last-w.log.first+1]
	for id, e := range w.log.known {
		if e.Seq > last {
			delete(w.log.known, id)
		}
	}
	for _, seq := range append([]uint64(nil), w.queue.order...) {
		if seq > last {
			w.queue.end(seq)
		}
	}
	w.queue.next = min(w.queue.next, last+1)
	for _, r := range w.replicas {
		r.replay()
	}
}

// What the fold had passed and has lost again says nothing: between the restart of
// the table and the worker's hearing of it a task finds a call that is unknown, or known by half.
func TestATaskThatTheFoldHasPassedAndLostAgainIsNotDone(t *testing.T) {
	// Who folds goes on until it waits; only then the others see what it has left.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	isHangup := func(e call.Entry) bool { return e.Topic == call.TopicEvent+call.TypeHangup }
	for _, tt := range []struct {
		name string
		// lose has the replica lose what it has folded while the hangups are tasks.
		lose func(w *world, r *replica, legs []leg)
	}{
		{"when it was waited for", func(w *world, r *replica, legs []leg) {
			for _, a := range legs {
				again := false
				r.folds(func(e call.Entry) {
					switch {
					case again:
						r.holdFold() // at the first entry of the replay
					case isHangup(e) && e.Ref.Leg == call.LegID(a.id):
						again = true
						r.replay() // as soon as it is folded
						r.holdFold()
					}
				})
				w.deliver(a.hangup())
				synctest.Wait() // it is waited for
				r.letFold()
				synctest.Wait()
				w.notDone(isHangup)
				r.folds(nil)
				r.letFold()
				synctest.Wait()
			}
		}},
		{"when its session is looked at", func(w *world, r *replica, legs []leg) {
			for _, a := range legs {
				w.deliver(a.hangup())
			}
			after(timing.Settle / 2)
			r.folds(func(e call.Entry) {
				if isHangup(e) {
					r.holdFold() // all that comes before it is folded
				}
			})
			r.replay()
			synctest.Wait()
			w.notDone(isHangup)
			r.folds(nil)
			r.letFold()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				var legs []leg
				for i := range 20 {
					a := newLeg(fmt.Sprintf("s%d", i), 1)
					legs = append(legs, a)
					w.deliver(a.initiated())
					w.deliver(a.answered())
				}
				after(time.Second)
				tt.lose(w, w.replicas[0], legs)
				w.settled()
				for _, a := range legs {
					w.wantRevisions(a.key(), "1 completed")
					w.wantRevisions(a.sessionKey(), "1 completed")
				}
			})
		})
	}
}

// notDone fails the test when the queue has let go of such an entry.
func (w *world) notDone(such func(call.Entry) bool) {
	w.t.Helper()
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	for _, e := range w.log.all() {
		if such(e) && w.queue.done[e.Seq] {
			w.t.Errorf("task %d is done, and its summary is not out", e.Seq)
		}
	}
}

// A fold that does not come along keeps no task: another replica may be further.
func TestATaskWhoseEntryIsNotFoldedIsGivenBackAfterAWhile(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		r, a := w.replicas[0], newLeg("s1", 1)
		w.deliver(a.initiated())
		w.deliver(a.answered())
		after(time.Second)
		r.holdFold()
		seq := w.deliver(a.hangup()).Seq
		after(4900 * time.Millisecond)
		if got := w.queue.givenBack(); len(got) > 0 {
			t.Errorf("given back before its time: %v", got)
		}
		after(200 * time.Millisecond)
		if got := w.queue.givenBack(); !slices.Contains(got, seq) {
			t.Errorf("given back: %v, want %d", got, seq)
		}
		after(time.Minute)
		if n := w.queue.deliveries(seq); n < 5 || n > 15 {
			t.Errorf("in a minute it was handed out %d times", n)
		}
		if len(w.parking.parked) > 0 {
			t.Error("to wait for the fold is no failure, and yet it was parked")
		}
		r.letFold()
		w.settled()
		w.wantRevisions(a.key(), "1 completed", "2 amended status_confirmed") // the deadline was long over
	})
}

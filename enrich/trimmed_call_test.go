package enrich_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// A replica that has forgotten a call and one that has not may work on the same
// late event: one gets the event, the other the check that the session is quiet again.
func TestASessionIsAmendedThoughTheReplicaOfItsCheckForgotTheCall(t *testing.T) {
	for _, control := range []any{"v3:s1-1", nil} {
		t.Run(fmt.Sprint("the late event names control id ", control), func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				w.log.untrimmed = true // as a long call would keep it
				a := newLeg("s1", 1)
				w.lives(a)
				w.forgotten()
				forgot, remembers := w.replicas[0], w.replicas[1]
				w.queue.route = func(e call.Entry) *replica {
					if e.Topic == call.TopicCheck {
						return forgot
					}
					return remembers
				}
				remembers.replay()
				after(100 * time.Millisecond)
				w.deliver(a.event(call.TypeCost, 33*time.Second, fields{
					"status": "success", "total_cost": "0.01", "call_control_id": control,
				}))
				after(15 * time.Second)
				w.wantRevisions(a.key(), "1 completed", "2 amended cost")
				w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
			})
		})
	}
}

// A late event makes the fold take a departed leg for one that lives; it must not
// be kept, with all of the log after it, until no leg could live any more.
func TestALateEventOfADepartedLegIsForgottenInTurn(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.lives(a)
		w.forgotten()
		late := w.deliver(a.cost("0.01")).Seq
		after(time.Hour)
		w.lives(newLeg("s2", 1))
		after(5 * time.Minute)
		w.wantRevisions(a.key(), "1 completed", "2 amended cost")
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
		if w.log.first <= late {
			t.Errorf("after an hour the log still begins at %d, for an event at %d", w.log.first, late)
		}
		if n := len(w.status.of(call.LegID(a.id))); n != 1 {
			t.Errorf("the status of a leg that was confirmed was asked for %d times", n)
		}
	})
}

// After a restart the log may begin in the middle of calls that are long over.
func TestAReplayOfHalvesOfCallsLetsThemGo(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var legs []leg
		for i := range 20 {
			legs = append(legs, newLeg(fmt.Sprintf("s%d", i), 1))
			w.lives(legs[i])
		}
		after(20 * time.Second)
		long := newLeg("long", 1)
		long.control = ""           // so that nobody can ask whether it lives
		w.deliver(long.initiated()) // the log will begin here
		for _, a := range legs {
			w.deliver(a.cost("0.01"))
		}
		after(40 * time.Minute)
		w.replicas[0].kill()
		r := w.start()
		after(40 * time.Minute)
		if st := r.worker.Table().Stats(); st.OpenLegs != 1 || st.Sessions != 1 {
			t.Errorf("the table holds %+v, want the one call that lives", st)
		}
		// All halves were brought back and let go again; none is missed.
		if a := r.worker.Table().Tally(); a.Over < uint64(len(legs)) || a.Over != a.Completed || a.Pending != 0 {
			t.Errorf("the legs that were over do not balance: %+v", a)
		}
		for _, a := range legs {
			w.wantRevisions(a.key(), "1 completed", "2 amended cost")
		}
	})
}

// A start finds calls in the log that are long over. Who published them is told by
// the summaries, which take a while to be read; until then none may be forgotten.
func TestAReplayKeepsItsAccountsUntilTheSummariesAreRead(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		long := newLeg("long", 1)
		long.control = ""           // so that nobody can ask whether it lives
		w.deliver(long.initiated()) // the log begins here and keeps what follows
		const calls = 20
		for i := range calls {
			w.lives(newLeg(fmt.Sprintf("s%d", i), 1))
		}
		after(time.Hour)
		w.replicas[0].kill()
		w.watch = func(ctx context.Context, _ time.Time, seen func(summary.Key, int, summary.Position)) error {
			pass(time.Minute)
			for _, m := range w.sink.all() {
				if m.Key.Kind == summary.KindLeg {
					seen(m.Key, 1, m.Position)
				}
			}
			<-ctx.Done()
			return ctx.Err()
		}
		r := w.start()
		after(30 * time.Second)
		want := session.Tally{Over: calls, Pending: calls}
		if diff := cmp.Diff(want, r.worker.Table().Tally()); diff != "" {
			t.Errorf("before the summaries are read (-want +got):\n%s", diff)
		}
		after(5 * time.Minute)
		want = session.Tally{Over: calls, Completed: calls}
		if diff := cmp.Diff(want, r.worker.Table().Tally()); diff != "" {
			t.Errorf("after it (-want +got):\n%s", diff)
		}
		if st := r.worker.Table().Stats(); st.Sessions != 1 {
			t.Errorf("the table holds %+v, want the one call that lives", st)
		}
	})
}

func TestAHangupUnderAnotherControlIDOfItsLegIsActedOn(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.deliver(b.initiated()) // keeps the session alive
		w.deliver(a.initiated())
		alias := a
		alias.control = "v3:other"
		w.deliver(alias.answered())
		after(time.Second)
		w.deliver(a.event(call.TypeHangup, 30*time.Second, fields{
			"call_session_id": nil, "call_leg_id": nil, "call_control_id": "v3:other",
			"hangup_cause": "normal_clearing", "hangup_source": "caller", "end_time": stamp(30 * time.Second),
		}))
		after(3 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
	})
}

func TestASessionOfAThousandLegsIsPublished(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.sink.fault = func(_ *replica, d summary.Draft, _ int) fault {
			if len(d.Body) > 512<<10 {
				return tooLarge
			}
			return noFault
		}
		const many = 1200
		var a leg
		for i := range many {
			a = newLeg("5e0a1b2c-1111-11ee-aaaa-02420a0000ff", i)
			w.lives(a)
		}
		after(5 * time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed")
		s := w.sessionOf(a)
		if s.LegCount != many || len(s.Legs)+s.LegsOmitted != many {
			t.Errorf("%d legs: %d counted, %d shown, %d omitted", many, s.LegCount, len(s.Legs), s.LegsOmitted)
		}
	})
}

// What the last statement decides, the one that occurred last decides, however
// late another one comes.
func TestALateEventOfTheMiddleOfADepartedCallDoesNotTakeItBack(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.event(call.TypeInitiated, 0, fields{"direction": "incoming", "start_time": stamp(0), "client_state": "b2xk"}))
		w.deliver(a.answered())
		w.deliver(a.event(call.TypeHangup, 30*time.Second, fields{
			"hangup_cause": "normal_clearing", "hangup_source": "caller", "end_time": stamp(30 * time.Second), "client_state": "bmV3",
		}))
		w.forgotten()
		w.deliver(a.event("call.speak.ended", 3*time.Second, fields{"client_state": "b2xk"}))
		after(10 * time.Minute)
		w.wantRevisions(a.key(), "1 completed", "2 amended late_event")
		if got := w.legOf(a).ClientState; got != "bmV3" {
			t.Errorf("client_state became %q", got)
		}
	})
}

// What is added up is added up of late events too, once, as in a call that is remembered.
func TestLateEventsOfADepartedCallAreAddedUp(t *testing.T) {
	for name, departed := range map[string]bool{"remembered": false, "departed": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				w.deliver(a.initiated())
				w.deliver(a.answered())
				w.deliver(a.event(call.TypeHold, 3*time.Second, nil))
				w.deliver(a.event(call.TypeUnhold, 5*time.Second, nil))
				w.deliver(a.event(call.TypeEnqueued, 6*time.Second, fields{"queue": "q"}))
				w.deliver(a.event(call.TypeDequeued, 13*time.Second, fields{"queue": "q", "wait_time_secs": 7}))
				w.deliver(a.hangup())
				after(time.Minute)
				for _, late := range [][]byte{
					a.event(call.TypeDequeued, 18*time.Second, fields{"queue": "p", "wait_time_secs": 5}),
					a.event(call.TypeHold, 26*time.Second, nil),
					a.event(call.TypeDequeued, 13*time.Second, fields{"queue": "q", "wait_time_secs": 7}), // once more
				} {
					if departed {
						w.forgotten()
					}
					w.deliver(late)
				}
				after(time.Minute)
				l := w.legOf(a)
				if q, h := l.QueueSeconds, l.HoldSeconds; q == nil || *q != 12 || h == nil || *h != 6 || len(l.Queues) != 2 {
					t.Errorf("in %d queues for %v, on hold for %v", len(l.Queues), q, h)
				}
			})
		})
	}
}

// A leg that can never be published must not take its sister's tasks with it.
func TestTheTasksOfALegAreDoneThoughItsSisterIsPoison(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.sink.fault = func(_ *replica, d summary.Draft, _ int) fault {
			if d.Key == a.key() {
				return tooLarge
			}
			return noFault
		}
		w.deliver(newLeg("s1", 3).initiated()) // keeps the session alive
		w.deliver(b.initiated())
		w.lives(a)
		after(2 * time.Second) // from here on a is tried again and again
		w.deliver(b.answered())
		hangup := w.deliver(b.hangup()).Seq
		after(20 * time.Second)
		w.wantRevisions(b.key(), "1 completed")
		if n := w.queue.deliveries(hangup); n != -1 {
			t.Errorf("the hangup of the leg that is published is still held, handed out %d times", n)
		}
	})
}

// Where the amend window is short a call may be let go and come back while a replica
// still remembers that nothing was stored of it.
func TestACallThatComesBackSoonIsLookedForAgain(t *testing.T) {
	comesBack(t, 1, 5*time.Minute, func(w *world, a leg) {
		w.deliver(a.answered()) // overtakes its call.initiated: it may be of a departed call
		after(time.Second)
		w.deliver(a.initiated())
		w.deliver(a.hangup())
		after(50 * time.Second)
		w.deliver(a.cost("0.01"))
	})
}

// Or while the log still refuses the ids of what was asked about it in its life before.
func TestACallThatComesBackSoonIsAskedAboutAnew(t *testing.T) {
	comesBack(t, 2, time.Second, func(w *world, a leg) {
		w.lives(a)
		after(50 * time.Second)
		behind := w.replicas[1]
		w.queue.routed(func(e call.Entry) *replica {
			if e.Topic == call.TopicCheck {
				return behind
			}
			return w.replicas[0]
		})
		// It gets the sweep's check, and reads it when the event is merged and done.
		behind.holdFold()
		w.deliver(a.cost("0.01"))
		after(3 * time.Second)
		behind.letFold()
	})
}

// Consumers have the whole summary of a call that departed. Where the stream has lost it, the little that is known of the
// call when it comes back is no revision of it, though this replica still remembers that one: it would take its place.
func TestWhatIsLeftOfADepartedCallIsNoRevisionOfItsLostSummary(t *testing.T) {
	for name, late := range map[string]func(leg) []byte{
		"of its leg": func(a leg) []byte { return a.event(call.TypePlaybackStarted, 3*time.Second, nil) },
		"of its session": func(a leg) []byte {
			return a.event(call.TypeConferenceCreated, 3*time.Second, fields{"call_leg_id": nil, "call_control_id": nil, "conference_id": "c"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.rules.AmendWindow = 25 * time.Second
				defer w.end()
				table := w.start().worker.Table()
				a := newLeg("s1", 1)
				w.lives(a)
				after(15 * time.Second)
				for table.Stats().Sessions > 0 {
					after(time.Second)
				}
				w.wantRevisions(a.key(), "1 completed")
				w.sink.empty()
				w.deliver(late(a))
				after(10 * time.Minute)
				for _, k := range []summary.Key{a.key(), a.sessionKey()} {
					for i, got := range w.revisions(k) {
						if want := fmt.Sprint(i + 1); !strings.HasPrefix(got, want+" ") {
							t.Errorf("%s: got %v, want revision %s", k.Kind, got, want)
						}
					}
				}
			})
		})
	}
}

// Nor is it when what came late was merged onto the summary, and more comes when the stream has lost it.
func TestWhatIsLeftOfAMergedCallIsNoRevisionOfItsLostSummary(t *testing.T) {
	for name, begins := range map[string]bool{"one event": false, "its beginning, again": true} {
		for replicas := 1; replicas <= 2; replicas++ {
			t.Run(fmt.Sprint(name, ", ", replicas, " replicas"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.rules.SweepAfter = 20 * time.Second
					defer w.end()
					for range replicas {
						w.start()
					}
					a := newLeg("s1", 1)
					w.lives(a)
					w.forgotten()
					w.deliver(a.event(call.TypePlaybackStarted, 3*time.Second, nil))
					after(10 * time.Second)
					w.wantRevisions(a.key(), "1 completed", "2 amended late_event")
					if begins {
						w.deliver(a.initiated())
						after(time.Minute)
					}
					w.sink.empty()
					w.deliver(a.event(call.TypePlaybackEnded, 4*time.Second, nil))
					after(10 * time.Minute)
					for _, k := range []summary.Key{a.key(), a.sessionKey()} {
						got := w.revisions(k)
						if len(got) == 0 || !strings.HasPrefix(got[0], "1 completed") {
							t.Errorf("%s: got %v, want them to count anew", k.Kind, got)
						}
					}
				})
			})
		}
	}
}

// comesBack plays a call that is forgotten and comes back within a minute.
func comesBack(t *testing.T, replicas int, sweep time.Duration, play func(w *world, a leg)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rules.AmendWindow, w.rules.SweepAfter = 25*time.Second, sweep
		defer w.end()
		for range replicas {
			w.start()
		}
		a := newLeg("s1", 1)
		play(w, a)
		after(10 * time.Second)
		w.wantRevisions(a.key(), "1 completed", "2 amended cost")
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
		w.settled()
	})
}

// What the queue has not done is not trimmed, also where the fold has no use for it.
func TestTheLogIsNotTrimmedAboveTheQueuesFloor(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		nobody := &replica{}
		waits := w.log.store(call.Entry{Topic: call.TopicEvent + call.TypeHangup, ID: "bad", Ref: call.Ref{Session: "s0"}, Data: []byte("{")}).Seq
		w.queue.routed(func(e call.Entry) *replica {
			if e.Seq == waits {
				return nobody
			}
			return nil
		})
		w.lives(newLeg("s1", 1))
		after(2 * time.Hour)
		if w.log.first > waits {
			t.Errorf("the log begins at %d, and the task %d waits", w.log.first, waits)
		}
		w.queue.routed(nil)
		after(10 * time.Minute)
		if w.log.first <= waits {
			t.Errorf("the log begins at %d, and the task %d is done", w.log.first, waits)
		}
		if len(w.parking.parked) != 1 {
			t.Errorf("%d entries are parked", len(w.parking.parked))
		}
	})
}

// A replica that is behind by less than the margin does not notice the trimming of another.
func TestTheLastMinutesAreNotTrimmed(t *testing.T) {
	const margin = 3 * time.Minute
	inWorld(t, 1, func(w *world) {
		w.lives(newLeg("s1", 1))
		after(time.Hour)
		for range 40 {
			after(7 * time.Second)
			entries := w.log.all()
			switch age := time.Since(entries[0].ReceivedAt); {
			case age < margin-5*time.Second: // an entry comes every five seconds
				t.Fatalf("the oldest entry is %v old", age)
			case age > margin+time.Minute:
				t.Fatalf("the oldest entry is %v old, and nobody needs it", age)
			}
		}
	})
}

func TestTheLogIsNotTrimmedAboveWhatAnotherReaderNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		var needed atomic.Uint64 // 0: nobody can tell
		w.needed = func(context.Context) (uint64, error) {
			if n := needed.Load(); n > 0 {
				return n, nil
			}
			return 0, errors.New("not known yet")
		}
		w.start()
		w.lives(newLeg("s1", 1))
		after(time.Hour)
		if w.log.first != 1 {
			t.Errorf("the log begins at %d, and nobody knows what is needed", w.log.first)
		}
		needed.Store(3)
		after(time.Minute)
		if w.log.first != 3 {
			t.Errorf("the log begins at %d, want 3, which is needed", w.log.first)
		}
		needed.Store(math.MaxUint64)
		after(time.Minute)
		if w.log.first <= 3 {
			t.Errorf("the log begins at %d, and nothing of it is needed", w.log.first)
		}
	})
}

package enrich_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// wantParked holds the topics of what was parked, and why, against those wanted.
func (w *world) wantParked(why string, topics ...string) {
	w.t.Helper()
	w.parking.mu.Lock()
	defer w.parking.mu.Unlock()
	var got []string
	for _, p := range w.parking.parked {
		if p.Reason != why || p.Seq == 0 || len(p.Data) == 0 {
			w.t.Errorf("parked as %s: %s at %d", p.Reason, p.Topic, p.Seq)
		}
		got = append(got, p.Topic)
	}
	slices.Sort(got) // several replicas park at once
	if !slices.Equal(got, topics) {
		w.t.Errorf("parked: %v, want %v", got, topics)
	}
}

const costTopic, recordingTopic = call.TopicEvent + call.TypeCost, call.TopicEvent + call.TypeRecordingSaved

// What comes when a call may be over cannot begin one: where nobody knows the call, it is parked, whole, and no leg of
// nothing but a cost is told of, hours later. What comes later still is parked alike.
func TestALateEventOfACallThatNobodyKnowsIsParked(t *testing.T) {
	for name, replicas := range map[string]int{"one replica": 1, "two replicas": 2} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, replicas, func(w *world) {
				a := newLeg("s1", 1)
				w.deliver(a.cost("0.01"))
				after(20 * time.Second)
				w.deliver(a.recording(1))
				after(30 * time.Second)
				w.wantParked("unknown_call")
				after(time.Minute)
				w.wantParked("unknown_call", costTopic, recordingTopic)
				w.deliver(a.recording(2))
				after(10 * time.Second)
				w.wantParked("unknown_call", costTopic, recordingTopic, recordingTopic)
				after(40 * time.Minute)
				if left := w.remains(); len(left) > 0 {
					t.Errorf("the log still has %v", left)
				}
				w.deliver(a.recording(3))
				after(6 * time.Hour)
				w.wantParked("unknown_call", costTopic, recordingTopic, recordingTopic, recordingTopic)
				if n, _, _ := w.sink.counts(); n > 0 {
					t.Errorf("%d publications", n)
				}
				if n := len(w.status.of(call.LegID(a.id))); n > 0 {
					t.Errorf("the status was asked for %d times", n)
				}
				for _, r := range w.replicas {
					if tally := r.worker.Table().Tally(); tally.Pending != 0 || tally.Over != tally.Completed {
						t.Errorf("the tally is %+v", tally)
					}
				}
			})
		})
	}
}

// An event that the others overtook waits for them for a minute, and belongs to its call also when they come later.
func TestALateEventThatComesFirstBelongsToItsCall(t *testing.T) {
	for name, test := range map[string]struct {
		between time.Duration
		parked  []string
	}{
		"within a minute":      {30 * time.Second, nil},
		"after five minutes":   {5 * time.Minute, []string{costTopic}},
		"after a restart, too": {10 * time.Minute, []string{costTopic}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				w.deliver(a.cost("0.01"))
				after(test.between)
				if test.between > 5*time.Minute {
					w.replicas[0].kill()
					w.start()
				}
				w.lives(a)
				after(30 * time.Second)
				w.wantRevisions(a.key(), "1 completed")
				w.wantRevisions(a.sessionKey(), "1 completed")
				if c := w.legOf(a).Cost; c == nil || len(c.Totals) != 1 {
					t.Errorf("the cost is %+v", c)
				}
				w.wantParked("unknown_call", test.parked...)
			})
		})
	}
}

// Of a call that was erased from the summaries when its entries had left the log, no second completed is made.
func TestALateEventOfAnErasedCallIsParked(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.lives(a)
		w.forgotten()
		w.sink.empty()
		w.deliver(a.cost("0.01"))
		after(5 * time.Hour)
		w.wantParked("unknown_call", costTopic)
		for _, k := range []summary.Key{a.key(), a.sessionKey()} {
			if got := w.revisions(k); len(got) > 0 {
				t.Errorf("%s: got %v, want nothing", k.Kind, got)
			}
		}
	})
}

// The same is true of one that names only an id of a leg, or only a session: it waits a minute for its call, which it
// belongs to when it comes, and is parked where nobody knows it.
func TestALateEventThatNamesOneIDOfACallThatNobodyKnowsIsParked(t *testing.T) {
	const conferenceTopic = call.TopicEvent + call.TypeConferenceRecordingSaved
	for name, form := range map[string]struct {
		topic string
		body  func(leg) []byte
		found func(*world, leg) bool
	}{
		"a control id": {costTopic, func(l leg) []byte {
			return l.event(call.TypeCost, 33*time.Second, fields{"call_session_id": nil, "call_leg_id": nil, "status": "success", "total_cost": "0.01"})
		}, func(w *world, l leg) bool { return w.legOf(l).Cost != nil }},
		"a leg": {recordingTopic, func(l leg) []byte {
			return l.event(call.TypeRecordingSaved, 33*time.Second, fields{"call_session_id": nil, "call_control_id": nil, "recording_id": "r"})
		}, func(w *world, l leg) bool { return len(w.legOf(l).Recordings) == 1 }},
		"a session": {conferenceTopic, func(l leg) []byte {
			return l.event(call.TypeConferenceRecordingSaved, 33*time.Second, fields{"call_leg_id": nil, "call_control_id": nil, "recording_id": "r"})
		}, func(w *world, l leg) bool { return w.sessionOf(l).EventCount == 1 }},
	} {
		for what, replicas := range map[string]int{"one replica": 1, "two replicas": 2} {
			t.Run(name+", "+what, func(t *testing.T) {
				inWorld(t, replicas, func(w *world) {
					a := newLeg("s1", 1)
					w.deliver(form.body(a))
					after(50 * time.Second)
					w.wantParked("unknown_call")
					after(30 * time.Second)
					w.wantParked("unknown_call", form.topic)
					after(time.Hour)
					w.wantParked("unknown_call", form.topic)
					if n, _, _ := w.sink.counts(); n > 0 {
						t.Errorf("%d publications", n)
					}
					if left := w.remains(); len(left) > 0 {
						t.Errorf("the log still has %v", left)
					}
				})
			})
			t.Run(name+", whose call comes after it, "+what, func(t *testing.T) {
				inWorld(t, replicas, func(w *world) {
					a := newLeg("s1", 1)
					w.deliver(form.body(a))
					after(50 * time.Second)
					w.lives(a)
					after(2 * time.Minute)
					w.wantParked("unknown_call")
					if !form.found(w, a) {
						t.Error("it does not belong to its call")
					}
				})
			})
			t.Run(name+", after a crash, "+what, func(t *testing.T) {
				inWorld(t, replicas, func(w *world) {
					w.deliver(form.body(newLeg("s1", 1)))
					after(55 * time.Second)
					w.replicas[0].kill()
					w.start()
					after(2 * time.Minute)
					w.wantParked("unknown_call", form.topic)
				})
			})
		}
	}
}

// What may begin a call, or go on in one, waits for it and is not parked.
func TestAnEventThatGoesOnInACallThatNobodyKnowsIsNotParked(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.deliver(a.event(call.TypeDTMF, time.Second, fields{"call_session_id": nil, "call_leg_id": nil, "digit": "1"}))
		w.deliver(a.event("conference.created", time.Second, fields{"call_leg_id": nil, "call_control_id": nil, "conference_id": "c"}))
		after(time.Hour)
		w.wantParked("unknown_call")
	})
}

// A crash between the parking and the log's word for it loses nothing.
func TestACrashWhileALateEventIsParkedLosesNothing(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.parking.fail = 1
		a := newLeg("s1", 1)
		w.deliver(a.cost("0.01"))
		after(59 * time.Second)
		w.replicas[0].kill()
		w.start()
		after(2 * time.Minute)
		w.wantParked("unknown_call", costTopic)
	})
}

// A stream of parked messages that gives no answer holds up no call, and what could not be parked is when it does.
func TestParkingThatGivesNoAnswerHoldsUpNoCall(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.parking.silent = true
		var topics []string
		for n := range 200 {
			l := newLeg(fmt.Sprint("unknown", n), 1)
			w.deliver(l.event(call.TypeCost, 33*time.Second, fields{"call_session_id": nil, "call_leg_id": nil, "status": "success", "total_cost": "0.01"}))
			topics = append(topics, costTopic)
		}
		after(65 * time.Second)
		a := newLeg("s1", 1)
		w.lives(a)
		after(15 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		w.parking.mu.Lock()
		w.parking.silent = false
		w.parking.mu.Unlock()
		after(2 * time.Minute)
		w.wantParked("unknown_call", topics...)
	})
}

// Nor does it where entries cannot be decoded.
func TestParkingOfUndecodableEntriesThatGivesNoAnswerHoldsUpNoCall(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.parking.silent = true
		var topics []string
		for n := range 20 {
			w.log.store(call.Entry{Topic: costTopic, ID: fmt.Sprint("bad", n), Ref: call.Ref{Session: "bad"}, Data: []byte("{")})
			topics = append(topics, costTopic)
		}
		a := newLeg("s1", 1)
		w.lives(a)
		after(15 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		w.parking.mu.Lock()
		w.parking.silent = false
		w.parking.mu.Unlock()
		after(time.Minute)
		w.wantParked("undecodable", topics...)
	})
}

// Calls that nobody knows are not waited for without bound: a queue whose tasks are all held hands out no others, and the
// summaries of all calls would wait.
func TestCallsThatNobodyKnowsDoNotHoldTheQueue(t *testing.T) {
	for name, ids := range map[string]fields{
		"that name an id alone": {"call_session_id": nil, "call_leg_id": nil},
		"that name a leg":       {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 0, func(w *world) {
				const bound, more = 200, 20
				w.startWith(func(r *replica) { r.worker.AwaitUnknown(bound) })
				for n := range bound + more {
					stated := fields{"status": "success", "total_cost": "0.01"}
					maps.Copy(stated, ids)
					w.deliver(newLeg(fmt.Sprint("unknown", n), 1).event(call.TypeCost, 33*time.Second, stated))
				}
				after(10 * time.Second)
				if held := len(w.queue.held()); held > bound {
					t.Errorf("%d tasks are held", held)
				}
				w.wantParked("unknown_call", slices.Repeat([]string{costTopic}, more)...)
			})
		})
	}
}

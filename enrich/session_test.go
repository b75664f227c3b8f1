package enrich_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// An event that names a leg by its control id alone stands on the session until the leg is known.
func TestAnEventThatFindsItsLegLeavesTheSession(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.log.untrimmed = true
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.lives(a)
		more := func(f fields) fields { f["call_leg_id"] = nil; return f }
		w.deliver(b.event(call.TypeConferenceJoined, 5*time.Second, more(fields{"conference_id": "c1"})))
		w.deliver(b.event(call.TypePlaybackEnded, 6*time.Second, more(fields{"media_name": "m", "status": "completed"})))
		w.deliver(b.event(call.TypeSpeakEnded, 7*time.Second, more(fields{"status": "completed"})))
		w.deliver(b.event(call.TypeRecordingSaved, 8*time.Second, more(fields{"recording_id": "r1"})))
		after(30 * time.Second)
		s := w.sessionOf(a)
		if s.EventCount != 4 || len(s.Conferences) != 1 || len(s.Playbacks) != 1 || len(s.Speaks) != 1 || len(s.Recordings) != 1 {
			t.Fatalf("the session has not what was told of a leg that is not known: %+v", s)
		}
		w.lives(b)
		w.settled() // as if the leg had come first
		check(t, "events of the leg", len(w.legOf(b).Events), 7)
	})
}

// Which legs were joined does not depend on which of the events came in first.
func TestBridgesDependOnNoOrder(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.log.untrimmed = true
		a, b, c := newLeg("s1", 1), newLeg("s1", 2), newLeg("s1", 3)
		w.deliver(a.event(call.TypeBridged, 5*time.Second, nil))
		w.deliver(c.event(call.TypeBridged, 5900*time.Millisecond, nil))
		for _, l := range []leg{a, b, c} {
			w.lives(l)
		}
		after(30 * time.Second)
		w.deliver(b.event(call.TypeBridged, 5500*time.Millisecond, nil))
		w.settled()
		check(t, "bridges", w.sessionOf(a).Bridges, []summary.Bridge{
			{At: summary.MustAt(callStart.Add(5 * time.Second)), Legs: []string{a.id, b.id}}, {At: summary.MustAt(callStart.Add(5900 * time.Millisecond)), Legs: []string{c.id}},
		})
	})
}

func check[T any](t *testing.T, field string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", field, diff)
	}
}

func costs(costed, total int, amount string) *summary.SessionCost {
	return &summary.SessionCost{LegsCosted: costed, LegsTotal: total, Totals: []summary.Amount{{Currency: "USD", Amount: amount}}}
}

// The stream of summaries keeps its messages for a time: a leg of a session may have
// left it, and the session not.
func TestALegThatLeftTheSummariesStandsInItsSession(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.deliver(b.event(call.TypeInitiated, -5*time.Second, fields{"direction": "incoming", "start_time": stamp(-5 * time.Second)}))
		w.deliver(b.event(call.TypeAnswered, -3*time.Second, nil))
		w.deliver(b.event(call.TypeHangup, 50*time.Second, fields{"hangup_cause": "normal_clearing", "hangup_source": "caller", "end_time": stamp(50 * time.Second)}))
		w.deliver(b.cost("0.0200"))
		w.lives(a)
		w.forgotten()
		want := w.sessionOf(a)
		w.sink.age(b.key())
		w.deliver(a.cost("0.0100"))
		after(time.Minute)
		w.deliver(a.recording(1))
		after(time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised", "3 amended leg_revised")
		got := w.sessionOf(a)
		want.Legs[1].Revision = 3
		want.Cost = costs(2, 2, "0.0300")
		want.Revision, want.Changed, want.Reasons, want.PublishedAt = got.Revision, got.Changed, got.Reasons, got.PublishedAt
		check(t, "the session", got, want)
	})
}

// A leg that an earlier look has published does not say by itself what its revision changed.
func TestTheCostOfALegIsAddedThoughItsSessionWasNotPublishedAtOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.lives(a)
		w.deliver(a.cost("0.0200"))
		w.forgotten()
		w.sink.age(a.key())
		w.lives(b)
		after(time.Minute)
		failed := false
		w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
			if d.Key == a.sessionKey() && !failed {
				failed = true
				return notStored
			}
			return noFault
		})
		w.deliver(b.cost("0.0100"))
		after(time.Minute)
		w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_added", "3 amended leg_revised")
		check(t, "cost", w.sessionOf(a).Cost, costs(2, 2, "0.0300"))
		if !failed {
			t.Error("nothing failed")
		}
	})
}

// A replica that replays knows of the past only what it has read.
func TestAReplicaThatReplaysTrimsNothing(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.replicas[0].stop()
		for range 100 {
			w.log.store(call.Entry{Topic: call.TopicHeartbeat}) // nobody needs them
		}
		a := newLeg("s1", 1)
		w.lives(a)
		r := w.startWith(func(r *replica) {
			r.folding = func(e call.Entry) {
				if e.Topic == call.TopicEvent+call.TypeHangup {
					r.holdFold()
				}
			}
		})
		after(10 * time.Minute)
		if w.log.first != 1 {
			t.Errorf("the log begins at %d", w.log.first)
		}
		if n := len(w.sink.all()); n > 0 {
			t.Errorf("%d summaries were published", n)
		}
		r.folds(nil)
		r.letFold()
		w.settled()
		w.wantRevisions(a.key(), "1 completed", "2 amended status_confirmed") // the deadline was long over
		after(5 * time.Minute)
		if w.log.first == 1 {
			t.Error("the log is never trimmed")
		}
	})
}

// TestMemoryAndLogStayFlat lets hours of calls pass, of every kind that could leave something behind.
func TestMemoryAndLogStayFlat(t *testing.T) {
	const (
		every = 10 * time.Second // a call begins
		hours = 3
		life  = time.Minute // of a call, its settling and its late news
	)
	// Those that a replica may remember: what is younger than the amend window,
	// the margins for what is on its way and for trimming, and the news that put the end off.
	remembered := int((rules.AmendWindow+life+time.Minute)/every) + 6
	const entriesOfACall, heartbeats = 16, 12 // twelve heartbeats a minute
	kept := (remembered+int((3*time.Minute+time.Minute)/every))*entriesOfACall + 25*heartbeats
	inWorld(t, 2, func(w *world) {
		w.status.answering(func(ref call.Ref, n int) status.Answer {
			if n == 1 && len(ref.Leg)%2 == 0 {
				return alive() // one more round for some
			}
			return ended()
		})
		var most [3]int
		start := time.Now()
		for n := 0; time.Since(start) < hours*time.Hour; n++ {
			a := newLeg(fmt.Sprintf("s%d", n), 1)
			w.lives(a)
			switch n % 6 {
			case 1:
				w.deliver(newLeg(a.session, 2).initiated())
				w.deliver(newLeg(a.session, 2).hangup())
			case 2: // of a call that nobody knows
				lost := newLeg(fmt.Sprintf("lost%d", n), 1)
				w.deliver(lost.event(call.TypeAnswered, 0, fields{"call_session_id": nil, "call_leg_id": nil}))
			case 3: // of a call that is forgotten
				if n > 300 {
					w.deliver(newLeg(fmt.Sprintf("s%d", n-300), 1).cost("0.01"))
				}
			case 4: // not to be decoded
				w.log.store(call.Entry{Topic: call.TopicEvent + "call.hangup", ID: fmt.Sprint("bad", n), Ref: call.Ref{Session: call.SessionID(a.session)}, Data: []byte("{")})
			}
			after(every / 2)
			w.deliver(a.recording(1))
			after(every / 2)
			if time.Since(start) < time.Hour {
				continue
			}
			for i, r := range w.replicas {
				table := r.worker.Table()
				stats := table.Stats()
				most[0] = max(most[0], stats.Sessions)
				if stats.Sessions > remembered+remembered/6 || stats.Legs > 2*stats.Sessions || stats.Orphans > remembered {
					t.Fatalf("after %v %s remembers %+v, want at most %d sessions", time.Since(start), r.name, stats, remembered)
				}
				if behind := table.Position() - table.Needed(); behind > uint64(kept) {
					t.Fatalf("after %v replica %d needs the last %d entries, want at most %d", time.Since(start), i, behind, kept)
				}
				most[1] = max(most[1], r.worker.Remembered())
				// What it knows to be stored is known for two minutes, swept every half a minute.
				if n := r.worker.Remembered(); n > 4*int(4*time.Minute/every) {
					t.Fatalf("after %v %s remembers %d summaries", time.Since(start), r.name, n)
				}
				if n := r.worker.Jobs(); n > 20 {
					t.Fatalf("after %v %s is busy with %d sessions", time.Since(start), r.name, n)
				}
			}
			w.log.mu.Lock()
			n := len(w.log.entries)
			w.log.mu.Unlock()
			most[2] = max(most[2], n)
			if n > kept {
				t.Fatalf("after %v the log holds %d entries, want at most %d", time.Since(start), n, kept)
			}
		}
		t.Logf("at most %d sessions, %d summaries remembered, %d entries in the log", most[0], most[1], most[2])
		after(time.Hour)
		for _, r := range w.replicas {
			if stats := r.worker.Table().Stats(); stats.Sessions+stats.Legs+stats.Orphans > 0 {
				t.Errorf("an hour after the last call %s remembers %+v", r.name, stats)
			}
		}
	})
}

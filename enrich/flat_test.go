package enrich_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

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
		hours = 5
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

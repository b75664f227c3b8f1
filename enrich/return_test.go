package enrich_test

import (
	"testing"
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

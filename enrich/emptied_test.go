package enrich_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// empty takes everything out of the stream of summaries, as an operator's purge does. Ids that it has had are still
// refused for a while.
func (s *fakeSink) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.messages {
		s.messages[i].Key.Session = "purged-" + s.messages[i].Key.Session
	}
}

// Consumers pass over revisions that they have seen, so they go on counting where the stream was emptied under a call.
func TestRevisionsGoOnCountingWhereTheSummariesWereEmptied(t *testing.T) {
	for name, rest := range map[string]time.Duration{"at once": 30 * time.Second, "when this replica remembers it no more": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				w.lives(a)
				after(rest)
				w.wantRevisions(a.key(), "1 completed")
				before, _, _ := w.sink.counts()
				w.sink.empty()
				w.deliver(a.cost("0.01"))
				after(time.Minute)
				for _, k := range []summary.Key{a.key(), a.sessionKey()} {
					if got := w.revisions(k); len(got) != 1 || !strings.HasPrefix(got[0], "2 amended") {
						t.Errorf("%s: got %v, want revision 2", k.Kind, got)
					}
				}
				if n, _, _ := w.sink.counts(); n-before > 4 {
					t.Errorf("%d publications", n-before)
				}
				w.deliver(a.recording(1))
				after(time.Minute)
				if got := w.revisions(a.key()); len(got) != 2 || !strings.HasPrefix(got[1], "3 amended") {
					t.Errorf("got %v, want revision 3 as well", got)
				}
			})
		})
	}
}

// What is refused again and again, and cannot be read, is tried with a pause that grows: each try is seen by everybody
// who subscribes without JetStream.
func TestAPublicationThatIsRefusedAgainAndAgainWaits(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
			if d.Key.Kind == summary.KindLeg {
				return inProcess
			}
			return noFault
		})
		w.lives(a)
		after(2 * time.Minute)
		if n, _, _ := w.sink.counts(); n > 25 {
			t.Errorf("%d publications in two minutes", n)
		}
		w.sink.failing(nil)
		after(15 * time.Second)
		if got := w.revisions(a.key()); !slices.Contains(got, "1 completed") {
			t.Errorf("got %v", got)
		}
	})
}

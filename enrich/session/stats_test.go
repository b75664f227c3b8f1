package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

// counted is what a table holds, but for how old that is.
func counted(t *session.Table) session.Stats {
	st := t.Stats()
	st.Oldest = 0
	return st
}

func TestStatsCountWhatIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		want := func(when string, want session.Stats) {
			t.Helper()
			if diff := gocmp.Diff(want, tp.table.Stats()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		want("nothing", session.Stats{})
		other := call.Ref{Session: "t", Leg: "of t", Control: "c of t"}
		tp.says(call.TypeInitiated, ref(0))
		pass(time.Minute)
		tp.says(call.TypeInitiated, other)
		pass(time.Minute)
		tp.says(call.TypeAnswered, ref(0)) // makes it no younger
		want("two legs", session.Stats{Sessions: 2, Legs: 2, OpenSessions: 2, OpenLegs: 2, Oldest: 2 * time.Minute})
		tp.says(call.TypeHangup, ref(0))
		want("one has hung up and is not quiet yet", session.Stats{Sessions: 2, Legs: 2, OpenSessions: 2, OpenLegs: 1, Oldest: time.Minute})
		tp.run(time.Now().Add(rules.SessionSettle), nil)
		want("its session is over", session.Stats{Sessions: 2, Legs: 2, OpenSessions: 1, OpenLegs: 1, Oldest: time.Minute + rules.SessionSettle})
		tp.says(call.TypeHangup, other)
		tp.run(time.Now().Add(rules.SessionSettle), nil)
		want("all is over", session.Stats{Sessions: 2, Legs: 2})
	})
}

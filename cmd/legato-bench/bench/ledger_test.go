package bench_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

func TestARunCountsOnlyWhenEverySummaryCameOnce(t *testing.T) {
	t.Parallel()
	const patience = time.Minute
	tests := map[string]struct {
		lose, twice int // index into what is expected; -1: none
		want        string
	}{
		"everything came once":       {-1, -1, ""},
		"a leg's is missing":         {0, -1, "1 legs and sessions have no summary 1m0s after the last webhook"},
		"a session's is missing":     {5, -1, "1 legs and sessions have no summary 1m0s after the last webhook"},
		"a leg's came twice":         {-1, 1, "1 summaries were published as completed more than once"},
		"a session's came twice":     {-1, 5, "1 summaries were published as completed more than once"},
		"one twice, another missing": {2, 3, "1 legs and sessions have no summary 1m0s after the last webhook"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 3 sessions with 4 legs.
				w := bench.Build(bench.Shape{Events: 28}, key, path)
				var l bench.Ledger
				l.Completed("before anything is expected", time.Now())
				l.Expect(w)
				var ids []string
				for _, leg := range w.Legs {
					ids = append(ids, string(leg.Ref.Leg))
				}
				for _, s := range w.Sessions {
					ids = append(ids, string(s))
				}
				l.Completed("a late one of another workload", time.Now())
				for i, id := range ids {
					if i != tt.lose {
						l.Completed(id, time.Now())
					}
					if i == tt.twice {
						l.Completed(id, time.Now())
					}
				}
				got := ""
				if err := l.Wait(t.Context(), patience); err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestOneMoreWorkloadIsExpectedBesideTheFirst(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"while the first is under way": false, "when the first is complete": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var l bench.Ledger
				complete := func(w *bench.Workload) {
					for _, leg := range w.Legs {
						l.Completed(string(leg.Ref.Leg), time.Now())
					}
					for _, s := range w.Sessions {
						l.Completed(string(s), time.Now())
					}
				}
				first, second := bench.Build(bench.Shape{Events: 28, Tag: 1}, key, path), bench.Build(bench.Shape{Events: 28, Tag: 2}, key, path)
				l.Expect(first)
				if early {
					complete(first)
				}
				l.ExpectToo(second)
				if !early {
					complete(first)
				}
				if err := l.Wait(t.Context(), time.Minute); err == nil || err.Error() != "7 legs and sessions have no summary 1m0s after the last webhook" {
					t.Errorf("with the second's missing: %v", err)
				}
				complete(second)
				if err := l.Wait(t.Context(), time.Minute); err != nil {
					t.Errorf("with all there: %v", err)
				}
				complete(first)
				if err := l.Wait(t.Context(), time.Minute); err == nil {
					t.Error("that the first's came twice was not seen")
				}
			})
		})
	}
}

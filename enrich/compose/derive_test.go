package compose_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
	"pgregory.net/rapid"
)

func TestSecondsAreDerivedFromTimesAndOutcome(t *testing.T) {
	sec := func(v float64) *summary.Seconds { return new(summary.Seconds(v)) }
	start, answer, bridge, end := at(0), at(4030*time.Millisecond), at(6*time.Second), at(30*time.Second)
	for name, c := range map[string]struct {
		leg                           summary.Leg
		duration, ring, talk, bridged *summary.Seconds
	}{
		"answered": {
			summary.Leg{StartedAt: start, AnsweredAt: answer, BridgedAt: bridge, EndedAt: end, Outcome: summary.OutcomeAnswered},
			sec(30), sec(4.03), sec(25.97), sec(24),
		},
		"never answered: talk is zero, ring to the end": {
			summary.Leg{StartedAt: start, EndedAt: end, Outcome: summary.OutcomeNoAnswer}, sec(30), sec(30), sec(0), nil,
		},
		"never answered and no end": {
			summary.Leg{StartedAt: start, Outcome: summary.OutcomeBusy}, nil, nil, sec(0), nil,
		},
		"answered at an unknown time: neither ring nor talk": {
			summary.Leg{StartedAt: start, EndedAt: end, Outcome: summary.OutcomeAnswered}, sec(30), nil, nil, nil,
		},
		"unknown outcome: neither ring nor talk": {
			summary.Leg{StartedAt: start, EndedAt: end, Outcome: summary.OutcomeUnknown}, sec(30), nil, nil, nil,
		},
		"answered and no end": {
			summary.Leg{StartedAt: start, AnsweredAt: answer, Outcome: summary.OutcomeAnswered}, nil, sec(4.03), nil, nil,
		},
		"no start": {
			summary.Leg{AnsweredAt: answer, EndedAt: end, Outcome: summary.OutcomeAnswered}, nil, nil, sec(25.97), nil,
		},
		"what does not follow any more is cleared": {
			summary.Leg{Outcome: summary.OutcomeUnknown, DurationSeconds: sec(1), RingSeconds: sec(1), TalkSeconds: sec(1), BridgedSeconds: sec(1)},
			nil, nil, nil, nil,
		},
		"an end before the start gives no seconds": {
			summary.Leg{StartedAt: end, EndedAt: start, Outcome: summary.OutcomeUnknown}, nil, nil, nil, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := c.leg
			compose.Derive(&l)
			got := []*summary.Seconds{l.DurationSeconds, l.RingSeconds, l.TalkSeconds, l.BridgedSeconds}
			if diff := cmp.Diff([]*summary.Seconds{c.duration, c.ring, c.talk, c.bridged}, got); diff != "" {
				t.Errorf("duration, ring, talk, bridged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyWhatWasSeenIsNeverAnswered(t *testing.T) {
	for o, want := range map[summary.Outcome]bool{
		summary.OutcomeAnswered: false, summary.OutcomeUnknown: false, "of a later version": false,
		summary.OutcomeNoAnswer: true, summary.OutcomeBusy: true, summary.OutcomeRejected: true,
		summary.OutcomeCanceled: true, summary.OutcomeFailed: true,
	} {
		if got := compose.NeverAnswered(o); got != want {
			t.Errorf("%s: %v", o, got)
		}
	}
}

func TestATimelineKeepsItsEnds(t *testing.T) {
	for n, omitted := range map[int]int{0: 0, 1: 0, 500: 0, 501: 1, 777: 277} {
		got, left := compose.CutTimeline(timeline(span(0, n)...))
		if left != omitted || len(got)+left != n {
			t.Errorf("of %d events %d are kept and %d left out", n, len(got), left)
		}
		if omitted > 0 && (got[0].ID != "00000" || got[249].ID != "00249" || got[250].ID != timeline(n - 250)[0].ID) {
			t.Errorf("of %d events %s … %s | %s … are kept", n, got[0].ID, got[249].ID, got[250].ID)
		}
	}
	all := timeline(span(0, 600)...)
	if cut, _ := compose.CutTimeline(all); &cut[0] == &all[0] {
		t.Error("the cut shares memory with the whole")
	}
}

func TestCoveredTimeCountsNothingTwice(t *testing.T) {
	spanOf := func(from, to int) [2]time.Time {
		return [2]time.Time{base.Add(time.Duration(from) * time.Second), base.Add(time.Duration(to) * time.Second)}
	}
	for name, c := range map[string]struct {
		spans [][2]time.Time
		want  int
	}{
		"none":                    {nil, 0},
		"one":                     {[][2]time.Time{spanOf(0, 10)}, 10},
		"apart":                   {[][2]time.Time{spanOf(20, 30), spanOf(0, 10)}, 20},
		"touching":                {[][2]time.Time{spanOf(0, 10), spanOf(10, 20)}, 20},
		"overlapping":             {[][2]time.Time{spanOf(0, 10), spanOf(5, 15)}, 15},
		"one inside the other":    {[][2]time.Time{spanOf(0, 30), spanOf(5, 10), spanOf(8, 20)}, 30},
		"the same":                {[][2]time.Time{spanOf(0, 10), spanOf(0, 10)}, 10},
		"ends before it begins":   {[][2]time.Time{spanOf(10, 0)}, 0},
		"backwards inside others": {[][2]time.Time{spanOf(0, 10), spanOf(8, 2), spanOf(9, 12)}, 12},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compose.Covered(c.spans); got != time.Duration(c.want)*time.Second {
				t.Errorf("got %v", got)
			}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		var spans [][2]time.Time
		var seconds [60]bool
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			from, to := rapid.IntRange(0, 60).Draw(t, "from"), rapid.IntRange(0, 60).Draw(t, "to")
			spans = append(spans, spanOf(from, to))
			for i := from; i < to; i++ {
				seconds[i] = true
			}
		}
		want := 0
		for _, covered := range seconds {
			if covered {
				want++
			}
		}
		if got := compose.Covered(spans); got != time.Duration(want)*time.Second {
			t.Fatalf("got %v, want %d s", got, want)
		}
	})
}

func TestTheWorstStatusStandsForTheSession(t *testing.T) {
	order := []summary.StatusState{
		summary.StatusDenied, summary.StatusUnreachable, summary.StatusRateLimited, summary.StatusNotFound,
		summary.StatusNotAsked, summary.StatusPending, summary.StatusConfirmed,
	}
	for i, worse := range order {
		for _, better := range order[i:] {
			if got := compose.WorstStatus([]summary.StatusState{better, worse, better}); got != worse {
				t.Errorf("of %s and %s: %s", worse, better, got)
			}
		}
	}
	if got := compose.WorstStatus(nil); got != summary.StatusNotAsked {
		t.Errorf("of none: %s", got)
	}
}

func TestASessionPastTheLimitCarriesLess(t *testing.T) {
	leg := func(i int) summary.SessionLeg {
		return summary.SessionLeg{
			CallLegID: fmt.Sprintf("leg-%032d", i), CallControlID: "v3:" + strings.Repeat("c", 54), From: "+12025550101", To: "+12025550102",
			Outcome: summary.OutcomeAnswered, EndedBy: summary.EndedByHangup, StatusState: summary.StatusConfirmed, Revision: 1,
			StartedAt: summary.At(time.Unix(1, 0)), AnsweredAt: summary.At(time.Unix(2, 0)), EndedAt: summary.At(time.Unix(3, 0)),
		}
	}
	for _, row := range []struct {
		name          string
		legs          int
		parties, omit bool
	}{
		{"a hundred legs are whole", 100, true, false},
		{"two thousand carry ids and results", 2000, false, false},
		{"of twenty thousand the last are left out", 20_000, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := summary.Session{Kind: summary.KindSession, LegCount: row.legs}
			for i := range row.legs {
				s.Legs = append(s.Legs, leg(i))
			}
			got, _, err := compose.FitSession(s, compose.MaxBody)
			if err != nil {
				t.Fatal(err)
			}
			data, err := summary.Encode(got)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > 500<<10 {
				t.Errorf("it has %d bytes", len(data))
			}
			if (got.Legs[0].From != "") != row.parties || (got.LegsOmitted > 0) != row.omit || len(got.Legs)+got.LegsOmitted != row.legs {
				t.Errorf("%d legs shown, %d omitted, the first is %+v", len(got.Legs), got.LegsOmitted, got.Legs[0])
			}
			if s.Legs[0].From == "" {
				t.Error("it changed the session that it was given")
			}
		})
	}
}

package compose_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

var update = flag.Bool("update", false, "write the table of outcomes into docs/messages.md")

func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		answered            bool
		cause, source, code string
		want                summary.Outcome
	}{
		"answered, whatever the cause":           {true, "user_busy", "callee", "486", summary.OutcomeAnswered},
		"busy":                                   {false, "user_busy", "callee", "", summary.OutcomeBusy},
		"rejected":                               {false, "call_rejected", "callee", "603", summary.OutcomeRejected},
		"canceled":                               {false, "originator_cancel", "callee", "487", summary.OutcomeCanceled},
		"ringing timeout":                        {false, "timeout", "callee", "unspecified", summary.OutcomeNoAnswer},
		"no answer":                              {false, "no_answer", "callee", "", summary.OutcomeNoAnswer},
		"no user response":                       {false, "no_user_response", "callee", "", summary.OutcomeNoAnswer},
		"not found":                              {false, "not_found", "callee", "404", summary.OutcomeFailed},
		"unallocated":                            {false, "unallocated_number", "callee", "", summary.OutcomeFailed},
		"invalid number":                         {false, "invalid_number_format", "callee", "", summary.OutcomeFailed},
		"destination out of order":               {false, "destination_out_of_order", "callee", "", summary.OutcomeFailed},
		"network out of order":                   {false, "network_out_of_order", "callee", "", summary.OutcomeFailed},
		"timer":                                  {false, "recovery_on_timer_expire", "callee", "", summary.OutcomeFailed},
		"temporary failure":                      {false, "normal_temporary_failure", "callee", "", summary.OutcomeFailed},
		"time limit of a talk":                   {false, "time_limit", "callee", "", summary.OutcomeAnswered},
		"causes in capitals":                     {false, "USER_BUSY", "callee", "", summary.OutcomeBusy},
		"the cause goes before the code":         {false, "user_busy", "callee", "603", summary.OutcomeBusy},
		"200":                                    {false, "normal_clearing", "callee", "200", summary.OutcomeAnswered},
		"486":                                    {false, "normal_clearing", "callee", "486", summary.OutcomeBusy},
		"600":                                    {false, "normal_clearing", "callee", "600", summary.OutcomeBusy},
		"403":                                    {false, "unspecified", "callee", "403", summary.OutcomeRejected},
		"603":                                    {false, "unspecified", "callee", "603", summary.OutcomeRejected},
		"607":                                    {false, "unspecified", "callee", "607", summary.OutcomeRejected},
		"608":                                    {false, "unspecified", "callee", "608", summary.OutcomeRejected},
		"487":                                    {false, "", "callee", "487", summary.OutcomeCanceled},
		"408":                                    {false, "", "callee", "408", summary.OutcomeNoAnswer},
		"480":                                    {false, "", "callee", "480", summary.OutcomeNoAnswer},
		"another 4xx":                            {false, "", "callee", "404", summary.OutcomeFailed},
		"another 5xx":                            {false, "normal_clearing", "callee", "503", summary.OutcomeFailed},
		"another 6xx":                            {false, "a word of tomorrow", "callee", "604", summary.OutcomeFailed},
		"3xx says nothing":                       {false, "", "callee", "302", summary.OutcomeUnknown},
		"busy, said of the calling side":         {false, "user_busy", "caller", "486", summary.OutcomeCanceled},
		"rejected, said of the calling side":     {false, "call_rejected", "caller", "603", summary.OutcomeCanceled},
		"a busy code of the calling side":        {false, "normal_clearing", "caller", "486", summary.OutcomeCanceled},
		"a refusal code of the calling side":     {false, "", "caller", "21", summary.OutcomeCanceled},
		"busy, of an unknown side":               {false, "user_busy", "unknown", "", summary.OutcomeBusy},
		"a timeout of the calling side":          {false, "timeout", "caller", "", summary.OutcomeNoAnswer},
		"answered, then busy from the caller":    {true, "user_busy", "caller", "486", summary.OutcomeAnswered},
		"Q.850 16, normal clearing":              {false, "normal_clearing", "caller", "16", summary.OutcomeAnswered},
		"Q.850 17, user busy":                    {false, "unspecified", "callee", "17", summary.OutcomeBusy},
		"Q.850 19, no answer":                    {false, "", "callee", "19", summary.OutcomeNoAnswer},
		"Q.850 21, call rejected":                {false, "", "callee", "21", summary.OutcomeRejected},
		"Q.850 34, no circuit":                   {false, "", "callee", "34", summary.OutcomeFailed},
		"Q.850 31 says nothing":                  {false, "normal_clearing", "callee", "31", summary.OutcomeUnknown},
		"unspecified says nothing":               {false, "unspecified", "callee", "unspecified", summary.OutcomeUnknown},
		"four digits say nothing":                {false, "", "callee", "4040", summary.OutcomeUnknown},
		"nothing seen is unknown, not no answer": {false, "", "callee", "", summary.OutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compose.Outcome(c.answered, c.cause, c.source, c.code); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The page prints the table that decides.
func TestTheTableOfOutcomesIsPrinted(t *testing.T) {
	var want strings.Builder
	want.WriteString("\n| `hangup_cause` | `hangup_source` | `sip_hangup_cause` | outcome |\n|---|---|---|---|\n")
	list := func(words []string) string {
		if len(words) == 0 {
			return "any"
		}
		return "`" + strings.Join(words, "`, `") + "`"
	}
	for _, r := range compose.OutcomeRules {
		source := "any"
		if r.Source != "" {
			source = "`" + r.Source + "`"
		}
		fmt.Fprintf(&want, "| %s | %s | %s | `%s` |\n", list(r.Causes), source, list(r.Codes), r.Outcome)
	}
	page := filepath.Join("..", "..", "docs", "messages.md")
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const from, to = "<!-- outcomes, written by go test ./enrich/compose -update -->\n", "\n<!-- end of outcomes -->"
	before, rest, found := strings.Cut(string(data), from)
	got, after, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatal("docs/messages.md has no place for the table of outcomes")
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+from+want.String()+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	check(t, "docs/messages.md (-update writes it)", got, want.String())
}

func TestAnsweredBy(t *testing.T) {
	for result, want := range map[string]summary.AnsweredBy{
		"": "", "human": summary.AnsweredByHuman, "human_residence": summary.AnsweredByHuman, "human_business": summary.AnsweredByHuman,
		"machine": summary.AnsweredByMachine, "fax_detected": summary.AnsweredByFax, "silence": summary.AnsweredBySilence,
		"not_sure": summary.AnsweredByUnknown, "a word of tomorrow": summary.AnsweredByUnknown,
	} {
		if got := compose.AnsweredBy(result); got != want {
			t.Errorf("%q: got %q, want %q", result, got, want)
		}
	}
}

func TestParty(t *testing.T) {
	for _, c := range []struct {
		direction, source string
		want              summary.Party
	}{
		{"incoming", "caller", summary.PartyRemote},
		{"incoming", "callee", summary.PartyLocal},
		{"outgoing", "caller", summary.PartyLocal},
		{"outgoing", "callee", summary.PartyRemote},
		{"incoming", "unknown", summary.PartyUnknown},
		{"outgoing", "system", summary.PartyUnknown},
		{"outgoing", "", summary.PartyUnknown},
		{"", "caller", summary.PartyUnknown},
	} {
		if got := compose.PartyOf(c.direction, c.source); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.direction, c.source, got, c.want)
		}
	}
}

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
			got, _, err := compose.FitSession(s, summary.MaxBody)
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

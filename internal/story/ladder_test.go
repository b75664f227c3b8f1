package story_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/story"
)

// anyStory draws a story of a few legs with all that can happen.
func anyStory(t *rapid.T) *story.Story {
	word := rapid.StringMatching(`[a-z_./é ]{0,90}`)
	s := &story.Story{ID: "s", CallSessionID: word.Draw(t, "session"), AsOf: began.Add(time.Hour), Log: story.Log{Coverage: story.CoveragePartial}}
	legs := rapid.IntRange(0, 9).Draw(t, "legs")
	leg := rapid.SampledFrom([]string{""})
	if legs > 0 {
		leg = rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("leg-%d", rapid.IntRange(-1, legs-1).Draw(t, "n")) })
	}
	for i := range legs {
		s.Legs = append(s.Legs, story.Leg{CallLegID: fmt.Sprintf("leg-%d", i), From: word.Draw(t, "from"), State: "gone", Revision: i, Lacks: []string{"call.answered"}})
	}
	now := began
	for range rapid.IntRange(0, 30).Draw(t, "items") {
		now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
		id := leg.Draw(t, "leg")
		if id == "leg--1" {
			id = "" // the session
		}
		item := story.Item{At: now, CallLegID: id}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			item.Kind, item.Event = story.KindEvent, &story.Event{Type: "call." + word.Draw(t, "type"), LateSeconds: 40, AfterRevision: 2, Backfill: true}
		case 1:
			item.Kind, item.Status = story.KindStatus, &story.Status{Attempt: 3, Result: status.Unreachable, Problem: status.ProblemTimeout}
		case 2:
			item.Kind, item.Backfill = story.KindBackfill, &story.Backfill{Attempt: 1, Result: status.Answered, Rows: 100, Added: 20, Whole: true}
		case 3:
			item.Kind, item.Check = story.KindCheck, &story.Check{What: session.CheckStatus, Attempt: 4}
		case 4:
			item.Kind, item.Published = story.KindPublished, &story.Published{
				Level: summary.KindLeg, Revision: 2, Reasons: []summary.Reason{"recording"}, Changed: []string{"/" + word.Draw(t, "changed"), "/b", "/c", "/d"},
			}
		}
		s.Timeline = append(s.Timeline, item)
	}
	s.Next = []story.Due{{At: began, CallLegID: "leg-0", Check: story.Check{What: session.CheckBackfill, Attempt: 2}}}
	s.Remarks = []string{word.Draw(t, "remark")}
	return s
}

func TestALadderIsNoWiderThanTheScreenAndLeavesNothingOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyStory(t)
		width := rapid.IntRange(60, 200).Draw(t, "width")
		text := s.Ladder(width, time.UTC)
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("%d columns on a screen of %d: %s", n, width, line)
			}
		}
		got := strings.Count(text, "● ") + strings.Count(text, "? ") + strings.Count(text, "… ") + strings.Count(text, "▶ ")
		for _, times := range regexp.MustCompile(`×(\d+)`).FindAllStringSubmatch(text, -1) {
			n, err := strconv.Atoi(times[1])
			if err != nil {
				t.Fatal(err)
			}
			got += n - 1
		}
		if want := len(s.Timeline); got < want {
			t.Fatalf("%d of %d things are drawn:\n%s", got, want, text)
		}
	})
}

func TestLegsThatDoNotFitAreStacked(t *testing.T) {
	s := &story.Story{CallSessionID: "s", AsOf: began}
	for i := range 5 {
		id := fmt.Sprintf("leg-%d", i)
		s.Legs = append(s.Legs, story.Leg{CallLegID: id, State: "live"})
		s.Timeline = append(s.Timeline, story.Item{At: began.Add(time.Duration(i) * time.Second), Kind: story.KindEvent, CallLegID: id, Seq: 1, Event: &story.Event{Type: "call.initiated"}})
	}
	s.Timeline = append(s.Timeline, story.Item{At: began.Add(time.Minute), Kind: story.KindPublished, Published: &story.Published{Level: summary.KindSession, Revision: 1}})
	for width, blocks := range map[int]int{60: 5, 90: 3, 120: 2, 200: 1} {
		text := s.Ladder(width, time.UTC)
		if got := strings.Count(text, "┬─ A")*100 + strings.Count(text, "\n─────────────────────┬─"); got != 100+blocks {
			t.Errorf("%d columns: %d blocks, want %d:\n%s", width, got-100, blocks, text)
		}
		if n := strings.Count(text, "session r1"); n != 1 {
			t.Errorf("%d columns: what is about the session is told %d times:\n%s", width, n, text)
		}
	}
}

func TestACheckIsShownOnlyWithoutItsOutcome(t *testing.T) {
	check := func(attempt int, at time.Duration) story.Item {
		return story.Item{At: began.Add(at), Kind: story.KindCheck, CallLegID: "a", Check: &story.Check{What: session.CheckStatus, Attempt: attempt}}
	}
	s := &story.Story{
		CallSessionID: "s", AsOf: began, Legs: []story.Leg{{CallLegID: "a", State: "live"}},
		Timeline: []story.Item{
			check(1, 0),
			{At: began, Kind: story.KindStatus, CallLegID: "a", Status: &story.Status{Attempt: 1, Result: status.NotFound, HTTPStatus: 404}},
			check(2, time.Minute),
		},
	}
	text := s.Ladder(120, time.UTC)
	if strings.Contains(text, "status attempt 1") || !strings.Contains(text, "status attempt 2, no outcome") || !strings.Contains(text, "status 1: not_found 404") {
		t.Error(text)
	}
}

func TestEventsOfTheSameWordsShareALine(t *testing.T) {
	s := &story.Story{CallSessionID: "s", AsOf: began, Legs: []story.Leg{{CallLegID: "a", State: "live"}, {CallLegID: "b", State: "live"}}}
	press := func(leg string, n int) {
		for range n {
			at := began.Add(time.Duration(len(s.Timeline)) * time.Second)
			s.Timeline = append(s.Timeline, story.Item{At: at, Kind: story.KindEvent, CallLegID: leg, Seq: 1, Event: &story.Event{Type: "call.dtmf.received"}})
		}
	}
	press("a", 7)
	press("b", 1)
	press("a", 2)
	text := s.Ladder(120, time.UTC)
	if strings.Count(text, "dtmf.received") != 3 || !strings.Contains(text, "● dtmf.received ×7") || !strings.Contains(text, "● dtmf.received ×2") {
		t.Error(text)
	}
}

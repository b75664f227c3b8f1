package story_test

import (
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish/forward"
)

func TestTheLadderSaysHowAnEventWasHandedOnWhereNotAtOnce(t *testing.T) {
	began := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		forwarded []story.Forwarded
		want      string // "": no word of it
	}{
		{"at once", []story.Forwarded{{Target: "app", Attempt: 1, Result: forward.Done, HTTPStatus: 200}}, ""},
		{"at the third attempt", []story.Forwarded{
			{Target: "app", Attempt: 1, Result: forward.Unreachable},
			{Target: "app", Attempt: 2, Result: forward.Failed, HTTPStatus: 503},
			{Target: "app", Attempt: 3, Result: forward.Done, HTTPStatus: 200},
		}, "→app at attempt 3"},
		{"refused", []story.Forwarded{{Target: "app", Attempt: 1, Result: forward.Refused, HTTPStatus: 400}}, "→app refused 400"},
		{"stale", []story.Forwarded{{Target: "app", Result: forward.Stale}}, "→app stale"},
		{"by two", []story.Forwarded{
			{Target: "app", Attempt: 1, Result: forward.Done}, {Target: "crm", Result: forward.Expired},
		}, "→crm expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := story.Story{Legs: []story.Leg{{CallLegID: "l"}}, Timeline: []story.Item{{
				At: began, Kind: story.KindEvent, CallLegID: "l", Seq: 1,
				Event: &story.Event{Type: "call.initiated", Forwarded: c.forwarded},
			}}}
			ladder := s.Ladder(100, time.UTC)
			if c.want == "" && strings.Contains(ladder, "→app") || !strings.Contains(ladder, c.want) {
				t.Errorf("want %q in\n%s", c.want, ladder)
			}
		})
	}
}

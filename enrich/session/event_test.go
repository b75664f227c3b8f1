package session_test

import (
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/internal/call"
)

// The history can name an event otherwise than its webhook does, and a webhook can
// come after its leg was backfilled.
func TestWhatWasFilledInGivesWayToItsWebhook(t *testing.T) {
	at := epoch.Add(3 * time.Second)
	for name, c := range map[string]struct {
		filled, webhook call.Event
		want            []string
	}{
		"the same type at the same time": {
			call.Event{Type: call.TypeHold, OccurredAt: at.Truncate(time.Millisecond)},
			call.Event{Type: call.TypeHold, OccurredAt: at.Truncate(time.Millisecond).Add(999 * time.Microsecond)},
			[]string{"webhook"},
		},
		"another time": {
			call.Event{Type: call.TypeHold, OccurredAt: at},
			call.Event{Type: call.TypeHold, OccurredAt: at.Add(time.Millisecond)},
			[]string{"filled", "webhook"},
		},
		"another type": {
			call.Event{Type: call.TypeHold, OccurredAt: at},
			call.Event{Type: call.TypeUnhold, OccurredAt: at},
			[]string{"filled", "webhook"},
		},
		"what a leg has once, whatever the time": {
			call.Event{Type: call.TypeAnswered, OccurredAt: at},
			call.Event{Type: call.TypeAnswered, OccurredAt: at.Add(time.Second)},
			[]string{"webhook"},
		},
	} {
		for _, webhookFirst := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				tp := newTape(t)
				c.filled.ID, c.filled.Ref, c.filled.Backfill = "filled", ref(0), true
				c.webhook.ID, c.webhook.Ref = "webhook", ref(0)
				events := []call.Event{c.filled, c.webhook}
				if webhookFirst {
					slices.Reverse(events)
				}
				for _, e := range events {
					tp.event(e)
				}
				var got []string
				for _, e := range tp.leg(ref(0)).Events {
					got = append(got, e.ID)
				}
				slices.Sort(got)
				if diff := gocmp.Diff(c.want, got); diff != "" {
					t.Errorf("webhook first %t (-want +got):\n%s", webhookFirst, diff)
				}
			})
		}
	}
}

package compose

import (
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// MergeSession keeps what the stored session knows of events that have left the log,
// and of legs whose summaries cannot be found. Legs are those that s was composed of.
func MergeSession(s summary.Session, before *summary.Session, v *session.View, legs []summary.Leg) summary.Session {
	events := sessionWithout(*before, rehomed(v, before.Events))
	keepEvents(&s, &events)
	if before.FirstReceivedAt.Before(s.FirstReceivedAt.Time) {
		s.FirstReceivedAt = before.FirstReceivedAt
	}
	s.Bridges = keepBridges(s.Bridges, before.Bridges, v)
	keepLegs(&s, before, legs)
	return s
}

// rehomed is what came from those events that the stored session shows as its own
// and that have found their leg since: they stand there.
func rehomed(v *session.View, stored []summary.Event) summary.Leg {
	type identity struct{ id, typ string }
	own := make(map[identity]bool, len(stored))
	for _, e := range stored {
		own[identity{e.ID, e.Type}] = true
	}
	var moved []*session.Event
	for i := range v.Legs {
		for _, e := range v.Legs[i].Events {
			if own[identity{e.ID, e.Type}] {
				moved = append(moved, e)
			}
		}
	}
	slices.SortStableFunc(moved, func(a, b *session.Event) int { return a.OccurredAt.Compare(b.OccurredAt) })
	return composeEvents(moved)
}

// keepBridges adds the stored bridges that the view cannot know: of one of their
// legs it has no call.bridged. All others it pairs itself, as a fresh fold would.
func keepBridges(found, stored []summary.Bridge, v *session.View) []summary.Bridge {
	bridged := make(map[string][]time.Time)
	for i := range v.Legs {
		for _, e := range v.Legs[i].Events {
			if e.Type == call.TypeBridged {
				leg := string(v.Legs[i].ID)
				bridged[leg] = append(bridged[leg], summary.MustAt(e.OccurredAt).Time)
			}
		}
	}
	var kept []summary.Bridge
	for _, b := range stored {
		unknown := slices.ContainsFunc(b.Legs, func(leg string) bool {
			return !slices.ContainsFunc(bridged[leg], func(at time.Time) bool {
				d := at.Sub(b.At.Time)
				return d >= 0 && d <= bridgeWindow
			})
		})
		// One of which one side was known may have become one of both.
		if unknown && !slices.ContainsFunc(found, func(k summary.Bridge) bool { return includes(k, b) }) {
			kept = append(kept, b)
		}
	}
	found = slices.DeleteFunc(found, func(k summary.Bridge) bool {
		return slices.ContainsFunc(kept, func(b summary.Bridge) bool { return includes(b, k) })
	})
	found = append(found, kept...)
	slices.SortStableFunc(found, func(a, b summary.Bridge) int {
		if c := a.At.Compare(b.At.Time); c != 0 {
			return c
		}
		return strings.Compare(strings.Join(a.Legs, " "), strings.Join(b.Legs, " "))
	})
	return found
}

// includes reports whether bridge a is b, maybe with its other side.
func includes(a, b summary.Bridge) bool {
	return a.At.Sub(b.At.Time).Abs() <= bridgeWindow &&
		!slices.ContainsFunc(b.Legs, func(leg string) bool { return !slices.Contains(a.Legs, leg) })
}

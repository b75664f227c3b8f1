package compose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Session makes the summary of a session from the summaries of its legs,
// each with the revision that was published. Revision, changed, reasons and
// published_at are the publication's to fill in.
func Session(v *session.View, legs []summary.Leg) summary.Session {
	legs = slices.Clone(legs)
	slices.SortFunc(legs, byStart)
	s := summary.Session{
		Kind:            summary.KindSession,
		Schema:          summary.Schema,
		CallSessionID:   string(v.ID),
		FirstReceivedAt: summary.MustAt(v.FirstAt),
		LegCount:        len(legs),
		Legs:            make([]summary.SessionLeg, len(legs)),
	}
	sessionEvents(&s, v)
	states := make([]summary.StatusState, len(legs))
	for i := range legs {
		l := &legs[i]
		if l.FirstReceivedAt.Before(s.FirstReceivedAt.Time) {
			s.FirstReceivedAt = l.FirstReceivedAt
		}
		states[i] = l.Status.State
		s.Legs[i] = compact(l)
	}
	s.StatusState = worstOf(states)
	s.Bridges = bridges(v)
	s.Cost = sessionCost(legs)
	summarizeLegs(&s, legs)
	return s
}

// sessionEvents shows the events that name the session and none of its legs:
// what was stated of a conference as a whole, above all.
func sessionEvents(s *summary.Session, v *session.View) {
	if len(v.Events) == 0 {
		return
	}
	l := composeEvents(v.Events)
	truncateLeg(&l, nil)
	s.EventCount = len(v.Events)
	takeEvents(s, &l)
}

// composeEvents makes of events that are no leg's what a leg of them would have.
func composeEvents(events []*session.Event) summary.Leg {
	c := newLegComposer(&session.LegView{Events: events})
	for _, e := range events {
		c.event(e)
	}
	c.timeline()
	return c.leg
}

// byStart orders legs: by start, those without one last, then by id.
func byStart(a, b summary.Leg) int {
	if (a.StartedAt == nil) != (b.StartedAt == nil) {
		if a.StartedAt == nil {
			return 1
		}
		return -1
	}
	return cmp.Or(a.StartedAt.Known().Compare(b.StartedAt.Known()), cmp.Compare(a.CallLegID, b.CallLegID))
}

// summarizeLegs fills in what a session takes from its legs, which are in order of start.
func summarizeLegs(s *summary.Session, legs []summary.Leg) {
	if len(legs) > 0 {
		f := &legs[0]
		s.ConnectionID, s.Direction, s.From, s.To = f.ConnectionID, f.Direction, f.From, f.To
	}
	for i := range legs {
		l := &legs[i]
		earliest(&s.StartedAt, l.StartedAt)
		earliest(&s.AnsweredAt, l.AnsweredAt)
		latest(&s.EndedAt, l.EndedAt)
		if l.Outcome == summary.OutcomeAnswered {
			s.AnsweredLegs++
		}
	}
	setParties(s, hangups(legs))
	s.DurationSeconds = summary.Between(s.StartedAt.Known(), s.EndedAt.Known(), summary.MaxSessionSeconds)
	s.TalkSeconds = sessionTalk(s.Legs)
}

// sessionTalk is the time in which at least one leg was answered; nil when that
// is not known of one of them.
func sessionTalk(legs []summary.SessionLeg) *summary.Seconds {
	var spans [][2]time.Time
	for i := range legs {
		l := &legs[i]
		switch {
		case l.AnsweredAt != nil && l.EndedAt != nil:
			spans = append(spans, [2]time.Time{l.AnsweredAt.Time, l.EndedAt.Time})
		case l.AnsweredAt == nil && neverAnswered(l.Outcome):
		default:
			return nil
		}
	}
	return bounded(summary.Lasting(covered(spans)), summary.MaxSessionSeconds)
}

func compact(l *summary.Leg) summary.SessionLeg {
	return summary.SessionLeg{
		CallLegID: l.CallLegID, CallControlID: l.CallControlID, ConnectionID: l.ConnectionID,
		Direction: l.Direction, From: l.From, To: l.To, Outcome: l.Outcome, AnsweredBy: l.AnsweredBy,
		StartedAt: l.StartedAt, AnsweredAt: l.AnsweredAt, EndedAt: l.EndedAt,
		DurationSeconds: l.DurationSeconds, TalkSeconds: l.TalkSeconds,
		EndedBy: l.EndedBy, StatusState: l.Status.State, Revision: l.Revision,
	}
}

// bridgeWindow is how far apart the call.bridged events of the two legs of one
// bridge may occur. Captures show the same time on both.
const bridgeWindow = time.Second

// bridges pairs the call.bridged events of different legs that occurred at the same time.
func bridges(v *session.View) []summary.Bridge {
	type bridged struct {
		at  time.Time
		leg call.LegID
	}
	var all []bridged
	for i := range v.Legs {
		for _, e := range v.Legs[i].Events {
			if e.Type == call.TypeBridged && !e.OccurredAt.IsZero() {
				all = append(all, bridged{e.OccurredAt, v.Legs[i].ID})
			}
		}
	}
	slices.SortFunc(all, func(a, b bridged) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.leg, b.leg))
	})
	var found []summary.Bridge
	for i := 0; i < len(all); i++ {
		b := summary.Bridge{At: summary.MustAt(all[i].at), Legs: []string{string(all[i].leg)}}
		if i+1 < len(all) && all[i+1].leg != all[i].leg && all[i+1].at.Sub(all[i].at) <= bridgeWindow {
			i++
			b.Legs = append(b.Legs, string(all[i].leg))
		}
		found = append(found, b)
	}
	return found
}

// sessionCost adds up what the legs cost; nil when no leg's cost is known.
func sessionCost(legs []summary.Leg) *summary.SessionCost {
	c := &summary.SessionCost{LegsTotal: len(legs)}
	var amounts []summary.Amount
	for i := range legs {
		if cost := legs[i].Cost; cost != nil && len(cost.Totals) > 0 {
			c.LegsCosted++
			amounts = append(amounts, cost.Totals...)
		}
	}
	if c.LegsCosted == 0 {
		return nil
	}
	c.Totals = addAmounts(amounts)
	return c
}

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

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
	// Those left out before are known by their number alone: what is found now may be one of them, and counts as one.
	if left := before.Omitted[bridgesField]; left > 0 {
		omitBridges(&s, len(before.Bridges)+left-len(s.Bridges))
	}
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

// farOutcomes are the outcomes of the parties that were called, the best first.
var farOutcomes = []summary.Outcome{
	summary.OutcomeAnswered, summary.OutcomeBusy, summary.OutcomeNoAnswer, summary.OutcomeRejected,
	summary.OutcomeCanceled, summary.OutcomeFailed, summary.OutcomeUnknown,
}

// parties are what a session says of the parties of its call as a whole. Legs are named by their places in the rows
// that it was made from; -1: there is none.
type parties struct {
	outcome summary.Outcome
	// far is the leg beyond the first with the best outcome, final the one that the call ended up with.
	far, final int
	// talked are the legs of the last conversation, the first to end first; without one it is the first leg.
	talked []int
}

// partiesOf tells the parties by the legs, which are in order of start, and the bridges, in order of time.
func partiesOf(rows []summary.SessionLeg, bridges []summary.Bridge) parties {
	p := parties{outcome: sessionOutcome(rows), far: -1, final: -1}
	if len(rows) == 0 {
		return p
	}
	p.talked, p.final = lastConversation(rows, bridges)
	if len(p.talked) == 0 {
		p.talked = []int{0}
	}
	slices.SortStableFunc(p.talked, func(a, b int) int {
		switch endA, endB := rows[a].EndedAt, rows[b].EndedAt; {
		case endA == nil || endB == nil:
			return known(endB) - known(endA)
		default:
			return endA.Compare(endB.Time)
		}
	})
	for i := 1; i < len(rows); i++ {
		switch better := rank(rows[i].Outcome) - rank(rows[max(p.far, 1)].Outcome); {
		case p.far < 0, better < 0, better == 0 && i == p.final:
			p.far = i
		}
	}
	return p
}

// rank is the place of an outcome among those of the parties that were called.
func rank(o summary.Outcome) int { return slices.Index(farOutcomes, o) }

func known(t *summary.Time) int {
	if t == nil {
		return 0
	}
	return 1
}

// sessionOutcome is that of the first leg. Where the customer called everybody, no leg came in: then one answer is enough.
func sessionOutcome(rows []summary.SessionLeg) summary.Outcome {
	if len(rows) == 0 {
		return summary.OutcomeUnknown
	}
	came := slices.ContainsFunc(rows, func(l summary.SessionLeg) bool { return l.Direction != "outgoing" })
	if !came && slices.ContainsFunc(rows, isAnswered) {
		return summary.OutcomeAnswered
	}
	return rows[0].Outcome
}

func isAnswered(l summary.SessionLeg) bool { return l.Outcome == summary.OutcomeAnswered }

// lastConversation returns the legs that were bridged last, else the one that was answered last; and the last leg that
// was bridged to the first, else again the one answered last. A bridge of one leg is one to the first: its other
// side was not received, or is in another session.
func lastConversation(rows []summary.SessionLeg, bridges []summary.Bridge) (talked []int, final int) {
	at := make(map[string]int, len(rows))
	for i := range rows {
		at[rows[i].CallLegID] = i
	}
	final = -1
	for _, b := range bridges {
		var legs []int
		for _, id := range b.Legs {
			if i, ok := at[id]; ok {
				legs = append(legs, i)
			}
		}
		if len(legs) == 1 && legs[0] != 0 {
			legs = append(legs, 0)
		}
		if len(legs) > 0 {
			talked = legs
		}
		if len(legs) == 2 && slices.Contains(legs, 0) {
			final = max(legs[0], legs[1])
		}
	}
	last := -1
	for i := range rows {
		if isAnswered(rows[i]) && (last < 0 || !rows[i].AnsweredAt.Known().Before(rows[last].AnsweredAt.Known())) {
			last = i
		}
	}
	if last >= 0 && len(talked) == 0 {
		talked = []int{last}
	}
	if final < 0 {
		final = last
	}
	return talked, final
}

// setParties states the parties of a session by its rows and bridges. hangup returns what is known of a leg's hangup.
func setParties(s *summary.Session, hangup func(leg string) *summary.Hangup) parties {
	p := partiesOf(s.Legs, s.Bridges)
	s.Outcome, s.FarOutcome, s.FarLeg, s.FinalTo, s.Hangup = p.outcome, "", "", "", nil
	if p.far >= 0 {
		s.FarOutcome, s.FarLeg = s.Legs[p.far].Outcome, s.Legs[p.far].CallLegID
	}
	if p.final >= 0 && s.Legs[p.final].To != s.To {
		s.FinalTo = s.Legs[p.final].To
	}
	for _, i := range p.talked {
		if h := hangup(s.Legs[i].CallLegID); h != nil {
			s.Hangup = &summary.SessionHangup{CallLegID: s.Legs[i].CallLegID, Hangup: *h}
			break
		}
	}
	return p
}

// hangups returns what the legs say of their hangups.
func hangups(legs []summary.Leg) func(leg string) *summary.Hangup {
	return func(id string) *summary.Hangup {
		if i := slices.IndexFunc(legs, func(l summary.Leg) bool { return l.CallLegID == id }); i >= 0 {
			return legs[i].Hangup
		}
		return nil
	}
}

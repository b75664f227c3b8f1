package compose

import (
	"slices"

	"github.com/legato-calls/legato/enrich/summary"
)

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

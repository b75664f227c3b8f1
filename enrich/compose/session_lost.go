package compose

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// lost are the legs that a stored session counts and whose summaries cannot be
// found: they were left out of its list, or have left the stream of summaries as well.
type lost struct {
	before *summary.Session
	// rows are those that the stored session lists, by id.
	rows map[string]summary.SessionLeg
	// found are the legs whose summaries are at hand; true: the stored session counts it.
	found map[string]bool
	// omitted is how many of its legs are neither at hand nor listed.
	omitted int
}

// keepLegs lets stand what the stored session says of legs that cannot be found:
// of its counts and sums only the parts of the legs at hand are replaced.
func keepLegs(s *summary.Session, before *summary.Session, legs []summary.Leg) {
	l := findLost(before, legs)
	gone := slices.ContainsFunc(before.Legs, func(row summary.SessionLeg) bool { return l.gone(row.CallLegID) })
	if !gone && l.omitted == 0 {
		return
	}
	s.Legs = l.keepRows(s.Legs)
	l.keepCounts(s, legs)
	l.keepParties(s)
	l.keepTimes(s, legs)
	states := make([]summary.StatusState, len(s.Legs), len(s.Legs)+1)
	for i, row := range s.Legs {
		states[i] = row.StatusState
	}
	// The state that none of the listed legs had is that of one that was left out.
	if l.omitted > 0 && !slices.ContainsFunc(before.Legs, func(row summary.SessionLeg) bool { return row.StatusState == before.StatusState }) {
		states = append(states, before.StatusState)
	}
	s.StatusState = worstOf(states)
}

func findLost(before *summary.Session, legs []summary.Leg) *lost {
	l := &lost{
		before: before, omitted: before.LegsOmitted,
		rows:  make(map[string]summary.SessionLeg, len(before.Legs)),
		found: make(map[string]bool, len(legs)),
	}
	for _, row := range before.Legs {
		l.rows[row.CallLegID] = row
	}
	for i := range legs {
		id := legs[i].CallLegID
		_, counted := l.rows[id]
		// A leg that was heard of when the stored session was made is one of those left out.
		if !counted && l.omitted > 0 && !legs[i].FirstReceivedAt.After(before.PublishedAt.Time) {
			counted = true
			l.omitted--
		}
		l.found[id] = counted
	}
	return l
}

// gone reports whether a leg that the stored session lists cannot be found.
func (l *lost) gone(id string) bool {
	_, ok := l.found[id]
	return !ok
}

// keepRows puts the rows of legs that cannot be found among the others, by start.
// The rows of a session that was too large have none: they keep their place.
func (l *lost) keepRows(rows []summary.SessionLeg) []summary.SessionLeg {
	rows = slices.Clone(rows)
	previous := ""
	for _, row := range l.before.Legs {
		if l.gone(row.CallLegID) {
			// Behind the one that it stood behind; at the beginning where it was the first.
			i := 1 + slices.IndexFunc(rows, func(r summary.SessionLeg) bool { return r.CallLegID == previous })
			if row.StartedAt != nil {
				i = slices.IndexFunc(rows, func(r summary.SessionLeg) bool {
					return r.StartedAt != nil && cmp.Or(r.StartedAt.Compare(row.StartedAt.Time), strings.Compare(r.CallLegID, row.CallLegID)) > 0
				})
				if i < 0 {
					i = len(rows)
				}
			}
			rows = slices.Insert(rows, i, row)
		}
		previous = row.CallLegID
	}
	return rows
}

// keepCounts adds to the stored counts and sums what is new since.
func (l *lost) keepCounts(s *summary.Session, legs []summary.Leg) {
	s.LegCount, s.AnsweredLegs = l.before.LegCount, l.before.AnsweredLegs
	cost := copyOf(l.before.Cost)
	amounts := slices.Clone(cost.Totals)
	for i := range legs {
		leg := &legs[i]
		counted := l.found[leg.CallLegID]
		if !counted {
			s.LegCount++
		}
		if now := leg.Outcome == summary.OutcomeAnswered; now != (counted && l.wasAnswered(leg)) {
			s.AnsweredLegs += map[bool]int{true: 1, false: -1}[now]
		}
		if now := leg.Cost; now != nil && len(now.Totals) > 0 && (!counted || !l.wasCosted(leg)) {
			cost.LegsCosted++
			amounts = append(amounts, now.Totals...)
		}
	}
	s.LegCount = max(s.LegCount, len(s.Legs))
	s.LegsOmitted = s.LegCount - len(s.Legs)
	s.Cost = nil
	if cost.LegsCosted > 0 {
		cost.LegsTotal, cost.Totals = s.LegCount, addAmounts(amounts)
		s.Cost = &cost
	}
}

// wasAnswered reports whether the stored session counts a leg as answered.
func (l *lost) wasAnswered(leg *summary.Leg) bool {
	if row, ok := l.rows[leg.CallLegID]; ok {
		return row.Outcome == summary.OutcomeAnswered
	}
	return leg.Outcome == summary.OutcomeAnswered && !l.changed(leg, "/outcome")
}

// wasCosted reports whether the stored session has the cost of a leg whose cost
// is known. An amount that took the place of another is not told: then the sum stands.
func (l *lost) wasCosted(leg *summary.Leg) bool {
	return !l.changed(leg, "/cost") && !l.changed(leg, "/cost/status")
}

// changed reports whether a field of a leg was changed by a revision that the stored session does not know.
func (l *lost) changed(leg *summary.Leg, pointer string) bool {
	unknown := leg.PublishedAt.After(l.before.PublishedAt.Time)
	if row, ok := l.rows[leg.CallLegID]; ok {
		unknown = leg.Revision > row.Revision
	}
	return unknown && slices.Contains(leg.Changed, pointer)
}

// keepParties keeps what the stored session has from its first leg, from the one
// that was hung up first and from the last that was answered, where that cannot be found.
func (l *lost) keepParties(s *summary.Session) {
	b := l.before
	if len(s.Legs) == 0 || l.gone(s.Legs[0].CallLegID) {
		s.ConnectionID, s.Direction, s.From, s.To, s.Outcome = b.ConnectionID, b.Direction, b.From, b.To, b.Outcome
	}
	if b.Hangup != nil && l.gone(b.Hangup.CallLegID) && !l.endsBefore(s, b.Hangup) {
		s.Hangup = b.Hangup
	}
	final := b.FinalTo
	if final == "" && b.AnsweredLegs > 0 {
		final = b.To
	}
	for _, row := range slices.Backward(s.Legs) {
		if row.Outcome != summary.OutcomeAnswered {
			continue
		}
		// Those left out are the last by start.
		added := !l.gone(row.CallLegID) && !l.found[row.CallLegID]
		if row.To != "" && (l.omitted == 0 || added || b.AnsweredLegs == 0) {
			final = row.To
		}
		break
	}
	if s.FinalTo = final; final == s.To {
		s.FinalTo = ""
	}
}

// endsBefore reports whether the hangup of the legs at hand is known to have come
// before another; of two at once, that of the leg which started first.
func (l *lost) endsBefore(s *summary.Session, other *summary.SessionHangup) bool {
	end := l.rows[other.CallLegID].EndedAt
	if s.Hangup == nil || end == nil {
		return false
	}
	at := func(id string) int {
		return slices.IndexFunc(s.Legs, func(row summary.SessionLeg) bool { return row.CallLegID == id })
	}
	ours, its := at(s.Hangup.CallLegID), at(other.CallLegID)
	our := s.Legs[ours].EndedAt
	return our != nil && (our.Before(end.Time) || our.Equal(end.Time) && ours < its)
}

// keepTimes widens the times to those of the stored session.
func (l *lost) keepTimes(s *summary.Session, legs []summary.Leg) {
	b := l.before
	earliest(&s.StartedAt, b.StartedAt)
	earliest(&s.AnsweredAt, b.AnsweredAt)
	latest(&s.EndedAt, b.EndedAt)
	s.DurationSeconds = summary.Between(s.StartedAt.Known(), s.EndedAt.Known())
	if talk := sessionTalk(s.Legs); talk != nil && l.omitted == 0 {
		s.TalkSeconds = talk
		return
	}
	if s.TalkSeconds == nil || b.TalkSeconds == nil {
		s.TalkSeconds = nil
		return
	}
	// To what was counted is added what lies behind it.
	var spans [][2]time.Time
	for i := range legs {
		answer, end := legs[i].AnsweredAt.Known(), legs[i].EndedAt.Known()
		if from := b.EndedAt.Known(); answer.Before(from) {
			answer = from
		}
		if legs[i].AnsweredAt != nil {
			spans = append(spans, [2]time.Time{answer, end})
		}
	}
	counted := time.Duration(math.Round(float64(*b.TalkSeconds)*1000)) * time.Millisecond
	talk := summary.Lasting(counted + covered(spans))
	s.TalkSeconds = new(max(*talk, *s.TalkSeconds))
}

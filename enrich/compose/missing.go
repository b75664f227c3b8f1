package compose

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// missing are the legs that a stored session counts and whose summaries cannot be
// found: they were left out of its list, or have left the stream of summaries as well.
type missing struct {
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
	m := findMissing(before, legs)
	some := slices.ContainsFunc(before.Legs, func(row summary.SessionLeg) bool { return m.isMissing(row.CallLegID) })
	if !some && m.omitted == 0 {
		setParties(s, hangups(legs)) // by what is known of bridges
		return
	}
	s.Legs = m.keepRows(s.Legs)
	m.keepCounts(s, legs)
	m.keepParties(s, legs)
	m.keepTimes(s, legs)
	states := make([]summary.StatusState, len(s.Legs), len(s.Legs)+1)
	for i, row := range s.Legs {
		states[i] = row.StatusState
	}
	// The state that none of the listed legs had is that of one that was left out.
	if m.omitted > 0 && !slices.ContainsFunc(before.Legs, func(row summary.SessionLeg) bool { return row.StatusState == before.StatusState }) {
		states = append(states, before.StatusState)
	}
	s.StatusState = worstOf(states)
}

func findMissing(before *summary.Session, legs []summary.Leg) *missing {
	m := &missing{
		before: before, omitted: before.LegsOmitted,
		rows:  make(map[string]summary.SessionLeg, len(before.Legs)),
		found: make(map[string]bool, len(legs)),
	}
	for _, row := range before.Legs {
		m.rows[row.CallLegID] = row
	}
	for i := range legs {
		id := legs[i].CallLegID
		_, counted := m.rows[id]
		// A leg that was known when the stored session was made is one of those left out.
		if !counted && m.omitted > 0 && !legs[i].FirstReceivedAt.After(before.PublishedAt.Time) {
			counted = true
			m.omitted--
		}
		m.found[id] = counted
	}
	return m
}

// isMissing reports whether a leg that the stored session lists cannot be found.
func (m *missing) isMissing(id string) bool {
	_, ok := m.found[id]
	return !ok
}

// keepRows puts the rows of legs that cannot be found among the others, by start.
// The rows of a session that was too large have none: they keep their place.
func (m *missing) keepRows(rows []summary.SessionLeg) []summary.SessionLeg {
	rows = slices.Clone(rows)
	previous := ""
	for _, row := range m.before.Legs {
		if m.isMissing(row.CallLegID) {
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
func (m *missing) keepCounts(s *summary.Session, legs []summary.Leg) {
	s.LegCount, s.AnsweredLegs = m.before.LegCount, m.before.AnsweredLegs
	cost := copyOf(m.before.Cost)
	amounts := slices.Clone(cost.Totals)
	for i := range legs {
		leg := &legs[i]
		counted := m.found[leg.CallLegID]
		if !counted {
			s.LegCount++
		}
		if now := leg.Outcome == summary.OutcomeAnswered; now != (counted && m.wasAnswered(leg)) {
			s.AnsweredLegs += map[bool]int{true: 1, false: -1}[now]
		}
		if now := leg.Cost; now != nil && len(now.Totals) > 0 && (!counted || !m.wasCosted(leg)) {
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
func (m *missing) wasAnswered(leg *summary.Leg) bool {
	if row, ok := m.rows[leg.CallLegID]; ok {
		return row.Outcome == summary.OutcomeAnswered
	}
	return leg.Outcome == summary.OutcomeAnswered && !m.changed(leg, "/outcome")
}

// wasCosted reports whether the stored session has the cost of a leg whose cost
// is known. An amount that took the place of another is not shown: then the sum stands.
func (m *missing) wasCosted(leg *summary.Leg) bool {
	return !m.changed(leg, "/cost") && !m.changed(leg, "/cost/status")
}

// changed reports whether a field of a leg was changed by a revision that the stored session does not know.
func (m *missing) changed(leg *summary.Leg, pointer string) bool {
	unknown := leg.PublishedAt.After(m.before.PublishedAt.Time)
	if row, ok := m.rows[leg.CallLegID]; ok {
		unknown = leg.Revision > row.Revision
	}
	return unknown && slices.Contains(leg.Changed, pointer)
}

// keepParties states the parties by all legs that are known. Of legs that are left out nothing is: what the
// stored session says then stands, but for what legs that are new since say.
func (m *missing) keepParties(s *summary.Session, legs []summary.Leg) {
	b, stated := m.before, hangups(legs)
	if len(s.Legs) == 0 || m.isMissing(s.Legs[0].CallLegID) {
		s.ConnectionID, s.Direction, s.From, s.To = b.ConnectionID, b.Direction, b.From, b.To
	}
	p := setParties(s, func(id string) *summary.Hangup {
		if b.Hangup != nil && b.Hangup.CallLegID == id && m.isMissing(id) {
			return &b.Hangup.Hangup
		}
		return stated(id)
	})
	if m.omitted == 0 && !slices.ContainsFunc(s.Legs, isBare) {
		return
	}
	isNew := func(i int) bool {
		return i >= 0 && !m.isMissing(s.Legs[i].CallLegID) && !m.found[s.Legs[i].CallLegID]
	}
	if len(s.Legs) == 0 || m.isMissing(s.Legs[0].CallLegID) || b.Outcome == summary.OutcomeAnswered && s.Direction == "outgoing" {
		s.Outcome = b.Outcome
	}
	if b.FarOutcome != "" && !isNew(p.final) && (!isNew(p.far) || rank(s.FarOutcome) >= rank(b.FarOutcome)) {
		s.FarOutcome, s.FarLeg = b.FarOutcome, b.FarLeg
	}
	if !isNew(p.final) {
		s.FinalTo = b.FinalTo
	}
	if !slices.ContainsFunc(p.talked, isNew) {
		s.Hangup = b.Hangup
	}
}

// isBare reports whether a row is of a session that was too large for more than the results of its legs.
func isBare(row summary.SessionLeg) bool {
	return row.Direction == "" && row.To == "" && row.StartedAt == nil && row.EndedAt == nil
}

// keepTimes widens the times to those of the stored session.
func (m *missing) keepTimes(s *summary.Session, legs []summary.Leg) {
	b := m.before
	earliest(&s.StartedAt, b.StartedAt)
	earliest(&s.AnsweredAt, b.AnsweredAt)
	latest(&s.EndedAt, b.EndedAt)
	s.DurationSeconds = summary.Between(s.StartedAt.Known(), s.EndedAt.Known(), summary.MaxSessionSeconds)
	if talk := sessionTalk(s.Legs); talk != nil && m.omitted == 0 {
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

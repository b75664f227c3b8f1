package compose

import (
	"maps"
	"slices"
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
)

const (
	// maxSession is what a session's content may have, in bytes, so that with its headers it
	// stays well under the 512 KiB that consumers may count on.
	maxSession = 448 << 10
	// mostBridges bounds the bridges of a session whose message would be too large.
	mostBridges = 500
)

// FitSession returns the session as it can be published, and its content. Past the limit what it has from its
// own events is truncated to the ends of the lists; then its legs carry their ids and results
// in place of their parties and times, bridges keep the first 500, and, past it even then, the last legs
// are left out and counted; totals always count all.
func FitSession(s summary.Session) (summary.Session, []byte, error) {
	content, err := SessionContent(s)
	for step := 0; err == nil && len(content) > maxSession; step++ {
		switch {
		case step == 0:
			truncateEventsOf(&s)
		case step == 1:
			truncateLegs(&s)
		case len(s.Legs) == 0:
			return s, content, nil
		default:
			keep := len(s.Legs) * 9 / 10
			s.LegsOmitted += len(s.Legs) - keep
			s.Legs = s.Legs[:keep]
		}
		content, err = SessionContent(s)
	}
	return s, content, err
}

// truncateLegs leaves of the legs their ids and results, and of the bridges the first.
func truncateLegs(s *summary.Session) {
	legs := make([]summary.SessionLeg, len(s.Legs))
	for i, l := range s.Legs {
		legs[i] = summary.SessionLeg{
			CallLegID: l.CallLegID, Outcome: l.Outcome, EndedBy: l.EndedBy, StatusState: l.StatusState, Revision: l.Revision,
		}
	}
	s.Legs = legs
	s.Bridges = s.Bridges[:min(len(s.Bridges), mostBridges)]
}

// asLeg is what a session has from its own events, in the form in which a leg has it.
func asLeg(s *summary.Session) summary.Leg {
	return summary.Leg{
		FirstReceivedAt: s.FirstReceivedAt, Events: s.Events, EventsOmitted: s.EventsOmitted,
		Conferences: s.Conferences, Recordings: s.Recordings, Playbacks: s.Playbacks, Speaks: s.Speaks,
		UnreadFields: s.UnreadFields, Omitted: s.Omitted,
	}
}

// takeEvents takes over what a session has from its own events, from a leg that was
// made of them.
func takeEvents(s *summary.Session, l *summary.Leg) {
	s.Events, s.EventsOmitted = l.Events, l.EventsOmitted
	s.Conferences, s.Recordings, s.Playbacks, s.Speaks = l.Conferences, l.Recordings, l.Playbacks, l.Speaks
	s.UnreadFields, s.Omitted = l.UnreadFields, maps.Clone(l.Omitted)
	maps.DeleteFunc(s.Omitted, func(field string, _ int) bool {
		// The other lists of a leg have no place in a session; its events show them.
		return field != "recordings" && field != "playbacks" && field != "speaks" && !strings.HasPrefix(field, "conferences")
	})
}

// keepEvents merges what the session has from its own events onto what its stored
// summary has from such events, unless the session knows them all itself.
func keepEvents(s *summary.Session, stored *summary.Session) {
	news, past := asLeg(s), asLeg(stored)
	if !Covers(news, past) {
		merged := MergeLeg(past, news)
		takeEvents(s, &merged)
	}
	s.EventCount = max(s.EventCount, stored.EventCount, len(s.Events)+s.EventsOmitted)
}

// sessionWithout returns the session without events of its own that have turned out to
// be a leg's, and without what came from them.
func sessionWithout(s summary.Session, other summary.Leg) summary.Session {
	if len(other.Events) == 0 {
		return s
	}
	count := len(s.Events)
	s.Events = without(s.Events, other.Events, eventMark)
	s.EventCount -= count - len(s.Events)
	s.Playbacks = without(s.Playbacks, other.Playbacks, playbackMark)
	s.Speaks = without(s.Speaks, other.Speaks, speakMark)
	s.Recordings = without(s.Recordings, other.Recordings, recordingMark)
	var kept []summary.Conference
	for _, c := range s.Conferences {
		i := slices.IndexFunc(other.Conferences, func(t summary.Conference) bool { return t.ID == c.ID })
		if i >= 0 {
			c = conferenceWithout(c, other.Conferences[i])
		}
		if at, _ := conferenceMark(c); i < 0 || !at.IsZero() || len(c.Recordings) > 0 {
			kept = append(kept, c)
		}
	}
	s.Conferences = kept
	return s
}

// without returns a list without the entries of another.
func without[T any](list, others []T, m mark[T]) []T {
	drop := make(map[string]bool, len(others))
	for _, v := range others {
		drop[m.id(v)] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return drop[m.id(v)] })
}

// conferenceWithout returns a conference without what is stated of it elsewhere.
func conferenceWithout(c summary.Conference, other summary.Conference) summary.Conference {
	for _, t := range []struct {
		into  **summary.Time
		other *summary.Time
	}{{&c.JoinedAt, other.JoinedAt}, {&c.LeftAt, other.LeftAt}, {&c.CreatedAt, other.CreatedAt}, {&c.EndedAt, other.EndedAt}} {
		if t.other != nil && (*t.into).Known().Equal(t.other.Time) {
			*t.into = nil
		}
	}
	if c.EndedAt == nil {
		c.Reason = ""
	}
	c.Recordings = without(c.Recordings, other.Recordings, recordingMark)
	return c
}

// truncateEventsOf keeps the ends of what the session has from its own events.
func truncateEventsOf(s *summary.Session) {
	l := asLeg(s)
	truncateLeg(&l, limits{"playbacks": 10, "speaks": 10, "recordings": 10, "conferences": 4, "conferences.recordings": 2})
	dropURLs(&l)
	truncateEvents(&l, 20)
	takeEvents(s, &l)
}

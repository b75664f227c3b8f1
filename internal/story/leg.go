package story

import (
	"cmp"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// legs states what is known about each leg, in the order of their first items, and about the session.
func (c *composer) legs() {
	first := make(map[string]time.Time)
	for _, i := range c.story.Timeline {
		if at, ok := first[i.CallLegID]; i.CallLegID != "" && (!ok || i.order.Before(at)) {
			first[i.CallLegID] = i.order
		}
	}
	for id := range first {
		leg := Leg{CallLegID: id, State: stateLive}
		v, known := c.known.View.Leg(call.LegID(id))
		if known {
			leg.folded(v)
		}
		if s := c.last[id]; s != nil {
			leg.summarized(s, !known)
		}
		c.story.Legs = append(c.story.Legs, leg)
	}
	slices.SortFunc(c.story.Legs, func(a, b Leg) int {
		return cmp.Or(first[a.CallLegID].Compare(first[b.CallLegID]), cmp.Compare(a.CallLegID, b.CallLegID))
	})
	if s := c.session; s != nil {
		c.story.Session = &Session{
			Revision: s.Revision, Outcome: s.Outcome, StatusState: s.StatusState, DurationSeconds: s.DurationSeconds,
			TalkSeconds: s.TalkSeconds, AnsweredLegs: s.AnsweredLegs, LegCount: s.LegCount, PublishedAt: s.PublishedAt.Time,
		}
	}
}

// stateLive is the state of a leg that is not over.
const stateLive = "live"

// folded takes what the fold knows of a leg.
func (l *Leg) folded(v *session.LegView) {
	l.CallControlID, l.ConnectionID, l.State = string(v.Control), string(v.Connection), endings[v.Ending]
	for _, e := range v.Events {
		if i, ok := e.Detail.(*call.Initiated); ok && l.Direction == "" {
			l.Direction = i.Direction
		}
		if e.Facts != nil {
			l.From, l.To = cmp.Or(l.From, e.Facts.From), cmp.Or(l.To, e.Facts.To)
		}
	}
	if v.Ending == session.NotOver {
		return // What has not come yet is not missing.
	}
	l.lack(call.TypeAnswered, v.Missing.Answered)
	l.lack(call.TypeHangup, v.Missing.Hangup)
	l.lack(call.TypeInitiated, v.Missing.Initiated)
}

// lack takes an event that the leg must have had, if it is missing.
func (l *Leg) lack(eventType string, missing bool) {
	if missing {
		l.Lacks = append(l.Lacks, eventType)
	}
}

var endings = map[session.Ending]string{
	session.NotOver:  stateLive,
	session.Expired:  string(summary.EndedByExpired),
	session.Gone:     string(summary.EndedByGone),
	session.ByStatus: string(summary.EndedByStatus),
	session.ByHangup: string(summary.EndedByHangup),
}

// summarized takes what the newest summary of a leg says, all of it when it is alone.
func (l *Leg) summarized(s *summary.Leg, alone bool) {
	l.Revision, l.Outcome, l.StatusState = s.Revision, s.Outcome, s.Status.State
	l.DurationSeconds, l.TalkSeconds, l.Notes = s.DurationSeconds, s.TalkSeconds, s.Notes
	l.CallControlID, l.ConnectionID = cmp.Or(s.CallControlID, l.CallControlID), cmp.Or(s.ConnectionID, l.ConnectionID)
	l.Direction, l.From, l.To = cmp.Or(s.Direction, l.Direction), cmp.Or(s.From, l.From), cmp.Or(s.To, l.To)
	if !alone {
		return
	}
	l.State = string(s.EndedBy)
	l.lack(call.TypeAnswered, slices.Contains(s.Notes, summary.NoteAnsweredMissing))
	l.lack(call.TypeHangup, slices.Contains(s.Notes, summary.NoteHangupMissing))
	l.lack(call.TypeInitiated, slices.Contains(s.Notes, summary.NoteInitiatedMissing))
}

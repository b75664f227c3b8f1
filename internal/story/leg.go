package story

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// legs tells of each leg what is known now, by what was heard of it first, and of the session.
func (c *composer) legs() {
	first := make(map[string]time.Time)
	for _, i := range c.story.Timeline {
		if at, ok := first[i.CallLegID]; i.CallLegID != "" && (!ok || i.order.Before(at)) {
			first[i.CallLegID] = i.order
		}
	}
	for id := range first {
		leg := Leg{CallLegID: id, State: stateLive}
		if v, ok := c.known.View.Leg(call.LegID(id)); ok {
			leg.folded(v)
		}
		if s := c.last[id]; s != nil {
			_, known := c.known.View.Leg(call.LegID(id))
			leg.summarized(s, !known)
		}
		c.story.Legs = append(c.story.Legs, leg)
	}
	slices.SortFunc(c.story.Legs, func(a, b Leg) int {
		if d := first[a.CallLegID].Compare(first[b.CallLegID]); d != 0 {
			return d
		}
		if a.CallLegID < b.CallLegID {
			return -1
		}
		return 1
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
		if e.Facts == nil {
			continue
		}
		if l.From == "" {
			l.From = e.Facts.From
		}
		if l.To == "" {
			l.To = e.Facts.To
		}
	}
	if v.Ending == session.NotOver {
		return // What has not come yet is not missing.
	}
	for typ, lacks := range map[string]bool{
		call.TypeInitiated: v.Missing.Initiated, call.TypeAnswered: v.Missing.Answered, call.TypeHangup: v.Missing.Hangup,
	} {
		if lacks {
			l.Lacks = append(l.Lacks, typ)
		}
	}
	slices.Sort(l.Lacks)
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
	prefer(&l.CallControlID, s.CallControlID)
	prefer(&l.ConnectionID, s.ConnectionID)
	prefer(&l.Direction, s.Direction)
	prefer(&l.From, s.From)
	prefer(&l.To, s.To)
	if !alone {
		return
	}
	l.State = string(s.EndedBy)
	for note, typ := range map[summary.Note]string{
		summary.NoteInitiatedMissing: call.TypeInitiated, summary.NoteAnsweredMissing: call.TypeAnswered, summary.NoteHangupMissing: call.TypeHangup,
	} {
		if slices.Contains(s.Notes, note) {
			l.Lacks = append(l.Lacks, typ)
		}
	}
	slices.Sort(l.Lacks)
}

func prefer(into *string, stated string) {
	if stated != "" {
		*into = stated
	}
}

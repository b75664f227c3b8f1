package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	// In less than half the time of encoding/json, by the same rules; ingest/telnyx decodes with it too.
	json "github.com/go-json-experiment/json/v1"

	"github.com/legato-calls/legato/internal/call"
)

// View is a session as the fold has it at one position. It shares nothing that changes with the table and may be
// kept.
type View struct {
	// ID is the session's.
	ID call.SessionID
	// Position is the log sequence up to which the view is complete.
	Position uint64
	// Log is the epoch of the log that Position counts in.
	Log string
	// Legs are its legs, in no order that matters.
	Legs []LegView
	// Events are those that name the session and no leg, by occurrence.
	Events []*Event
	// Epoch is the entry with which the session began.
	Epoch uint64
	// FirstAt is when the first of its events was received.
	FirstAt time.Time
	// Over: all legs are over, and it has been quiet since.
	Over bool
	// Revision is the newest of its summary that is known to be published and was made of what the fold has; 0: none is.
	Revision int
	// Settles counts how often a check found it over.
	Settles int
	// Version is another whenever something was folded into the session.
	Version uint64
}

// LegView is a leg as the fold has it.
type LegView struct {
	// ID is the leg's.
	ID call.LegID
	// Control and Connection are the ids of the leg; empty when not known.
	Control    call.ControlID
	Connection call.ConnectionID
	// Events are its events, by occurrence.
	Events []*Event
	// Answers are the status answers, by the time of fetching.
	Answers []*Received
	// Ending is how it ended; Since when that is known; NotOver and zero while it lives.
	Ending Ending
	Since  time.Time
	// Hangup is when its hangup was received; zero: none was.
	Hangup time.Time
	// AliveSeq is the sequence of the last sign of life: up to there a CheckExpire speaks.
	AliveSeq uint64
	// Initiated: its call.initiated was received.
	Initiated bool
	// Begun: an event of it is known that does not come when the call may be over. Dismissed: none is, and a check has
	// found that nobody knows the call.
	Begun, Dismissed bool
	// Confirmed is the answer that confirms the end; nil: none does.
	Confirmed *Received
	// Last is the last answer that was received; nil: there is none, or it cannot be asked about.
	Last *Received
	// Asked is the highest attempt that the log has an answer to.
	Asked int
	// AskedSince counts the answers received since it is over, Tried those of them that were no refusal to be asked
	// so often (429).
	AskedSince, Tried int
	// Until is when the status API forgets a leg that is over; zero: it lives, or cannot be asked about.
	Until time.Time
	// Final: asking cannot change the result any more.
	Final bool
	// Missing are the events that it must have had, once it is over, and that are not known.
	Missing Missing
	// Revision is the newest of its summary that is known to be published and was made of what the fold has; 0: none is.
	Revision int
	// Backfilled is the highest attempt to complete it from the history of which the log has an outcome.
	Backfilled int
	// Version is another whenever something was folded into the leg.
	Version uint64
}

// Leg returns the view of a leg; false when the session has none of that id.
func (v *View) Leg(id call.LegID) (*LegView, bool) {
	if i := slices.IndexFunc(v.Legs, func(l LegView) bool { return l.ID == id }); i >= 0 {
		return &v.Legs[i], true
	}
	return nil, false
}

// view copies what the fold knows. The table's lock is held.
func (s *session) view(r Rules) View {
	v := View{
		ID:       s.id,
		Legs:     make([]LegView, len(s.legs)),
		Events:   s.events.sorted(),
		FirstAt:  s.firstAt.time(),
		Epoch:    s.firstSeq,
		Over:     s.over(),
		Settles:  s.settles,
		Revision: s.revision,
		Version:  s.version,
	}
	for i, l := range s.legs {
		v.Legs[i] = l.view(r)
	}
	return v
}

func (l *leg) view(r Rules) LegView {
	asking := l.asking(r)
	return LegView{
		ID:         l.id,
		Control:    l.control,
		Connection: l.connection(),
		Events:     l.events.sorted(),
		Answers:    append([]*Received(nil), l.answers...),
		Ending:     asking.ending,
		Since:      asking.since,
		Hangup:     l.hangup.time(),
		AliveSeq:   l.aliveSeq,
		Initiated:  l.initiated,
		Begun:      l.begun,
		Dismissed:  l.dismissed && !l.begun,
		Confirmed:  l.confirmation(),
		Last:       asking.last,
		Asked:      l.asked,
		AskedSince: asking.made,
		Tried:      asking.tried,
		Until:      asking.until,
		Final:      asking.final,
		Missing:    l.missing(),
		Backfilled: l.record.highest(),
		Revision:   l.revision,
		Version:    l.version,
	}
}

// content is what an entry holds: one of these, or nothing that is folded.
type content struct {
	event    *call.Event
	answer   *Answer
	check    *Check
	backfill *Backfill
	// err is why it could not be decoded.
	err error
}

// ref names the call that it is about.
func (c *content) ref() call.Ref {
	switch {
	case c.event != nil:
		return c.event.Ref
	case c.answer != nil:
		return call.Ref{Session: c.answer.Session}
	case c.check != nil:
		return call.Ref{Session: c.check.Session}
	case c.backfill != nil:
		return call.Ref{Session: c.backfill.Session}
	}
	return call.Ref{}
}

// decode reads an entry. One that is malformed must not stop the fold of all others.
func decode(e *call.Entry, event func(call.Entry) (call.Event, error)) (c content) {
	defer func() {
		if p := recover(); p != nil {
			c.err = fmt.Errorf("decode entry %d: panic: %v", e.Seq, p)
		}
	}()
	noun, into := "", any(nil)
	switch {
	case e.Foreign:
		return content{}
	case strings.HasPrefix(e.Topic, call.TopicEvent):
		ev, err := event(*e)
		if err != nil {
			return content{err: fmt.Errorf("decode event %d: %w", e.Seq, err)}
		}
		return content{event: &ev}
	case e.Topic == call.TopicStatus:
		c.answer = new(Answer)
		noun, into = "status answer", c.answer
	case e.Topic == call.TopicCheck:
		c.check = new(Check)
		noun, into = "check", c.check
	case e.Topic == call.TopicBackfill:
		c.backfill = new(Backfill)
		noun, into = "repair", c.backfill
	default:
		return content{} // a heartbeat, or an entry of a newer version that asks nothing of this one
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		c.err = fmt.Errorf("decode %s %d: %w", noun, e.Seq, err)
	}
	return c
}

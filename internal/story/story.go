// Package story tells what is known about one call: which entries of the log are about it, what was published when
// and why, what is missing, and what is to come.
//
// Sources reads the parts for a Query: the live table, the log, the stored summaries, the parked messages. Compose
// makes a Story of them, in the order in which Legato learned, which encodes to JSON. Ladder draws it as text.
//
// It guarantees that a story says how much of the log it was made from; that it never holds digits, texts, a client
// state, or names but those of the parties; and that a masked one holds no whole phone number or name. Compose and Ladder are pure functions; only
// Sources reads.
//
// It does not know who asks, nor over what.
package story

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish/forward"
)

// Story is everything that is known about one call. Fields are absent when not known.
type Story struct {
	// ID is what was asked for: of a session, of a leg, or a control id. Always.
	ID string `json:"id"`
	// CallSessionID is the call. Always.
	CallSessionID string `json:"call_session_id"`
	// AsOf is when the question was answered. Always.
	AsOf time.Time `json:"as_of"`
	// Log says how much of the story comes from the log. Always.
	Log Log `json:"log"`
	// Session is the newest summary of the session, in short. Absent: none is stored.
	Session *Session `json:"session,omitempty"`
	// Legs are its legs, in the order of their first items. Always.
	Legs []Leg `json:"legs"`
	// LegsOmitted counts the legs left out.
	LegsOmitted int `json:"legs_omitted,omitempty"`
	// Timeline is what happened, in the order in which Legato learned it. Always.
	Timeline []Item `json:"timeline"`
	// TimelineOmitted counts the items left out of its middle.
	TimelineOmitted int `json:"timeline_omitted,omitempty"`
	// Next is what is to come, the soonest first, if nothing else happens. Absent: nothing is.
	Next []Due `json:"next,omitempty"`
	// NextOmitted counts what was left out of its end, ParkedOmitted what was of Parked.
	NextOmitted   int `json:"next_omitted,omitempty"`
	ParkedOmitted int `json:"parked_omitted,omitempty"`
	// Parked are the parked messages that name the call.
	Parked []Parked `json:"parked,omitempty"`
	// Remarks say what this story lacks, and why.
	Remarks []string `json:"remarks,omitempty"`
	// Cut: the log was looked through for as long as the query allows, and not to its end.
	Cut bool `json:"-"`
}

// Coverage is how much of a call's entries the log has given.
type Coverage string

// Values of Coverage.
const (
	// CoverageWhole: every event that is known of stands in the log.
	CoverageWhole Coverage = "whole"
	// CoveragePartial: some events are known from summaries only.
	CoveragePartial Coverage = "partial"
	// CoverageMemory: events and status answers are known from a replica's memory; the log was not read, or not to
	// its end, so checks, redeliveries and attempts to complete it from the history may be missing.
	CoverageMemory Coverage = "memory"
	// CoverageNone: nothing of the call was found in the log; the summaries say all there is.
	CoverageNone Coverage = "none"
)

// Log says what was read of the log.
type Log struct {
	// Coverage is how much of the story it gave. Always.
	Coverage Coverage `json:"coverage"`
	// Entries are about the call. Always.
	Entries int `json:"entries"`
	// Position is how far the log was known.
	Position uint64 `json:"position,omitempty"`
}

// Session is the newest summary of a session, in short; see its schema for the fields.
type Session struct {
	Revision        int                 `json:"revision"`
	Outcome         summary.Outcome     `json:"outcome"`
	StatusState     summary.StatusState `json:"status_state"`
	DurationSeconds *summary.Seconds    `json:"duration_seconds,omitempty"`
	TalkSeconds     *summary.Seconds    `json:"talk_seconds,omitempty"`
	AnsweredLegs    int                 `json:"answered_legs"`
	LegCount        int                 `json:"leg_count"`
	PublishedAt     time.Time           `json:"published_at"`
}

// Leg is one leg: what is known of it now, and its newest summary in short.
type Leg struct {
	CallLegID     string `json:"call_leg_id"`
	CallControlID string `json:"call_control_id,omitempty"`
	ConnectionID  string `json:"connection_id,omitempty"`
	Direction     string `json:"direction,omitempty"`
	From          string `json:"from,omitempty"`
	To            string `json:"to,omitempty"`
	// State is "live" or how its end is known: hangup, status, gone or expired. Always.
	State string `json:"state"`
	// Lacks are the events that it must have had and that are not known: event types.
	Lacks []string `json:"lacks,omitempty"`
	// Revision and what follows are of its newest summary. Absent: none is stored.
	Revision        int                 `json:"revision,omitempty"`
	Outcome         summary.Outcome     `json:"outcome,omitempty"`
	StatusState     summary.StatusState `json:"status_state,omitempty"`
	DurationSeconds *summary.Seconds    `json:"duration_seconds,omitempty"`
	TalkSeconds     *summary.Seconds    `json:"talk_seconds,omitempty"`
	Notes           []summary.Note      `json:"notes,omitempty"`
}

// Kind is what an item of the timeline is.
type Kind string

// Kinds of items. A redelivery and a missing event use `event`; every other kind has a part of its own name.
const (
	// KindEvent: an event, when the log took it first.
	KindEvent Kind = "event"
	// KindRedelivery: the same event once more.
	KindRedelivery Kind = "redelivery"
	// KindMissing: an event that must have happened and that is not known; it stands before what shows that it did.
	KindMissing Kind = "missing"
	// KindStatus: an attempt to ask for the status of a leg, and what came of it.
	KindStatus Kind = "status"
	// KindBackfill: an attempt to complete a leg from the provider's history, and what came of it.
	KindBackfill Kind = "repair"
	// KindCheck: something became due.
	KindCheck Kind = "check"
	// KindPublished: a revision of a summary.
	KindPublished Kind = "published"
)

// Item is one thing that happened.
type Item struct {
	// At is by the log's clock, of a revision by that of its maker. Always.
	At time.Time `json:"at"`
	// GapSeconds is the time since the item before, at least 0. Always.
	GapSeconds float64 `json:"gap_seconds"`
	Kind       Kind    `json:"kind"`
	// CallLegID is the leg that it is about; absent: the session.
	CallLegID string `json:"call_leg_id,omitempty"`
	// Seq is its place in the log; absent: it is known from a summary, or is one.
	Seq uint64 `json:"seq,omitempty"`

	Event     *Event     `json:"event,omitempty"`
	Status    *Status    `json:"status,omitempty"`
	Backfill  *Backfill  `json:"repair,omitempty"`
	Check     *Check     `json:"check,omitempty"`
	Published *Published `json:"published,omitempty"`

	order time.Time // At, but never before what it was made from
}

// Event is an event, a redelivery of one, or one that is missing.
type Event struct {
	ID   string `json:"id,omitempty"`
	Type string `json:"type"`
	// OccurredAt is by Telnyx's clock.
	OccurredAt *time.Time `json:"occurred_at,omitempty"`
	// Attempt is Telnyx's delivery attempt; more than 1: those before had no success.
	Attempt int `json:"attempt,omitempty"`
	// LateSeconds is how much longer it took to arrive than an event that occurred before it, where that is more than 5 s.
	LateSeconds float64 `json:"late_seconds,omitempty"`
	// AfterRevision is the newest revision of its leg (its session) that was published before it came.
	AfterRevision int `json:"after_revision,omitempty"`
	// Backfill marks an event that was filled in from the provider's history.
	Backfill bool `json:"backfill,omitempty"`
	// Cause and SIPCode are those of a hangup.
	Cause   string `json:"cause,omitempty"`
	SIPCode string `json:"sip_code,omitempty"`
	// Unattached: the event is in the log and not in what is known of the call, because it could not be read or
	// because it is not known yet whose it is.
	Unattached bool `json:"unattached,omitempty"`
	// Forwarded are the attempts to hand the event on to applications, by application. Absent: none is recorded.
	Forwarded []Forwarded `json:"forwarded,omitempty"`
}

// Status is an attempt to ask for the status, or, without a result, what a summary says of all of them.
type Status struct {
	// Attempt counts from 1.
	Attempt    int            `json:"attempt"`
	Result     status.Result  `json:"result,omitempty"`
	Problem    status.Problem `json:"problem,omitempty"`
	HTTPStatus int            `json:"http_status,omitempty"`
	IsAlive    *bool          `json:"is_alive,omitempty"`
	EndTime    *time.Time     `json:"end_time,omitempty"`
	// Confirms marks the answer by which the end is confirmed.
	Confirms bool `json:"confirms,omitempty"`
	// State is the summary's, where the answers have left the log.
	State summary.StatusState `json:"state,omitempty"`
}

// Backfill is what came of asking the history.
type Backfill struct {
	Attempt    int            `json:"attempt"`
	Result     status.Result  `json:"result"`
	Problem    status.Problem `json:"problem,omitempty"`
	HTTPStatus int            `json:"http_status,omitempty"`
	// Rows counts the webhooks that it had, Added those that were not known.
	Rows  int `json:"rows"`
	Added int `json:"added"`
	// Whole: nothing is left to ask for.
	Whole bool `json:"whole"`
}

// Check is something that became due.
type Check struct {
	// What it asks for: status, settle, expire, close or repair.
	What    session.CheckKind `json:"what"`
	Attempt int               `json:"attempt,omitempty"`
}

// Published is a revision of a summary.
type Published struct {
	// Level is leg or session.
	Level    string          `json:"level"`
	Revision int             `json:"revision"`
	Outcome  summary.Outcome `json:"outcome"`
	// StatusState is its status's, of a session the worst of its legs'.
	StatusState summary.StatusState `json:"status_state"`
	// Reasons and Changed are its own; absent on revision 1.
	Reasons []summary.Reason `json:"reasons,omitempty"`
	Changed []string         `json:"changed,omitempty"`
	// Position is how far into the log it looked; Seq its place in the stream of summaries.
	Position uint64 `json:"position,omitempty"`
	Seq      uint64 `json:"seq"`
}

// Due is something that is to come.
type Due struct {
	At time.Time `json:"at"`
	// CallLegID is the leg that it is about; absent: the session.
	CallLegID string `json:"call_leg_id,omitempty"`
	Check
}

// Parked is a parked message.
type Parked struct {
	// Seq is its place among the parked messages: `legato parked show` takes it.
	Seq    uint64    `json:"seq"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Topic  string    `json:"topic,omitempty"`
	// LogSeq is the entry's place in the log.
	LogSeq uint64 `json:"log_seq,omitempty"`
}

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
			// A fold that lacks events does not know that the leg is over, and its summary does.
			leg.summarized(s, !known || v.Ending == session.NotOver && (c.known.Part || c.partial[id]))
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

// Forwarded is an attempt to hand an event on to an application, or its end without one. What the application answered
// is not here: it may name persons, and `legato forward show` has it.
type Forwarded struct {
	// Target is the application. Always.
	Target string `json:"target"`
	// At is when the result was there. Always.
	At time.Time `json:"at"`
	// Attempt counts from 1; absent: there was none.
	Attempt int `json:"attempt,omitempty"`
	// Result is done, refused, failed, timeout, unreachable, stale (its leg was over) or expired. Always.
	Result forward.Result `json:"result"`
	// HTTPStatus is the answer's; absent: there was none. Millis is how long it took.
	HTTPStatus int   `json:"http_status,omitempty"`
	Millis     int64 `json:"ms,omitempty"`
}

const (
	// forwardWithin bounds the search for attempts.
	forwardWithin = time.Second
	// forwardAfter is how long after the last event of a call attempts are looked for; one that has not come to its
	// end is looked for longer.
	forwardAfter = 5 * time.Second
)

// forwarded adds the attempts to hand a call's events on.
func (s *Sources) forwarded(ctx context.Context, told *Story) {
	if s.Forwarding == nil {
		return
	}
	bySeq := make(map[uint64]*Event)
	var first, last time.Time
	for _, i := range told.Timeline {
		if i.Kind != KindEvent || i.Seq == 0 {
			continue
		}
		bySeq[i.Seq] = i.Event
		if first.IsZero() || i.At.Before(first) {
			first = i.At
		}
		if i.At.After(last) {
			last = i.At
		}
	}
	if len(bySeq) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	seqs := slices.Sorted(maps.Keys(bySeq))
	history, complete, err := s.Forwarding.Attempts(ctx, first.Add(-time.Second), last.Add(forwardAfter), seqs...)
	if err != nil || !complete {
		told.Remarks = append(told.Remarks, "not all attempts to forward its events could be read")
	}
	for seq, targets := range history {
		for _, target := range slices.Sorted(maps.Keys(targets)) {
			for _, a := range targets[target] {
				bySeq[seq].Forwarded = append(bySeq[seq].Forwarded, Forwarded{
					Target: target, At: a.At, Attempt: a.Number, Result: a.Result, HTTPStatus: a.Status, Millis: a.Millis,
				})
			}
		}
	}
}

// phraseForwarded says what is unusual about how an event was handed on: an application that took it at once is not
// worth a word.
func phraseForwarded(all []Forwarded) string {
	last := make(map[string]Forwarded)
	for _, f := range all {
		last[f.Target] = f
	}
	var said []string
	for _, target := range slices.Sorted(maps.Keys(last)) {
		switch f := last[target]; {
		case f.Result == forward.Done && f.Attempt > 1:
			said = append(said, fmt.Sprintf("→%s at attempt %d", target, f.Attempt))
		case f.Result != forward.Done:
			said = append(said, words("→"+target, string(f.Result), optional(f.HTTPStatus > 0, "%d", f.HTTPStatus)))
		}
	}
	return strings.Join(said, " ")
}

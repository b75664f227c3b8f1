package summary

// Session is the summary of one call: all legs that share a call_session_id.
// "Always" marks the fields that are present in every message.
type Session struct {
	// Kind is "session". Always.
	Kind string `json:"kind"`
	// Schema is the version of this shape. Always.
	Schema int `json:"schema"`
	// Revision counts the publications of this session, from 1. Always.
	Revision int `json:"revision"`
	// Changed and Reasons are as on a leg. Absent on revision 1.
	Changed []string `json:"changed,omitempty"`
	Reasons []Reason `json:"reasons,omitempty"`

	// CallSessionID is Telnyx's call_session_id. Always.
	CallSessionID string `json:"call_session_id"`
	// ConnectionID is that of the first leg.
	ConnectionID string `json:"connection_id,omitempty"`
	// Direction, From and To are those of the first leg by start.
	Direction string `json:"direction,omitempty"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	// Outcome is that of the first leg; in a session of outgoing legs only, answered when any of them was. What
	// became of the parties that were called beyond it says FarOutcome. Always.
	Outcome Outcome `json:"outcome"`
	// FarOutcome is the best outcome among the legs beyond the first, the best first: answered, busy, no_answer,
	// rejected, canceled, failed, unknown. With Outcome it tells "the agent answered, the customer was busy".
	// Absent with one leg.
	FarOutcome Outcome `json:"far_outcome,omitempty"`
	// FarLeg is the call_leg_id of the leg that FarOutcome is of: of several the one that FinalTo is of, else
	// the first by start.
	FarLeg string `json:"far_leg,omitempty"`
	// FinalTo is the party that the call ended up with: to of the last leg that was bridged to the first; without
	// any bridge to it, of the leg that was answered last. Absent when that is To.
	FinalTo string `json:"final_to,omitempty"`

	// FirstReceivedAt is when the log took the first event of this session. Always.
	FirstReceivedAt Time `json:"first_received_at"`
	// PublishedAt is when this revision was made. Always.
	PublishedAt Time `json:"published_at"`
	// StartedAt, AnsweredAt and EndedAt are the first start, the first answer and the last end of its legs.
	StartedAt  *Time `json:"started_at,omitempty"`
	AnsweredAt *Time `json:"answered_at,omitempty"`
	EndedAt    *Time `json:"ended_at,omitempty"`
	// DurationSeconds is ended_at less started_at, from 0 to 604,800.
	DurationSeconds *Seconds `json:"duration_seconds,omitempty"`
	// TalkSeconds is the time in which at least one leg was answered; 0 when all are known to be never answered.
	TalkSeconds *Seconds `json:"talk_seconds,omitempty"`

	// LegCount counts the legs, AnsweredLegs those that were answered. Always.
	LegCount     int `json:"leg_count"`
	AnsweredLegs int `json:"answered_legs"`
	// Hangup is the one that ended the session's last conversation: of the legs that were bridged last, else of the
	// one that was answered last, that of the first to end; without a conversation, that of the first leg.
	Hangup *SessionHangup `json:"hangup,omitempty"`
	// Bridges tell which legs were joined, by time.
	Bridges []Bridge `json:"bridges,omitempty"`
	// StatusState is the worst of its legs'. Always.
	StatusState StatusState `json:"status_state"`
	// Cost adds up the legs' costs.
	Cost *SessionCost `json:"cost,omitempty"`
	// Legs are the legs by start, in a compact form; whole legs are on their own subjects. Always.
	Legs []SessionLeg `json:"legs"`
	// LegsOmitted counts the legs left out of Legs because the message would be too large.
	LegsOmitted int `json:"legs_omitted,omitempty"`

	// EventCount counts the events that name the session and none of its legs.
	// What they told stands in the fields that follow; everything else that occurred is on the legs.
	EventCount int `json:"event_count,omitempty"`
	// Events are these events, by time of occurrence: the first and last 250 when there are more.
	Events []Event `json:"events,omitempty"`
	// EventsOmitted counts the events left out of the middle of Events.
	EventsOmitted int `json:"events_omitted,omitempty"`
	// Conferences are the conferences that the session created, with what Telnyx stated of
	// them as a whole, by time.
	Conferences []Conference `json:"conferences,omitempty"`
	// Recordings are the recordings that Telnyx announced without a leg, by start.
	Recordings []Recording `json:"recordings,omitempty"`
	// Playbacks and Speaks are the playings of audio and the spoken texts to a
	// whole conference that ended, by time.
	Playbacks []Playback `json:"playbacks,omitempty"`
	Speaks    []Speak    `json:"speaks,omitempty"`
	// UnreadFields are the names of the fields of which one of these events stated something that could not be read, as
	// on a leg. Absent: all was read.
	UnreadFields []string `json:"unread_fields,omitempty"`
	// Omitted counts what was left out of these lists and of Bridges, by its field. Absent: nothing was.
	Omitted map[string]int `json:"omitted,omitempty"`
}

// SessionHangup is the hangup that ended the last conversation of a call.
type SessionHangup struct {
	// CallLegID is the leg that was hung up. Always.
	CallLegID string `json:"call_leg_id"`
	Hangup
}

// Bridge is one joining of legs.
type Bridge struct {
	// At is when it occurred. Always.
	At Time `json:"at"`
	// Legs are the call_leg_ids of this session that were joined; a single one
	// was joined to a leg of another session. Always.
	Legs []string `json:"legs"`
}

// SessionCost adds up the costs of a session's legs.
type SessionCost struct {
	// LegsCosted counts the legs whose cost is known, LegsTotal all. Always.
	LegsCosted int `json:"legs_costed"`
	LegsTotal  int `json:"legs_total"`
	// Totals are the amounts added up, one a currency.
	Totals []Amount `json:"totals,omitempty"`
}

// SessionLeg is a leg as its session shows it. Fields mean what they mean on Leg.
type SessionLeg struct {
	CallLegID       string     `json:"call_leg_id"`
	CallControlID   string     `json:"call_control_id,omitempty"`
	ConnectionID    string     `json:"connection_id,omitempty"`
	Direction       string     `json:"direction,omitempty"`
	From            string     `json:"from,omitempty"`
	To              string     `json:"to,omitempty"`
	Outcome         Outcome    `json:"outcome"`
	AnsweredBy      AnsweredBy `json:"answered_by,omitempty"`
	StartedAt       *Time      `json:"started_at,omitempty"`
	AnsweredAt      *Time      `json:"answered_at,omitempty"`
	EndedAt         *Time      `json:"ended_at,omitempty"`
	DurationSeconds *Seconds   `json:"duration_seconds,omitempty"`
	TalkSeconds     *Seconds   `json:"talk_seconds,omitempty"`
	EndedBy         EndedBy    `json:"ended_by"`
	// StatusState is the state of the leg's status. Always.
	StatusState StatusState `json:"status_state"`
	// Revision is that of the leg's summary when this one was made. Always.
	Revision int `json:"revision"`
}

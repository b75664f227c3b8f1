package console

import (
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/story"
)

// callRow is one call in a list, or one of its legs: what the newest summary says, parties masked.
type callRow struct {
	// Leg is empty where it is the whole call.
	Session, Leg, Connection  string
	Direction, From, To       string
	Outcome, FarOutcome       string
	StatusState               string
	Seq                       uint64 // of the summary in its stream
	Revision, Legs            int
	Published, Started, Ended time.Time
	Duration, Talk            *summary.Seconds
	// LegDoubts are the notes and discrepancies of its legs.
	LegDoubts []string
}

// readRow reads the row of a summary, in one pass over its body.
func readRow(seq uint64, body []byte) callRow {
	r := callRow{Seq: seq}
	gjson.ParseBytes(body).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "call_session_id":
			r.Session = v.Str
		case "call_leg_id":
			r.Leg = v.Str
		case "connection_id":
			r.Connection = v.Str
		case "direction":
			r.Direction = v.Str
		case "from":
			r.From = story.Masked(v.Str)
		case "to":
			r.To = story.Masked(v.Str)
		case "outcome":
			r.Outcome = v.Str
		case "far_outcome":
			r.FarOutcome = v.Str
		case "status_state":
			r.StatusState = v.Str
		case "status":
			r.StatusState = v.Get("state").Str
		case "revision":
			r.Revision = int(v.Int())
		case "leg_count":
			r.Legs = int(v.Int())
		case "published_at":
			r.Published = v.Time()
		case "started_at":
			r.Started = v.Time()
		case "ended_at":
			r.Ended = v.Time()
		case "duration_seconds":
			r.Duration = secondsOf(v)
		case "talk_seconds":
			r.Talk = secondsOf(v)
		case "notes":
			for _, n := range v.Array() {
				r.LegDoubts = append(r.LegDoubts, strings.ReplaceAll(n.Str, "_", " "))
			}
		case "discrepancies":
			for _, d := range v.Array() {
				r.LegDoubts = append(r.LegDoubts, d.Get("field").Str+" differs")
			}
		}
		return true
	})
	// All that is kept of the body is copied: else each row would keep it whole.
	for _, text := range []*string{&r.Session, &r.Leg, &r.Connection, &r.Direction, &r.From, &r.To, &r.Outcome, &r.FarOutcome, &r.StatusState} {
		*text = strings.Clone(*text)
	}
	for i := range r.LegDoubts {
		r.LegDoubts[i] = strings.Clone(r.LegDoubts[i])
	}
	return r
}

func secondsOf(v gjson.Result) *summary.Seconds {
	s := summary.Seconds(v.Num)
	return &s
}

// pendingFor is how long a status may be pending before it is doubtful.
const pendingFor = time.Minute

// Doubts are why the call is doubtful at a time. None: it is not.
func (r *callRow) Doubts(now time.Time) []string {
	doubts := slices.Clone(r.LegDoubts)
	switch state := summary.StatusState(r.StatusState); {
	case state == summary.StatusPending && now.Sub(r.Ended) > pendingFor:
		doubts = append(doubts, "status pending")
	case state != "" && state != summary.StatusPending && state != summary.StatusConfirmed && state != summary.StatusNotAsked:
		doubts = append(doubts, "status "+strings.ReplaceAll(r.StatusState, "_", " "))
	}
	slices.Sort(doubts)
	return slices.Compact(doubts)
}

// filter says which calls are meant. The zero value means all.
type filter struct {
	// Level is leg, session or all. Empty: session.
	Level string
	// Outcomes and Connections are words with commas between: one of them is meant. Empty: any.
	Outcomes, Connections string
	// Since is when it was last published. Zero: whenever.
	Since    time.Time
	Doubtful bool
}

// wants reports whether a row is meant, whatever its level.
func (f filter) wants(r *callRow, now time.Time) bool {
	return (oneOf(f.Outcomes, r.Outcome) || r.FarOutcome != "" && oneOf(f.Outcomes, r.FarOutcome)) &&
		oneOf(f.Connections, r.Connection) &&
		(f.Since.IsZero() || !r.Published.Before(f.Since)) &&
		(!f.Doubtful || len(r.Doubts(now)) > 0)
}

// oneOf reports whether a word is one of those that are wanted, with commas between; empty: any is.
func oneOf(wanted, word string) bool {
	if wanted == "" {
		return true
	}
	for one := range strings.SplitSeq(wanted, ",") {
		if one == word {
			return true
		}
	}
	return false
}

// HasOutcome reports whether an outcome is asked for by name.
func (f filter) HasOutcome(o summary.Outcome) bool {
	return f.Outcomes != "" && oneOf(f.Outcomes, string(o))
}

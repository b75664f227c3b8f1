package console

import (
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/story"
)

// callRow is one call in a list: what its session's newest summary says, parties masked.
type callRow struct {
	Session, Connection       string
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

// sessionFields are read from the body of a session's summary, in this order.
var sessionFields = []string{
	"call_session_id", "connection_id", "direction", "from", "to", "outcome", "far_outcome", "status_state", "revision",
	"leg_count", "published_at", "started_at", "ended_at", "duration_seconds", "talk_seconds",
}

// readRow reads the row of a session's summary.
func readRow(seq uint64, body []byte) callRow {
	v := gjson.GetManyBytes(body, sessionFields...)
	return callRow{
		Session: v[0].Str, Connection: v[1].Str, Direction: v[2].Str, From: story.Masked(v[3].Str), To: story.Masked(v[4].Str),
		Outcome: v[5].Str, FarOutcome: v[6].Str, StatusState: v[7].Str, Seq: seq,
		Revision: int(v[8].Int()), Legs: int(v[9].Int()),
		Published: v[10].Time(), Started: v[11].Time(), Ended: v[12].Time(), Duration: secondsOf(v[13]), Talk: secondsOf(v[14]),
	}
}

func secondsOf(v gjson.Result) *summary.Seconds {
	if !v.Exists() {
		return nil
	}
	s := summary.Seconds(v.Num)
	return &s
}

// legDoubts are what a leg's summary says against itself.
func legDoubts(body []byte) (doubts []string) {
	v := gjson.GetManyBytes(body, "notes", "discrepancies.#.field")
	for _, n := range v[0].Array() {
		doubts = append(doubts, strings.ReplaceAll(n.Str, "_", " "))
	}
	for _, f := range v[1].Array() {
		doubts = append(doubts, f.Str+" differs")
	}
	return doubts
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
	Outcome, Connection string
	// Since is when it was last published. Zero: whenever.
	Since    time.Time
	Doubtful bool
}

func (f filter) wants(r *callRow, now time.Time) bool {
	return (f.Outcome == "" || f.Outcome == r.Outcome || f.Outcome == r.FarOutcome) &&
		(f.Connection == "" || f.Connection == r.Connection) &&
		(f.Since.IsZero() || !r.Published.Before(f.Since)) &&
		(!f.Doubtful || len(r.Doubts(now)) > 0)
}

package story

import (
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

// Fold folds the entries of one call: it returns its view and what is due. The table gets no others, so what it
// decides from those (that nobody wrote the log for a while) is left out.
func Fold(log call.Log, entries []call.Entry, id call.SessionID, rules session.Rules, decode func(call.Entry) (call.Event, error)) (session.View, []session.Scheduled) {
	if len(entries) == 0 {
		return session.View{Log: log.ID, Position: log.Last}, nil
	}
	rules.Outage = 0 // between two entries of one call anything may lie
	table := session.New(session.Config{Rules: rules, Decode: decode})
	table.Restart(call.Log{ID: log.ID, First: entries[0].Seq, Last: entries[len(entries)-1].Seq})
	for _, e := range entries {
		table.Fold(e)
	}
	view, _ := table.View(id)
	view.Position = max(view.Position, log.Last)
	return view, table.Schedule(id)
}

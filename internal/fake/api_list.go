package fake

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Form is a form of the rows of GET /call_events.
type Form string

// Forms.
const (
	// FormDocumented is as the specification has it, the event under metadata.
	FormDocumented Form = "documented"
	// FormNamed has the names of the event in place of those documented, and no id of the event.
	FormNamed Form = "named"
	// FormWrapped is the portal's, the event once more wrapped in what is said of its delivery.
	FormWrapped Form = "wrapped"
	// FormFlat is the portal's flat form.
	FormFlat Form = "flat"
)

var forms = []Form{FormDocumented, FormNamed, FormWrapped, FormFlat}

// record is what happened to one call or list that can be asked for.
type record struct {
	script []Reply
	asked  int
}

func callOf(id call.ControlID) string              { return "call/" + string(id) }
func historyOf(leg call.LegID) string              { return "history/" + string(leg) }
func activeOf(connection call.ConnectionID) string { return "active/" + string(connection) }

// ScriptHistory adds replies to those that the next pages of a leg's history are.
func (a *API) ScriptHistory(leg call.LegID, replies ...Reply) { a.script(historyOf(leg), replies) }

// ScriptActive adds replies to those that the next pages of a connection's active calls are.
func (a *API) ScriptActive(connection call.ConnectionID, replies ...Reply) {
	a.script(activeOf(connection), replies)
}

// HistoryRequests returns how many pages of a leg's history were asked for.
func (a *API) HistoryRequests(leg call.LegID) int { return a.requested(historyOf(leg)) }

// ActiveRequests returns how many pages of a connection's active calls were asked for.
func (a *API) ActiveRequests(connection call.ConnectionID) int {
	return a.requested(activeOf(connection))
}

func (a *API) script(of string, replies []Reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.recordOf(of)
	r.script = append(r.script, replies...)
}

func (a *API) requested(of string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.recordOf(of).asked
}

// recordOf finds a record. The lock is held.
func (a *API) recordOf(of string) *record {
	r := a.asked[of]
	if r == nil {
		r = &record{}
		a.asked[of] = r
	}
	return r
}

// next takes the next reply of the script, or draws a fault, or is the truth. The lock is held.
func (a *API) next(r *record) Reply {
	reply := ReplyTruth
	if len(r.script) > 0 {
		reply, r.script = r.script[0], r.script[1:]
	} else if a.config.FaultShare > 0 && a.rng.Float64() < a.config.FaultShare {
		reply = a.config.Faults[a.rng.IntN(len(a.config.Faults))]
	}
	return reply
}

// decideList counts a request for a list and chooses the reply.
func (a *API) decideList(of string, authorized bool) Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.recordOf(of)
	r.asked++
	if !authorized {
		return ReplyDenied
	}
	return a.next(r)
}

// connectionID takes the connection of a path that ends in /connections/{id}/active_calls.
func connectionID(u *url.URL) (call.ConnectionID, bool) {
	path, ok := strings.CutSuffix(u.EscapedPath(), "/active_calls")
	slash := strings.LastIndexByte(path, '/')
	if !ok || slash < 0 || !strings.HasSuffix(path[:slash], "/connections") {
		return "", false
	}
	id, err := url.PathUnescape(path[slash+1:])
	return call.ConnectionID(id), err == nil && id != ""
}

// history are the bodies about a leg's history.
func (a *API) history(leg call.LegID, query url.Values) bodies {
	number, err := strconv.Atoi(query.Get("page[number]"))
	if err != nil || number < 1 {
		number = 1
	}
	size := a.size(query.Get("page[size]"))
	of := func(want func(call.LegID) bool) func() any {
		return func() any {
			all := a.past(want)
			from := min((number-1)*size, len(all))
			rows := []map[string]any{}
			for _, p := range all[from:min(from+size, len(all))] {
				rows = append(rows, p.row())
			}
			return map[string]any{"data": rows, "meta": map[string]any{
				"page_number": number, "page_size": size, "total_pages": (len(all) + size - 1) / size, "total_results": len(all),
			}}
		}
	}
	return bodies{
		truth: of(func(l call.LegID) bool { return l == leg || leg == "" || a.config.IgnoreFilter }),
		alive: of(func(call.LegID) bool { return false }),
		other: of(func(l call.LegID) bool { return l != leg }),
	}
}

// size is the size of a page that was asked for.
func (a *API) size(asked string) int {
	size, err := strconv.Atoi(asked)
	if err != nil || size < 1 {
		size = 25
	}
	return min(size, a.config.PageSize)
}

// past is what happened on a call at a time. Its row is made when it is shown: the history of all calls is long.
type past struct {
	at  time.Time
	row func() map[string]any
}

// past is the history of some legs, by time.
func (a *API) past(want func(call.LegID) bool) []past {
	all := a.pastOf(want)
	slices.SortStableFunc(all, func(a, b past) int { return a.at.Compare(b.at) })
	return all
}

func (a *API) pastOf(want func(call.LegID) bool) (all []past) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.config.Now()
	for _, c := range a.calls {
		if !want(c.Ref.Leg) {
			continue
		}
		for i, e := range c.Events {
			if now.Before(e.OccurredAt.Add(a.config.Lag)) {
				continue
			}
			if i == 0 {
				// The history has commands as well.
				all = append(all, past{e.OccurredAt, func() map[string]any { return commandRow(c, e) }})
			}
			form := a.config.Form
			if form == "" {
				form = forms[i%len(forms)]
			}
			all = append(all, past{e.OccurredAt, func() map[string]any { return webhookRow(c, e, form) }})
		}
	}
	return all
}

func commandRow(c *APICall, e HistoryEvent) map[string]any {
	return map[string]any{
		"record_type": "call_event", "call_leg_id": c.Ref.Leg, "call_session_id": c.Ref.Session,
		"event_timestamp": stamp(e.OccurredAt), "name": "call.answer", "type": "command",
		"metadata": map[string]any{"call_control_id": c.Ref.Control},
	}
}

func webhookRow(c *APICall, e HistoryEvent, form Form) map[string]any {
	at := stamp(e.OccurredAt)
	row := map[string]any{"record_type": "call_event", "call_leg_id": c.Ref.Leg, "call_session_id": c.Ref.Session, "type": "webhook"}
	switch form {
	case FormNamed, FormFlat:
		payload := make(map[string]any)
		var data struct{ Payload map[string]any }
		if json.Unmarshal(e.Data, &data) == nil && data.Payload != nil {
			payload = data.Payload
		}
		if form == FormNamed {
			row["event_type"], row["occurred_at"], row["payload"] = e.Type, at, payload
			return row
		}
		payload["occurred_at"] = at
		return map[string]any{
			"record_type": "event", "event_type": e.Type, "webhook_id": e.ID,
			"created_at": stamp(e.OccurredAt.Add(time.Millisecond)), "payload": payload,
		}
	case FormWrapped:
		row["metadata"] = map[string]any{"attempt": 1, "status": "delivered", "event": json.RawMessage(e.Data)}
	case FormDocumented:
		row["metadata"] = json.RawMessage(e.Data)
	}
	row["name"], row["event_timestamp"] = e.Type, at
	return row
}

// active are the bodies about the active calls of a connection.
func (a *API) active(connection call.ConnectionID, query url.Values) bodies {
	from, err := strconv.Atoi(query.Get("page[after]"))
	if err != nil || from < 0 {
		from = 0
	}
	size := a.size(query.Get("page[limit]"))
	of := func(want func(*APICall) bool) func() any {
		return func() any {
			rows := a.alive(want)
			first := min(from, len(rows))
			last := min(first+size, len(rows))
			meta := map[string]any{"total_items": len(rows), "cursors": map[string]any{}}
			if last < len(rows) {
				meta["cursors"] = map[string]any{"after": strconv.Itoa(last)}
			}
			return map[string]any{"data": rows[first:last], "meta": meta}
		}
	}
	return bodies{
		truth: of(func(c *APICall) bool { return c.Ref.Connection == connection }),
		alive: of(func(*APICall) bool { return false }),
		other: of(func(c *APICall) bool { return c.Ref.Connection != connection }),
	}
}

// alive are the rows of the calls that are alive, by control id.
func (a *API) alive(want func(*APICall) bool) []map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	rows := []map[string]any{}
	for _, c := range a.calls {
		if b := a.describe(*c); b.IsAlive && want(c) {
			rows = append(rows, map[string]any{
				"call_control_id": b.Control, "call_leg_id": b.Leg, "call_session_id": b.Session,
				"client_state": b.ClientState, "call_duration": b.Duration, "record_type": "call",
			})
		}
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Compare(a["call_control_id"].(string), b["call_control_id"].(string))
	})
	return rows
}

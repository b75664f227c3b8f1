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

// list is what happened to one list that can be asked for.
type list struct {
	script []Reply
	asked  int
}

func historyOf(leg call.LegID) string              { return "history/" + string(leg) }
func activeOf(connection call.ConnectionID) string { return "active/" + string(connection) }

// ScriptHistory adds replies to those that the next pages of a leg's history are.
func (s *Server) ScriptHistory(leg call.LegID, replies ...Reply) { s.script(historyOf(leg), replies) }

// ScriptActive adds replies to those that the next pages of a connection's active calls are.
func (s *Server) ScriptActive(connection call.ConnectionID, replies ...Reply) {
	s.script(activeOf(connection), replies)
}

// HistoryRequests returns how many pages of a leg's history were asked for.
func (s *Server) HistoryRequests(leg call.LegID) int { return s.list(historyOf(leg)) }

// ActiveRequests returns how many pages of a connection's active calls were asked for.
func (s *Server) ActiveRequests(connection call.ConnectionID) int {
	return s.list(activeOf(connection))
}

func (s *Server) script(of string, replies []Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listOf(of)
	l.script = append(l.script, replies...)
}

func (s *Server) list(of string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listOf(of).asked
}

// listOf finds a list. The lock is held.
func (s *Server) listOf(of string) *list {
	l := s.lists[of]
	if l == nil {
		l = &list{}
		s.lists[of] = l
	}
	return l
}

// decideList counts a request for a list and chooses the reply.
func (s *Server) decideList(of string, authorized bool) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listOf(of)
	l.asked++
	switch {
	case !authorized:
		return Denied
	case len(l.script) > 0:
		var reply Reply
		reply, l.script = l.script[0], l.script[1:]
		return reply
	case s.config.FaultShare > 0 && s.rng.Float64() < s.config.FaultShare:
		return s.config.Faults[s.rng.IntN(len(s.config.Faults))]
	}
	return Truth
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
func (s *Server) history(leg call.LegID, query url.Values) bodies {
	number, err := strconv.Atoi(query.Get("page[number]"))
	if err != nil || number < 1 {
		number = 1
	}
	size := s.size(query.Get("page[size]"))
	of := func(want func(call.LegID) bool) func() any {
		return func() any {
			rows := s.rows(want)
			from := min((number-1)*size, len(rows))
			return map[string]any{"data": rows[from:min(from+size, len(rows))], "meta": map[string]any{
				"page_number": number, "page_size": size, "total_pages": (len(rows) + size - 1) / size, "total_results": len(rows),
			}}
		}
	}
	return bodies{
		truth: of(func(l call.LegID) bool { return l == leg || leg == "" || s.config.IgnoreFilter }),
		alive: of(func(call.LegID) bool { return false }),
		other: of(func(l call.LegID) bool { return l != leg }),
	}
}

// size is the size of a page that was asked for.
func (s *Server) size(asked string) int {
	size, err := strconv.Atoi(asked)
	if err != nil || size < 1 {
		size = 25
	}
	return min(size, s.config.PageSize)
}

// rows are the rows of the history of some legs, by time.
func (s *Server) rows(want func(call.LegID) bool) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	type dated struct {
		at  time.Time
		row map[string]any
	}
	var all []dated
	now := s.config.Now()
	for _, c := range s.calls {
		if !want(c.Ref.Leg) {
			continue
		}
		for i, e := range c.Events {
			if now.Before(e.OccurredAt.Add(s.config.Lag)) {
				continue
			}
			if i == 0 {
				// The history has commands as well.
				all = append(all, dated{e.OccurredAt, commandRow(c, e)})
			}
			form := s.config.Form
			if form == "" {
				form = forms[i%len(forms)]
			}
			all = append(all, dated{e.OccurredAt, webhookRow(c, e, form)})
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	rows := make([]map[string]any, len(all))
	for i := range all {
		rows[i] = all[i].row
	}
	return rows
}

const micro = "2006-01-02T15:04:05.000000Z"

func commandRow(c *Call, e Event) map[string]any {
	return map[string]any{
		"record_type": "call_event", "call_leg_id": c.Ref.Leg, "call_session_id": c.Ref.Session,
		"event_timestamp": e.OccurredAt.UTC().Format(micro), "name": "call.answer", "type": "command",
		"metadata": map[string]any{"call_control_id": c.Ref.Control},
	}
}

func webhookRow(c *Call, e Event, form Form) map[string]any {
	at := e.OccurredAt.UTC().Format(micro)
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
			"created_at": e.OccurredAt.Add(time.Millisecond).UTC().Format(micro), "payload": payload,
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
func (s *Server) active(connection call.ConnectionID, query url.Values) bodies {
	from, err := strconv.Atoi(query.Get("page[after]"))
	if err != nil || from < 0 {
		from = 0
	}
	size := s.size(query.Get("page[limit]"))
	of := func(want func(*Call) bool) func() any {
		return func() any {
			rows := s.alive(want)
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
		truth: of(func(c *Call) bool { return c.Ref.Connection == connection }),
		alive: of(func(*Call) bool { return false }),
		other: of(func(c *Call) bool { return c.Ref.Connection != connection }),
	}
}

// alive are the rows of the calls that are alive, by control id.
func (s *Server) alive(want func(*Call) bool) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []map[string]any{}
	for _, c := range s.calls {
		if b := s.describe(*c); b.IsAlive && want(c) {
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

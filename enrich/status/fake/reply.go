package fake

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// body is Telnyx's answer about a call.
type body struct {
	Duration    int     `json:"call_duration"`
	Control     string  `json:"call_control_id"`
	Leg         string  `json:"call_leg_id"`
	Session     string  `json:"call_session_id"`
	ClientState *string `json:"client_state"`
	EndTime     string  `json:"end_time,omitempty"`
	IsAlive     bool    `json:"is_alive"`
	RecordType  string  `json:"record_type"`
	StartTime   string  `json:"start_time,omitempty"`
}

// otherCall is an id that no call has.
const otherCall = "00000000-0000-1000-8000-0242ac1100ff"

// bodies are what the replies with a body of JSON say.
type bodies struct {
	// truth is what is true, alive and other are what Alive and OtherCall say.
	truth, alive, other func() any
}

// about are the bodies about a call.
func (s *Server) about(c Call) bodies {
	return bodies{
		truth: func() any { return map[string]any{"data": s.describe(c)} },
		alive: func() any {
			c.EndTime = time.Time{}
			b := s.describe(c)
			b.IsAlive = true
			return map[string]any{"data": b}
		},
		other: func() any {
			b := s.describe(c)
			b.Control, b.Leg, b.Session = "v3:"+otherCall, otherCall, otherCall
			return map[string]any{"data": b}
		},
	}
}

// write gives the reply.
func (s *Server) write(w http.ResponseWriter, r *http.Request, reply Reply, b bodies) {
	switch reply {
	case Alive:
		writeJSON(w, http.StatusOK, b.alive())
	case OtherCall:
		writeJSON(w, http.StatusOK, b.other())
	case NotFound:
		writeError(w, http.StatusNotFound, "10005", "Resource not found", "There is no such call.")
	case Gone:
		writeError(w, http.StatusUnprocessableEntity, "90015", "Invalid Call Control ID", "The call is over, or never was.")
	case Denied:
		writeError(w, http.StatusUnauthorized, "10009", "Authentication failed", "The key is missing or wrong.")
	case Forbidden:
		writeError(w, http.StatusForbidden, "10010", "Authorization failed", "The key may not do this.")
	case RateLimited:
		w.Header().Set("x-ratelimit-limit", "1")
		w.Header().Set("x-ratelimit-remaining", "0")
		w.Header().Set("x-ratelimit-reset", strconv.Itoa(s.config.Reset))
		writeError(w, http.StatusTooManyRequests, "10011", "Too many requests", "Slow down.")
	case ServerError:
		writeError(w, http.StatusInternalServerError, "10007", "Unexpected error", "Something broke.")
	case HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!DOCTYPE html><title>Maintenance</title><p>Back soon."))
	case HalfBody:
		breakOff(w, b.truth())
	case Slow:
		if pause(r, s.config.Slow) {
			writeJSON(w, http.StatusOK, b.truth())
		}
	default:
		writeJSON(w, http.StatusOK, b.truth())
	}
}

// describe says what is true of a call now.
func (s *Server) describe(c Call) body {
	b := body{
		Control: string(c.Ref.Control), Leg: string(c.Ref.Leg), Session: string(c.Ref.Session), RecordType: "call",
	}
	if c.ClientState != "" {
		b.ClientState = &c.ClientState
	}
	now := s.config.Now()
	if now.Before(c.StartTime) {
		return b
	}
	b.StartTime = stamp(c.StartTime)
	if !c.EndTime.IsZero() && !now.Before(c.EndTime) {
		b.EndTime, b.Duration = stamp(c.EndTime), c.Duration
		return b
	}
	b.IsAlive = true
	if !c.StartTime.IsZero() {
		b.Duration = int(now.Sub(c.StartTime) / time.Second)
	}
	return b
}

// stamp writes a time with the three digits of the status API, and nothing for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// breakOff promises a whole body and sends half of it.
func breakOff(w http.ResponseWriter, truth any) {
	whole := encode(truth)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
	_, _ = w.Write(whole[:len(whole)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// pause waits, and reports whether the client is still there.
func pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func writeError(w http.ResponseWriter, status int, code, title, detail string) {
	writeJSON(w, status, map[string]any{"errors": []map[string]any{{
		"code": code, "title": title, "detail": detail,
		"meta": map[string]any{"url": "https://developers.telnyx.com/docs/overview/errors/" + code},
	}}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v))
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("encode an answer: " + err.Error()) // Strings, numbers, booleans, and events that are JSON.
	}
	return b
}

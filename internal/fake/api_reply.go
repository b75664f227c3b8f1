package fake

import (
	"net/http"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
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
	// truth is what is true, alive and other are what ReplyAlive and ReplyOtherCall say.
	truth, alive, other func() any
}

// about are the bodies about a call.
func (a *API) about(c APICall) bodies {
	return bodies{
		truth: func() any { return map[string]any{"data": a.describe(c)} },
		alive: func() any {
			c.EndTime = time.Time{}
			b := a.describe(c)
			b.IsAlive = true
			return map[string]any{"data": b}
		},
		other: func() any {
			b := a.describe(c)
			b.Control, b.Leg, b.Session = "v3:"+otherCall, otherCall, otherCall
			return map[string]any{"data": b}
		},
	}
}

// write gives the reply.
func (a *API) write(w http.ResponseWriter, r *http.Request, reply Reply, b bodies) {
	switch reply {
	case ReplyAlive:
		writeJSON(w, http.StatusOK, b.alive())
	case ReplyOtherCall:
		writeJSON(w, http.StatusOK, b.other())
	case ReplyNotFound:
		writeError(w, http.StatusNotFound, "10005", "Resource not found", "There is no such call.")
	case ReplyGone:
		writeError(w, http.StatusUnprocessableEntity, "90015", "Invalid Call Control ID", "The call is over, or never was.")
	case ReplyDenied:
		writeError(w, http.StatusUnauthorized, "10009", "Authentication failed", "The key is missing or wrong.")
	case ReplyForbidden:
		writeError(w, http.StatusForbidden, "10010", "Authorization failed", "The key may not do this.")
	case ReplyRateLimited:
		w.Header().Set("x-ratelimit-limit", "1")
		w.Header().Set("x-ratelimit-remaining", "0")
		w.Header().Set("x-ratelimit-reset", strconv.Itoa(a.config.Reset))
		writeError(w, http.StatusTooManyRequests, "10011", "Too many requests", "Slow down.")
	case ReplyServerError:
		writeError(w, http.StatusInternalServerError, "10007", "Unexpected error", "Something broke.")
	case ReplyHTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!DOCTYPE html><title>Maintenance</title><p>Back soon."))
	case ReplyHalfBody:
		breakOff(w, b.truth())
	case ReplySlow:
		if sleep(r.Context(), a.config.Slow) == nil {
			writeJSON(w, http.StatusOK, b.truth())
		}
	default:
		writeJSON(w, http.StatusOK, b.truth())
	}
}

// describe says what is true of a call now.
func (a *API) describe(c APICall) body {
	b := body{
		Control: string(c.Ref.Control), Leg: string(c.Ref.Leg), Session: string(c.Ref.Session), RecordType: "call",
	}
	if c.ClientState != "" {
		b.ClientState = &c.ClientState
	}
	now := a.config.Now()
	if now.Before(c.StartTime) {
		return b
	}
	b.StartTime = millis(c.StartTime)
	if !c.EndTime.IsZero() && !now.Before(c.EndTime) {
		b.EndTime, b.Duration = millis(c.EndTime), c.Duration
		return b
	}
	b.IsAlive = true
	if !c.StartTime.IsZero() {
		b.Duration = int(now.Sub(c.StartTime) / time.Second)
	}
	return b
}

// millis writes a time with the three digits of the status API, and nothing for none.
func millis(t time.Time) string {
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

// APICall is the truth about one leg, and how the API is to behave about it.
type APICall struct {
	// Ref are its ids. Ref.Control is what it is asked for by, and required.
	Ref call.Ref
	// StartTime is when it began to ring. Before that, as for a call that is still being
	// dialled, the answer is is_alive false and no times. Zero: it began long ago, unstated.
	StartTime time.Time
	// EndTime is when it ends or ended, by the server's clock. Zero: alive until End is called.
	EndTime time.Time
	// Duration is call_duration once it has ended, in whole seconds.
	Duration int
	// ClientState is client_state, base64. Empty: null.
	ClientState string
	// AliveFor is how many answers after the end still say that it is alive.
	AliveFor int
	// Script are the replies to its first requests, in turn; then comes the truth.
	Script []Reply
	// Events are what the history has of it, each once it has occurred and APIConfig.Lag is over.
	Events []HistoryEvent
}

// HistoryEvent is an event of a call, as a webhook was to tell it.
type HistoryEvent struct {
	// ID and Type are its identity.
	ID, Type string
	// OccurredAt is when it occurred.
	OccurredAt time.Time
	// Data is the "data" of the webhook's body.
	Data []byte
}

// Reply is a way to answer one request.
type Reply string

// Replies.
const (
	// ReplyTruth is what is true of the call, or a fault when faults are on.
	ReplyTruth Reply = "truth"
	// ReplyAlive is a 200 that says the call is alive, whatever is true; of a list: an empty one.
	ReplyAlive Reply = "alive"
	// ReplyOtherCall is a 200 about another call; of a list: of events and calls of others only.
	ReplyOtherCall Reply = "other_call"
	// ReplyNotFound is 404, code 10005.
	ReplyNotFound Reply = "not_found"
	// ReplyGone is 422, code 90015: Telnyx's word for an id that it has no call for any more.
	ReplyGone Reply = "gone"
	// ReplyDenied is 401, code 10009.
	ReplyDenied Reply = "denied"
	// ReplyForbidden is 403, code 10010.
	ReplyForbidden Reply = "forbidden"
	// ReplyRateLimited is 429, code 10011, with the x-ratelimit headers.
	ReplyRateLimited Reply = "rate_limited"
	// ReplyServerError is 500, code 10007.
	ReplyServerError Reply = "server_error"
	// ReplyHTML is a 200 with a page in place of JSON.
	ReplyHTML Reply = "html"
	// ReplyHalfBody is a 200 whose connection breaks in the middle of the body. It aborts
	// the handler as net/http wants it, so it needs a real server around it.
	ReplyHalfBody Reply = "half_body"
	// ReplySlow is silence for APIConfig.Slow, and then the truth.
	ReplySlow Reply = "slow"
)

// DefaultFaults are the random faults of a server that is not told which: those that pass by themselves.
func DefaultFaults() []Reply {
	return []Reply{ReplyRateLimited, ReplyServerError, ReplyHTML, ReplyHalfBody, ReplySlow}
}

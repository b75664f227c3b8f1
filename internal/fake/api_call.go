package fake

import (
	"time"

	"github.com/legato-calls/legato/internal/call"
)

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

package fake

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Defaults of a APIConfig.
const (
	// DefaultKeep is how long an ended call can be asked for.
	DefaultKeep = 10 * time.Minute
	// DefaultSlow is longer than any sensible client waits.
	DefaultSlow = 30 * time.Second
	// DefaultReset is in seconds.
	DefaultReset = 1
	// DefaultPageSize is the most that Telnyx gives at once.
	DefaultPageSize = 250
)

// APIConfig says how a API behaves. Zero values stand for defaults.
type APIConfig struct {
	// APIKey is the bearer token that requests must have. Empty: any will do, but not none.
	APIKey string
	// Now is the clock that ends calls. Default time.Now.
	Now func() time.Time
	// Keep is how long after its end a call can be asked for; then it is ReplyGone.
	// After twice that time it is forgotten. Default DefaultKeep.
	Keep time.Duration
	// Faults are what random faults are drawn from. Default DefaultFaults.
	Faults []Reply
	// FaultShare is the share of truthful answers that become faults, from 0 to 1.
	FaultShare float64
	// Seed makes the random faults those of one run.
	Seed uint64
	// Slow is how long ReplySlow takes, unless the client goes before. Default DefaultSlow.
	Slow time.Duration
	// Reset is x-ratelimit-reset of a 429, in seconds. Default DefaultReset.
	Reset int
	// Form is the form of the history's rows. Default: each in turn.
	Form Form
	// Lag is how long after it occurred an event comes into the history.
	Lag time.Duration
	// IgnoreFilter makes the history ignore for which leg it is asked.
	IgnoreFilter bool
	// PageSize bounds the rows of a page. Default DefaultPageSize.
	PageSize int
}

// API is the fake API, a handler for any path that ends in /calls/{call_control_id}, /call_events or
// /connections/{connection_id}/active_calls. It is safe for concurrent use.
type API struct {
	config APIConfig

	mu       sync.Mutex
	rng      *rand.Rand
	calls    map[call.ControlID]*APICall
	asked    map[string]*record // by what is asked for
	requests int
	swept    time.Time
}

// NewAPI returns a server that knows no call yet.
func NewAPI(config APIConfig) *API {
	if config.Now == nil {
		config.Now = time.Now
	}
	if len(config.Faults) == 0 {
		config.Faults = DefaultFaults()
	}
	config.Keep = orDefault(config.Keep, DefaultKeep)
	config.Slow = orDefault(config.Slow, DefaultSlow)
	config.Reset = orDefault(config.Reset, DefaultReset)
	config.PageSize = orDefault(config.PageSize, DefaultPageSize)
	return &API{
		config: config,
		rng:    rand.New(rand.NewPCG(config.Seed, 0)),
		calls:  map[call.ControlID]*APICall{},
		asked:  map[string]*record{},
	}
}

// Register tells the server of a call, or tells it anew.
func (a *API) Register(c APICall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recordOf(callOf(c.Ref.Control)).script = slices.Clone(c.Script)
	a.calls[c.Ref.Control] = &c
	a.sweep()
}

// sweep forgets, once a minute at most, the calls that ended long ago, so that a simulation can run for days.
func (a *API) sweep() {
	now := a.config.Now()
	if now.Sub(a.swept) < time.Minute {
		return
	}
	a.swept = now
	for id, c := range a.calls {
		if !c.EndTime.IsZero() && now.Sub(c.EndTime) > 2*a.config.Keep {
			delete(a.calls, id)
			delete(a.asked, callOf(id))
			delete(a.asked, historyOf(c.Ref.Leg))
		}
	}
}

// End tells the server that a call ended, and with which call_duration. It reports whether it knows the call.
func (a *API) End(id call.ControlID, at time.Time, duration int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, known := a.calls[id]
	if known {
		c.EndTime, c.Duration = at, duration
	}
	return known
}

// Script adds replies to those that a call still has to give. It reports whether the server knows the call.
func (a *API) Script(id call.ControlID, replies ...Reply) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.calls[id]
	if known {
		r := a.recordOf(callOf(id))
		r.script = append(r.script, replies...)
	}
	return known
}

// Requests returns how often a call was asked for, whatever the answer was.
func (a *API) Requests(id call.ControlID) int { return a.requested(callOf(id)) }

// TotalRequests returns how many requests came for any call, known or not.
func (a *API) TotalRequests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, isCall := controlID(r.URL)
	connection, isRoll := connectionID(r.URL)
	isHistory := strings.HasSuffix(r.URL.Path, "/call_events")
	switch {
	case !isCall && !isRoll && !isHistory:
		writeError(w, http.StatusNotFound, "10005", "Resource not found", "There is nothing at this path.")
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	authorized := a.authorized(r.Header.Get("Authorization"))
	switch {
	case isHistory:
		leg := call.LegID(r.URL.Query().Get("filter[leg_id]"))
		a.write(w, r, a.decideList(historyOf(leg), authorized), a.history(leg, r.URL.Query()))
	case isRoll:
		a.write(w, r, a.decideList(activeOf(connection), authorized), a.active(connection, r.URL.Query()))
	default:
		reply, c := a.decide(id, authorized)
		a.write(w, r, reply, a.about(c))
	}
}

// controlID takes the last segment of a path that ends in /calls/{id}.
func controlID(u *url.URL) (call.ControlID, bool) {
	path := u.EscapedPath()
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || !strings.HasSuffix(path[:slash], "/calls") {
		return "", false
	}
	id, err := url.PathUnescape(path[slash+1:])
	return call.ControlID(id), err == nil && id != ""
}

func (a *API) authorized(header string) bool {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || token == "" {
		return false
	}
	return a.config.APIKey == "" || subtle.ConstantTimeCompare([]byte(token), []byte(a.config.APIKey)) == 1
}

// decide counts the request and chooses the reply, with a copy of the call as it is to be shown.
func (a *API) decide(id call.ControlID, authorized bool) (Reply, APICall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	r := a.recordOf(callOf(id))
	r.asked++
	if !authorized {
		return ReplyDenied, APICall{}
	}
	c, known := a.calls[id]
	if !known {
		return ReplyNotFound, APICall{}
	}
	now := a.config.Now()
	reply := a.next(r)
	over := !c.EndTime.IsZero() && !now.Before(c.EndTime)
	switch {
	case reply != ReplyTruth && reply != ReplySlow:
	case over && now.Sub(c.EndTime) > a.config.Keep:
		return ReplyGone, APICall{}
	case over && c.AliveFor > 0:
		c.AliveFor--
		shown := *c
		shown.EndTime = time.Time{}
		return reply, shown
	}
	return reply, *c
}

// Serve serves the status API at an address until stop is called, and returns the address that was bound.
func Serve(ctx context.Context, addr string, api http.Handler) (bound string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("serve the fake status API: %v", err)) // a listener of its own on loopback
		}
	}()
	return listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

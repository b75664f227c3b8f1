package fake

import (
	"crypto/subtle"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Defaults of a Config.
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

// Config says how a Server behaves. Zero values stand for defaults.
type Config struct {
	// APIKey is the bearer token that requests must have. Empty: any will do, but not none.
	APIKey string
	// Now is the clock that ends calls. Default time.Now.
	Now func() time.Time
	// Keep is how long after its end a call can be asked for; then it is Gone.
	// After twice that time it is forgotten. Default DefaultKeep.
	Keep time.Duration
	// Faults are what random faults are drawn from. Default DefaultFaults.
	Faults []Reply
	// FaultShare is the share of truthful answers that become faults, from 0 to 1.
	FaultShare float64
	// Seed makes the random faults those of one run.
	Seed uint64
	// Slow is how long the reply Slow takes, unless the client goes before. Default DefaultSlow.
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

// Server is the fake API, a handler for any path that ends in
// /calls/{call_control_id}, /call_events or /connections/{connection_id}/active_calls.
// It is safe for concurrent use.
type Server struct {
	config Config

	mu       sync.Mutex
	rng      *rand.Rand
	calls    map[call.ControlID]*Call
	asked    map[call.ControlID]int
	lists    map[string]*list // by what is asked for
	requests int
	swept    time.Time
}

// New returns a server that knows no call yet.
func New(config Config) *Server {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Keep <= 0 {
		config.Keep = DefaultKeep
	}
	if len(config.Faults) == 0 {
		config.Faults = DefaultFaults()
	}
	if config.Slow <= 0 {
		config.Slow = DefaultSlow
	}
	if config.Reset <= 0 {
		config.Reset = DefaultReset
	}
	if config.PageSize <= 0 {
		config.PageSize = DefaultPageSize
	}
	return &Server{
		config: config,
		rng:    rand.New(rand.NewPCG(config.Seed, 0)),
		calls:  map[call.ControlID]*Call{},
		asked:  map[call.ControlID]int{},
		lists:  map[string]*list{},
	}
}

// Register tells the server of a call, or tells it anew.
func (s *Server) Register(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Script = append([]Reply(nil), c.Script...)
	s.calls[c.Ref.Control] = &c
	s.sweep()
}

// sweep forgets, once a minute at most, the calls that ended long ago, so that
// a simulation can run for days.
func (s *Server) sweep() {
	now := s.config.Now()
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for id, c := range s.calls {
		if !c.EndTime.IsZero() && now.Sub(c.EndTime) > 2*s.config.Keep {
			delete(s.calls, id)
			delete(s.asked, id)
			delete(s.lists, historyOf(c.Ref.Leg))
		}
	}
}

// End tells the server that a call ended, and with which call_duration. It
// reports whether it knows the call.
func (s *Server) End(id call.ControlID, at time.Time, duration int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.calls[id]
	if known {
		c.EndTime, c.Duration = at, duration
	}
	return known
}

// Script adds replies to those that a call still has to give. It reports
// whether the server knows the call.
func (s *Server) Script(id call.ControlID, replies ...Reply) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.calls[id]
	if known {
		c.Script = append(c.Script, replies...)
	}
	return known
}

// Requests returns how often a call was asked for, whatever the answer was.
func (s *Server) Requests(id call.ControlID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[id]
}

// TotalRequests returns how many requests came for any call, known or not.
func (s *Server) TotalRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	authorized := s.authorized(r.Header.Get("Authorization"))
	switch {
	case isHistory:
		leg := call.LegID(r.URL.Query().Get("filter[leg_id]"))
		s.write(w, r, s.decideList(historyOf(leg), authorized), s.history(leg, r.URL.Query()))
	case isRoll:
		s.write(w, r, s.decideList(activeOf(connection), authorized), s.active(connection, r.URL.Query()))
	default:
		reply, c := s.decide(id, authorized)
		s.write(w, r, reply, s.about(c))
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

func (s *Server) authorized(header string) bool {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || token == "" {
		return false
	}
	return s.config.APIKey == "" || subtle.ConstantTimeCompare([]byte(token), []byte(s.config.APIKey)) == 1
}

// decide counts the request and chooses the reply, with a copy of the call as it
// is to be shown.
func (s *Server) decide(id call.ControlID, authorized bool) (Reply, Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.asked[id]++
	if !authorized {
		return Denied, Call{}
	}
	c, known := s.calls[id]
	if !known {
		return NotFound, Call{}
	}
	now := s.config.Now()
	reply := Truth
	if len(c.Script) > 0 {
		reply, c.Script = c.Script[0], c.Script[1:]
	} else if s.config.FaultShare > 0 && s.rng.Float64() < s.config.FaultShare {
		reply = s.config.Faults[s.rng.IntN(len(s.config.Faults))]
	}
	over := !c.EndTime.IsZero() && !now.Before(c.EndTime)
	switch {
	case reply != Truth && reply != Slow:
	case over && now.Sub(c.EndTime) > s.config.Keep:
		return Gone, Call{}
	case over && c.AliveFor > 0:
		c.AliveFor--
		shown := *c
		shown.EndTime = time.Time{}
		return reply, shown
	}
	return reply, *c
}

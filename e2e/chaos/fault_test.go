package chaos_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

// statusAPI is the status API, well or ill.
type statusAPI struct {
	well *fake.API
	ill  map[fake.Reply]*fake.API
	// mode is how all requests are answered at present; empty: with the truth.
	mode     atomic.Value
	requests atomic.Int64
	// bucket is what a limit allows.
	bucket *rate.Limiter
}

// statusDown: connections break without an answer.
const statusDown = fake.Reply("down")

// statusLimiting: three requests a second are answered, the others with 429.
const statusLimiting = fake.Reply("limiting")

func newStatusAPI(seed uint64) *statusAPI {
	config := fake.APIConfig{APIKey: "KEY-of-a-test", Keep: time.Hour, Seed: seed}
	api := &statusAPI{well: fake.NewAPI(config), ill: make(map[fake.Reply]*fake.API), bucket: rate.NewLimiter(3, 3)}
	for _, reply := range []fake.Reply{
		fake.ReplySlow, fake.ReplyDenied, fake.ReplyRateLimited, fake.ReplyServerError, fake.ReplyHTML,
		fake.ReplyHalfBody, fake.ReplyOtherCall, fake.ReplyAlive,
	} {
		config.Faults, config.FaultShare = []fake.Reply{reply}, 1
		api.ill[reply] = fake.NewAPI(config)
	}
	api.mode.Store(fake.ReplyTruth)
	return api
}

func (a *statusAPI) register(c fake.APICall) {
	for _, s := range a.ill {
		s.Register(c)
	}
	a.well.Register(c)
}

// modes are the ways to be ill, in an order that does not change.
func (a *statusAPI) modes() []fake.Reply {
	modes := []fake.Reply{statusDown, statusLimiting}
	for reply := range a.ill {
		modes = append(modes, reply)
	}
	slices.Sort(modes)
	return modes
}

// ServeHTTP implements http.Handler.
func (a *statusAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	switch mode := a.mode.Load().(fake.Reply); {
	case mode == statusDown:
		panic(http.ErrAbortHandler)
	case mode == statusLimiting:
		a.limiting(w, r)
	case a.ill[mode] != nil:
		a.ill[mode].ServeHTTP(w, r)
	default:
		a.well.ServeHTTP(w, r)
	}
}

// faults lets things go wrong until a time.
func (c *chaos) faults(until time.Time) {
	c.t.Helper()
	rng := c.source(1, 0)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	next, status, disks := c.soon(rng, time.Now()), c.soon(rng, time.Now()), c.source(5, 0)
	for now := time.Now(); now.Before(until); now = <-tick.C {
		c.tend(now)
		c.rollBack(disks, now)
		if now.After(next) {
			c.fault(rng, now)
			next = c.soon(rng, now)
		}
		if now.After(status) {
			if modes := c.api.modes(); c.api.mode.Load() != fake.ReplyTruth {
				c.api.mode.Store(fake.ReplyTruth)
			} else {
				c.api.mode.Store(modes[rng.IntN(len(modes))])
				c.count("status")
			}
			status = c.soon(rng, now)
		}
	}
	close(c.over)
	c.api.mode.Store(fake.ReplyTruth)
	for _, h := range slices.Concat(c.nats, c.serves) {
		switch h.condition {
		case hostFrozen:
			h.thaw()
		case hostDown:
			h.due = time.Time{}
		case hostUp, hostStopping:
		}
		h.pause = 0
	}
	c.tend(time.Now())
}

// narrow makes the servers' windows for duplicates as short as they can usefully
// be: what Legato promises must not hang on them, and no run lasts so long that
// much would outlive the two minutes that it asks for.
func (c *chaos) narrow(ctx context.Context) {
	const window = time.Second
	for ctx.Err() == nil {
		for _, name := range []string{"CALL_EVENTS", "CALLS"} {
			// What fails is tried again: the server may be down, and a start sets it back.
			if s, err := c.js.Stream(ctx, name); err == nil {
				if config := s.CachedInfo().Config; config.Duplicates > window {
					config.Duplicates = window
					_, _ = c.js.UpdateStream(ctx, config)
				}
			}
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// soon is the time of the next fault.
func (c *chaos) soon(rng *rand.Rand, now time.Time) time.Time {
	return now.Add(time.Duration(min(rng.ExpFloat64(), 4) * float64(c.tempo.every)))
}

func within(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}

// always are the draws of a kill of NATS, a kill of a replica, and a freeze of one.
var always = []float64{0, .36, .75}

// fault lets one thing go wrong now, if there is one that still is as it should be.
func (c *chaos) fault(rng *rand.Rand, now time.Time) {
	// The same number of draws each time: what happened before changes nothing of what is drawn.
	which, who, pause := rng.Float64(), rng.IntN(64), within(rng, c.tempo.pause)
	frozen := within(rng, c.tempo.frozen)
	if rng.IntN(5) == 0 {
		frozen = within(rng, c.tempo.longFrozen)
	}
	away := 3*c.tempo.pause + pause
	// Every run, however short, has a kill of each kind, these down for a while, and a
	// replica that sleeps through what its fellows do in its place.
	if c.drawn++; c.drawn <= len(always) {
		which, pause, frozen = always[c.drawn-1], c.tempo.pause/2+pause/2, c.tempo.longFrozen
	}
	candidates, prefix := c.serves, "serve "
	if len(c.nats) > 0 && which < .35 {
		which, candidates, prefix = which/.35, c.nats, "nats "
		// A cluster survives the loss of one server, and a lone one has nothing to lose.
		if slices.ContainsFunc(c.nats, func(h *host) bool { return h.condition != hostUp }) {
			return
		}
	} else if len(c.nats) > 0 {
		which = (which - .35) / .65
	}
	h := candidates[who%len(candidates)]
	if h.condition != hostUp || h.ended() {
		return
	}
	others := slices.ContainsFunc(c.serves, func(o *host) bool { return o != h && !o.removed })
	switch {
	case which < .45:
		c.count(prefix + "kill")
		c.buried(h, h.crash(now, pause))
	case which < .60:
		c.count(prefix + "stop")
		h.stop(now, pause)
	case which < .80:
		c.count(prefix + "freeze")
		h.freeze(now, frozen)
	case prefix == "serve " && others && which < .9:
		c.count(prefix + "remove")
		h.removed = true
		c.balance()
		h.stop(now, away)
	case prefix == "serve " && others:
		// A balancer that finds out by itself.
		c.count(prefix + "kill")
		h.removed = true
		c.buried(h, h.crash(now, away))
		c.balance()
	default:
		c.count(prefix + "kill")
		// Back as soon as its supervisor can.
		c.buried(h, h.crash(now, 0))
	}
}

// tend does what a supervisor does: it starts what is down, and sees to it that
// what was told to stop does.
func (c *chaos) tend(now time.Time) {
	for _, h := range slices.Concat(c.nats, c.serves) {
		switch {
		case h.condition == hostDown && !now.Before(h.due):
			h.start(now)
			if h.webhooks != "" {
				c.ledger.born(h.webhooks)
				c.balance()
			}
		case h.condition == hostFrozen && !now.Before(h.due):
			h.thaw()
		case h.condition == hostStopping && h.ended():
			err := h.Err
			if text := h.bury(now, h.pause); err != nil && served(text) && !gaveUp(text) {
				c.find("wrong", "%s was told to stop and ended with %v: %s", h.name, err, lastLine(text))
			} else {
				c.buried(h, text)
			}
		case h.condition == hostStopping && now.After(h.due):
			c.find("wrong", "%s did not stop in %v", h.name, legatotest.Patience)
			c.buried(h, h.crash(now, 0))
		case h.condition == hostUp && h.ended():
			err := h.Err
			text := h.bury(now, time.Second)
			c.buried(h, text)
			c.exited(h, text, err)
		}
	}
}

// exited judges a process that ended by itself. One that has not come up yet may, and
// one whose own log has not taken anything for 10 s, as where the machine is slow: its
// supervisor starts it again, as often as it takes.
func (c *chaos) exited(h *host, text string, err error) {
	c.result.Exits++
	if h.webhooks == "" || served(text) && !gaveUp(text) {
		c.find("wrong", "%s ended by itself with %v: %s", h.name, err, lastLine(text))
		return
	}
	c.t.Logf("%s ended by itself: %s", h.name, lastLine(text))
}

// buried looks through the log of a life that is over.
func (c *chaos) buried(h *host, text string) {
	for _, m := range misdeeds(h.name, text) {
		c.find("wrong", "%s", m)
	}
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// balance tells the senders which replicas there are. One that has died is still
// among them: only by failing does a sender find that out.
func (c *chaos) balance() {
	var hosts []string
	for _, h := range c.serves {
		if !h.removed {
			hosts = append(hosts, h.webhooks)
		}
	}
	c.ledger.serve(hosts)
}

package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

// statusLatency is how long the status API takes.
const statusLatency = 20 * time.Millisecond

// slowAPI is the fake status API with its latency, which knows how long it took for each leg.
type slowAPI struct {
	*fake.API
	addr string

	mu   sync.Mutex
	took map[call.ControlID]time.Duration
	last map[call.ControlID]time.Time
}

func serveSlowAPI(ctx context.Context) (*slowAPI, func(), error) {
	api := &slowAPI{API: fake.NewAPI(fake.APIConfig{}), took: map[call.ControlID]time.Duration{}, last: map[call.ControlID]time.Time{}}
	addr, stop, err := fake.Serve(ctx, "127.0.0.1:0", api)
	api.addr = addr
	return api, stop, err
}

// ServeHTTP answers after the latency.
func (a *slowAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	time.Sleep(statusLatency)
	a.API.ServeHTTP(w, r)
	id := call.ControlID(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took[id] += time.Since(began)
	a.last[id] = time.Now()
}

// register tells the API of the legs of a workload, as if nobody had asked for any yet.
func (a *slowAPI) register(w *bench.Workload) {
	a.mu.Lock()
	clear(a.took)
	clear(a.last)
	a.mu.Unlock()
	for _, leg := range w.Legs {
		a.Register(fake.APICall{
			Ref: leg.Ref, StartTime: leg.Start, EndTime: leg.End, Duration: int(leg.End.Sub(leg.Start) / time.Second),
		})
	}
}

// time returns how long it took over all requests for a leg.
func (a *slowAPI) time(id call.ControlID) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.took[id]
}

// answered returns when it last answered about a leg; zero: it was not asked.
func (a *slowAPI) answered(id call.ControlID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[id]
}

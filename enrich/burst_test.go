package enrich_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// burstAPI is the status API as a transport: it answers at its own pace, in virtual time.
type burstAPI struct {
	// latency is how long an answer takes, stale how many answers about a leg still call it alive.
	latency time.Duration
	stale   int
	// allowed is how many requests a second it takes before it answers 429; 0: any number.
	allowed int
	// down: no request gets through.
	down bool

	mu     sync.Mutex
	asked  map[call.ControlID][]time.Time
	all    []time.Time
	second int64
	used   int
}

// RoundTrip implements http.RoundTripper.
func (a *burstAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.EscapedPath()
	id, err := url.QueryUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return nil, err
	}
	control := call.ControlID(id)
	nth, limited := a.take(control)
	select {
	case <-time.After(a.latency):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch {
	case a.down:
		return nil, errors.New("connection refused")
	case limited:
		return &http.Response{StatusCode: 429, Header: http.Header{"X-Ratelimit-Reset": {"1"}}, Body: http.NoBody}, nil
	}
	data := map[string]any{"record_type": "call", "call_control_id": control, "is_alive": nth <= a.stale}
	if nth > a.stale {
		data["end_time"] = hungUpAt
	}
	body, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// take counts a request.
func (a *burstAPI) take(control call.ControlID) (nth int, limited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.all = append(a.all, now)
	if s := now.Unix(); s != a.second {
		a.second, a.used = s, 0
	}
	if a.used++; a.allowed > 0 && a.used > a.allowed {
		return 0, true
	}
	if a.asked == nil {
		a.asked = make(map[call.ControlID][]time.Time)
	}
	a.asked[control] = append(a.asked[control], now)
	return len(a.asked[control]), false
}

// first is when a leg was asked about for the first time; zero: it was not.
func (a *burstAPI) first(l leg) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if asked := a.asked[call.ControlID(l.control)]; len(asked) > 0 {
		return asked[0]
	}
	return time.Time{}
}

// asksAt has the replicas ask an API at a rate, each through a client of its own.
func (w *world) asksAt(api *burstAPI, perSecond float64, burst int) {
	w.source = func(*replica) enrich.StatusSource {
		client, err := status.New(status.Config{
			BaseURL: "http://api.example.com/v2", APIKey: "KEY", Transport: api, Rate: perSecond, Burst: burst, Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			w.t.Fatal(err)
		}
		return client
	}
}

// burst ends n calls within a time, and returns their legs by end.
func (w *world) burst(n int, within time.Duration) (legs []leg, ends []time.Time) {
	for i := range n {
		l := newLeg(fmt.Sprintf("s%d", i), 1)
		w.deliver(l.initiated())
		w.deliver(l.answered())
		legs = append(legs, l)
	}
	pass(time.Second)
	for _, l := range legs {
		ends = append(ends, time.Now())
		w.deliver(l.hangup())
		pass(within / time.Duration(n))
	}
	return legs, ends
}

// Whatever ends at once, and however the API behaves: each leg is asked about within its window as far as rate and
// window allow, the oldest end first, never faster than allowed, and when its window is over every leg is final.
func TestABurstIsCaughtUpWithinTheWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 80).Draw(rt, "hangups")
		within := time.Duration(rapid.IntRange(1, 5000).Draw(rt, "within ms")) * time.Millisecond
		window := time.Duration(rapid.IntRange(60, 600).Draw(rt, "window s")) * time.Second
		perSecond := rapid.Float64Range(0.3, 20).Draw(rt, "rate")
		burst := rapid.IntRange(1, 10).Draw(rt, "burst")
		api := &burstAPI{stale: rapid.IntRange(0, 2).Draw(rt, "stale")}
		sure := perSecond
		switch rapid.IntRange(0, 3).Draw(rt, "behaviour") {
		case 0:
			api.latency = time.Duration(rapid.IntRange(0, 900).Draw(rt, "ms")) * time.Millisecond
		case 1:
			api.latency = time.Duration(rapid.IntRange(5100, 40_000).Draw(rt, "ms")) * time.Millisecond
		case 2:
			api.allowed = rapid.IntRange(1, 20).Draw(rt, "allowed")
			// What Telnyx refuses is found out by being refused.
			sure = 0.4 * min(perSecond, float64(api.allowed))
		default:
			api.down = true
		}
		failure := ""
		fail := func(format string, args ...any) { failure = fmt.Sprintf(format, args...) }
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.end()
			w.rules.StatusWindow = window
			w.asksAt(api, perSecond, burst)
			w.start()
			legs, ends := w.burst(n, within)
			after(window + 2*time.Minute + 10*time.Second)

			room := int(sure * (window - timing.Settle - 2*time.Second - within).Seconds())
			inTime := 0
			for i, l := range legs {
				at := api.first(l)
				if !at.IsZero() && at.Sub(ends[i]) <= window {
					inTime++
				}
				// Whose window is over stands behind.
				overtook := i > 0 && !at.IsZero() && at.Before(api.first(legs[i-1])) && at.Sub(ends[i-1]) < window
				if overtook && api.allowed == 0 && ends[i].Sub(ends[i-1]) > 10*time.Millisecond {
					fail("leg %d was asked about %v before the one that ended before it", i, api.first(legs[i-1]).Sub(at))
				}
				s := w.legOf(l).Status
				if !s.Final {
					fail("leg %d is not final, %v after its end: %+v", i, time.Since(ends[i]), s)
				}
				if !api.down && api.stale == 0 && api.allowed == 0 && s.State != summary.StatusConfirmed && n <= room/4 {
					fail("leg %d is %s though there was time for four attempts", i, s.State)
				}
				if at.IsZero() && s.State != summary.StatusNotAsked && s.State != summary.StatusRateLimited {
					fail("leg %d was never asked about, and is %s", i, s.State)
				}
			}
			if least := min(n, room); inTime < least {
				fail("%d of %d legs were asked about in time; room was for %d", inTime, n, room)
			}
			for i := range api.all {
				if j := i - burst; j >= 0 && api.all[i].Sub(api.all[j]) < time.Duration(float64(time.Second)/perSecond)-time.Microsecond {
					fail("%d requests in %v at %.2f a second", burst+1, api.all[i].Sub(api.all[j]), perSecond)
				}
			}
			if open := w.queue.open(); len(open) > 0 {
				fail("tasks %v are not done", open)
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// The summaries of a burst go out at the deadline, and while hundreds of legs wait for their turn the queue holds no
// task for them: the next call comes through.
func TestABurstThatWaitsForItsTurnsKeepsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		w.asksAt(&burstAPI{latency: 100 * time.Millisecond}, 1, 1)
		w.start()
		legs, _ := w.burst(300, 2*time.Second)
		after(timing.StatusDeadline + 2*time.Second)
		for _, l := range legs {
			if got := w.legOf(l); got.Revision < 1 {
				t.Fatalf("leg %s has revision %d", l.id, got.Revision)
			}
		}
		after(10 * time.Second)
		w.queue.atMost(20)
		if held := w.queue.held(); len(held) > 5 {
			t.Errorf("the queue holds %d tasks, most of legs that wait", len(held))
		}
		next := newLeg("next", 1)
		w.lives(next)
		after(timing.StatusDeadline + time.Second)
		w.wantRevisions(next.key(), "1 completed")
	})
}

// The process that keeps the places ends: from the log another finds who lacks an answer, and every leg is asked about
// in time all the same.
func TestAfterACrashTheLogTellsWhoHasWaited(t *testing.T) {
	for name, replicas := range map[string]int{"the only replica": 1, "one of two": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.end()
				api := &burstAPI{latency: 100 * time.Millisecond}
				w.asksAt(api, 1, 1)
				for range replicas {
					w.start()
				}
				legs, ends := w.burst(150, 2*time.Second)
				after(30 * time.Second)
				w.replicas[0].kill()
				after(10 * time.Second)
				if replicas == 1 {
					w.start()
				}
				after(12*time.Minute + 30*time.Second)
				for i, l := range legs {
					if at := api.first(l); at.IsZero() || at.Sub(ends[i]) > w.rules.StatusWindow {
						t.Errorf("leg %d was asked about %v after its end", i, at.Sub(ends[i]))
					}
					if s := w.legOf(l).Status; s.State != summary.StatusConfirmed || !s.Final {
						t.Errorf("leg %d is %s, final %t", i, s.State, s.Final)
					}
				}
			})
		})
	}
}

// Replicas have lines of their own. What a check brings to one while another keeps the place of it stands behind, and
// leaves when the other has asked.
func TestReplicasDoNotAskTwiceForWhatWaitsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		api := &burstAPI{latency: 300 * time.Millisecond}
		w.asksAt(api, 1, 1)
		w.start()
		w.start()
		const n = 500
		legs, ends := w.burst(n, 2*time.Second)
		after(10 * time.Minute)
		for i, l := range legs {
			if at := api.first(l); at.IsZero() || at.Sub(ends[i]) > 5*time.Minute {
				t.Errorf("leg %d was asked about %v after its end", i, at.Sub(ends[i]))
			}
		}
		// One that both ask at the same moment is asked twice; without the withdrawal nearly all would be.
		if twice := len(api.all) - n; twice > n/10 {
			t.Errorf("%d of %d requests were one too many", twice, len(api.all))
		}
	})
}

// A hangup that comes while its leg waits to be swept takes the place of a leg that is over.
func TestAHangupGoesBeforeTheSweepThatItsLegWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		api := &burstAPI{}
		w.asksAt(api, 0.05, 1)
		w.start()
		var legs []leg
		for i := range 3 { // fewer than make a list
			l := newLeg(fmt.Sprintf("s%d", i), 1)
			w.deliver(l.initiated())
			legs = append(legs, l)
			pass(time.Second)
		}
		after(w.rules.SweepAfter + 5*time.Second)
		last := legs[2]
		if !api.first(last).IsZero() {
			t.Fatal("the sweep of the last leg did not have to wait")
		}
		begun := time.Now()
		w.deliver(last.hangup())
		after(25 * time.Second)
		if at := api.first(last); at.IsZero() {
			t.Errorf("the leg that is over was not asked about within %v", time.Since(begun))
		}
		if at := api.first(legs[1]); !at.IsZero() {
			t.Error("a sweep went before it")
		}
	})
}

func TestAnAttemptThatIsAskedForWhileItsTurnIsRefusedIsMade(t *testing.T) {
	if !enrich.BeginJoined() {
		t.Error("the turn of the attempt that was joined is not wanted")
	}
}

// A burst whose summaries are due at one moment reaches NATS a bounded number at a time: a slow server is not buried
// under what would time out there and be tried again, and every summary is published.
func TestSummariesThatAreDueAtOnceArePublishedABoundedNumberAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		var mu sync.Mutex
		begun := make(map[time.Time]int)
		w.sink.latency = func(*replica, summary.Draft) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			second := time.Now().Truncate(time.Second)
			begun[second]++
			return time.Second
		}
		w.start()
		const calls = 1000
		legs, _ := w.burst(calls, 0)
		after(time.Minute)
		for _, l := range legs {
			if got := w.legOf(l); got.Revision < 1 {
				t.Fatalf("leg %s has revision %d", l.id, got.Revision)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for second, n := range begun {
			if n > 256 { // two times 128: a second may have the end of one and the beginning of another
				t.Errorf("%d publications were begun within the second %s", n, second.Format(time.TimeOnly))
			}
		}
	})
}

package status_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// crossing is a request on its way: it waits from entered, was sent at sent, and answered at answered.
type crossing struct {
	place                   status.Place
	order                   int
	entered, sent, answered time.Time
	wanted                  bool
}

func (c *crossing) before(other *crossing) bool {
	return cmp.Or(cmp.Compare(c.place.Class, other.place.Class), c.place.Since.Compare(other.place.Since), cmp.Compare(c.order, other.order)) < 0
}

// Whoever asks for what and when, and however slowly it is answered: the rate and the number in flight are never
// exceeded, the first in line is the next to be asked about, no turn is left out while anybody waits, and everybody has
// one turn in the end.
func TestTurnsKeepRateOrderAndPlace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		perSecond := rapid.Float64Range(0.5, 50).Draw(rt, "rate")
		burst := rapid.IntRange(1, 30).Draw(rt, "burst")
		slots := rapid.IntRange(1, 40).Draw(rt, "slots")
		latency := time.Duration(rapid.IntRange(0, 4000).Draw(rt, "latency ms")) * time.Millisecond
		waves := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 5).Draw(rt, "waves")
		seconds := rapid.SliceOfN(rapid.IntRange(0, 20), len(waves), len(waves)).Draw(rt, "seconds between")
		unwanted := rapid.IntRange(2, 10).Draw(rt, "one in so many is not wanted any more")
		failure := ""
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var all []*crossing
			client := newClient(t, status.Config{
				Rate: perSecond, Burst: burst, MaxConcurrent: slots,
				Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					<-time.After(latency)
					return respond(404, "")
				}),
			})
			var group sync.WaitGroup
			for i, n := range waves {
				<-time.After(time.Duration(seconds[i])*time.Second + time.Nanosecond)
				for range n {
					now := time.Now()
					k := len(all)
					c := &crossing{
						place: status.Place{Class: status.Class(k * 7 % 5), Since: now.Add(-time.Duration(k*13%17) * time.Second)},
						order: k, entered: now, wanted: k%unwanted != 1,
					}
					all = append(all, c)
					if c.wanted {
						group.Add(1)
					}
					client.Ask(t.Context(), status.Request{Ref: ref, Place: sweepless(c.place), Begin: func() bool {
						mu.Lock()
						defer mu.Unlock()
						c.sent = time.Now()
						return c.wanted
					}}, func(status.Answer, error) {
						c.answered = time.Now()
						group.Done()
					})
				}
			}
			group.Wait()
			failure = judge(all, perSecond, burst, slots)
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// sweepless keeps a request from being gathered with others of its connection.
func sweepless(p status.Place) status.Place {
	if p.Class == status.Sweep {
		p.Class = status.Late
	}
	return p
}

// judge says what is wrong with what happened.
func judge(all []*crossing, perSecond float64, burst, slots int) string {
	var sent []*crossing
	for _, c := range all {
		c.place = sweepless(c.place)
		if c.wanted {
			if c.sent.IsZero() {
				return fmt.Sprintf("request %d had no turn", c.order)
			}
			sent = append(sent, c)
		}
	}
	slices.SortStableFunc(sent, func(a, b *crossing) int { return a.sent.Compare(b.sent) })
	gap := time.Duration(float64(time.Second) / perSecond)
	for i, c := range sent {
		flying := 0
		for _, other := range sent[:i] {
			if other.answered.After(c.sent) {
				flying++
			}
		}
		if flying >= slots {
			return fmt.Sprintf("%d in flight besides request %d; allowed are %d", flying, c.order, slots)
		}
		if j := i - burst; j >= 0 {
			if took, least := c.sent.Sub(sent[j].sent), gap; took < least-time.Microsecond {
				return fmt.Sprintf("%d requests within %v; the rate is %.2f", burst+1, took, perSecond)
			}
		}
		for _, other := range sent {
			if other != c && other.entered.Before(c.sent) && other.sent.After(c.sent) && other.before(c) {
				return fmt.Sprintf("request %d (%+v) went before %d (%+v)", c.order, c.place, other.order, other.place)
			}
		}
		// With a slot free since the one before was sent, and this one waiting, no more than a gap has passed.
		if i > 0 && flying < slots-1 {
			since := c.entered
			for _, t := range append([]time.Time{sent[i-1].sent}, freed(sent[:i], c.sent)...) {
				if t.After(since) {
					since = t
				}
			}
			if idle := c.sent.Sub(since); idle > gap+time.Millisecond {
				return fmt.Sprintf("request %d waited for %v with a slot free; a turn comes every %v", c.order, idle, gap)
			}
		}
	}
	return ""
}

// freed are the times before one at which slots became free.
func freed(sent []*crossing, before time.Time) (times []time.Time) {
	for _, c := range sent {
		if !c.answered.After(before) {
			times = append(times, c.answered)
		}
	}
	return times
}

// Twice of what the rate allows, for as long as you like: the rate is used to the full, and the oldest end comes first.
func TestAskedTooMuchItAnswersTheOldestAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, minutes = 10, 3
		var mu sync.Mutex
		var ends []time.Time
		client := newClient(t, status.Config{
			Rate: perSecond, Burst: perSecond,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(404, "") }),
		})
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		tick := time.NewTicker(time.Second / (2 * perSecond))
		defer tick.Stop()
		for range 2 * perSecond * 60 * minutes {
			<-tick.C
			at := time.Now()
			client.Ask(ctx, status.Request{Ref: ref, Place: status.Place{Since: at}}, func(status.Answer, error) {
				mu.Lock()
				defer mu.Unlock()
				ends = append(ends, at)
			})
		}
		synctest.Wait()
		cancel()
		mu.Lock()
		defer mu.Unlock()
		if got, want := len(ends), int(time.Since(begun).Seconds())*perSecond; got < want || got > want+2*perSecond {
			t.Errorf("%d answered; want some %d", got, want)
		}
		if !slices.IsSortedFunc(ends, time.Time.Compare) {
			t.Error("a later end came before an earlier one")
		}
	})
}

func TestAFirstAttemptGoesBeforeWhatHasWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		client := newClient(t, status.Config{
			Rate: 1, Burst: 1,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(404, "") }),
		})
		fetch(t, client) // takes the first turn
		now := time.Now()
		ask := func(name string, p status.Place) {
			client.Ask(t.Context(), status.Request{Ref: ref, Place: p, Begin: func() bool {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				return true
			}}, func(status.Answer, error) {})
		}
		ask("history", status.Place{Class: status.History, Since: now.Add(-time.Hour)})
		ask("over", status.Place{Class: status.First, Since: now.Add(-11 * time.Minute), Until: now.Add(-time.Minute)})
		ask("again", status.Place{Class: status.Again, Since: now.Add(-5 * time.Minute)})
		ask("first, later", status.Place{Class: status.First, Since: now})
		ask("over in two seconds", status.Place{Class: status.First, Since: now.Add(time.Second), Until: now.Add(1500 * time.Millisecond)})
		ask("first", status.Place{Class: status.First, Since: now.Add(-time.Second)})
		<-time.After(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if got, want := strings.Join(order, "; "), "first; first, later; again; over; over in two seconds; history"; got != want {
			t.Errorf("in this order: %s; want %s", got, want)
		}
	})
}

func TestTheRateFollowsWhatTheAPIAllows(t *testing.T) {
	for name, c := range map[string]struct {
		allowed int // a second
		headers []string
		least   float64 // of what is allowed
		refused float64 // of what is sent, at most
	}{
		"a limit that says when it resets": {10, []string{"x-ratelimit-reset", "1"}, 0.6, 0.25},
		"a limit that says nothing":        {10, nil, 0.6, 0.25},
		"a limit that tells what is left":  {10, []string{"x-ratelimit-reset", "1", "x-ratelimit-remaining"}, 0.9, 0.05},
		"a limit near the rate":            {80, []string{"Retry-After", "1"}, 0.6, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				second, used, good, bad := int64(-1), 0, 0, 0
				begun := time.Now()
				client := newClient(t, status.Config{
					Rate: 100, Now: time.Now,
					Transport: roundTrip(func(*http.Request) (*http.Response, error) {
						<-time.After(20 * time.Millisecond)
						mu.Lock()
						defer mu.Unlock()
						if s := int64(time.Since(begun).Seconds()); s != second {
							second, used = s, 0
						}
						header := slices.Clone(c.headers)
						if len(header)%2 == 1 {
							header = append(header, fmt.Sprint(max(c.allowed-used-1, 0)))
						}
						if used++; used > c.allowed {
							bad++
							return respond(429, "", header...)
						}
						good++
						if len(c.headers)%2 == 0 {
							header = nil
						}
						return respond(404, "", header...)
					}),
				})
				ctx, cancel := context.WithCancel(t.Context())
				for i := range 30_000 {
					client.Ask(ctx, status.Request{Ref: call.Ref{Control: "v3:x"}, Place: status.Place{Since: begun.Add(time.Duration(i))}}, func(status.Answer, error) {})
				}
				<-time.After(5 * time.Minute)
				cancel()
				<-time.After(time.Second)
				mu.Lock()
				defer mu.Unlock()
				seconds := time.Since(begun).Seconds()
				t.Logf("%.1f a second of %d allowed, %.1f refused", float64(good)/seconds, c.allowed, float64(bad)/seconds)
				if share := float64(good) / seconds / float64(c.allowed); share < c.least {
					t.Errorf("%.2f of what is allowed was used; want %.2f", share, c.least)
				}
				if share := float64(bad) / float64(good+bad); share > c.refused {
					t.Errorf("%.2f of what was sent was refused; want less than %.2f", share, c.refused)
				}
			})
		})
	}
}

// An alert counts pauses: six requests that were under way together and are refused together make one.
func TestRefusalsOfWhatWasSentTogetherAreOnePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		var sent atomic.Int64
		client := newClient(t, status.Config{
			Rate: 100, Burst: 6, Registerer: registry,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				n := sent.Add(1)
				if n > 6 {
					return respond(404, "")
				}
				<-time.After(time.Duration(n) * 10 * time.Millisecond)
				return respond(429, "", "Retry-After", "2")
			}),
		})
		answered := make(chan status.Answer, 6)
		for range 6 {
			client.Ask(t.Context(), status.Request{Ref: ref}, func(a status.Answer, _ error) { answered <- a })
		}
		for range 6 {
			<-answered
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if n := family.GetMetric()[0].GetCounter().GetValue(); family.GetName() == "legato_status_pauses_total" && n != 1 {
				t.Errorf("%v pauses after %d requests", n, sent.Load())
			}
		}
	})
}

// An API that answers after 30 s answers nobody who waits for five: after a few misses it is waited for, by so many at
// once as the rate needs, and when it is quick again nobody waits that long for what is lost.
func TestASlowAPIIsWaitedForAtTheAllowedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		latency := 30 * time.Second
		client := newClient(t, status.Config{
			Rate: 20,
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				mu.Lock()
				wait := latency
				mu.Unlock()
				select {
				case <-time.After(wait):
					return respond(404, "")
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}),
		})
		begun := time.Now()
		answered, missed := 0, 0
		for range 2000 {
			client.Ask(t.Context(), status.Request{Ref: ref, Place: status.Place{Since: begun}}, func(a status.Answer, _ error) {
				mu.Lock()
				defer mu.Unlock()
				if a.Problem == status.ProblemTimeout {
					missed++
				} else {
					answered++
				}
			})
		}
		<-time.After(2000/20*time.Second + 31*time.Second)
		mu.Lock()
		t.Logf("%d answered, %d missed", answered, missed)
		if missed > 5*20+30 || answered+missed != 2000 {
			t.Errorf("%d answered, %d missed; want all, and none missed but in the first five seconds", answered, missed)
		}
		latency = 10 * time.Millisecond
		mu.Unlock()
		fetch(t, client)
		mu.Lock()
		latency = time.Hour
		mu.Unlock()
		lost := time.Now()
		if a := fetch(t, client); a.Problem != status.ProblemTimeout || time.Since(lost) != status.DefaultTimeout {
			t.Errorf("%s after %v; want a timeout after %v", a.Problem, time.Since(lost), status.DefaultTimeout)
		}
		patient := make(chan time.Duration, 1)
		lost = time.Now()
		client.Ask(t.Context(), status.Request{Ref: ref, Patient: true}, func(status.Answer, error) { patient <- time.Since(lost) })
		if took := <-patient; took != status.MaxTimeout {
			t.Errorf("a leg whose answer was awaited in vain before was given up after %v; want %v", took, status.MaxTimeout)
		}
	})
}

func TestWhatIsNotWantedAnyMoreLeavesTheLineAndItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		client := newClient(t, status.Config{
			Rate: 1, Burst: 1,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { requests++; return respond(404, "") }),
		})
		fetch(t, client)
		begun := time.Now()
		for range 100 {
			client.Ask(t.Context(), status.Request{Ref: ref, Begin: func() bool { return false }}, func(status.Answer, error) {
				t.Error("answered")
			})
		}
		ended, cancel := context.WithCancel(t.Context())
		client.Ask(ended, status.Request{Ref: ref}, func(status.Answer, error) { t.Error("answered after its context has ended") })
		cancel()
		fetch(t, client)
		if took := time.Since(begun); took > time.Second+time.Millisecond || requests != 2 {
			t.Errorf("the next one waited for %v, with %d requests; want a second and 2", took, requests)
		}
	})
}

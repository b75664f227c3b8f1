package status_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/status"
)

// limitedAPI allows so many requests from one renewal to the next, to all users of a key. Times are virtual.
type limitedAPI struct {
	limit  int // 0: none
	window time.Duration
	// states: answers have x-ratelimit-*. says: a refusal has Retry-After.
	states, says bool
	latency      time.Duration
	// others is how many requests a second another user of the key makes, whatever comes of them.
	others float64

	mu                   sync.Mutex
	begun                time.Time // of everything
	number               int64     // of the window
	own                  int       // in it
	good, bad, othersBad int
	settled              time.Duration // only what comes later counts in bad
}

func (a *limitedAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(a.latency):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limit == 0 {
		a.good++
		return respond(404, "")
	}
	since := time.Since(a.begun)
	if n := int64(since / a.window); n != a.number {
		a.renew()
		a.number = n
	}
	into := since % a.window
	taken := a.own + int(a.others*into.Seconds())
	var header []string
	if a.states {
		left := max(a.limit-taken-1, 0)
		header = []string{
			"X-Ratelimit-Limit", fmt.Sprint(a.limit), "X-Ratelimit-Remaining", fmt.Sprint(left),
			"X-Ratelimit-Reset", fmt.Sprint(int((a.window - into + time.Second - 1) / time.Second)),
		}
	}
	if taken < a.limit {
		a.own++
		a.good++
		return respond(404, "", header...)
	}
	if since >= a.settled {
		a.bad++
	}
	if a.says {
		header = append(header, "Retry-After", fmt.Sprint(int((a.window-into+time.Second-1)/time.Second)))
	}
	return respond(429, "", header...)
}

// renew ends a window: what the other user did not get of it is what we had instead.
func (a *limitedAPI) renew() {
	a.othersBad += max(0, min(a.own+int(a.others*a.window.Seconds())-a.limit, a.own))
	a.own = 0
}

// leg is one that ended, and when Telnyx said something about it; zero: never.
type endedLeg struct{ ended, asked time.Time }

// pour has so many legs a second end for a time, each of which is asked about until there is an answer that is no refusal,
// and waits until the window of the last is over.
func pour(t *testing.T, client *status.Client, perSecond float64, during, window time.Duration) []*endedLeg {
	t.Helper()
	var mu sync.Mutex
	var legs []*endedLeg
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ask func(l *endedLeg)
	ask = func(l *endedLeg) {
		place := status.Place{Since: l.ended, Until: l.ended.Add(window)}
		client.Ask(ctx, status.Request{Ref: ref, Place: place}, func(a status.Answer, err error) {
			if err == nil && a.Result == status.RateLimited {
				ask(l)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil && l.asked.IsZero() {
				l.asked = time.Now()
			}
		})
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < during; <-tick.C {
		l := &endedLeg{ended: time.Now()}
		mu.Lock()
		legs = append(legs, l)
		mu.Unlock()
		ask(l)
	}
	<-time.After(window)
	cancel()
	synctest.Wait()
	return legs
}

func TestTheRateIsFoundOut(t *testing.T) {
	const during = 6 * time.Minute
	for name, c := range map[string]struct {
		api    *limitedAPI
		legs   float64 // that end in a second
		others float64
		least  float64 // of what is left to us, that we use
	}{
		"of an API that limits nothing":                   {&limitedAPI{}, 400, 0, 0},
		"of one that states a quota a second":             {&limitedAPI{limit: 50, window: time.Second, states: true}, 80, 0, 0.7},
		"of one that states a quota a minute":             {&limitedAPI{limit: 1200, window: time.Minute, states: true}, 30, 0, 0.85},
		"of one that states more than is needed":          {&limitedAPI{limit: 30000, window: time.Minute, states: true}, 300, 0, 0},
		"of one that only refuses":                        {&limitedAPI{limit: 50, window: time.Second}, 80, 0, 0.75},
		"of one that says when to come back":              {&limitedAPI{limit: 200, window: 4 * time.Second, says: true}, 80, 0, 0.7},
		"beside another user of a stated quota a minute":  {&limitedAPI{limit: 1200, window: time.Minute, states: true}, 20, 10, 0.8},
		"beside another user of a stated quota a second":  {&limitedAPI{limit: 50, window: time.Second, states: true}, 50, 25, 0.6},
		"beside another user of a quota that is unstated": {&limitedAPI{limit: 100, window: time.Second}, 80, 50, 0.7},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := c.api
				api.latency, api.others, api.settled, api.begun = 50*time.Millisecond, c.others, time.Minute, time.Now()
				client := newClient(t, status.Config{Transport: api, Now: time.Now})
				legs := pour(t, client, c.legs, during, time.Minute)
				seconds := time.Since(api.begun).Seconds()
				used, refused := float64(api.good)/seconds, float64(api.bad)/float64(api.good+api.bad)
				t.Logf("%.1f a second; %.2f %% refused; the other user was refused %d", used, 100*refused, api.othersBad)
				if refused > 0.02 {
					t.Errorf("%.1f %% of what was sent after a minute was refused", 100*refused)
				}
				if c.least == 0 {
					for _, l := range legs {
						if l.asked.IsZero() || l.asked.Sub(l.ended) > 10*time.Second {
							t.Fatalf("a leg that ended after %v was asked about at %v", l.ended.Sub(api.begun), l.asked)
						}
					}
					return
				}
				ours := float64(api.limit)/api.window.Seconds() - api.others
				if used < c.least*ours {
					t.Errorf("%.1f a second were asked for; %.1f are left to us", used, ours)
				}
				if api.states && float64(api.othersBad) > 0.02*api.others*seconds {
					t.Errorf("the other user lost %d of its %.0f requests to us", api.othersBad, api.others*seconds)
				}
			})
		})
	}
}

// Whatever the limit, and however it is told: where it allows more than there are legs, each is asked about in its window.
func TestNoLegGoesUnaskedWhereTheRateAllowsIt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		perSecond := rapid.IntRange(5, 150).Draw(rt, "allowed a second")
		api := &limitedAPI{
			window:  time.Duration(rapid.SampledFrom([]int{1, 4, 15, 60}).Draw(rt, "window, s")) * time.Second,
			states:  rapid.Bool().Draw(rt, "states a quota"),
			says:    rapid.Bool().Draw(rt, "says when to come back"),
			latency: time.Duration(rapid.IntRange(1, 800).Draw(rt, "latency, ms")) * time.Millisecond,
		}
		api.limit = perSecond * int(api.window.Seconds())
		others := float64(perSecond) * rapid.SampledFrom([]float64{0, 0, 0.25, 0.5}).Draw(rt, "share of others")
		legs := (float64(perSecond) - others) * rapid.Float64Range(0.05, 0.6).Draw(rt, "legs of what is allowed")
		const window, during = 2 * time.Minute, 3 * time.Minute
		failure := ""
		synctest.Test(t, func(t *testing.T) {
			api.begun, api.others, api.settled = time.Now(), others, time.Minute
			client := newClient(t, status.Config{Transport: api, Now: time.Now})
			all := pour(t, client, legs, during, window)
			if i := slices.IndexFunc(all, func(l *endedLeg) bool { return l.asked.IsZero() || l.asked.Sub(l.ended) > window }); i >= 0 {
				failure = fmt.Sprintf("leg %d of %d, which ended after %v, was asked about at %v", i, len(all), all[i].ended.Sub(api.begun), all[i].asked)
			}
			if refused := float64(api.bad) / float64(api.good+api.bad); refused > 0.05 {
				failure = fmt.Sprintf("%d of %d were refused", api.bad, api.good+api.bad)
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

func TestNobodyAsksBeforeTelnyxSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex
		var sent []time.Duration
		client := newClient(t, status.Config{Now: time.Now, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if sent = append(sent, time.Since(begun)); len(sent) == 5 {
				return respond(429, "", "Retry-After", "20")
			}
			return respond(404, "")
		})})
		for range 200 {
			client.Ask(t.Context(), status.Request{Ref: ref, Place: status.Place{Since: begun}}, func(status.Answer, error) {})
			<-time.After(5 * time.Millisecond)
		}
		<-time.After(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(sent) != 200 {
			t.Fatalf("%d requests were sent, want 200", len(sent))
		}
		if pause := sent[5] - sent[4]; pause < 20*time.Second || pause > 20*time.Second+10*time.Millisecond {
			t.Errorf("after a Retry-After of 20 s the next came after %v", pause)
		}
	})
}

func TestALimitThatIsLiftedIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &limitedAPI{limit: 20, window: time.Second, latency: 20 * time.Millisecond, begun: time.Now()}
		client := newClient(t, status.Config{Transport: api, Now: time.Now})
		time.AfterFunc(2*time.Minute, func() {
			api.mu.Lock()
			defer api.mu.Unlock()
			api.limit = 200
		})
		legs := pour(t, client, 60, 8*time.Minute, 10*time.Minute)
		for _, l := range legs[len(legs)-60*60:] {
			if l.asked.Sub(l.ended) > time.Second {
				t.Fatalf("a leg of the last minute was asked about %v after its end", l.asked.Sub(l.ended))
			}
		}
	})
}

func TestAQuotaThatOthersUsedUpOnceSlowsNothingAfterItsRenewal(t *testing.T) {
	for _, latency := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		t.Run(latency.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &limitedAPI{limit: 1000, window: 10 * time.Second, states: true, latency: latency, begun: time.Now()}
				client := newClient(t, status.Config{Transport: api, Now: time.Now})
				var others func()
				others = func() {
					api.mu.Lock()
					defer api.mu.Unlock()
					if api.own += 30; time.Since(api.begun) < 70*time.Second {
						time.AfterFunc(100*time.Millisecond, others)
					}
				}
				time.AfterFunc(65*time.Second, others)
				legs := pour(t, client, 50, 3*time.Minute, 5*time.Minute)
				if api.bad == 0 {
					t.Fatal("nothing was refused")
				}
				for _, l := range legs {
					after := l.ended.Sub(api.begun)
					if after > 100*time.Second && (l.asked.IsZero() || l.asked.Sub(l.ended) > 5*time.Second) {
						t.Fatalf("a leg that ended after %v was asked about %v later", after, l.asked.Sub(l.ended))
					}
				}
			})
		})
	}
}

func TestTheBacklogSaysForHowLongALegHasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		client := newClient(t, status.Config{
			Rate: 1, Burst: 1, Registerer: registry,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(404, "") }),
		})
		if age, perSecond := client.Backlog(); age != 0 || perSecond != 1 {
			t.Errorf("with nobody in line: %v at %g a second", age, perSecond)
		}
		ended := time.Now()
		for i := range 30 {
			client.Ask(t.Context(), status.Request{Ref: ref, Place: status.Place{Since: ended.Add(time.Duration(i) * time.Millisecond)}}, func(status.Answer, error) {})
		}
		client.Ask(t.Context(), status.Request{Ref: ref, Place: status.Place{Class: status.History, Since: ended.Add(-time.Hour)}}, func(status.Answer, error) {})
		<-time.After(20*time.Second + 500*time.Millisecond)
		if age, _ := client.Backlog(); age.Round(time.Second/2) != 20*time.Second+500*time.Millisecond {
			t.Errorf("after 20.5 s it is %v", age)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if got := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "legato_status_backlog_seconds" && (got < 20 || got > 21) {
				t.Errorf("%s is %g after 20.5 s", f.GetName(), got)
			}
		}
		<-time.After(9 * time.Second)
		if age, _ := client.Backlog(); age != 0 {
			t.Errorf("with only a history in line: %v", age)
		}
	})
}

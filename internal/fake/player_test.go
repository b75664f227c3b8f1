package fake_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/internal/fake"
)

// endpoint notes every post and answers with what reply says.
type endpoint struct {
	mu    sync.Mutex
	posts []post
	reply func(p post, n int) int
}

type post struct {
	at          time.Time
	id, kind    string
	attempt     int
	deliveredTo string
	occurredAt  time.Time
}

func (e *endpoint) take(r *http.Request) int {
	var body struct {
		Data struct {
			ID         string    `json:"id"`
			EventType  string    `json:"event_type"`
			OccurredAt time.Time `json:"occurred_at"`
		} `json:"data"`
		Meta struct {
			Attempt     int    `json:"attempt"`
			DeliveredTo string `json:"delivered_to"`
		} `json:"meta"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		return http.StatusBadRequest
	}
	p := post{time.Now(), body.Data.ID, body.Data.EventType, body.Meta.Attempt, body.Meta.DeliveredTo, body.Data.OccurredAt}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.posts = append(e.posts, p)
	if e.reply == nil {
		return http.StatusOK
	}
	return e.reply(p, len(e.posts))
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) { return respond(e.take(r)) }

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { w.WriteHeader(e.take(r)) }

func newPlayer(t *testing.T, config fake.PlayerConfig) *fake.Player {
	t.Helper()
	config.Sender.Sign = sign
	if config.Sender.Target == "" {
		config.Sender.Target = "http://hooks.example.com/webhooks/telnyx"
	}
	player, err := fake.NewPlayer(config)
	if err != nil {
		t.Fatalf("NewPlayer: %v", err)
	}
	return player
}

func TestAConfigThatCannotWorkIsRefused(t *testing.T) {
	for name, config := range map[string]fake.PlayerConfig{
		"a share above 1":         {Disorder: fake.Disorder{Drop: 1.5}},
		"a share that is nothing": {Disorder: fake.Disorder{Late: math.NaN()}},
		"shares above 1 together": {Disorder: fake.Disorder{Late: 0.6, Drop: 0.6}},
		"a negative rate":         {Rate: -1},
		"an infinite speed":       {Speed: math.Inf(1)},
		"a negative speed":        {Speed: -1},
		"a negative count":        {Calls: -1},
		"no target":               {},
	} {
		if name != "no target" {
			config.Sender.Target = "http://hooks.example.com"
		}
		config.Sender.Sign = sign
		if _, err := fake.NewPlayer(config); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestAPlayIsPostedOverHTTP(t *testing.T) {
	hooks := &endpoint{}
	server := httptest.NewServer(hooks)
	defer server.Close()
	var told []fake.Call
	player := newPlayer(t, fake.PlayerConfig{
		Generator: fake.Generator{Seed: 1}, Calls: 3, Scenario: fake.Busy, Speed: 1000,
		Sender: fake.SenderConfig{Target: server.URL, Timeout: time.Minute},
		OnCall: func(c fake.Call) { told = append(told, c) },
	})
	if err := player.Run(t.Context()); err != nil {
		t.Fatalf("Run: %v", err)
	}
	want := fake.Totals{Calls: 3, Legs: 3, Finished: 3, Events: 6, Accepted: 6, Posts: 6}
	if diff := cmp.Diff(want, player.Ledger().Totals()); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	for _, c := range told {
		for _, d := range c.Deliveries {
			want := fake.Fate{Type: d.Type, Posts: 1, Accepted: 1, Status: 200}
			if diff := cmp.Diff(want, player.Ledger().Fates()[d.EventID]); diff != "" {
				t.Errorf("fate (-want +got):\n%s", diff)
			}
		}
	}
}

func TestNothingIsPostedBeforeItOccurred(t *testing.T) {
	for name, speed := range map[string]float64{"as it was": 1, "compressed": 20, "stretched": 0.5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hooks := &endpoint{}
				begun := time.Now()
				var c fake.Call
				player := newPlayer(t, fake.PlayerConfig{
					Scenario: fake.InboundBridged, Calls: 1, Speed: speed, Sender: fake.SenderConfig{Transport: hooks},
					OnCall: func(told fake.Call) { c = told },
				})
				if err := player.Run(t.Context()); err != nil {
					t.Fatalf("Run: %v", err)
				}
				for _, p := range hooks.posts {
					if p.at.Before(p.occurredAt) {
						t.Errorf("%s occurs %s after it is posted", p.kind, p.occurredAt.Sub(p.at))
					}
				}
				// The legs end about when the hangups are posted, to the rounding of a microsecond.
				took := time.Duration(float64(c.Length) / speed)
				ended := c.Start.Add(c.Length)
				if lag := begun.Add(took).Sub(ended); speed >= 1 && (lag < 0 || lag > 2*time.Microsecond) {
					t.Errorf("the last hangup is posted %s after it occurred", lag)
				}
				// What follows the hangup keeps its distance.
				last := c.Deliveries[len(c.Deliveries)-1]
				if got, want := hooks.posts[len(hooks.posts)-1].at.Sub(begun), took+last.Offset-c.Length; got != want {
					t.Errorf("the last post came after %s, want %s", got, want)
				}
			})
		})
	}
}

func TestTheLedgerCountsWhatBecameOfEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := &endpoint{reply: func(p post, _ int) int {
			switch {
			case p.kind == "call.answered":
				return http.StatusForbidden
			case p.kind == "call.hangup" && p.attempt == 1:
				return http.StatusServiceUnavailable
			}
			return http.StatusOK
		}}
		var c fake.Call
		player := newPlayer(t, fake.PlayerConfig{
			Scenario: fake.Voicemail, Calls: 1, Sender: fake.SenderConfig{Transport: hooks},
			Disorder: fake.Disorder{Duplicates: 1},
			OnCall:   func(told fake.Call) { c = told },
		})
		if err := player.Run(t.Context()); err != nil {
			t.Fatalf("Run: %v", err)
		}
		// Eight events twice; both answers are refused for good, the hangup needs a second post.
		want := fake.Totals{
			Calls: 1, Legs: 1, Finished: 1, Events: 8, Accepted: 7, Posts: 17, Retries: 1, Duplicates: 7, Failed: 2,
		}
		if diff := cmp.Diff(want, player.Ledger().Totals()); diff != "" {
			t.Errorf("totals (-want +got):\n%s", diff)
		}
		for _, d := range c.Deliveries {
			want := fake.Fate{Type: d.Type, Posts: 2, Accepted: 2, Status: 200}
			switch d.Type {
			case "call.answered":
				want = fake.Fate{Type: d.Type, Posts: 2, Failed: 2, Status: 403}
			case "call.hangup":
				want.Posts = 3
			}
			if diff := cmp.Diff(want, player.Ledger().Fates()[d.EventID]); diff != "" {
				t.Errorf("fate of %s (-want +got):\n%s", d.Type, diff)
			}
		}
		for _, p := range hooks.posts {
			if first := p.deliveredTo == "http://hooks.example.com/webhooks/telnyx"; p.kind == "call.initiated" && first != (p.attempt == 1) {
				t.Errorf("attempt %d was delivered to %s", p.attempt, p.deliveredTo)
			}
		}
	})
}

func TestDroppedDeliveriesAreNotPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := &endpoint{}
		player := newPlayer(t, fake.PlayerConfig{
			Scenario: fake.Failed, Calls: 2, Disorder: fake.Disorder{Drop: 1}, Sender: fake.SenderConfig{Transport: hooks},
		})
		if err := player.Run(t.Context()); err != nil {
			t.Fatalf("Run: %v", err)
		}
		want := fake.Totals{Calls: 2, Legs: 2, Finished: 2, Events: 4, Dropped: 4}
		if diff := cmp.Diff(want, player.Ledger().Totals()); diff != "" || len(hooks.posts) != 0 {
			t.Errorf("%d posts, totals (-want +got):\n%s", len(hooks.posts), diff)
		}
	})
}

func TestCallsBeginAtTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		player := newPlayer(t, fake.PlayerConfig{
			Calls: 4, Rate: 4, Sender: fake.SenderConfig{Transport: &endpoint{}},
			OnCall: func(fake.Call) { at = append(at, time.Since(begun)) },
		})
		if err := player.Run(t.Context()); err != nil {
			t.Fatalf("Run: %v", err)
		}
		want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("calls begin at (-want +got):\n%s", diff)
		}
	})
}

func TestCallsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := 0
		var player *fake.Player
		player = newPlayer(t, fake.PlayerConfig{
			Calls: 20, Concurrency: 3, Sender: fake.SenderConfig{Transport: &endpoint{}},
			OnCall: func(fake.Call) {
				totals := player.Ledger().Totals()
				most = max(most, totals.Calls-totals.Finished)
			},
		})
		if err := player.Run(t.Context()); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if most != 3 {
			t.Errorf("%d calls were under way at once, want 3", most)
		}
	})
}

func TestACancelledPlayAbandonsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := &endpoint{}
		player := newPlayer(t, fake.PlayerConfig{Scenario: fake.NoAnswer, Rate: 1, Sender: fake.SenderConfig{Transport: hooks}})
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		if err := player.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want context.DeadlineExceeded", err)
		}
		// Five calls have begun, at 0 to 4 s, and none has come to its hangup.
		want := fake.Totals{Calls: 5, Legs: 5, Finished: 5, Events: 10, Accepted: 5, Posts: 5, Abandoned: 5}
		if diff := cmp.Diff(want, player.Ledger().Totals()); diff != "" {
			t.Errorf("totals (-want +got):\n%s", diff)
		}
	})
}

func TestALongPlayForgetsFinishedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		player := newPlayer(t, fake.PlayerConfig{
			Scenario: fake.Busy, Calls: 50, Concurrency: 1, MaxEvents: 10, Sender: fake.SenderConfig{Transport: &endpoint{}},
		})
		if err := player.Run(t.Context()); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if got := len(player.Ledger().Fates()); got > 12 {
			t.Errorf("the ledger remembers %d events, want 12 at most", got)
		}
		if got := player.Ledger().Totals().Accepted; got != 100 {
			t.Errorf("%d events were accepted, want 100", got)
		}
	})
}

func chance() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func tidy() fake.Call { return fake.Generator{Seed: 9}.Of(fake.InboundBridged, 0, start) }

func inOrder(deliveries []fake.Delivery) bool {
	return slices.IsSortedFunc(deliveries, func(a, b fake.Delivery) int { return int(a.Offset - b.Offset) })
}

func TestNoDisorderChangesNothing(t *testing.T) {
	if diff := cmp.Diff(tidy(), fake.Disorder{}.Apply(tidy(), chance())); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
}

func TestDisorderLeavesTheCallItWasGiven(t *testing.T) {
	c := tidy()
	fake.Disorder{Duplicates: 1, Late: 0.5, Drop: 0.5}.Apply(c, chance())
	if diff := cmp.Diff(tidy(), c); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
}

func TestADuplicateIsTheSameEventOfAnotherAttempt(t *testing.T) {
	c := fake.Disorder{Duplicates: 1}.Apply(tidy(), chance())
	if got, want := len(c.Deliveries), 2*len(tidy().Deliveries); got != want {
		t.Fatalf("got %d deliveries, want %d", got, want)
	}
	first := map[string]fake.Delivery{}
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			first[d.EventID] = d
		}
	}
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			continue
		}
		want := first[d.EventID]
		if d.Offset < want.Offset {
			t.Errorf("%s comes again at %s, before %s", d.Type, d.Offset, want.Offset)
		}
		want.Offset, want.Attempt, want.Duplicate = d.Offset, 2, true
		if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("duplicate (-want +got):\n%s", diff)
		}
	}
	if !inOrder(c.Deliveries) {
		t.Error("the deliveries are not by offset")
	}
}

func TestDroppedDeliveriesAreMarkedAndNeverRepeated(t *testing.T) {
	c := fake.Disorder{Drop: 1, Duplicates: 1}.Apply(tidy(), chance())
	if got, want := len(c.Deliveries), len(tidy().Deliveries); got != want {
		t.Errorf("got %d deliveries, want %d", got, want)
	}
	for _, d := range c.Deliveries {
		if !d.Dropped {
			t.Errorf("%s is not dropped", d.Type)
		}
	}
}

func TestLateDeliveriesComeAfterTheLastHangup(t *testing.T) {
	c := fake.Disorder{Late: 1}.Apply(tidy(), chance())
	for _, d := range c.Deliveries {
		if late := d.Offset - c.Length; late < 2*time.Second || late > 10*time.Second {
			t.Errorf("%s comes %s after the hangup", d.Type, late)
		}
	}
	if !inOrder(c.Deliveries) {
		t.Error("the deliveries are not by offset")
	}
}

func TestReorderedDeliveriesComeBehindLaterOnes(t *testing.T) {
	overtaken := 0
	for n := range uint64(50) {
		c := fake.Disorder{Reorder: 0.3}.Apply(fake.Generator{Seed: 9}.Of(fake.IVR, n, start), chance())
		for i := range len(c.Deliveries) - 1 {
			if c.Deliveries[i].OccurredAt.After(c.Deliveries[i+1].OccurredAt) {
				overtaken++
			}
		}
	}
	if overtaken == 0 {
		t.Error("nothing was overtaken")
	}
}

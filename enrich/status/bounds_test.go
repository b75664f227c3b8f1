package status_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/status"
)

func TestACancelledFetchIsNoAttempt(t *testing.T) {
	tests := []struct {
		name string
		// prepare brings the client to where the cancelled call will wait.
		prepare func(t *testing.T, client *status.Client)
		reply   func(ctx context.Context, n int32) (*http.Response, error)
	}{
		{
			"while the request is under way", func(*testing.T, *status.Client) {},
			func(ctx context.Context, _ int32) (*http.Response, error) { return nil, hang(ctx) },
		},
		{
			"while everybody pauses",
			func(t *testing.T, client *status.Client) { fetch(t, client) },
			func(context.Context, int32) (*http.Response, error) { return respond(429, "", "Retry-After", "30") },
		},
		{
			"while the rate is used up",
			func(t *testing.T, client *status.Client) { fetch(t, client) },
			func(context.Context, int32) (*http.Response, error) { return respond(404, "") },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int32
				client := newClient(t, status.Config{
					Rate: 0.01, Burst: 1, Timeout: time.Minute,
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						return tt.reply(r.Context(), requests.Add(1))
					}),
				})
				tt.prepare(t, client)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				answer, err := client.Fetch(ctx, ref)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v, want context.Canceled", err)
				}
				if diff := cmp.Diff(status.Answer{}, answer); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				if got := requests.Load(); got != 1 {
					t.Errorf("got %d requests, want 1", got)
				}
			})
		})
	}
}

func TestACancelledFetchWaitsForNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, status.Config{
			MaxConcurrent: 1, Timeout: time.Hour,
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return nil, hang(r.Context()) }),
		})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				if _, err := client.Fetch(ctx, ref); !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v, want context.Canceled", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		group.Wait()
	})
}

func TestADeadlineOfTheCallerIsNoTimeoutOfTelnyx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, status.Config{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return nil, hang(r.Context()) }),
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Fetch(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want context.DeadlineExceeded", err)
		}
	})
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flying, most atomic.Int32
		release := make(chan struct{})
		client := newClient(t, status.Config{
			MaxConcurrent: 3, Rate: math.Inf(1), Timeout: time.Hour,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				most.Store(max(most.Load(), flying.Add(1)))
				<-release
				flying.Add(-1)
				return respond(404, "")
			}),
		})
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { fetch(t, client) })
		}
		synctest.Wait()
		if got := flying.Load(); got != 3 {
			t.Errorf("got %d requests in flight, want 3", got)
		}
		for range 10 {
			release <- struct{}{}
			synctest.Wait()
		}
		group.Wait()
		if got := most.Load(); got != 3 {
			t.Errorf("got %d requests in flight at most, want 3", got)
		}
	})
}

func TestTheRateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, status.Config{
			Rate: 10, Burst: 5,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(404, "") }),
		})
		begun := time.Now()
		for range 25 {
			fetch(t, client)
		}
		// Five go at once, twenty more at ten a second.
		if got := time.Since(begun).Round(time.Millisecond); got != 2*time.Second {
			t.Errorf("25 requests took %s, want 2s", got)
		}
	})
}

func TestA429PausesAllCallers(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		want   time.Duration
	}{
		{"for as long as Telnyx says", []string{"Retry-After", "4"}, 4 * time.Second},
		{"until the rate limit resets", []string{"x-ratelimit-reset", "6"}, 6 * time.Second},
		{"for a second when nothing is said", nil, time.Second},
		{"for a minute at most", []string{"Retry-After", "9999"}, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var mu sync.Mutex
				var at []time.Duration
				client := newClient(t, status.Config{
					Rate: math.Inf(1),
					Transport: roundTrip(func(*http.Request) (*http.Response, error) {
						mu.Lock()
						defer mu.Unlock()
						at = append(at, time.Since(begun))
						if len(at) == 1 {
							return respond(429, "", tt.header...)
						}
						return respond(404, "")
					}),
				})
				fetch(t, client)
				var group sync.WaitGroup
				for range 3 {
					group.Go(func() { fetch(t, client) })
				}
				group.Wait()
				if diff := cmp.Diff([]time.Duration{0, tt.want, tt.want, tt.want}, at); diff != "" {
					t.Errorf("requests at (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAfterAPauseTheRateStillHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		client := newClient(t, status.Config{
			Rate: 1, Burst: 1,
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				if requests.Add(1) == 1 {
					return respond(429, "", "Retry-After", "10")
				}
				return respond(404, "")
			}),
		})
		begun := time.Now()
		fetch(t, client)
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() { fetch(t, client) })
		}
		group.Wait()
		// Ten seconds of silence, then five requests a second apart.
		if got := time.Since(begun).Round(time.Millisecond); got != 14*time.Second {
			t.Errorf("took %s, want 14s", got)
		}
	})
}

func TestDenialsAreSeenUntilTheKeyIsAccepted(t *testing.T) {
	code := 401
	client := newClient(t, status.Config{
		Rate:      math.Inf(1),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(code, "{}") }),
	})
	steps := []struct {
		code int
		want bool
	}{{404, false}, {401, true}, {500, true}, {403, true}, {404, false}, {500, false}}
	for i, step := range steps {
		code = step.code
		fetch(t, client)
		at, got := client.LastDenied()
		if got != step.want || at.IsZero() == step.want {
			t.Errorf("after answer %d (%d): got %v at %s, want %v", i, step.code, got, at, step.want)
		}
	}
}

func TestAKeyThatMayNotReadListsIsNotRefused(t *testing.T) {
	var log bytes.Buffer
	for code, refused := range map[int]bool{403: false, 401: true} {
		client := newClient(t, status.Config{
			Rate: math.Inf(1), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(code, "{}") }),
		})
		log.Reset()
		past, err := historyOf(t.Context(), client, ref)
		if err != nil || past.Result != status.Denied {
			t.Fatalf("the history is answered %s (%v)", past.Result, err)
		}
		if _, denied := client.LastDenied(); denied != refused || strings.Contains(log.String(), "level=ERROR") != refused {
			t.Errorf("after a %d of the history the key counts as refused: %t; log: %s", code, denied, &log)
		}
	}
}

// A key that may see some calls and not others is refused again and again, with answers between.
func TestAKeyThatMayNotSeeSomeCallsIsSaidOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		asked := 0
		client := newClient(t, status.Config{
			Now: time.Now, Rate: math.Inf(1), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				if asked++; asked%2 == 0 {
					return respond(403, "{}")
				}
				return respond(404, "{}")
			}),
		})
		for range 300 {
			fetch(t, client)
			time.Sleep(500 * time.Millisecond)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
			t.Errorf("in two and a half minutes it was said %d times, want 3:\n%s", n, log.String())
		}
	})
}

func TestADeniedKeyIsSaidOnceAMinuteUntilThereIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		client := newClient(t, status.Config{
			APIKey: "KEY-old", Now: time.Now, Rate: math.Inf(1), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				key := r.Header.Get("Authorization")
				if strings.Contains(r.URL.Path, "slow") {
					time.Sleep(2 * time.Second) // the synctest bubble's
				}
				if key == "Bearer KEY-new" {
					return respond(404, "{}")
				}
				return respond(401, "{}")
			}),
		})
		for range 150 {
			fetch(t, client)
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
			t.Errorf("in two and a half minutes it was said %d times, want 3:\n%s", n, log.String())
		}
		var late sync.WaitGroup
		late.Go(func() {
			slow := ref
			slow.Control = "v3:slow"
			if _, err := client.Fetch(t.Context(), slow); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := client.SetAPIKey("KEY with a space"); err == nil {
			t.Error("a key that is none was taken")
		}
		if _, denied := client.LastDenied(); !denied {
			t.Error("the old key is not refused any more, though it stayed")
		}
		if err := client.SetAPIKey("KEY-new"); err != nil {
			t.Fatal(err)
		}
		late.Wait() // The old key's refusal comes after the new key.
		if at, denied := client.LastDenied(); denied {
			t.Errorf("the new key counts as refused at %s", at)
		}
		if a := fetch(t, client); a.Result != status.NotFound {
			t.Errorf("with the new key: %+v", a)
		}
		for _, key := range []string{"KEY-old", "KEY-new", "with a space"} {
			if strings.Contains(log.String(), key) {
				t.Errorf("the log shows %s", key)
			}
		}
	})
}

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

// doorman stands before the status API: it notes when a call is asked for, and
// turns the first requests about it away in a way of its own.
type doorman struct {
	api http.Handler

	mu    sync.Mutex
	away  map[call.ControlID][]http.HandlerFunc
	asked map[call.ControlID][]time.Time
}

// guard puts a doorman before a world's status API.
func guard(t *testing.T, w *legatotest.Telnyx) *doorman {
	t.Helper()
	d := &doorman{api: w.API, away: map[call.ControlID][]http.HandlerFunc{}, asked: map[call.ControlID][]time.Time{}}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	w.URL = server.URL + "/v2"
	return d
}

// ServeHTTP implements http.Handler.
func (d *doorman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	segment, _ := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	id := call.ControlID(segment)
	d.mu.Lock()
	d.asked[id] = append(d.asked[id], time.Now())
	handle := d.api.ServeHTTP
	if turns := d.away[id]; len(turns) > 0 {
		handle, d.away[id] = turns[0], turns[1:]
	}
	d.mu.Unlock()
	handle(w, r)
}

func (d *doorman) times(id call.ControlID) []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked[id])
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// tooMany answers 429 with a header, or with none.
func tooMany(header, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

// over plays a whole call of one leg, that has just ended, and returns it.
func overCall(t *testing.T, w *legatotest.Telnyx, s *legatotest.Server, n uint64) fake.Call {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: w.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 41}.Of(fake.Busy, n, time.Now().UTC().Add(-time.Minute))
	w.Know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
	return c
}

// newest waits until the newest summary of a call's leg has a status, and returns it.
func newest(t *testing.T, url string, c fake.Call, state string) legatotest.Published {
	t.Helper()
	js := legatotest.Dial(t, url)
	var p legatotest.Published
	legatotest.Eventually(t, "the leg is "+state, func() error {
		stream, err := js.Stream(t.Context(), "CALLS")
		if err != nil {
			return err
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), "calls.leg.*.*."+string(c.Session)+"."+string(c.Legs[0].Ref.Leg))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(m.Data, &p); err != nil {
			return err
		}
		if p.Status.State != state {
			return fmt.Errorf("it is %s in revision %d", p.Status.State, p.Revision)
		}
		return nil
	})
	return p
}

// TestTheStatusAPIFailsInEveryWayAndTheCalendarHolds: each leg is asked for again
// after a second, two, four, and not once more than that; after a 429 when it may be.
func TestTheStatusAPIFailsInEveryWayAndTheCalendarHolds(t *testing.T) {
	t.Parallel()
	three := func(r fake.Reply) []fake.Reply { return []fake.Reply{r, r, r} }
	rows := []struct {
		name string
		// script are the fake's replies, away the doorman's, before the truth is told.
		script []fake.Reply
		away   []http.HandlerFunc
		// pause is the least wait before each next attempt, where it is not the calendar's.
		pause time.Duration
		// keeps: a refusal to be asked so often costs the leg nothing but the pause.
		keeps bool
		// alone: a 429 makes everybody wait; and where another's connection is used again and dies,
		// net/http sends the request once more by itself.
		alone bool
	}{
		{name: "it is down", away: []http.HandlerFunc{hangUp, hangUp, hangUp}, alone: true},
		{name: "it does not answer", script: []fake.Reply{fake.ReplySlow}, pause: 5 * time.Second},
		{name: "it says 401", script: three(fake.ReplyDenied)},
		{name: "it says 403", script: three(fake.ReplyForbidden)},
		{name: "it says 500", script: three(fake.ReplyServerError)},
		{name: "it says HTML", script: three(fake.ReplyHTML)},
		{name: "it breaks off", script: three(fake.ReplyHalfBody)},
		{name: "it speaks of another call", script: three(fake.ReplyOtherCall)},
		{name: "it says that the call lives", script: three(fake.ReplyAlive)},
		{name: "it says 429 and nothing else", away: []http.HandlerFunc{tooMany("", ""), tooMany("", "")}, pause: 800 * time.Millisecond, keeps: true, alone: true},
		{name: "it says 429 and when to come again", away: []http.HandlerFunc{tooMany("Retry-After", "3")}, pause: 3 * time.Second, alone: true},
		{name: "it says 429 and when it begins anew", away: []http.HandlerFunc{tooMany("X-Ratelimit-Reset", "3")}, pause: 3 * time.Second, alone: true},
	}
	flags := []string{"--status-deadline=500ms"}
	shared, sharedDoor, sharedServer := guarded(t, flags)
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			world, door, s := shared, sharedDoor, sharedServer
			if row.alone {
				world, door, s = guarded(t, flags)
			}
			// The doorman is told before the hangup comes.
			c := fake.Generator{Seed: 41}.Of(fake.Busy, uint64(i), time.Now().UTC().Add(-time.Minute))
			leg := c.Legs[0]
			door.mu.Lock()
			door.away[leg.Ref.Control] = row.away
			door.mu.Unlock()
			truth := legatotest.StatusCall(leg)
			truth.Script = row.script
			world.API.Register(truth)
			sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			for _, d := range c.Deliveries {
				if out := sender.Send(t.Context(), d); !out.Accepted {
					t.Fatalf("%s was not accepted: %+v", d.Type, out)
				}
			}
			last := newest(t, s.NATS, c, "confirmed")
			times := door.times(leg.Ref.Control)
			if want := len(row.script) + len(row.away) + 1; len(times) != want || last.Status.Attempts != want {
				t.Errorf("it was asked %d times, the summary says %d, want %d", len(times), last.Status.Attempts, want)
			}
			for n := 1; n < len(times); n++ {
				// A second doubled, less a fifth of jitter.
				least := max(time.Second<<(n-1)*8/10, row.pause)
				if row.keeps {
					least = row.pause
				}
				if gap := times[n].Sub(times[n-1]); gap < least {
					t.Errorf("attempt %d came %v after the one before, want %v at least", n+1, gap, least)
				}
			}
		})
	}
}

// guarded is a service whose status API has a doorman.
func guarded(t *testing.T, flags []string) (*legatotest.Telnyx, *doorman, *legatotest.Server) {
	t.Helper()
	world := legatotest.NewTelnyx(t)
	door := guard(t, world)
	return world, door, legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), flags...)...)
}

func TestAWrongAPIKeyIsSaidAndHealsWithItsFile(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	door := guard(t, world)
	file := filepath.Join(t.TempDir(), "key")
	write := func(key string) {
		t.Helper()
		// As a secret is replaced: whole, by another file.
		if err := os.WriteFile(file+".new", []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("KEY-that-is-wrong")
	env := slices.DeleteFunc(world.Env(), func(v string) bool { return strings.HasPrefix(v, "TELNYX_API_KEY=") })
	begun := time.Now()
	s := legatotest.Serve(t, append(env, "TELNYX_API_KEY_FILE="+file), append(legatotest.EmbeddedFlags(t.TempDir()), "--status-deadline=500ms")...)
	if _, body, err := readyz(s.Admin); err != nil || body != "ready" {
		t.Fatalf("before the first call: %q, %v", body, err)
	}
	c := overCall(t, world, s, 1)
	if first := newest(t, s.NATS, c, "pending"); first.Status.Final {
		t.Error("a denial is taken for final")
	}
	t.Log(says(t, s.Admin, http.StatusOK, "ready, but: Telnyx refuses the API key"))
	s.Logged("Telnyx refuses the API key")
	write("")
	s.Logged("the file of the API key holds no key")
	if n := strings.Count(s.Text(), "Telnyx refuses the API key"); n < 1 || n > 1+int(time.Since(begun)/time.Minute) {
		t.Errorf("in %v it was said %d times that the key is refused", time.Since(begun), n)
	}
	write("KEY-of-a-test")
	s.Logged("the API key was read again")
	healed := newest(t, s.NATS, c, "confirmed")
	if got, want := healed.Status.Attempts, len(door.times(c.Legs[0].Ref.Control)); got != want || got < 2 {
		t.Errorf("confirmed after %d attempts by the summary, %d by the API", got, want)
	}
	legatotest.Eventually(t, "readiness warns no more", func() error {
		if _, body, err := readyz(s.Admin); err != nil || body != "ready" {
			return fmt.Errorf("%q, %w", body, err)
		}
		return nil
	})
	for _, key := range []string{"KEY-that-is-wrong", "KEY-of-a-test"} {
		if strings.Contains(s.Text(), key) {
			t.Errorf("the log shows %s", key)
		}
	}
	legatotest.StopsCleanly(t, s)
}

func TestStatusRequestsThatFallBehindAreSaid(t *testing.T) {
	t.Parallel()
	world, _, s := guarded(t, []string{"--status-rate=0.02", "--status-deadline=500ms"})
	for n := range uint64(31 + 1) { // The burst, and one that has to wait for most of a minute.
		overCall(t, world, s, n)
	}
	t.Log(says(t, s.Admin, http.StatusOK, "ready, but: Telnyx is asked about legs"))
	legatotest.StopsCleanly(t, s)
}

func TestAClockThatIsWrongIsSeen(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	for name, row := range map[string]struct {
		off  time.Duration
		want string
	}{
		"behind": {10 * time.Minute, "after now by this clock"},
		"ahead":  {-10 * time.Minute, "before now by this clock"},
	} {
		a := world.Post(t, s.Target(), time.Now().Add(row.off), legatotest.Ringing(1))
		if a.Status != http.StatusServiceUnavailable || a.Reason != "clock" || a.RetryAfter == "" {
			t.Errorf("by a clock that is %s a webhook was answered %+v", name, a)
		}
		text := says(t, s.Admin, http.StatusOK, row.want)
		if !strings.HasPrefix(text, "ready, but: webhooks are refused for their timestamp, the last one signed ") {
			t.Errorf("readiness says %q", text)
		}
		t.Log(text)
	}
	if cause := fmt.Sprint(s.Logged("check this machine's clock")["cause"]); !strings.Contains(cause, "by this clock, tolerance 5m0s") {
		t.Errorf("the log says the cause is %q", cause)
	}
	m := legatotest.Scrape(t, s.Admin)
	if m.Sum("legato_webhooks_total", `result="clock"`) != 2 || m[`legato_webhook_answers_total{code="503"}`] != 2 {
		t.Errorf("the metrics count %v refusals and %v answers 503, want 2",
			m.Sum("legato_webhooks_total", `result="clock"`), m[`legato_webhook_answers_total{code="503"}`])
	}
	// With the clock put right the same webhook is taken.
	world.Deliver(t, s.Target(), legatotest.Ringing(1))
}

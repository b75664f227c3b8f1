package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

// flood posts calls, all but their hangups first, until no call is taken any more for a while, and then their hangups,
// for which there must be room: nothing but the hangup, repeated for a minute, tells the end of a call to a service whose
// status API is away. It returns the calls of which anything was taken.
func flood(t *testing.T, world *legatotest.Telnyx, s *legatotest.Server) (taken []fake.Call) {
	t.Helper()
	const refusals = 200
	var next atomic.Uint64
	var refused atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for refused.Load() < refusals && t.Context().Err() == nil {
				c := fake.Generator{Seed: 90}.Of(fake.Busy, next.Add(1), time.Now().UTC().Add(-time.Minute))
				mu.Lock()
				world.Know(c)
				mu.Unlock()
				a, err := world.TryPost(t, s.Target(), time.Now(), c.Deliveries[0].Body(1, s.Target()))
				switch {
				case err != nil:
					t.Error(err)
					return
				case a.Status == http.StatusOK:
					mu.Lock()
					taken = append(taken, c)
					mu.Unlock()
				default:
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range taken {
		if isLeftOpen(taken, c) {
			continue
		}
		for _, d := range c.Deliveries[1:] {
			switch a, err := world.TryPost(t, s.Target(), time.Now(), d.Body(1, s.Target())); {
			case err != nil:
				t.Fatal(err)
			case a.Status != http.StatusOK:
				t.Errorf("%s of a call that was taken is refused: %d %s", d.Type, a.Status, a.Reason)
			}
		}
	}
	return taken
}

// Filled, left alone, empty: whichever limit it is, every call of which anything was taken is completed once, and its
// webhooks leave the log.
func TestWhatIsFilledEmptiesByItself(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		config string
		flags  []string
		edit   func(*jetstream.StreamConfig)
		away   bool
		drains bool
	}{
		"the log's size": {flags: []string{"--events-max-bytes=2000000"}, drains: true},
		"the log's size, and the status API is away": {flags: []string{"--events-max-bytes=2000000"}, away: true},
		"the log's messages":                         {edit: func(c *jetstream.StreamConfig) { c.MaxMsgs = 1500 }},
		"the summaries' size":                        {flags: []string{"--calls-max-bytes=3000000"}},
		"the account's storage":                      {config: "accounts { A { users: [ { user: u, password: p } ], jetstream { max_file: 8000000 } } }\nno_auth_user: u", drains: true},
		"the account's storage, and the API is away": {config: "accounts { A { users: [ { user: u, password: p } ], jetstream { max_file: 8000000 } } }\nno_auth_user: u", away: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := legatotest.Busy(t)
			var nats []string
			if v.config != "" {
				file := filepath.Join(t.TempDir(), "nats.conf")
				if err := os.WriteFile(file, []byte(v.config), 0o600); err != nil {
					t.Fatal(err)
				}
				nats = append(nats, "--config="+file)
			}
			url := legatotest.ExternalNATS(t, nats...)
			world := legatotest.NewTelnyx(t)
			env := world.Env()
			if v.away {
				env = append(env, "TELNYX_BASE_URL=http://127.0.0.1:1/v2")
			}
			s, _ := externalWith(t, env, url, append([]string{
				"--amend-window=5s", "--status-window=5s", "--status-deadline=1s", "--sweep-after=5s", "--gap-repair=off", "--status-rate=1000",
			}, v.flags...)...)
			js := legatotest.Dial(t, url)
			stream, err := js.Stream(t.Context(), "CALL_EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			if v.edit != nil {
				config := stream.CachedInfo().Config
				v.edit(&config)
				if _, err := js.UpdateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
				s.Logged("a stream was changed while the service runs")
			}
			taken := flood(t, world, s)
			t.Logf("%d calls were taken", len(taken))
			if len(taken) < 50 {
				t.Errorf("only %d calls were taken", len(taken))
			}
			// Of a call whose hangup never came and of which nobody tells, the end comes with its expiry.
			ended := taken
			if v.away {
				ended = slices.DeleteFunc(slices.Clone(taken), func(c fake.Call) bool { return isLeftOpen(taken, c) })
			}
			wantCompletedOnce(t, url, ended)
			if !v.away {
				s.Logged("there is room again")
			}
			release()
			// What is trimmed is some minutes old; to see it for two limits is enough.
			if v.drains {
				t.Run("and its webhooks leave the log", func(t *testing.T) {
					legatotest.Long(t)
					wantDrained(t, stream)
				})
			}
			legatotest.StopsCleanly(t, s)
		})
	}
}

// isLeftOpen tells the calls whose hangup never comes.
func isLeftOpen(taken []fake.Call, c fake.Call) bool {
	return slices.IndexFunc(taken, func(o fake.Call) bool { return o.Session == c.Session })%5 == 0
}

// wantCompletedOnce waits until each call's session is completed, and fails the test where one is twice.
func wantCompletedOnce(t *testing.T, url string, calls []fake.Call) {
	t.Helper()
	tick, patience := time.NewTicker(3*time.Second), time.After(4*time.Minute)
	defer tick.Stop()
	for {
		found, missing := legatotest.Summaries(t, url), 0
		for _, c := range calls {
			completed := 0
			for _, p := range found[string(c.Session)+"/"] {
				if strings.Contains(p.Subject, ".completed.") {
					completed++
				}
			}
			if completed > 1 {
				t.Fatalf("session %s was completed %d times", c.Session, completed)
			}
			missing += 1 - completed
		}
		if missing == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-patience:
			t.Fatalf("%d of %d sessions are not completed", missing, len(calls))
		}
	}
}

// wantDrained waits until no webhook is left in the log.
func wantDrained(t *testing.T, stream jetstream.Stream) {
	t.Helper()
	tick, patience := time.NewTicker(time.Second), time.After(4*time.Minute)
	defer tick.Stop()
	for {
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("calls.event.>"))
		if err != nil {
			t.Fatal(err)
		}
		left := uint64(0)
		for _, n := range info.State.Subjects {
			left += n
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-patience:
			t.Fatalf("%d webhooks are left in the log of %d messages", left, info.State.Msgs)
		}
	}
}

// externalWith starts a service with an environment of its own on a NATS server of its own process.
func externalWith(t *testing.T, env []string, url string, more ...string) (s *legatotest.Server, flags []string) {
	t.Helper()
	flags = append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	flags = append(flags, more...)
	return legatotest.Serve(t, env, flags...), flags
}

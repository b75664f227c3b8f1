package e2e_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// eventsOfALeg is how many events each leg of a written log has: a long call.
const eventsOfALeg = 50

// written is the nth event of a log of calls that go on.
func written(n int) call.Entry {
	eventType := call.TypeInitiated
	if n%eventsOfALeg > 0 {
		eventType = "call.dtmf.received"
	}
	leg := strconv.Itoa(n / eventsOfALeg)
	e := call.Entry{
		Topic: call.TopicEvent + eventType, ID: "written-" + strconv.Itoa(n),
		Ref: call.Ref{Session: call.SessionID("session-" + leg), Leg: call.LegID("leg-" + leg), Control: call.ControlID("v3:control-" + leg)},
	}
	at := time.Now().UTC().Format(time.RFC3339Nano)
	e.Data = fmt.Appendf(nil, `{"data":{"record_type":"event","event_type":%q,"id":%q,"occurred_at":%q,"payload":{`+
		`"call_session_id":%q,"call_leg_id":%q,"call_control_id":%q,"connection_id":"1684641123236054244",`+
		`"from":"+12025550101","to":"+12025550102","direction":"incoming","state":"parked","start_time":%q,"digit":"5",`+
		`"client_state":"c29tZXRoaW5nIHRoYXQgYW4gYXBwbGljYXRpb24gd2FudHMgdG8gcmVtZW1iZXI=","tags":["support","night shift"]}},`+
		`"meta":{"attempt":1,"delivered_to":"https://example.com/webhooks/telnyx"}}`, eventType, e.ID, at, e.Ref.Session, e.Ref.Leg, e.Ref.Control, at)
	return e
}

// openJournal opens a log whose streams are there.
func openJournal(tb testing.TB, js jetstream.JetStream) *stream.Journal {
	tb.Helper()
	j, err := stream.Open(tb.Context(), stream.Config{Queue: "legato", Config: journal.Config{
		JetStream: js, Stream: "CALL_EVENTS", Prefix: "calls", Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := j.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return j
}

// writeLog appends the events numbered from to to, past any service.
func writeLog(tb testing.TB, j *stream.Journal, from, to int) {
	tb.Helper()
	const writers = 500
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < to && !tb.Failed(); n = int(next.Add(1)) - 1 {
				e := written(n)
				begun := time.Now()
				_, err := j.Append(tb.Context(), e)
				for err != nil && time.Since(begun) < legatotest.Patience { // a loaded machine is slow
					_, err = j.Append(tb.Context(), e)
				}
				if err != nil {
					tb.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// readiness is what /readyz says, and whether that is a yes.
func readiness(tb testing.TB, admin string) (string, bool) {
	tb.Helper()
	response, err := http.Get(admin + "/readyz")
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(body), response.StatusCode == http.StatusOK
}

func TestWebhooksAreTakenWhileTheLogIsReplayed(t *testing.T) {
	t.Parallel()
	const most = 640_000
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	legatotest.StopsCleanly(t, legatotest.Serve(t, world.Env(), flags...)) // the streams are made
	have := 0
	// How long a replay takes is the machine's affair: the log is made longer until a webhook falls into it.
	for events := 40_000; events <= most; events *= 2 {
		writeLog(t, openJournal(t, legatotest.Dial(t, url)), have, events)
		have = events
		s := &legatotest.Server{Process: legatotest.Launch(t, world.Env(), legatotest.Program(), append([]string{"serve"}, flags...)...)}
		s.Webhooks = s.Logged("taking webhooks")["listen"].(string)
		s.Admin = strings.TrimSuffix(s.Logged("watch")["health"].(string), "/readyz")
		c := fake.Generator{Seed: 41}.Of(fake.InboundBridged, uint64(events), time.Now().Add(-5*time.Minute))
		world.Know(c)
		seen := postWhileReplaying(t, world, s, c, legatotest.Dial(t, url).Conn())
		s.Ready()
		if !seen {
			legatotest.StopsCleanly(t, s)
			continue
		}
		t.Logf("webhooks were taken in the replay of %d events", events)
		for _, l := range c.Legs {
			legatotest.Completed(t, url, "calls.leg.completed.*."+string(c.Session)+"."+string(l.Ref.Leg))
		}
		legatotest.Completed(t, url, "calls.session.completed.*."+string(c.Session))
		legatotest.StopsCleanly(t, s)
		return
	}
	t.Fatalf("no webhook fell into the replay of %d events", most)
}

// postWhileReplaying posts the webhooks of a call one after the other, and reports whether one was
// answered 200 between two times that the service said it is replaying. Questions about calls must wait till then.
func postWhileReplaying(t *testing.T, w *legatotest.Telnyx, s *legatotest.Server, c fake.Call, nc *nats.Conn) bool {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: w.Sign, Attempts: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	replaying := func() bool {
		said, ready := readiness(t, s.Admin)
		return !ready && strings.Contains(said, "replaying")
	}
	seen := false
	before := replaying()
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted || out.Status != http.StatusOK {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
		_, code := legatotest.Ask(t, nc, "legato.call.get", string(c.Session))
		after := replaying()
		if before && after && code != "503" {
			t.Errorf("a question in the replay was answered %q", code)
		}
		seen = seen || before && after
		before = after
	}
	return seen
}

// BenchmarkReplay is the start of a service whose log holds 200,000 events: they
// are followed, decoded and folded. The processor time is the server's as well.
func BenchmarkReplay(b *testing.B) {
	const events = 200_000
	j := openJournal(b, natsdtest.Run(b).JS)
	writeLog(b, j, 0, events)
	discard := slog.New(slog.DiscardHandler)
	used := processorTime(b)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		table := enrich.New(enrich.Config{
			Decode: func(e call.Entry) (call.Event, error) { return telnyx.Decode(e.Data) },
			Rules:  session.Rules{SessionSettle: 5 * time.Second, StatusWindow: 10 * time.Minute, SweepAfter: 5 * time.Minute, AmendWindow: 15 * time.Minute},
			Logger: discard,
		}).Table()
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			_ = j.Follow(ctx, table) // ends with ctx
		}()
		if err := table.Wait(ctx, events); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if stats := table.Stats(); stats.Legs != events/eventsOfALeg {
			b.Fatalf("the table holds %+v", stats)
		}
		cancel()
		<-followed
		b.StartTimer()
	}
	b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(events*b.N), "cpu-µs/event")
}

// processorTime is what this process has used so far.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestKilledInTheMiddleEveryAnsweredLegIsCompletedOnce(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(t.TempDir())
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 60, 11)
	s = playThroughKills(t, world, player, s, flags)
	world.WantOnce(t, s.NATS, player.Ledger())
	legatotest.StopsCleanly(t, s)
}

func TestKilledInTheMiddleOnAnExternalNATS(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 60, 12)
	s = playThroughKills(t, world, player, s, flags)
	world.WantOnce(t, url, player.Ledger())
	legatotest.StopsCleanly(t, s)
}

// playThroughKills plays to the end while the service is killed twice at moments
// that chance chooses, and started again.
func playThroughKills(t *testing.T, w *legatotest.Telnyx, player *fake.Player, s *legatotest.Server, flags []string) *legatotest.Server {
	t.Helper()
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	// 60 calls at 25 a second begin within 2.4 s and are over some 5 s later.
	accepted := 0
	for range 2 {
		accepted += 40 + rand.N(80)
		legatotest.Eventually(t, fmt.Sprintf("%d webhooks are accepted", accepted), func() error {
			if n := player.Ledger().Totals().Accepted; n < accepted {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		s.Kill()
		s = legatotest.Serve(t, w.Env(), legatotest.Again(flags, s)...)
	}
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	return s
}

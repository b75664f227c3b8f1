package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/nats-io/nats.go/jetstream"
)

// settled waits until a process has no leg pending, and returns its metrics, which must balance.
func settled(t *testing.T, s *legatotest.Server, legs int) legatotest.Metrics {
	t.Helper()
	var m legatotest.Metrics
	legatotest.Eventually(t, fmt.Sprintf("%d legs are over and completed", legs), func() error {
		m = legatotest.Scrape(t, s.Admin)
		if err := m.Balance(); err != nil {
			return err
		}
		if over, pending := m["legato_legs_over_total"], m["legato_legs_pending"]; over != float64(legs) || pending != 0 {
			return fmt.Errorf("%v are over, %v of them pending", over, pending)
		}
		return nil
	})
	return m
}

// misuse posts what is parked and what is refused, and returns how much was parked.
func misuse(t *testing.T, w *legatotest.Telnyx, target string) (parked float64) {
	t.Helper()
	for range 3 { // The same bytes again are answered 200 again.
		for _, body := range []string{"no JSON", `{"data":{"record_type":"event","event_type":"message.received","id":"m1","payload":{}}}`} {
			if a := w.Post(t, target, time.Now(), []byte(body)); a.Status != http.StatusOK || a.Reason == "" {
				t.Fatalf("unusable input was answered %+v", a)
			}
			parked++
		}
	}
	for i := range uint64(5) {
		body := legatotest.Ringing(i)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		timestamp, signature := w.Sign(time.Now(), append(body, ' '))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Telnyx-Timestamp", timestamp)
		request.Header.Set("Telnyx-Signature-Ed25519", signature)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong signature was answered %d", response.StatusCode)
		}
	}
	return parked
}

// eventsInLog counts the webhooks that stand in the log.
func eventsInLog(t *testing.T, url string) (n float64) {
	t.Helper()
	stream, err := legatotest.Dial(t, url).Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("calls.event.>"))
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range info.State.Subjects {
		n += float64(count)
	}
	return n
}

func TestTheCountersOfOneProcessBalance(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(t.TempDir())
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 30, 51)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	parked := misuse(t, world, s.Target())
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, s.NATS, player.Ledger())
	totals := player.Ledger().Totals()
	m := settled(t, s, totals.Legs)
	if got := m.Sum("legato_webhooks_parked_total"); got != parked {
		t.Errorf("%v were parked, want %v", got, parked)
	}
	if got := m.Sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`); got < float64(totals.Duplicates) || totals.Duplicates == 0 {
		t.Errorf("%v duplicates were counted, %d were sent", got, totals.Duplicates)
	}
	if got, want := m.Sum("legato_log_appends_total", `kind="event"`, `result="stored"`), eventsInLog(t, s.NATS); got != want {
		t.Errorf("%v events were counted as stored, the log has %v", got, want)
	}
	if got := m.Sum("legato_summaries_total", `level="leg"`, `type="completed"`); got != float64(totals.Legs) {
		t.Errorf("%v completed messages of legs were counted, want %d", got, totals.Legs)
	}
	legatotest.StopsCleanly(t, s)

	// A process that was started again has read the history and knows what was published before.
	s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	m = settled(t, s, totals.Legs)
	if got := m.Sum("legato_summaries_total"); got != 0 {
		t.Errorf("after a start %v summaries were published again", got)
	}
}

func TestTheCountersOfEachReplicaBalance(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, a.Target(), 30, 52, over(&spray{hosts: []string{a.Webhooks, b.Webhooks}}))
	if err := player.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	misuse(t, world, b.Target())
	world.WantOnce(t, url, player.Ledger())
	totals := player.Ledger().Totals()
	one, two := settled(t, a, totals.Legs), settled(t, b, totals.Legs)
	both := func(name string, labels ...string) float64 {
		return one.Sum(name, labels...) + two.Sum(name, labels...)
	}
	stored := []string{`kind="event"`, `result="stored"`}
	if got, want := both("legato_log_appends_total", stored...), eventsInLog(t, url); got != want {
		t.Errorf("both counted %v events as stored, the log has %v", got, want)
	}
	if one.Sum("legato_log_appends_total", stored...) == 0 || two.Sum("legato_log_appends_total", stored...) == 0 {
		t.Error("one of them took all webhooks")
	}
	if got := both("legato_summaries_total", `level="leg"`, `type="completed"`); got != float64(totals.Legs) {
		t.Errorf("both published %v completed messages of legs, want %d", got, totals.Legs)
	}
}

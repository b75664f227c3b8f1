package main_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// balance returns what does not balance in a scrape of one process. It is to be
// empty whenever no webhook is in flight.
func (m metrics) balance() error {
	answered := m.sum("legato_webhook_answers_total", `code="200"`)
	logged := m.sum("legato_log_appends_total", `kind="event"`, `result="stored"`)
	duplicates := m.sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`)
	parked := m.sum("legato_webhooks_parked_total")
	if answered != logged+duplicates+parked {
		return fmt.Errorf("answered 200: %v, logged %v + duplicates %v + parked %v", answered, logged, duplicates, parked)
	}
	over, completed, pending := m["legato_legs_over_total"], m["legato_legs_completed_total"], m["legato_legs_pending"]
	if over != completed+pending {
		return fmt.Errorf("legs over: %v, completed %v + pending %v", over, completed, pending)
	}
	return nil
}

// settled waits until a process has no leg pending, and returns its metrics, which must balance.
func settled(t *testing.T, s *server, legs int) metrics {
	t.Helper()
	var m metrics
	eventually(t, fmt.Sprintf("%d legs are over and completed", legs), func() error {
		m = scrape(t, s.admin)
		if err := m.balance(); err != nil {
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
func (w *telnyxWorld) misuse(t *testing.T, target string) (parked float64) {
	t.Helper()
	for range 3 { // The same bytes again are answered 200 again.
		for _, body := range []string{"no JSON", `{"data":{"record_type":"event","event_type":"message.received","id":"m1","payload":{}}}`} {
			if a := w.post(t, target, time.Now(), []byte(body)); a.status != http.StatusOK || a.reason == "" {
				t.Fatalf("unusable input was answered %+v", a)
			}
			parked++
		}
	}
	for i := range uint64(5) {
		body := ringing(i)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		timestamp, signature := w.sign(time.Now(), append(body, ' '))
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
	stream, err := dial(t, url).Stream(t.Context(), "CALL_EVENTS")
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
	world := newTelnyx(t)
	flags := embeddedFlags(t.TempDir())
	s := serve(t, world.env(), flags...)
	player := world.player(t, s.target(), 30, 51)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	parked := world.misuse(t, s.target())
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.wantOnce(t, s.nats, player.Ledger())
	totals := player.Ledger().Totals()
	m := settled(t, s, totals.Legs)
	if got := m.sum("legato_webhooks_parked_total"); got != parked {
		t.Errorf("%v were parked, want %v", got, parked)
	}
	if got := m.sum("legato_log_appends_total", `kind="event"`, `result="duplicate"`); got < float64(totals.Duplicates) || totals.Duplicates == 0 {
		t.Errorf("%v duplicates were counted, %d were sent", got, totals.Duplicates)
	}
	if got, want := m.sum("legato_log_appends_total", `kind="event"`, `result="stored"`), eventsInLog(t, s.nats); got != want {
		t.Errorf("%v events were counted as stored, the log has %v", got, want)
	}
	if got := m.sum("legato_summaries_total", `level="leg"`, `type="completed"`); got != float64(totals.Legs) {
		t.Errorf("%v completed messages of legs were counted, want %d", got, totals.Legs)
	}
	stopsCleanly(t, s)

	// A process that was started again has read the history and knows what was published before.
	s = serve(t, world.env(), again(flags, s)...)
	m = settled(t, s, totals.Legs)
	if got := m.sum("legato_summaries_total"); got != 0 {
		t.Errorf("after a start %v summaries were published again", got)
	}
}

func TestTheCountersOfEachReplicaBalance(t *testing.T) {
	t.Parallel()
	url := externalNATS(t)
	world := newTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, quick...)
	a, b := serve(t, world.env(), flags...), serve(t, world.env(), flags...)
	player := world.player(t, a.target(), 30, 52, over(&spray{hosts: []string{a.webhooks, b.webhooks}}))
	if err := player.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.misuse(t, b.target())
	world.wantOnce(t, url, player.Ledger())
	totals := player.Ledger().Totals()
	one, two := settled(t, a, totals.Legs), settled(t, b, totals.Legs)
	both := func(name string, labels ...string) float64 {
		return one.sum(name, labels...) + two.sum(name, labels...)
	}
	stored := []string{`kind="event"`, `result="stored"`}
	if got, want := both("legato_log_appends_total", stored...), eventsInLog(t, url); got != want {
		t.Errorf("both counted %v events as stored, the log has %v", got, want)
	}
	if one.sum("legato_log_appends_total", stored...) == 0 || two.sum("legato_log_appends_total", stored...) == 0 {
		t.Error("one of them took all webhooks")
	}
	if got := both("legato_summaries_total", `level="leg"`, `type="completed"`); got != float64(totals.Legs) {
		t.Errorf("both published %v completed messages of legs, want %d", got, totals.Legs)
	}
}

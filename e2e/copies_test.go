package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// passedOn are the headers of a message that docs/consumers/README.md says to keep: of NATS's own the id alone. The
// others were conditions of the first publication, or tell where a copy came from.
func passedOn(h nats.Header) nats.Header {
	kept := make(nats.Header)
	for name, values := range h {
		if !strings.HasPrefix(name, "Nats-") || name == jetstream.MsgIDHeader {
			kept[name] = values
		}
	}
	return kept
}

// TestAllMessagesCanBePassedOnTheDocumentedWay copies what a run has published: by a consumer that publishes anew, by
// a stream that has it as its source, and by a subscriber to what that stream republishes. With all their headers
// many would be refused.
func TestAllMessagesCanBePassedOnTheDocumentedWay(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	s, _ := external(t, world, url)
	player := world.Player(t, s.Target(), 40, 51)
	if err := player.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, player.Ledger())
	world.Post(t, s.Target(), time.Now(), []byte(`{"data":{"record_type":"event","event_type":"message.received","id":"x","payload":{}}}`))
	var burst sync.WaitGroup
	for n := range uint64(200) { // at once, so that they are appended in batches
		burst.Go(func() {
			if _, err := world.TryPost(t, s.Target(), time.Now(), legatotest.Ringing(n)); err != nil {
				t.Error(err)
			}
		})
	}
	burst.Wait()
	legatotest.StopsCleanly(t, s) // what is copied is whole

	js := legatotest.Dial(t, url)
	stream := func(cfg jetstream.StreamConfig) {
		t.Helper()
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"anew", "naive", "republished"} {
		stream(jetstream.StreamConfig{Name: strings.ToUpper(name), Subjects: []string{name + ".>"}})
	}
	var all []jetstream.Msg
	var sources []*jetstream.StreamSource
	for _, name := range []string{"CALLS", "CALL_EVENTS", "CALL_PARKED"} {
		all = append(all, legatotest.Stored(t, js, name)...)
		sources = append(sources, &jetstream.StreamSource{Name: name})
	}
	republished, err := js.Conn().SubscribeSync("core.>")
	if err != nil {
		t.Fatal(err)
	}
	stream(jetstream.StreamConfig{Name: "ARCHIVE", Sources: sources, RePublish: &jetstream.RePublish{Source: ">", Destination: "core.>"}})
	for range all {
		m, err := republished.NextMsg(legatotest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		subject := "republished." + strings.TrimPrefix(m.Subject, "core.")
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: passedOn(m.Header), Data: m.Data}); err != nil {
			t.Fatalf("a republished message of %s is refused: %v", m.Subject, err)
		}
	}
	refused := 0
	for _, m := range all {
		if m.Headers().Get(jetstream.ExpectedStreamHeader) != "" {
			t.Errorf("a message of %s names its stream in a condition, so that no other takes a copy", m.Subject())
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "anew." + m.Subject(), Header: passedOn(m.Headers()), Data: m.Data()}); err != nil {
			t.Fatalf("a message of %s is refused: %v", m.Subject(), err)
		}
		_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "naive." + m.Subject(), Header: m.Headers(), Data: m.Data()})
		if _, ok := errors.AsType[*jetstream.APIError](err); ok {
			refused++
		}
	}
	want := subjects(all)
	for _, name := range []string{"ANEW", "ARCHIVE", "REPUBLISHED"} {
		legatotest.Eventually(t, "all are in "+name, func() error {
			got := subjects(legatotest.Stored(t, js, name))
			if !slices.Equal(got, want) {
				return fmt.Errorf("%d of %d messages", len(got), len(want))
			}
			return nil
		})
	}
	t.Logf("%d messages, %d of them refused with all their headers", len(all), refused)
}

// subjects are those of messages, without the token that tells copies apart, sorted.
func subjects(all []jetstream.Msg) []string {
	var found []string
	for _, m := range all {
		found = append(found, strings.TrimPrefix(strings.TrimPrefix(m.Subject(), "anew."), "republished."))
	}
	slices.Sort(found)
	return found
}

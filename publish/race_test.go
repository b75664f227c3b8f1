package publish_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

func TestOneOfManyPublishersWins(t *testing.T) {
	s := natsdtest.Run(t)
	_, other := s.Dial()
	race(t, []jetstream.JetStream{s.JS, other}, s.Layout, 40)
}

func TestOneOfManyPublishersWinsOnACluster(t *testing.T) {
	c := natsdtest.RunCluster(t)
	race(t, c.JS, c.Layout, 15)
}

// race lets publishers on several connections compete for the first three
// revisions of a number of keys, each under a connection of its own as long as
// that counts, and with a body of its own.
func race(t *testing.T, jss []jetstream.JetStream, layout natsd.Layout, keys int) {
	t.Helper()
	const perConnection = 4
	var publishers []*publish.Publisher
	for _, js := range jss {
		for range perConnection {
			publishers = append(publishers, newPublisher(t, js, layout))
		}
	}
	for k := range keys {
		key := summary.Key{Kind: summary.KindLeg, Session: fmt.Sprintf("s%d", k), Leg: fmt.Sprintf("l%d", k)}
		if k%3 == 0 {
			key = summary.Key{Kind: summary.KindSession, Session: fmt.Sprintf("s%d", k)}
		}
		var prev summary.Stored
		for revision := 1; revision <= 3; revision++ {
			prev = raceOnce(t, publishers, key, revision, prev)
		}
	}
	stream, err := jss[0].Stream(t.Context(), layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stream.CachedInfo().State.Msgs, uint64(3*keys); got != want {
		t.Errorf("messages stored: got %d, want %d", got, want)
	}
}

func raceOnce(t *testing.T, publishers []*publish.Publisher, key summary.Key, revision int, prev summary.Stored) summary.Stored {
	t.Helper()
	var (
		start  = make(chan struct{})
		wg     sync.WaitGroup
		mu     sync.Mutex
		winner []summary.Stored
	)
	for i, p := range publishers {
		d := draft(key, fmt.Sprintf("c%d", i), revision)
		d.Body = append(d.Body, strings.Repeat(" ", i)...)
		wg.Go(func() {
			<-start
			stored, err := p.Publish(t.Context(), d, prev)
			if errors.Is(err, publish.ErrRefused) {
				return
			}
			if err != nil {
				t.Errorf("%v revision %d: %v", key, revision, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			winner = append(winner, stored)
		})
	}
	close(start)
	wg.Wait()
	if len(winner) != 1 {
		t.Fatalf("%v revision %d: got %d winners, want 1", key, revision, len(winner))
	}
	for _, p := range publishers {
		if diff := cmp.Diff(winner[0], mustLast(t, p, key)); diff != "" {
			t.Errorf("last (-winner +read):\n%s", diff)
		}
	}
	return winner[0]
}

// TestTheConditionHoldsWhateverTheConnection has a summary stored whose id the server has
// forgotten: then nothing but the condition tells that it is there.
func TestTheConditionHoldsWhateverTheConnection(t *testing.T) {
	tests := []struct {
		name, stored, tried string
		key                 summary.Key
		revision            int
	}{
		{"a leg whose connection was known, and now is not", "42", "", legKey, 1},
		{"a leg whose connection was not known, and now is", "", "42", legKey, 1},
		{"a leg of another connection", "42", "43", legKey, 1},
		{"a leg's amendment", "42", "42", legKey, 2},
		{"a session whose connection was not known, and now is", "", "42", sessionKey, 1},
		{"a session's amendment", "", "", sessionKey, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := natsdtest.Run(t)
			p := newPublisher(t, s.JS, s.Layout)
			var prev, stands summary.Stored
			for r := 1; r <= tt.revision; r++ {
				prev = stands
				stands = mustPublish(t, p, draft(tt.key, tt.stored, r), stands)
			}
			// The same message again, without an id and in the place of the first.
			stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.GetMsg(t.Context(), stands.Seq)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.JS.DeleteStream(t.Context(), s.Layout.Calls); err != nil {
				t.Fatal(err)
			}
			if _, err := s.JS.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
				t.Fatal(err)
			}
			for name := range m.Header {
				if strings.HasPrefix(name, "Nats-") {
					m.Header.Del(name)
				}
			}
			if _, err := s.JS.PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}); err != nil {
				t.Fatal(err)
			}
			before := mustLast(t, p, tt.key)
			if _, err := p.Publish(t.Context(), draft(tt.key, tt.tried, tt.revision), prev); !errors.Is(err, publish.ErrRefused) {
				t.Errorf("got error %v, want ErrRefused", err)
			}
			if diff := cmp.Diff(before, mustLast(t, p, tt.key)); diff != "" {
				t.Errorf("last (-want +got):\n%s", diff)
			}
		})
	}
}

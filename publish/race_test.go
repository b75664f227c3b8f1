package publish_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		d.Body = fmt.Appendf(nil, `{"from":%d}`, i)
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

package publish_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestWatchTellsOfEveryRevisionOfALegWhoeverStoresIt(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	first := mustPublish(t, p, draft(legKey, "", 1), summary.Stored{})
	mustPublish(t, p, draft(sessionKey, "c1", 1), summary.Stored{})

	type told struct {
		Key      summary.Key
		Revision int
		At       summary.Position
	}
	seen := make(chan told)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- newPublisher(t, s.JS, s.Layout).Watch(ctx, time.Now().Add(-time.Minute), func(k summary.Key, revision int, at summary.Position) {
			seen <- told{k, revision, at}
		})
	}()
	next := func() told {
		t.Helper()
		select {
		case got := <-seen:
			return got
		case err := <-ended:
			t.Fatalf("the watch ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatal("nothing was told")
		}
		panic("unreachable")
	}
	want := told{legKey, 1, summary.Position{Log: "2026-03-14T00:00:00Z", Seq: 101}}
	if diff := cmp.Diff(want, next()); diff != "" {
		t.Errorf("what was stored before (-want +got):\n%s", diff)
	}
	if got := next(); got.Key != sessionKey || got.Revision != 1 {
		t.Errorf("the session: got %+v", got)
	}
	mustPublish(t, p, draft(legKey, "c1", 2), first)
	want.Revision, want.At.Seq = 2, 102
	if diff := cmp.Diff(want, next()); diff != "" {
		t.Errorf("what is stored now (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// Where the stream is gone no consumer can be made, for as long as that lasts. The watch ends all the same.
func TestAWatchEndsWithItsContextWhileTheStreamIsGone(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	mustPublish(t, p, draft(legKey, "", 1), summary.Stored{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		for {
			err := p.Watch(ctx, time.Now().Add(-time.Minute), func(summary.Key, int, summary.Position) { seen <- struct{}{} })
			if ctx.Err() != nil {
				ended <- err
				return
			}
		}
	}()
	<-seen
	if err := s.JS.DeleteStream(t.Context(), s.Layout.Calls); err != nil {
		t.Fatal(err)
	}
	// Until it is known that the consumer is gone: the heartbeats that are missed are of ten seconds.
	asked := make(chan struct{}, 1)
	sub, err := s.Conn.Subscribe("$JS.API.CONSUMER.CREATE."+s.Layout.Calls+".>", func(*nats.Msg) {
		select {
		case asked <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("the loss of the stream is not noticed")
	}
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended without an error")
		}
	case <-time.After(3 * time.Second):
		t.Fatal("the watch does not end with its context")
	}
}

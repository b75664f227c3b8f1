package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
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

func TestAllRevisionsOfACallAreFound(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	if got, err := p.Revisions(t.Context(), sessionKey.Session); err != nil || got != nil {
		t.Errorf("of a call of which nothing is stored: %v, %v", got, err)
	}
	other := summary.Key{Kind: summary.KindLeg, Session: "another", Leg: "7a1e"}
	var want []summary.Stored
	prev := mustPublish(t, p, draft(legKey, "", 1), summary.Stored{})
	want = append(want, prev, mustPublish(t, p, draft(sessionKey, "c1", 1), summary.Stored{}))
	mustPublish(t, p, draft(other, "c1", 1), summary.Stored{})
	mustPublish(t, p, draft(summary.Key{Kind: summary.KindSession, Session: "another"}, "c1", 1), summary.Stored{})
	// More than are asked for at a time.
	for revision := 2; revision <= 40; revision++ {
		prev = mustPublish(t, p, draft(legKey, "", revision), prev)
		want = append(want, prev)
	}
	// What somebody else has put there is passed over.
	if _, err := s.JS.Publish(t.Context(), "calls.leg.amended.c1.7a1c.7a1f", []byte("not Legato's")); err != nil {
		t.Fatal(err)
	}
	got, err := p.Revisions(t.Context(), sessionKey.Session)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := p.Revisions(t.Context(), "a b"); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("of an id that is no token: %v", err)
	}
	if _, err := p.Revisions(t.Context(), "*"); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("of a wildcard: %v", err)
	}
	// Nor does it tell of a leg that Legato knows.
	if _, err := s.JS.Publish(t.Context(), "calls.leg.completed.c1.elsewhere."+legKey.Leg, []byte("not Legato's")); err != nil {
		t.Fatal(err)
	}
	for leg, want := range map[string]string{legKey.Leg: legKey.Session, other.Leg: "another", "nobody": ""} {
		if got, ok, err := p.SessionOf(t.Context(), leg); err != nil || got != want || ok != (want != "") {
			t.Errorf("the session of leg %s: %q, %v, %v", leg, got, ok, err)
		}
	}
	if _, _, err := p.SessionOf(t.Context(), ">"); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("the session of a wildcard: %v", err)
	}
}

func TestACallIsFoundByTheControlIDInItsSummaries(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	for n := range 70 {
		d := draft(summary.Key{Kind: summary.KindLeg, Session: fmt.Sprintf("s%d", n), Leg: fmt.Sprintf("l%d", n)}, "c1", 1)
		// Another names it in passing.
		d.Body = fmt.Appendf(bytes.TrimSuffix(d.Body, []byte("}")), `,"call_control_id":"v3:%d","tags":["v3:%d"]}`, n, n+1)
		mustPublish(t, p, d, summary.Stored{})
	}
	looked := 0
	got, ok, err := p.SessionByControl(t.Context(), "v3:50", time.Now().Add(-time.Hour), func(n int) { looked = n })
	if err != nil || !ok || got != "s50" || looked != 51 {
		t.Errorf("found %q, %v, %v after %d", got, ok, err, looked)
	}
	if got, ok, err := p.SessionByControl(t.Context(), "v3:5", time.Now().Add(time.Hour), nil); err != nil || ok {
		t.Errorf("of a time that is to come: %q, %v", got, err)
	}
	if got, ok, err := p.SessionByControl(t.Context(), "v3:", time.Now().Add(-time.Hour), nil); err != nil || ok {
		t.Errorf("by the beginning of an id: %q, %v", got, err)
	}
}

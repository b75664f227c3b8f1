package publish_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestWatchTellsOfEveryRevisionOfALegWhoeverStoresIt(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	first := mustPublish(t, p, draft(legKey, "", 1), summary.Stored{})
	mustPublish(t, p, draft(sessionKey, "c1", 1), summary.Stored{})

	type told struct {
		Key summary.Key
		At  summary.Position
	}
	seen := make(chan told)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- newPublisher(t, s.JS, s.Layout).Watch(ctx, time.Now().Add(-time.Minute), func(k summary.Key, at summary.Position) {
			seen <- told{k, at}
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
	want := told{legKey, summary.Position{Log: "2026-03-14T00:00:00Z", Seq: 101}}
	if diff := cmp.Diff(want, next()); diff != "" {
		t.Errorf("what was stored before (-want +got):\n%s", diff)
	}
	mustPublish(t, p, draft(legKey, "c1", 2), first)
	want.At.Seq = 102
	if diff := cmp.Diff(want, next()); diff != "" {
		t.Errorf("what is stored now (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

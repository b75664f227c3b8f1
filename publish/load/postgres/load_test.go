package postgres_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/load/postgres"
	"github.com/legato-calls/legato/publish/load/postgres/postgrestest"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = time.Minute

// loader runs a loader of a name until the test ends, or the function that is returned is called.
func loader(t *testing.T, s *natsdtest.Server, url, name string) (l *load.Loader, stop func()) {
	t.Helper()
	target, err := postgres.New(url)
	if err != nil {
		t.Fatal(err)
	}
	_, js := s.Dial()
	l, err = load.New(load.Config{JetStream: js, Stream: s.Layout.Calls, Name: name, Target: target, Linger: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the loader failed: %v", err)
			}
		case <-time.After(patience):
			t.Error("the loader does not stop")
		}
		if err := target.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l, stop
}

// settled waits until everything that is published is loaded and acknowledged.
func settled(t *testing.T, js jetstream.JetStream, stream, name string) {
	t.Helper()
	if err := loadtest.Settled(t.Context(), js, stream, name, patience); err != nil {
		t.Fatal(err)
	}
}

func TestTablesEqualAFoldOfTheStream(t *testing.T) {
	pg := postgrestest.Run(t, "fsync=off")
	s := natsdtest.Run(t)
	loadtest.Plan{Legs: 400, Disorder: true, Seed: 1}.Publish(t, s.Conn)
	loader(t, s, pg.Admin(), "warehouse")
	loader(t, s, pg.Admin(), "warehouse")
	settled(t, s.JS, s.Layout.Calls, "warehouse")
	fold := loadtest.Fold(t.Context(), t, s.JS, s.Layout.Calls)
	conn := pg.Connect(pg.Admin())
	postgrestest.Compare(t.Context(), t, conn, fold)
}

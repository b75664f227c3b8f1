package natsd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
)

// A server that comes back without knowing the user yet refuses the login for a
// while; the connection must be there again once it is put right.
func TestALoginThatIsRefusedForAWhileIsTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	start := func(password string) *natsd.Server {
		s, err := natsd.Start(natsd.Config{DataDir: dir, Listen: addr, Auth: natsd.Auth{User: "u", Password: password}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stop := func(s *natsd.Server) {
		if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	s := start("right")
	refused := make(refusals, 64)
	nc, err := natsd.Connect(t.Context(), natsd.ConnectConfig{
		URLs: []string{"nats://" + addr}, Auth: natsd.Auth{User: "u", Password: "right"}, Name: "test", Logger: slog.New(refused),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	stop(s)
	s = start("wrong")
	for range 3 { // twice would end it for good
		refused.wait(t)
	}
	stop(s)
	s = start("right")
	defer stop(s)
	deadline := time.Now().Add(time.Minute)
	for !nc.IsConnected() {
		if nc.IsClosed() || time.Now().After(deadline) {
			t.Fatalf("the login was put right, and the connection is %v", nc.Status())
		}
		<-time.After(10 * time.Millisecond)
	}
}

// refusals is a log that tells of each refused login.
type refusals chan struct{}

func (r refusals) wait(t *testing.T) {
	t.Helper()
	select {
	case <-r:
	case <-time.After(time.Minute):
		t.Fatal("no login was refused")
	}
}

// Enabled, Handle, WithAttrs and WithGroup implement slog.Handler.
func (r refusals) Enabled(context.Context, slog.Level) bool { return true }

func (r refusals) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		if text := fmt.Sprint(a.Value); text == "nats: Authorization Violation" || text == "nats: authorization violation" {
			select {
			case r <- struct{}{}:
			default:
			}
		}
		return true
	})
	return nil
}

func (r refusals) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r refusals) WithGroup(string) slog.Handler { return r }

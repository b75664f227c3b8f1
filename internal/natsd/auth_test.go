package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/internal/natsd"
)

func TestServerAsksForWhatItIsTold(t *testing.T) {
	password := natsd.Auth{User: "legato", Password: "hunter2"}
	token := natsd.Auth{Token: "hunter2"}
	// nats-server itself would take this one for a hash.
	hash := natsd.Auth{User: "legato", Password: "$2a$10$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzab"}
	for _, tt := range []struct {
		name  string
		auth  natsd.Auth
		shown []nats.Option
		want  bool
	}{
		{"the password", password, []nats.Option{nats.UserInfo("legato", "hunter2")}, true},
		{"another password", password, []nats.Option{nats.UserInfo("legato", "hunter3")}, false},
		{"another user", password, []nats.Option{nats.UserInfo("root", "hunter2")}, false},
		{"the password as a token", password, []nats.Option{nats.Token("hunter2")}, false},
		{"nothing to a password", password, nil, false},
		{"a password that looks like a hash", hash, []nats.Option{nats.UserInfo("legato", hash.Password)}, true},
		{"the token", token, []nats.Option{nats.Token("hunter2")}, true},
		{"another token", token, []nats.Option{nats.Token("hunter3")}, false},
		{"the token as a password", token, []nats.Option{nats.UserInfo("", "hunter2")}, false},
		{"nothing to a token", token, nil, false},
		{"nothing where nothing is asked for", natsd.Auth{}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log lockedBuffer
			s := start(t, natsd.Config{
				DataDir: t.TempDir(), Listen: "127.0.0.1:0", Auth: tt.auth,
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			inside, err := s.Connect("inside")
			if err != nil {
				t.Fatalf("the process itself: %v", err)
			}
			inside.Close()
			outside, err := nats.Connect(s.ClientURL(), tt.shown...)
			if err == nil {
				outside.Close()
			} else if !errors.Is(err, nats.ErrAuthorization) {
				t.Fatal(err)
			}
			if got := err == nil; got != tt.want {
				t.Errorf("let in: %v, want %v", got, tt.want)
			}
			for _, secret := range []string{"hunter", "$2a$", "Plaintext"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log has %q:\n%s", secret, log.String())
				}
			}
		})
	}
}

func TestServerIsNotOpenToTheNetwork(t *testing.T) {
	some := natsd.Auth{Token: "hunter2"}
	for _, tt := range []struct {
		listen string
		auth   natsd.Auth
		open   bool
	}{
		{":0", natsd.Auth{}, true},
		{"0.0.0.0:0", natsd.Auth{}, true},
		{"[::]:0", natsd.Auth{}, true},
		{"192.0.2.1:0", natsd.Auth{}, true},
		{"legato.example:0", natsd.Auth{}, true},
		{"[::ffff:0.0.0.0]:0", natsd.Auth{}, true},
		{"127.0.0.1:0", natsd.Auth{}, false},
		{"localhost:0", natsd.Auth{}, false},
		{"", natsd.Auth{}, false},
		{":0", some, false},
		{"127.0.0.1:0", some, false},
	} {
		t.Run(fmt.Sprintf("%q with %v", tt.listen, tt.auth), func(t *testing.T) {
			s, err := natsd.Start(natsd.Config{DataDir: t.TempDir(), Listen: tt.listen, Auth: tt.auth})
			if s != nil {
				stop(t, s)
			}
			if got := errors.Is(err, natsd.ErrOpen); got != tt.open || !got && err != nil {
				t.Errorf("got %v, want it refused as open: %v", err, tt.open)
			}
		})
	}
}

func TestAuthIsWholeOrNothing(t *testing.T) {
	for name, auth := range map[string]natsd.Auth{
		"a user without a password": {User: "u"},
		"a password without a user": {Password: "hunter2"},
		"a token beside a user":     {User: "u", Password: "hunter2", Token: "hunter2"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := natsd.Start(natsd.Config{DataDir: t.TempDir(), Auth: auth})
			if err == nil {
				stop(t, s)
				t.Fatal("it started")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	for _, shown := range []string{fmt.Sprint(natsd.Auth{User: "u", Password: "hunter2"}), fmt.Sprintf("%#v", natsd.Auth{Token: "hunter2"})} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("formatted it shows the secret: %s", shown)
		}
	}
}

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
	nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{
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

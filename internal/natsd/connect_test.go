package natsd_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/internal/natsd"
)

// lockedBuffer takes log lines of several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// signal is a log handler that reports each line's message on a channel.
type signal struct{ lines chan string }

func (signal) Enabled(context.Context, slog.Level) bool { return true }
func (h signal) Handle(_ context.Context, r slog.Record) error {
	h.lines <- r.Message
	return nil
}
func (h signal) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h signal) WithGroup(string) slog.Handler      { return h }

// freeAddr returns a loopback address on which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestConnectWaitsForAServerThatIsNotThereYet(t *testing.T) {
	addr := freeAddr(t)
	lines := make(chan string, 100)
	go func() {
		<-lines // The first attempt failed.
		s, err := natsd.Start(natsd.Config{DataDir: t.TempDir(), Listen: addr})
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { stop(t, s) })
	}()
	nc, err := natsd.Connect(t.Context(), natsd.ConnectConfig{URLs: []string{addr}, Logger: slog.New(signal{lines})})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestConnectGivesUpWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := natsd.Connect(ctx, natsd.ConnectConfig{URLs: []string{"nats://user:hunter2@" + freeAddr(t)}})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("got error %v, want the context's and the last attempt's", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the password: %v", err)
	}
}

// guarded starts a server that wants user "legato", password "s3cr%t word".
func guarded(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Username: "legato", Password: "s3cr%t word",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(5 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s.Addr().String()
}

func TestConnectTakesCredentialsFromTheURL(t *testing.T) {
	addr := guarded(t)
	nc, err := natsd.Connect(t.Context(), natsd.ConnectConfig{URLs: []string{"nats://legato:s3cr%25t%20word@" + addr}})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestConnectFailsAtOnceAndKeepsSecrets(t *testing.T) {
	addr := guarded(t)
	dir := t.TempDir()
	creds := filepath.Join(dir, "bad.creds")
	if err := os.WriteFile(creds, []byte("hunter2, not a credentials file"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  natsd.ConnectConfig
		want string
	}{
		{name: "without a URL", want: "no URL"},
		{name: "on a wrong password", cfg: natsd.ConnectConfig{URLs: []string{"nats://legato:hunter2@" + addr}}, want: "nats://" + addr},
		{name: "on a wrong token", cfg: natsd.ConnectConfig{URLs: []string{"nats://hunter2@" + addr}}, want: "nats://" + addr},
		{name: "on a password with a control character", cfg: natsd.ConnectConfig{URLs: []string{"nats://ok:4222", "nats://legato:hunter2\x7f@" + addr}}, want: "URL 2 of 2"},
		{name: "on a bad escape", cfg: natsd.ConnectConfig{URLs: []string{"nats://legato:hunter2%zz@" + addr}}, want: "URL 1 of 1"},
		{name: "on another scheme", cfg: natsd.ConnectConfig{URLs: []string{"http://legato:hunter2@" + addr}}, want: `scheme "http"`},
		{name: "on a missing credentials file", cfg: natsd.ConnectConfig{URLs: []string{addr}, Creds: filepath.Join(dir, "none")}, want: filepath.Join(dir, "none")},
		{name: "on a file that holds no credentials", cfg: natsd.ConnectConfig{URLs: []string{addr}, Creds: creds}, want: creds},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log lockedBuffer
			tt.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			nc, err := natsd.Connect(ctx, tt.cfg)
			if err == nil {
				nc.Close()
				t.Fatal("got no error")
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("kept trying: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %q, want it to tell %q", err, tt.want)
			}
			if text := err.Error() + log.String(); strings.Contains(text, "hunter2") {
				t.Errorf("shows the secret: %s", text)
			}
		})
	}
}

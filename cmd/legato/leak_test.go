package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestACommandLeavesNoGoroutineBehind runs the commands that start any in this process, to their end. What they leave
// behind is found when all tests are over: legatotest.Main fails then.
func TestACommandLeavesNoGoroutineBehind(t *testing.T) {
	t.Parallel()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(api.Close)
	keys := []string{
		"--telnyx-public-key=" + base64.StdEncoding.EncodeToString(public), "--telnyx-api-key=KEY-of-a-test", "--telnyx-base-url=" + api.URL,
	}
	loopback := []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=127.0.0.1:0"}
	for _, tt := range []struct {
		name string
		args []string
		// until tells when the command has said enough to be stopped; empty: it ends by itself.
		until string
		fails bool
	}{
		{"a service that is stopped", append(append([]string{"serve", "--log-format=json", "--data-dir=" + t.TempDir()}, keys...), loopback...), `"msg":"watch"`, false},
		{"a service that cannot start", append(append([]string{"serve", "--streams=check", "--data-dir=" + t.TempDir()}, keys...), loopback...), "", true},
		{"a demo", []string{"demo", "--calls=3"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			said := &listener{until: tt.until, heard: cancel}
			err := run(ctx, tt.args, io.Discard, said)
			if failed := err != nil && !errors.Is(err, context.Canceled); failed != tt.fails {
				t.Errorf("got error %v, want one: %t\n%s", err, tt.fails, said.all)
			}
		})
	}
}

// listener keeps what a command says, and tells when it has heard what it waits for.
type listener struct {
	until string
	heard func()

	mu  sync.Mutex
	all []byte
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p...)
	if l.until != "" && bytes.Contains(l.all, []byte(l.until)) {
		l.heard()
	}
	return len(p), nil
}

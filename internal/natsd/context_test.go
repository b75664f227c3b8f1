package natsd_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// contextFile writes a context of the nats command-line client where it looks for them, and returns its path.
func contextFile(t *testing.T, name, content string) string {
	t.Helper()
	dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAContextOfTheNATSClientSaysWhereAndHow(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	path := contextFile(t, "prod", `{"description":"","url":"`+s.URL()+`"}`)
	for _, name := range []string{"prod", path} {
		nc, err := natsd.Connect(t.Context(), natsd.ConnectConfig{Context: name, Name: "a test"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		nc.Close()
	}
}

func TestAContextThatCannotBeUsedIsRefusedAtOnce(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	contextFile(t, "prod", `{"url":"`+s.URL()+`"}`)
	contextFile(t, "domain", `{"url":"`+s.URL()+`","jetstream_domain":"hub"}`)
	contextFile(t, "half", `{"url":`)
	contextFile(t, "broken", `{"url":"nats://user:a-secret@%zz"}`)
	for _, tt := range []struct {
		name string
		cfg  natsd.ConnectConfig
		want string
	}{
		{"one that does not exist", natsd.ConnectConfig{Context: "other"}, `unknown context "other"`},
		{"one that is no JSON", natsd.ConnectConfig{Context: "half"}, "it cannot be used"},
		{"one with a URL that is none", natsd.ConnectConfig{Context: "broken"}, "its URL is none"},
		{"one with a domain", natsd.ConnectConfig{Context: "domain"}, "domain of JetStream"},
		{"one beside a URL", natsd.ConnectConfig{Context: "prod", URLs: []string{s.URL()}}, "leave out what else does"},
		{"one beside a login", natsd.ConnectConfig{Context: "prod", Auth: natsd.Auth{Token: "a-secret"}}, "leave out what else does"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := natsd.Connect(t.Context(), tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "a-secret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAContextWhoseServerIsAwayIsWaitedFor(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	contextFile(t, "away", `{"url":"nats://127.0.0.1:1"}`)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := natsd.Connect(ctx, natsd.ConnectConfig{Context: "away", Waiting: func(error) { cancel() }})
	if err == nil || !strings.Contains(err.Error(), "connect to NATS at context away: context canceled") {
		t.Errorf("got %v", err)
	}
}

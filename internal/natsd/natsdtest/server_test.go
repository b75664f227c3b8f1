package natsdtest_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestRunKeepsMessagesAcrossARestart(t *testing.T) {
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	if _, err := s.JS.Publish(t.Context(), "calls.event.call.initiated", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	stream, err := s.JS.Stream(t.Context(), s.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages after restart: got %d, want 1", got)
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

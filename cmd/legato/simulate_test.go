package main_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// The service is started with the key that simulate prints, so simulate is there first:
// it must not begin to play calls that nobody can take.
func TestSimulateWaitsForItsTarget(t *testing.T) {
	t.Parallel()
	target := legatotest.FreeAddrs(t, 1)[0]
	cmd := legatotest.Command(nil, legatotest.Program(), "simulate", "--target=http://"+target+"/webhooks/telnyx", "--api-listen=",
		"--calls=2", "--rate=100", "--speed=1000", "--duplicates=0", "--reorder=0")
	var out bytes.Buffer
	cmd.Stdout = &out
	p := legatotest.LaunchCmd(t, cmd)
	p.Logged("waiting until something listens at " + target)

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	service := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	served := make(chan struct{})
	go func() { defer close(served); _ = service.Serve(listener) }()
	defer func() { _ = service.Shutdown(context.WithoutCancel(t.Context())); <-served }()
	select {
	case <-p.Done:
	case <-time.After(legatotest.Patience):
		t.Fatalf("simulate did not end:\n%s", p.Text())
	}
	if p.Err != nil || !strings.Contains(out.String(), "played 2 calls") || !strings.Contains(out.String(), " 0 failed") {
		t.Errorf("simulate ended with %v:\n%s%s", p.Err, out.String(), p.Text())
	}
}

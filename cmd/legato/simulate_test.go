package main_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The service is started with the key that simulate prints, so simulate is there first:
// it must not begin to play calls that nobody can take.
func TestSimulateWaitsForItsTarget(t *testing.T) {
	t.Parallel()
	target := freeAddrs(t, 1)[0]
	cmd := program(nil, binaries.legato, "simulate", "--target=http://"+target+"/webhooks/telnyx", "--api-listen=",
		"--calls=2", "--rate=100", "--speed=1000", "--duplicates=0", "--reorder=0")
	var out bytes.Buffer
	cmd.Stdout = &out
	p := launchCmd(t, cmd)
	p.logged("waiting until something listens at " + target)

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	service := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	served := make(chan struct{})
	go func() { defer close(served); _ = service.Serve(listener) }()
	defer func() { _ = service.Shutdown(context.WithoutCancel(t.Context())); <-served }()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("simulate did not end:\n%s", p.text())
	}
	if p.err != nil || !strings.Contains(out.String(), "played 2 calls") || !strings.Contains(out.String(), " 0 failed") {
		t.Errorf("simulate ended with %v:\n%s%s", p.err, out.String(), p.text())
	}
}

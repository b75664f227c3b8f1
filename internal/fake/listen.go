package fake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve serves the status API at an address until stop is called, and returns the address that was bound.
func Serve(ctx context.Context, addr string, api http.Handler) (bound string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("serve the fake status API: %v", err)) // a listener of its own on loopback
		}
	}()
	return listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

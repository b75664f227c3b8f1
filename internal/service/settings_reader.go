package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// ReaderSettings say which NATS a command reads that is not the service, and how to log in to it. Beside what the service
// knows they take what other clients of NATS take: its context, and NATS_URL.
type ReaderSettings struct {
	NATSSettings
	NATSContext string `help:"Context of the nats command-line client to connect by, or the path of its file; instead of --nats-url and a login." name:"nats-context" placeholder:"NAME"`
}

// config says how to reach NATS: by the context, at --nats-url, at NATS_URL, or where an embedded NATS listens by default.
func (s ReaderSettings) config(name string, log *slog.Logger) (natsd.ConnectConfig, error) {
	urls := s.URLs()
	switch {
	case s.NATSContext != "":
		urls = nil
	case len(urls) > 0:
	case os.Getenv("NATS_URL") != "":
		urls = strings.Split(os.Getenv("NATS_URL"), ",")
	default:
		urls = []string{nats.DefaultURL}
	}
	config, err := s.External(urls, name, log)
	config.Context = s.NATSContext
	return config, err
}

// Reach connects to the NATS of a deployment, under a name, and says how its streams are called. It waits for NATS
// until within is over; 0: as long as ctx.
func (s ReaderSettings) Reach(ctx context.Context, name string, within time.Duration, log *slog.Logger) (nc *nats.Conn, js jetstream.JetStream, layout natsd.Layout, err error) {
	if layout, err = natsd.NewLayout(s.SubjectPrefix); err != nil {
		return nil, nil, layout, fmt.Errorf("--subject-prefix: %w", err)
	}
	config, err := s.config(name, log)
	if err != nil {
		return nil, nil, layout, err
	}
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	if nc, err = natsd.Connect(ctx, config); err != nil {
		return nil, nil, layout, err
	}
	if js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, nil, layout, err
	}
	return nc, js, layout, nil
}

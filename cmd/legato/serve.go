package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/legato-calls/legato/ingest"
)

type serveCmd struct {
	settings
}

// Run serves until ctx ends.
func (cmd *serveCmd) Run(ctx context.Context, c *console) error {
	log := cmd.logger(c.stderr)
	s, err := start(ctx, &cmd.settings, log)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			log.Info("stopped before it was up", "reason", err)
			return nil
		}
		return err
	}
	s.announce(log)
	return s.run(ctx)
}

// announce says what a new user needs next: where webhooks go in and summaries come out.
func (s *service) announce(log *slog.Logger) {
	p := s.layout.Prefix
	log.Info("taking webhooks", "listen", s.ingest.Addr().String(), "path", ingest.Path, "tls", s.settings.TLSCert != "")
	args := []any{"nats", s.natsURL(), "streams", s.layout.Events + " " + s.layout.Calls + " " + s.layout.Parked}
	if s.embedded != nil {
		args = append(args, "data_dir", s.settings.DataDir)
	}
	log.Info("publishing summaries", args...)
	log.Info("subscribe to",
		"legs", p+".leg.completed.>", "sessions", p+".session.completed.>",
		"revisions", p+".leg.amended.> "+p+".session.amended.>", "raw_events", p+".event.>")
}

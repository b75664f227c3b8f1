package main

import (
	"context"
	"errors"

	"github.com/legato-calls/legato/internal/service"
)

type serveCmd struct {
	service.Settings
}

// Run serves until ctx ends.
func (cmd *serveCmd) Run(ctx context.Context, c *console) error {
	log := cmd.Logger(c.stderr)
	s, err := service.Start(ctx, &cmd.Settings, log)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			log.Info("stopped before it was up", "reason", err)
			return nil
		}
		return err
	}
	s.Announce(log)
	return s.Run(ctx)
}

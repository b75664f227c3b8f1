package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/legato-calls/legato/internal/service"
)

type serveCmd struct {
	service.Settings
}

// Run serves until ctx ends. SIGHUP makes it read files of keys and certificates again.
func (cmd *serveCmd) Run(ctx context.Context, c *console) error {
	log := cmd.Logger(c.stderr)
	// Also while it starts: by default the signal ends a process.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	s, err := service.Start(ctx, &cmd.Settings, log)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			log.Info("stopped before it was up", "reason", err)
			return nil
		}
		return err
	}
	s.Announce(log)
	return s.Run(ctx, reload)
}

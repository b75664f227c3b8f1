package service

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// awaitPause is the first wait before what NATS could not do is tried again; it doubles up to awaitMost.
	awaitPause = 250 * time.Millisecond
	awaitMost  = 5 * time.Second
	// sayEvery is how often a wait that goes on, or a warning that stands, is logged.
	sayEvery = time.Minute
)

// await does what needs NATS, again and again while it fails for what passes by
// itself: a cluster may still be starting. An embedded NATS is there or is broken.
func (s *Service) await(ctx context.Context, what string, try func(context.Context) error) error {
	said := rate.Sometimes{Interval: sayEvery}
	for pause := awaitPause; ; pause = min(2*pause, awaitMost) {
		err := try(ctx)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if s.embedded != nil || ctx.Err() != nil || !natsd.Transient(err) {
			return err
		}
		if last := s.nc.LastError(); last != nil {
			// A permission that is missing shows only here.
			err = fmt.Errorf("%w (the connection's last error: %w)", err, last)
		}
		s.unready(err)
		said.Do(func() { s.log.Warn("NATS is not usable yet, trying again", "error", err) })
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		}
	}
}

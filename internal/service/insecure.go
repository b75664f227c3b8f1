package service

import (
	"context"
	"time"
)

const (
	// insecureWarning is said in the log and in /readyz: a service that believes
	// anybody must not pass for one in order.
	insecureWarning = "SIGNATURES ARE NOT CHECKED (--insecure-skip-verify): anybody who reaches the webhook listener can invent calls"
	shoutEvery      = time.Minute
)

// shout repeats the warning until ctx ends, when there is something to warn of.
func (s *Service) shout(ctx context.Context) error {
	if !s.settings.InsecureSkipVerify {
		return nil
	}
	tick := time.NewTicker(shoutEvery)
	defer tick.Stop()
	for {
		s.log.Error(insecureWarning)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

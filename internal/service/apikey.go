package service

import (
	"context"
	"os"
	"strings"
	"time"
)

// keyEvery is how often the file of the API key is read: it is small, and no
// way to be told of a change works for every kind of mount.
const keyEvery = 2 * time.Second

// watchKey reads the file of the API key again and again, so that a key can be
// put right without a restart. It ends with ctx.
func (s *Service) watchKey(ctx context.Context) error {
	path := s.settings.TelnyxAPIKeyFile
	if path == "" {
		return nil
	}
	tick := time.NewTicker(keyEvery)
	defer tick.Stop()
	key := s.apiKey
	var trouble string
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		data, err := os.ReadFile(path)
		now := strings.TrimSpace(string(data))
		if err == nil && now == key {
			trouble = ""
			continue
		}
		if err == nil {
			err = s.status.SetAPIKey(now)
		}
		switch {
		case err == nil:
			key, trouble = now, ""
			s.log.Info("the API key was read again from its file")
		case err.Error() != trouble:
			// Half a file is seen when it is written in place: the key of before stays.
			trouble = err.Error()
			s.log.Warn("the file of the API key holds no key; the one of before stays", "error", err)
		}
	}
}

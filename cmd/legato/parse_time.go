package main

import (
	"errors"
	"fmt"
	"time"
)

// errNoTime is wrapped by the error of a text that says no time.
var errNoTime = errors.New(`neither a duration as 2h or 90m, nor a time as 2026-03-14T15:00:00Z, nor a day as 2026-03-14 (in UTC)`)

// parseTime reads a point in time: so long before now, or an instant, or the
// beginning of a day in UTC. The empty text is the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%q is negative: a duration counts back from now", text)
		}
		return now.Add(-d).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is %w", text, errNoTime)
}

// parsePast is parseTime for a text that must not name the future.
func parsePast(text string, now time.Time) (time.Time, error) {
	at, err := parseTime(text, now)
	if err == nil && at.After(now) {
		return at, fmt.Errorf("%q lies in the future", text)
	}
	return at, err
}

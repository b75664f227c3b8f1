package dataset

import "time"

// SetClock lets a target read another clock.
func SetClock(t *Target, now func() time.Time) { t.now = now }

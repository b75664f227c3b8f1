package main_test

import (
	"fmt"
	"testing"
)

// TestTheCollectorHasRoomUnlessItIsToldOtherwise looks at what the runtime says of its own settings.
func TestTheCollectorHasRoomUnlessItIsToldOtherwise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env     []string
		percent func(float64) bool
		limit   float64 // 0: that of the control group that the test runs in, if any
	}{
		"nothing set": {
			// Beside some MiB alive, 256 MiB are more than ten times as much.
			percent: func(p float64) bool { return p > 1000 },
		},
		"GOGC": {
			env:     []string{"GOGC=50"},
			percent: func(p float64) bool { return p == 50 },
		},
		"GOMEMLIMIT": {
			env:     []string{"GOMEMLIMIT=300MiB"},
			percent: func(p float64) bool { return p > 1000 },
			limit:   300 << 20,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, append(newTelnyx(t).env(), c.env...), embeddedFlags(t.TempDir())...)
			m := scrape(t, s.admin)
			if percent := m["go_gc_gogc_percent"]; !c.percent(percent) {
				t.Errorf("GOGC is %v %%", percent)
			}
			if limit := m["go_gc_gomemlimit_bytes"]; c.limit != 0 && limit != c.limit {
				t.Errorf("the memory limit is %v bytes", limit)
			}
		})
	}
}

// TestTheCollectorsRoomFollowsTheLiveHeap has a limit that makes collections certain: from the first one on, the
// percentage is that of what was found alive, no more that of Go's smallest heap.
func TestTheCollectorsRoomFollowsTheLiveHeap(t *testing.T) {
	t.Parallel()
	const first = 6400 // 256 MiB of 4 MiB, in percent
	s := serve(t, append(newTelnyx(t).env(), "GOMEMLIMIT=24MiB"), embeddedFlags(t.TempDir())...)
	eventually(t, "a percentage below the first one", func() error {
		if percent := scrape(t, s.admin)["go_gc_gogc_percent"]; percent <= 100 || percent >= first {
			return fmt.Errorf("GOGC is %v %%", percent)
		}
		return nil
	})
}

package e2e_test

import (
	"fmt"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"
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
			s := legatotest.Serve(t, append(legatotest.NewTelnyx(t).Env(), c.env...), legatotest.EmbeddedFlags(t.TempDir())...)
			m := legatotest.Scrape(t, s.Admin)
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
	s := legatotest.Serve(t, append(legatotest.NewTelnyx(t).Env(), "GOMEMLIMIT=24MiB"), legatotest.EmbeddedFlags(t.TempDir())...)
	legatotest.Eventually(t, "a percentage below the first one", func() error {
		if percent := legatotest.Scrape(t, s.Admin)["go_gc_gogc_percent"]; percent <= 100 || percent >= first {
			return fmt.Errorf("GOGC is %v %%", percent)
		}
		return nil
	})
}

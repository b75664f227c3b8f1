package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/internal/fake"
)

func TestKilledInTheMiddleEveryAnsweredLegIsCompletedOnce(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(t.TempDir())
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 60, 11)
	s = playThroughKills(t, world, player, s, flags)
	world.WantOnce(t, s.NATS, player.Ledger())
	legatotest.StopsCleanly(t, s)
}

func TestKilledInTheMiddleOnAnExternalNATS(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 60, 12)
	s = playThroughKills(t, world, player, s, flags)
	world.WantOnce(t, url, player.Ledger())
	legatotest.StopsCleanly(t, s)
}

// playThroughKills plays to the end while the service is killed twice at moments
// that chance chooses, and started again.
func playThroughKills(t *testing.T, w *legatotest.Telnyx, player *fake.Player, s *legatotest.Server, flags []string) *legatotest.Server {
	t.Helper()
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	// 60 calls at 25 a second begin within 2.4 s and are over some 5 s later.
	accepted := 0
	for range 2 {
		accepted += 40 + rand.N(80)
		legatotest.Eventually(t, fmt.Sprintf("%d webhooks are accepted", accepted), func() error {
			if n := player.Ledger().Totals().Accepted; n < accepted {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		s.Kill()
		s = legatotest.Serve(t, w.Env(), legatotest.Again(flags, s)...)
	}
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	return s
}

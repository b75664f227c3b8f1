package e2e_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/internal/fake"
)

// spray sends each request to another replica than the one before.
type spray struct {
	hosts []string
	next  atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (s *spray) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = s.hosts[s.next.Add(1)%uint64(len(s.hosts))]
	return http.DefaultTransport.RoundTrip(r)
}

func TestTwoReplicasShareTheWorkOfEveryCall(t *testing.T) {
	t.Parallel()
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	transport := &spray{hosts: []string{a.Webhooks, b.Webhooks}}

	// Every webhook of a call goes to another replica than the one before it.
	first := world.Player(t, a.Target(), 40, 21, over(transport))
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, first.Ledger())
	for _, c := range world.Calls {
		for _, l := range c.Legs {
			if n := world.API.Requests(l.Ref.Control); n != 1 {
				t.Errorf("the status of a leg of a call %s was asked for %d times", c.Scenario, n)
			}
		}
	}

	// Then one of them is killed in the middle.
	second := world.Player(t, a.Target(), 40, 22, over(transport))
	played := make(chan error, 1)
	go func() { played <- second.Run(t.Context()) }()
	legatotest.Eventually(t, "60 webhooks are accepted", func() error {
		if n := second.Ledger().Totals().Accepted; n < 60 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	b.Kill()
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, first.Ledger(), second.Ledger())
	legatotest.StopsCleanly(t, a)
}

func over(transport http.RoundTripper) func(*fake.SenderConfig) {
	return func(c *fake.SenderConfig) { c.Transport = transport }
}

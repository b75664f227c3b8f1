package console

import (
	"context"
	"net/http"
	"time"

	"github.com/legato-calls/legato/enrich/session"
)

// Health is how the service is.
type Health struct {
	// NotReady says why; empty: it is ready. Warnings are what is to be seen to all the same.
	NotReady string
	Warnings []string
	// Fill is how full each limit of the storage is, from 0 to 1, by its name.
	Fill map[string]float64
	// Balances are the sums that must balance.
	Balances []Balance
	// Replicas are those that answer, this one among them. None: they could not be asked.
	Replicas []Replica
	// NATS says where it is connected, and to what.
	NATS []string
	// Stats and Backlog say what waits.
	Stats   session.Stats
	Backlog time.Duration
	// Position is how far the log is folded.
	Position uint64
}

// Balance is a sum that must be the same both ways.
type Balance struct {
	Name        string
	Left, Right uint64
	// Parts say what Right is made of.
	Parts string
}

// Balanced reports whether it is.
func (b Balance) Balanced() bool { return b.Left == b.Right }

// Replica is a process of the deployment.
type Replica struct{ ID, Version string }

// Webhooks is what became of the webhooks of this process in the last hour.
type Webhooks struct {
	// Since is when counting began: the process is younger than an hour, or an hour ago.
	Since time.Time
	// Results counts by what became of a webhook, Parked by the reason.
	Results, Parked map[string]int64
	// Refusals are the last ones, the newest first.
	Refusals []Refusal
}

// Refusal is a webhook that was refused.
type Refusal struct {
	At time.Time
	// Result is why, Status the answer's, Do what to do about it.
	Result string
	Status int
	Do     string
}

// Finding is what a check of the settings found.
type Finding struct{ Name, Verdict, Detail, Do string }

func (c *Console) showHealth(r *http.Request) (view, error) {
	h := c.cfg.Health(r.Context())
	return view{template: "health", Title: "Health", Place: "/health", Data: &h}, nil
}

// webhooksPage is what became of webhooks.
type webhooksPage struct {
	Results, Parked []counted
	Webhooks
	Findings []Finding
	Checked  bool
	// TestCalls: one may be sent. Call is the one that was.
	TestCalls bool
	Call      string
}

func (c *Console) webhooks() *webhooksPage {
	w := c.cfg.Webhooks()
	number := func(counts map[string]int64) []counted {
		all := make(map[string]int, len(counts))
		for word, n := range counts {
			all[word] = int(n)
		}
		return byCount(all)
	}
	return &webhooksPage{Webhooks: w, Results: number(w.Results), Parked: number(w.Parked), TestCalls: c.cfg.TestCall != nil}
}

func (c *Console) showWebhooks(*http.Request) (view, error) {
	return view{template: "webhooks", Title: "Webhooks", Place: "/webhooks", Data: c.webhooks()}, nil
}

// check looks at what the service depends on: it asks Telnyx once.
func (c *Console) check(r *http.Request) (view, error) {
	p := c.webhooks()
	p.Checked, p.Findings = true, c.cfg.Check(r.Context())
	return view{template: "webhooks", Title: "Webhooks", Place: "/webhooks", Data: p}, nil
}

// testWithin bounds the sending of a test call.
const testWithin = 10 * time.Second

// sendTest sends a test call to this process.
func (c *Console) sendTest(r *http.Request) (view, error) {
	if c.cfg.TestCall == nil {
		return view{}, problem{http.StatusForbidden, "Test calls are not allowed: --console-test-call allows them."}
	}
	c.log.Info("somebody sends a test call", "user", userOf(r))
	ctx, cancel := context.WithTimeout(r.Context(), testWithin)
	defer cancel()
	session, err := c.cfg.TestCall(ctx)
	if err != nil {
		return view{}, problem{http.StatusBadGateway, "The test call did not come in: " + err.Error()}
	}
	p := c.webhooks() // with those of the call
	p.Call = session
	return view{template: "webhooks", Title: "Webhooks", Place: "/webhooks", Data: p}, nil
}

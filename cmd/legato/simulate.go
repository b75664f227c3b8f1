package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/fake"
)

// disorderFlags are the shares of untidiness.
type disorderFlags struct {
	Duplicates float64 `default:"0.1" help:"Share of events that are delivered twice, 0 to 1."`
	Reorder    float64 `default:"0.1" help:"Share of events that overtake each other, 0 to 1."`
	Drop       float64 `default:"0" help:"Share of events that never arrive, 0 to 1."`
	Late       float64 `default:"0" help:"Share of events that come seconds after the hangup, 0 to 1."`
	Seed       uint64  `default:"1" help:"Makes the calls of a run, and its key, those of another run with the same seed."`
}

func (d disorderFlags) disorder() fake.Disorder {
	return fake.Disorder{Duplicates: d.Duplicates, Reorder: d.Reorder, Late: d.Late, Drop: d.Drop}
}

type simulateCmd struct {
	Target    string        `required:"" help:"Webhook URL to post to." placeholder:"URL"`
	Rate      float64       `default:"1" help:"Calls that begin in a second."`
	Calls     int           `default:"0" help:"How many calls; 0: until interrupted."`
	Speed     float64       `default:"10" help:"A call of 40 s is played in 40 s divided by this."`
	APIListen string        `default:"127.0.0.1:8082" help:"Address of the fake status API; empty: none." name:"api-listen"`
	Linger    time.Duration `default:"1m" help:"How long the status API stays after the last webhook."`
	disorderFlags
}

// Run plays, from when the target listens until all calls are over or ctx ends. It fails when a webhook was not accepted.
func (cmd *simulateCmd) Run(ctx context.Context, c *console) error {
	key := fake.Key(cmd.Seed)
	api := fake.NewAPI(fake.APIConfig{})
	fmt.Fprintf(c.stdout, "export TELNYX_PUBLIC_KEY=%s\n", fake.PublicKey(key))
	if cmd.APIListen != "" {
		addr, stop, err := fake.Serve(ctx, cmd.APIListen, api)
		if err != nil {
			return fmt.Errorf("--api-listen: %w", err)
		}
		defer stop()
		fmt.Fprintf(c.stdout, "export TELNYX_BASE_URL=http://%s/v2\nexport TELNYX_API_KEY=anything\n", addr)
	}
	player, err := newPlayer(key, api, fake.PlayerConfig{
		Generator: fake.Generator{Seed: cmd.Seed}, Disorder: cmd.disorder(), Calls: cmd.Calls,
		Rate: cmd.Rate, Speed: cmd.Speed, Sender: fake.SenderConfig{Target: cmd.Target},
		OnCall: cmd.announce(c.stdout),
	})
	if err != nil {
		return err
	}
	if err := awaitListener(ctx, cmd.Target, c.stderr); err != nil {
		return fmt.Errorf("--target: %w", err)
	}
	err = player.Run(ctx)
	printTotals(c.stdout, player.Ledger().Totals())
	if err != nil && ctx.Err() == nil {
		return err
	}
	if failed := player.Ledger().Totals().Failed; failed > 0 {
		return fmt.Errorf("%d webhooks were not accepted", failed)
	}
	if ctx.Err() == nil && cmd.APIListen != "" {
		fmt.Fprintf(c.stdout, "the status API stays for %v\n", cmd.Linger)
		select {
		case <-time.After(cmd.Linger):
		case <-ctx.Done():
		}
	}
	return nil
}

// announce says what is playing: each call as it begins, or, where they are many, how many have begun.
func (cmd *simulateCmd) announce(w io.Writer) func(fake.Call) {
	const eachUpTo, every = 5, 5 * time.Second
	begun, said := 0, time.Now()
	return func(call fake.Call) {
		begun++
		now := time.Now()
		switch {
		case cmd.Rate <= eachUpTo:
			fmt.Fprintf(w, "%s  %-16s  %d legs  %s\n", now.Format(time.TimeOnly), call.Scenario, len(call.Legs), call.Session)
		case now.Sub(said) >= every:
			said = now
			fmt.Fprintf(w, "%s  %d calls have begun\n", now.Format(time.TimeOnly), begun)
		}
	}
}

// awaitListener returns once something listens at the host of target, or ctx ends:
// the service is started with what simulate has just printed.
func awaitListener(ctx context.Context, target string, progress io.Writer) error {
	at, err := url.Parse(target)
	if err != nil || at.Hostname() == "" {
		return fmt.Errorf("%q is not the URL of an HTTP server", target)
	}
	port := cmp.Or(at.Port(), at.Scheme)
	said := false
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(at.Hostname(), port))
		if err == nil {
			return conn.Close()
		}
		if !said {
			said = true
			fmt.Fprintf(progress, "waiting until something listens at %s\n", at.Host)
		}
		select {
		case <-time.After(time.Second / 4):
		case <-ctx.Done():
			return nil
		}
	}
}

func printTotals(w io.Writer, t fake.Totals) {
	fmt.Fprintf(w, "played %d calls with %d legs: %d events in %d posts, %d accepted, %d duplicates, %d dropped, %d failed, %d cut off\n",
		t.Calls, t.Legs, t.Events, t.Posts, t.Accepted, t.Duplicates, t.Dropped, t.Failed, t.Abandoned)
}

// newPlayer makes a player that signs with key and tells the status API the truth.
func newPlayer(key ed25519.PrivateKey, api *fake.API, config fake.PlayerConfig) (*fake.Player, error) {
	config.Sender.Sign = func(at time.Time, body []byte) (timestamp, signature string) {
		return telnyx.Sign(key, at, body)
	}
	told := config.OnCall
	config.OnCall = func(played fake.Call) {
		if told != nil {
			told(played)
		}
		for _, leg := range played.Legs {
			api.Register(fake.APICall{
				Ref: leg.Ref, StartTime: leg.Start, EndTime: leg.End, Duration: leg.Duration, ClientState: leg.ClientState,
				Events: history(played, leg),
			})
		}
	}
	return fake.NewPlayer(config)
}

// history are the events of a leg as Telnyx has them on record, delivered or not.
func history(played fake.Call, leg fake.Leg) []fake.HistoryEvent {
	var events []fake.HistoryEvent
	for _, d := range played.Deliveries {
		if d.LegID == leg.Ref.Leg && !d.Duplicate {
			events = append(events, fake.HistoryEvent{ID: d.EventID, Type: d.Type, OccurredAt: d.OccurredAt, Data: d.Data})
		}
	}
	return events
}

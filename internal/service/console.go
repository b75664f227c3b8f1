package service

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"
	dto "github.com/prometheus/client_model/go"

	"github.com/legato-calls/legato/ingest/journal/disk"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/console"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
)

// ConsoleSettings say where the console listens, and to whom.
type ConsoleSettings struct {
	ConsoleListen       string   `env:"LEGATO_CONSOLE_LISTEN" help:"Address of the console, pages to look at calls with; empty: there is none. Beyond loopback it needs a login." placeholder:"ADDR"`
	ConsoleUser         string   `env:"LEGATO_CONSOLE_USER" help:"User of the console, by HTTP basic authentication." placeholder:"USER"`
	ConsolePassword     string   `env:"LEGATO_CONSOLE_PASSWORD" help:"Password of that user." placeholder:"PASSWORD"`
	ConsolePasswordFile string   `env:"LEGATO_CONSOLE_PASSWORD_FILE" help:"File to read the password from." placeholder:"FILE" type:"path"`
	ConsoleTrustHeader  string   `env:"LEGATO_CONSOLE_TRUST_HEADER" help:"Header in which a proxy that signs people in names the user, instead of a login: nobody else may reach the console then." placeholder:"HEADER"`
	ConsoleTestCall     bool     `env:"LEGATO_CONSOLE_TEST_CALL" help:"Let the console send a test call to this process, signed with a key that it makes at its start and keeps to itself; its summaries are published like others."`
	ConsoleTraceURL     string   `env:"LEGATO_CONSOLE_TRACE_URL" help:"Address of a trace where you look at traces, with {trace} for its id: the page of a call links to it." placeholder:"URL"`
	ConsoleReveal       []string `env:"LEGATO_CONSOLE_REVEAL" help:"Users who may see numbers, names, bodies and addresses of recordings, each time by a line in the log; without a login everybody is the user local." placeholder:"USER"`
}

// access is who gets into the console. Its errors name settings and never what is in them.
func (s *ConsoleSettings) access() (console.Access, error) {
	if s.ConsoleListen == "" {
		return console.Access{}, nil
	}
	password, err := optionalSecret(s.ConsolePassword, s.ConsolePasswordFile, "LEGATO_CONSOLE_PASSWORD")
	if err != nil {
		return console.Access{}, err
	}
	if err := console.CheckTraceURL(s.ConsoleTraceURL); err != nil {
		return console.Access{}, fmt.Errorf("--console-trace-url: %w", err)
	}
	a := console.Access{User: s.ConsoleUser, Password: password, TrustHeader: s.ConsoleTrustHeader, Reveal: s.ConsoleReveal}
	err = a.Check(s.ConsoleListen)
	switch {
	case errors.Is(err, console.ErrOpen):
		return a, fmt.Errorf("--console-listen: %w; set --console-user and --console-password, or --console-trust-header behind a proxy that signs people in", err)
	case err != nil:
		return a, fmt.Errorf("--console-listen: %w", err)
	}
	return a, nil
}

// openConsole binds the console, where there is to be one.
func (s *Service) openConsole(ctx context.Context) error {
	access, err := s.settings.access()
	if err != nil || s.settings.ConsoleListen == "" {
		return err
	}
	config := console.Config{
		Listen: s.settings.ConsoleListen, Access: access, TraceURL: s.settings.ConsoleTraceURL, Sources: s.sources, JetStream: s.js, Layout: s.layout,
		Forwarding: s.sources.Forwarding, PutBack: s.putBack, Health: s.health, Webhooks: s.lastHour, Check: s.inspect,
		Logger: s.log.With("component", "console"),
	}
	if s.testKey != nil {
		config.TestCall = s.sendTestCall
	}
	if s.console, err = console.New(ctx, config); err != nil {
		return err
	}
	s.onStop("console", s.console.Shutdown)
	return nil
}

// allowTestCalls makes the key of test calls, where they are allowed. It is made anew at each start and leaves the process
// nowhere: nobody else can sign with it.
func (s *Service) allowTestCalls() (err error) {
	if s.settings.ConsoleListen != "" && s.settings.ConsoleTestCall {
		_, s.testKey, err = ed25519.GenerateKey(rand.Reader)
	}
	return err
}

// publicKeys are the keys that webhooks are checked with: none when they are not checked.
func (s *Service) publicKeys() ([]ed25519.PublicKey, error) {
	keys, err := s.settings.publicKeys()
	if s.testKey != nil && len(keys) > 0 {
		keys = append(keys, s.testKey.Public().(ed25519.PublicKey))
	}
	return keys, err
}

// sendTestCall plays an invented call against this process, and returns its session.
func (s *Service) sendTestCall(ctx context.Context) (string, error) {
	target := s.WebhookURL()
	// It is this process's own listener, by an address that no certificate names.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	if s.settings.TLSCert != "" {
		target = "https" + strings.TrimPrefix(target, "http")
	}
	sender, err := fake.NewSender(fake.SenderConfig{Target: target, Transport: transport, Attempts: 1, Sign: func(at time.Time, body []byte) (timestamp, signature string) {
		return telnyx.Sign(s.testKey, at, body)
	}})
	if err != nil {
		return "", err
	}
	defer sender.Close()
	now := time.Now()
	// Its number is its time, so that its ids are its own.
	c := fake.Generator{Seed: uint64(now.UnixNano())}.Of(fake.InboundBridged, uint64(now.UnixNano()), now.Add(-3*time.Minute))
	for _, d := range c.Deliveries {
		if outcome := sender.Send(ctx, d); !outcome.Accepted {
			return "", fmt.Errorf("a webhook of type %s was answered %d", d.Type, outcome.Status)
		}
	}
	return string(c.Session), nil
}

// putBack puts a parked message back, or says what would become of it.
func (s *Service) putBack(ctx context.Context, seq uint64, dryRun bool) (outcome string, left bool, err error) {
	keys, err := s.settings.publicKeys()
	if err != nil {
		return "", false, err
	}
	p := &PutBack{Store: s.sources.Parked, Log: s.journal}
	if len(keys) > 0 {
		p.Verifier = telnyx.NewVerifier(keys)
	}
	if log, ok := s.journal.(*disk.Journal); ok {
		p.Logged = log.Read
	}
	return p.One(ctx, seq, dryRun)
}

// inspect looks at what this process depends on while it runs.
func (s *Service) inspect(ctx context.Context) []console.Finding {
	found := append([]Finding{checkSettings(s.settings)}, checkTelnyx(ctx, s.settings)...)
	urls := s.settings.URLs()
	if url := s.NATSURL(); s.embedded != nil && url != "" {
		urls = []string{url}
	}
	if len(urls) > 0 {
		found = append(found, checkNATS(ctx, s.settings, urls, s.layout)...)
	}
	all := make([]console.Finding, len(found))
	for i, f := range found {
		all[i] = console.Finding{Name: f.Name, Verdict: string(f.Verdict), Detail: f.Detail, Do: f.Do}
	}
	return all
}

// lastHour is what became of webhooks.
func (s *Service) lastHour() console.Webhooks {
	h := s.ingest.LastHour()
	w := console.Webhooks{Since: h.Since, Results: h.Results, Parked: h.Parked}
	for _, r := range h.Refusals {
		w.Refusals = append(w.Refusals, console.Refusal(r))
	}
	return w
}

// replicasWithin is how long replicas have to say that they are there.
const replicasWithin = 250 * time.Millisecond

// health is how this process is, and who else is there.
func (s *Service) health(ctx context.Context) console.Health {
	table := s.worker.Table()
	tally := table.Tally()
	h := console.Health{Fill: s.journal.Fill(), Stats: table.Stats(), Backlog: table.Backlog(), Position: table.Position(), Replicas: s.replicas(ctx)}
	warnings, err := s.admin.readiness()
	if h.Warnings = warnings; err != nil {
		h.NotReady = err.Error()
	}
	where := "embedded, nats-server " + natsd.EmbeddedVersion
	if s.embedded == nil {
		where = s.nc.ConnectedUrlRedacted() + ", nats-server " + s.nc.ConnectedServerVersion()
	}
	h.NATS = append(h.NATS, where)
	if s.nc.IsConnected() {
		if rtt, err := s.nc.RTT(); err == nil {
			h.NATS = append(h.NATS, "answers in "+rtt.Round(time.Microsecond).String())
		}
	} else {
		h.NATS = append(h.NATS, "not connected")
	}
	h.Balances = []console.Balance{{
		Name: "legs over", Left: tally.Over, Right: tally.Completed + uint64(tally.Pending),
		Parts: fmt.Sprintf("%d completed + %d pending", tally.Completed, tally.Pending),
	}}
	if families, err := s.registry.Gather(); err == nil {
		stored := counted(families, "legato_log_appends_total", "kind", "event", "result", "stored")
		again := counted(families, "legato_log_appends_total", "kind", "event", "result", "duplicate")
		parked := counted(families, "legato_webhooks_parked_total")
		var taken uint64
		for _, result := range []string{"stored", "duplicate", "parked"} {
			taken += counted(families, "legato_webhooks_total", "result", result)
		}
		h.Balances = append(h.Balances, console.Balance{
			Name: "webhooks taken", Left: taken, Right: stored + again + parked,
			Parts: fmt.Sprintf("%d stored + %d stored before + %d parked", stored, again, parked),
		})
	}
	return h
}

// counted adds up the counters of a name whose labels have these values, as pairs of name and value.
func counted(families []*dto.MetricFamily, name string, labels ...string) (sum uint64) {
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			matching := 0
			for _, l := range m.GetLabel() {
				for i := 0; i < len(labels); i += 2 {
					if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
						matching++
					}
				}
			}
			if matching == len(labels)/2 {
				sum += uint64(m.GetCounter().GetValue())
			}
		}
	}
	return sum
}

// replicas asks all replicas who they are, as micro services of NATS; none where that is switched off.
func (s *Service) replicas(ctx context.Context) (all []console.Replica) {
	ctx, cancel := context.WithTimeout(ctx, replicasWithin)
	defer cancel()
	inbox := s.nc.NewRespInbox()
	answers, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer func() { _ = answers.Unsubscribe() }() // the connection is closed with it otherwise
	subject, err := micro.ControlSubject(micro.PingVerb, apiName(s.layout), "")
	if err != nil || s.settings.API == "off" || s.nc.PublishRequest(subject, inbox, nil) != nil {
		return nil
	}
	for {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return all
		}
		var p micro.Ping
		if json.Unmarshal(m.Data, &p) == nil {
			all = append(all, console.Replica{ID: p.ID, Version: p.Version})
		}
	}
}

// ConsoleURL is where the console is, as seen from here; empty when there is none.
func (s *Service) ConsoleURL() string {
	if s.console == nil {
		return ""
	}
	return "http://" + reachable(s.console.Addr()) + "/"
}

// Package service wires the rooms into one process and runs it: settings, secrets, the connection to NATS or the
// embedded server, streams, ingest, enrich, publish, the admin listener with readiness and metrics, questions over
// NATS, and traces.
//
// In go settings; out comes a running service with its addresses. A failed start and a stop tear down the same
// stack in the same order: webhooks first, then the work, the fold, the log, and NATS last.
//
// It knows all rooms and decides nothing about calls.
package service

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/disk"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/console"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/forward"
	"github.com/legato-calls/legato/publish/parked"
)

const (
	// queueName is the durable consumer that all replicas share.
	queueName = "legato"
	// stagger spreads the checks of several replicas; an embedded NATS has one.
	stagger = 100 * time.Millisecond
	// embeddedOutage is how long the embedded log may refuse to be written before the
	// process gives up: after a full disk nats-server does not recover by itself.
	embeddedOutage = 10 * time.Second
)

// Service is the wired rooms of one process.
type Service struct {
	settings *Settings
	log      *slog.Logger
	layout   natsd.Layout
	registry *prometheus.Registry

	admin    *admin
	embedded *natsd.Server
	nc       *nats.Conn
	js       jetstream.JetStream
	journal  eventLog
	copying  func() journal.Trouble // nil: the log is no copy and has none
	// unanswered is for how long NATS has answered no publication of a summary.
	unanswered func() time.Duration
	worker     *enrich.Worker
	sources    *story.Sources
	status     *status.Client
	ingest     *ingest.Server
	forward    *forward.Forwarder // nil: there is nobody to forward to
	// forwarded is the same, for the log, which is open before it.
	forwarded atomic.Pointer[forward.Forwarder]
	console   *console.Console   // nil: there is none
	testKey   ed25519.PrivateKey // of test calls; nil: they are not allowed
	tracer    trace.Tracer       // nil: nothing is traced
	apiKey    string             // as it was at the start
	limits    natsd.Limits       // of the streams, as they were at the start
	watched   streamWatch
	refused   refusedAcks
	peers     *peers

	teardown []teardown
}

type teardown struct {
	name string
	stop func(context.Context) error
}

func (s *Service) onStop(name string, stop func(context.Context) error) {
	s.teardown = append(s.teardown, teardown{name, stop})
}

// Start brings everything up, in the order of dependence. When it fails, what
// was started is stopped again.
func Start(ctx context.Context, set *Settings, log *slog.Logger) (*Service, error) {
	TuneCollector(log)
	s := &Service{settings: set, log: log, registry: newRegistry()}
	err := s.up(ctx)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		return nil, errors.Join(err, s.stop(ctx))
	}
	return s, nil
}

func (s *Service) up(ctx context.Context) error {
	if err := s.settings.check(); err != nil {
		return err
	}
	if err := s.allowTestCalls(); err != nil {
		return err
	}
	keys, err := s.publicKeys()
	if err != nil {
		return err
	}
	if s.apiKey, err = s.settings.readAPIKey(); err != nil {
		return err
	}
	targets, err := s.settings.targets()
	if err != nil {
		return err
	}
	if s.layout, err = natsd.NewLayout(s.settings.SubjectPrefix); err != nil {
		return fmt.Errorf("--subject-prefix: %w", err)
	}
	warning := ""
	if s.settings.InsecureSkipVerify {
		warning = insecureWarning
	}
	if s.admin, err = newAdmin(ctx, s.settings.AdminListen, warning, s.settings.Pprof, s.registry, s.log); err != nil {
		return err
	}
	s.onStop("admin", s.admin.shutdown)
	s.registry.MustRegister(readyMetric(s.admin))
	if a := s.admin.Addr(); a != nil {
		// At once: whoever waits for the rest can look there what it waits for.
		s.log.Info("watch", "health", "http://"+reachable(a)+"/readyz", "metrics", "http://"+reachable(a)+"/metrics")
	}
	s.tracer = s.traces(ctx, os.Getenv)
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.streams(ctx); err != nil {
		return err
	}
	if err := s.rooms(ctx, keys, targets); err != nil {
		return err
	}
	if s.embedded != nil {
		// What NATS has just made survives a power cut as well.
		if err := s.embedded.Sync(""); err != nil {
			return err
		}
	}
	s.admin.setReadiness(func() ([]string, error) { return s.warnings(), s.ready() })
	return nil
}

// connect reaches NATS: the embedded one, or one outside, for which it waits.
func (s *Service) connect(ctx context.Context) (err error) {
	s.unready(errors.New("connecting to NATS"))
	if s.settings.NATSURL == "" {
		s.settings.DataDir, err = filepath.Abs(s.settings.DataDir)
		if err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
		var auth natsd.Auth
		if auth, err = s.settings.auth(); err != nil {
			return err
		}
		s.embedded, err = natsd.Start(natsd.Config{ //nolint:contextcheck // it only tries whether an address is free
			DataDir: s.settings.DataDir, Listen: s.settings.NATSListen, Auth: auth, Own: s.layout.LogSubjects(),
			Logger: s.log.With("component", "nats"),
		})
		if errors.Is(err, natsd.ErrOpen) {
			return fmt.Errorf("--nats-listen: %w; set --nats-user and --nats-password, or --nats-token", err)
		}
		if err != nil {
			return err
		}
		s.onStop("embedded NATS", s.embedded.Shutdown)
		if s.nc, err = s.embedded.Connect("legato"); err == nil {
			s.js, err = jetstream.New(s.nc)
		}
	} else {
		var config natsd.ConnectConfig
		if config, err = s.settings.External(s.settings.URLs(), "legato", s.log.With("component", "nats")); err != nil {
			return err
		}
		config.Waiting, config.Refused = s.unready, s.refused.note
		s.nc, s.js, err = natsd.Connect(ctx, config)
	}
	if err != nil {
		return err
	}
	s.onStop("NATS connection", func(ctx context.Context) error { return closeConn(ctx, s.nc) })
	dataDir := ""
	if s.embedded != nil {
		dataDir = s.settings.DataDir
	}
	s.registry.MustRegister(natsMetrics(s.nc, dataDir)...)
	return nil
}

// closeConn sends what is buffered, acknowledgements above all, and closes.
func closeConn(ctx context.Context, nc *nats.Conn) error {
	defer nc.Close()
	if !nc.IsConnected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

// streams sees to the streams, and waits for a cluster that cannot make them yet.
func (s *Service) streams(ctx context.Context) error {
	limits, err := s.settings.limits()
	if err != nil {
		return err
	}
	s.unready(errors.New("looking after the streams"))
	if limit := s.nc.MaxPayload(); limit > 0 && limit < leastPayload {
		s.log.Warn("the server's max_payload is small: long webhooks are refused (413) and long summaries cut down", "max_payload", limit)
	}
	if s.settings.Streams == "check" {
		return s.await(ctx, "check the streams", func(ctx context.Context) error {
			if err := s.size(ctx, limits); err != nil {
				return err
			}
			_, err := natsd.Check(ctx, s.js, s.layout, s.limits)
			return err
		})
	}
	var report natsd.Report
	err = s.await(ctx, "make the streams", func(ctx context.Context) (err error) {
		if err := s.size(ctx, limits); err != nil {
			return err
		}
		report, err = natsd.Manage(ctx, s.js, s.layout, s.limits)
		return err
	})
	for _, line := range append(report.Made, report.Changed...) {
		s.log.Info("streams", "change", line)
	}
	return err
}

// size sets the limits of the streams, with a size for each where the account wants that.
func (s *Service) size(ctx context.Context, limits natsd.Limits) error {
	s.limits = limits
	account, err := s.js.AccountInfo(ctx)
	if err != nil {
		s.log.Debug("the account's limits cannot be asked for", "error", err)
		return nil
	}
	s.limits, err = limits.Sized(account)
	return err
}

// rooms makes the rooms and wires them to each other.
func (s *Service) rooms(ctx context.Context, keys []ed25519.PublicKey, targets []forward.Target) (err error) {
	var queue enrich.Queue
	var publisher *publish.Publisher
	err = s.await(ctx, "open the log", func(ctx context.Context) (err error) {
		if queue, err = s.openLog(ctx); err != nil {
			return err
		}
		publisher, err = publish.New(ctx, s.js, s.layout)
		return err
	})
	if err != nil {
		return err
	}
	publisher.Tell(s.log.With("component", "publish"), s.registry)
	s.unanswered = publisher.Unanswered
	s.registry.MustRegister(s.failingMetrics()...)
	store := parked.New(s.js, s.layout)
	if s.embedded != nil {
		store.Synced(func() error { return s.embedded.Sync(s.layout.Parked) })
	}
	s.status, err = status.New(status.Config{
		BaseURL: s.settings.TelnyxBaseURL, APIKey: s.apiKey, UserAgent: "legato/" + version, Rate: float64(s.settings.StatusRate),
		Logger: s.log.With("component", "status"), Registerer: s.registry,
	})
	if err != nil {
		return err
	}
	s.onStop("status client", func(context.Context) error { s.status.Close(); return nil })
	config := enrich.Config{
		Log: s.journal, Queue: queue, Status: s.status, History: s.status, Sink: publisher, MaxBody: publisher.MaxBody, Watch: publisher.Watch,
		Parking: store, Decode: Decoder(s.settings.secretsKept()), ReadHistory: recall,
		Rules: s.settings.Rules(), Timing: s.settings.timing(),
		Logger: s.log.With("component", "enrich"), Registerer: s.registry, Tracer: s.tracer,
	}
	if log, ok := s.journal.(*disk.Journal); ok {
		config.Read, config.Watch = log.Read, publisher.Published
	} else {
		config.Stagger = stagger
	}
	if len(targets) > 0 {
		config.Needed = s.needed
	}
	s.worker = enrich.New(config)
	s.peers = newPeers(s.settings.digests(), s.worker.Table().HasCaughtUp, s.log)
	if err := s.forwarding(ctx, targets, publisher); err != nil {
		return err
	}
	s.sources = &story.Sources{
		Log: stream.NewReader(s.js, s.layout.Events, s.layout.Prefix), Summaries: publisher, Parked: store,
		Rules: s.settings.Rules(), Decode: Decoder(nil), Table: s.worker.Table(),
	}
	if len(targets) > 0 {
		s.sources.Forwarding = forward.NewDesk(s.js, s.layout)
	}
	if err := s.answerQuestions(ctx); err != nil {
		return err
	}
	if err := s.openConsole(ctx); err != nil {
		return err
	}
	s.ingest, err = ingest.New(ingest.Config{ //nolint:contextcheck // ctx is that of the start, which the server outlives
		Listen: s.settings.Listen, Path: s.settings.Path, Keys: keys, SkipVerify: s.settings.InsecureSkipVerify,
		TLSCert: s.settings.TLSCert, TLSKey: s.settings.TLSKey, MaxConnections: s.settings.MaxConnections,
		Journal: s.journal, Decode: s.decodesAtOnce(), Parking: store, Application: s.application(),
		Tolerance: s.settings.SignatureTolerance, MaxBody: bodyLimit(s.nc.MaxPayload()),
		Logger: s.log.With("component", "ingest"), Registerer: s.registry, Tracer: s.tracer,
	})
	return err
}

// decodesAtOnce reads the events of webhooks for the fold where that gets them from memory; nil: it reads them from NATS.
func (s *Service) decodesAtOnce() func([]byte) (call.Event, error) {
	if s.embedded == nil {
		return nil
	}
	keep := s.settings.secretsKept()
	return func(body []byte) (call.Event, error) { return telnyx.Decode(body, keep...) }
}

// bodyLimit leaves room for the headers of a log entry.
func bodyLimit(maxPayload int64) int64 {
	const headers = 64 << 10
	if maxPayload <= 0 {
		return ingest.DefaultMaxBody // not known
	}
	// Of a small limit a part: ids, signature and other headers take some 1 KiB.
	return min(ingest.DefaultMaxBody, maxPayload-min(headers, maxPayload/4))
}

// Decoder reads the event of a log entry, without the secrets that are not to be kept.
func Decoder(keep []telnyx.Secret) func(call.Entry) (call.Event, error) {
	return func(e call.Entry) (ev call.Event, err error) {
		if e.Event != nil {
			ev = *e.Event
		} else if ev, err = telnyx.Decode(e.Data, keep...); err != nil {
			return ev, err
		}
		ev.Backfill = e.Backfill
		return ev, nil
	}
}

// recall makes an entry of a row of the provider's history; false when it tells of
// no webhook of the leg.
func recall(row []byte, leg call.Ref) (enrich.HistoryEvent, bool) {
	got, err := telnyx.FromHistory(row, leg)
	if err != nil {
		return enrich.HistoryEvent{}, false
	}
	env, err := telnyx.ParseEnvelope(got.Body)
	if err != nil {
		return enrich.HistoryEvent{}, false
	}
	return enrich.HistoryEvent{Exact: got.Exact, Named: got.Named, Entry: call.Entry{
		Topic: call.TopicEvent + env.Type, ID: call.BackfillID(env.Key()), Ref: env.Ref, Backfill: true, Data: got.Body,
	}}, true
}

var _ enrich.Sink = (*publish.Publisher)(nil)

// NATSURL is where subscribers reach NATS, empty when they cannot.
func (s *Service) NATSURL() string {
	if s.embedded != nil {
		return s.embedded.ClientURL()
	}
	return s.nc.ConnectedUrlRedacted()
}

// Story tells what is known about a call; errors are those of story.Sources.
func (s *Service) Story(ctx context.Context, q story.Query) (story.Story, error) {
	return s.sources.Story(ctx, q)
}

// JetStream is the service's own view of NATS, for whoever runs in its process.
func (s *Service) JetStream() jetstream.JetStream { return s.js }

// Layout names the streams and subjects of the service.
func (s *Service) Layout() natsd.Layout { return s.layout }

// WebhookAddr is the address on which webhooks are taken, as it can be dialled from here.
func (s *Service) WebhookAddr() string { return reachable(s.ingest.Addr()) }

// AdminAddr is the address of the admin listener, as it can be dialled from here; empty when there is none.
func (s *Service) AdminAddr() string {
	if a := s.admin.Addr(); a != nil {
		return reachable(a)
	}
	return ""
}

// WebhookURL is where this process receives webhooks, as seen from itself.
func (s *Service) WebhookURL() string {
	return "http://" + reachable(s.ingest.Addr()) + s.settings.Path
}

// reachable turns the address of a listener on all interfaces into one that can be dialled here.
func reachable(a net.Addr) string { return Dialable(a.String()) }

// Announce says what a new user needs next: where webhooks go in and summaries come out.
func (s *Service) Announce(log *slog.Logger) {
	p := s.layout.Prefix
	log.Info("taking webhooks", "listen", s.ingest.Addr().String(), "path", s.settings.Path, "tls", s.settings.TLSCert != "")
	if url := s.ConsoleURL(); url != "" {
		log.Info("console", "url", url)
	}
	args := []any{"nats", s.NATSURL(), "streams", s.layout.Events + " " + s.layout.Calls + " " + s.layout.Parked}
	if s.embedded != nil {
		args = append(args, "data_dir", s.settings.DataDir)
	}
	log.Info("publishing summaries", args...)
	log.Info("subscribe to",
		"legs", p+".leg.completed.>", "sessions", p+".session.completed.>",
		"revisions", p+".leg.amended.> "+p+".session.amended.>", "raw_events", p+".event.>")
}

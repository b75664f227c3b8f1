// Package ingest is the webhook server: one request in, one appended event, one status out.
//
// It serves POST at one path, by default [Path], answers who asks for / by GET or HEAD whether it takes any, and serves
// nothing else. A request is checked (content type, length, signature, age),
// told apart (an event of a call, or input to park), handed to the [Journal] or to the [Parking], and answered:
//
//   - 200 once what was signed is stored, as an event or as parked bytes. No
//     200 is ever sent for something that a restart could lose, but for a
//     TeXML callback, whose answer is its application's.
//   - 503 for everything that may pass (the log cannot be written, too much at
//     once, stopping, a clock that is off), and 408 for a body that broke off:
//     Telnyx sends such a webhook again.
//   - another 4xx only for what can never be accepted: Telnyx drops it.
//
// Every refusal is a problem (RFC 9457, application/problem+json) with a member reason, the same word that counts
// it in legato_webhooks_total. There are no redirects. Neither answers nor metrics nor log lines carry phone
// numbers, client_state, bodies, signatures or keys; ids stand in debug lines only.
//
// Anybody may connect. Connections, their time, headers, bodies and the memory for bodies are bounded, and at a
// bound it is the idle, the slow and the strangers that go, so that a sender with the key is heard: see
// connLimiter. The listener speaks TLS where it is given a certificate.
//
// What was parked can be put back: [Retry] says what it becomes now, by the same decision as for a request.
//
// The package does not know how the log works, what events mean, or what becomes of them.
package ingest

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// Path is where webhooks are received by default.
const Path = "/webhooks/telnyx"

// validPath is a path without anything that a router or a browser reads as more than text.
var validPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)

// ValidPath reports whether webhooks can be received at a path.
func ValidPath(path string) bool { return path != "" && validPath.MatchString(path) }

// Defaults of Config.
const (
	// defaultTolerance is that of Telnyx's own libraries.
	defaultTolerance = 5 * time.Minute
	// DefaultMaxBody is NATS's default max_payload of 1 MiB less 64 KiB for headers.
	DefaultMaxBody = 960 << 10
	// defaultMaxInFlight: 10,000 webhooks/s that each wait 50 ms for their append are 500 in flight.
	defaultMaxInFlight = 512
	// defaultMaxConnections leaves most of the webhooks of defaultMaxInFlight's arithmetic a connection of their
	// own with some time to come and go: 10,000 webhooks/s over 0.4 s. One that waits costs some 20 KiB.
	defaultMaxConnections = 4096
)

// Limits of a connection.
const (
	// readHeaderTimeout and readTimeout: Telnyx gives up after 2 s; who is
	// slower than this is no use, and a slow attacker is soon gone.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// writeTimeout runs from the end of the headers: reading the body, storing it, and some seconds for the answer.
	writeTimeout = readTimeout + storeTimeout + 5*time.Second
	// idleTimeout is longer than the 60 s after which common load balancers
	// close: they must be the ones to close, or they send into a closing connection.
	idleTimeout = 90 * time.Second
	// maxHeaderBytes is many times Telnyx's headers and what proxies add.
	maxHeaderBytes = 16 << 10
)

// Config says what a Server listens on, believes and writes to.
type Config struct {
	// Listen is a TCP address, as ":8080". Port 0 takes a free one.
	Listen string
	// Path is where webhooks are received. Empty: Path.
	Path string
	// Keys are the Telnyx public keys of which any may have signed. Required,
	// but for SkipVerify, with which there must be none.
	Keys []ed25519.PublicKey
	// SkipVerify takes every webhook for genuine: neither signature nor
	// timestamp is looked at, and they may be missing. For tests only.
	SkipVerify bool
	// TLSCert and TLSKey are PEM files of the listener's certificate chain and
	// its key, read again when they change. Empty: plain HTTP.
	TLSCert, TLSKey string
	// Journal stores events. Required.
	Journal Journal
	// Parking stores signed input that is no usable event. Required.
	Parking Parking
	// Decode reads a whole event, for who folds it in this process: it stands in the entry. Nil: nobody does.
	Decode func(body []byte) (call.Event, error)
	// Application answers webhooks in place of Legato. Nil: Legato answers once they are stored.
	Application Application
	// Tolerance is the age, and the skew into the future, that a signature may have. Zero: defaultTolerance.
	Tolerance time.Duration
	// MaxBody is the longest body in bytes. Zero: DefaultMaxBody.
	MaxBody int64
	// MaxInFlight is the number of webhooks that may be verified and stored at
	// once; one more is answered 503. Zero: defaultMaxInFlight.
	MaxInFlight int
	// MaxConnections is the number of connections; at the limit a new one takes the place of one that is idle or
	// slow. It is no more than half the files that the process may open. Zero: defaultMaxConnections.
	MaxConnections int
	// Now is the clock that signatures are held against. Nil: time.Now.
	Now func() time.Time
	// Logger takes a debug line for each request, and warnings at most once a
	// minute for each cause. Nil: nothing is logged.
	Logger *slog.Logger
	// Registerer takes the metrics. Nil: they are counted for nobody.
	Registerer prometheus.Registerer
	// Tracer makes a span of each webhook whose signature is good. Nil: none is made.
	Tracer trace.Tracer
}

// Server receives webhooks. Its life: New binds, Serve answers, Shutdown ends.
type Server struct {
	journal   Journal
	parking   Parking
	decode    func(body []byte) (call.Event, error) // nil: nobody needs the event
	app       Application                           // nil: there is none
	path      string
	verifier  atomic.Pointer[telnyx.Verifier] // nil: everything is taken for genuine
	tolerance time.Duration
	maxBody   int64
	now       func() time.Time
	logger    *slog.Logger
	notices   *notices
	metrics   *metrics
	tracer    trace.Tracer // nil: nothing is traced
	skew      skew
	hour      hour

	listener    net.Listener
	certificate *certificate // nil: plain HTTP
	newcomers   newcomers
	http        *http.Server
	places      chan struct{} // one element for each webhook that is verified and stored
	handling    *drain
}

// New checks the configuration and binds the listener, so that Addr is known and connections wait until Serve is
// called. A Server that is not served is released by Shutdown.
//
// It fails when something required is missing, a number is negative, the
// metrics are registered already, or the address cannot be bound.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		journal:   cfg.Journal,
		parking:   cfg.Parking,
		decode:    cfg.Decode,
		app:       cfg.Application,
		path:      cfg.Path,
		tolerance: cfg.Tolerance,
		maxBody:   cfg.MaxBody,
		now:       cfg.Now,
		logger:    cfg.Logger,
		notices:   newNotices(cfg.Logger),
		tracer:    cfg.Tracer,
		places:    make(chan struct{}, cfg.MaxInFlight),
		handling:  newDrain(),
		hour:      hour{began: cfg.Now()},
	}
	if !cfg.SkipVerify {
		s.verifier.Store(telnyx.NewVerifier(cfg.Keys))
	}
	if err := s.listen(cfg); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(serverNotices{s.notices}, "", 0),
		ConnContext:       withConn,
		ConnState:         s.newcomers.note,
		// "OPTIONS *" is another path like any other.
		DisableGeneralOptionsHandler: true,
	}
	return s, nil
}

// listen binds the listener: sockets, their connections limited, under TLS where it is wanted.
func (s *Server) listen(cfg Config) error {
	if cfg.TLSCert != "" {
		var err error
		if s.certificate, err = newCertificate(cfg.TLSCert, cfg.TLSKey, cfg.Logger); err != nil {
			return fmt.Errorf("ingest: %w", err)
		}
	}
	sockets, err := new(net.ListenConfig).Listen(context.Background(), "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("ingest: listen: %w", err)
	}
	limiter := newConnLimiter(sockets, cfg.MaxConnections, s.evicted)
	if s.metrics, err = newMetrics(cfg.Registerer, limiter.size); err != nil {
		return errors.Join(err, sockets.Close())
	}
	s.listener = limiter
	if s.certificate != nil {
		s.listener = tls.NewListener(limiter, s.certificate.config())
	}
	return nil
}

// evicted counts a connection that was closed to make room for another, and says so.
func (s *Server) evicted(why string) {
	s.metrics.evicted.WithLabelValues(why).Inc()
	s.notices.evicted(time.Now(), why)
}

type connKey struct{}

// withConn puts the connection where the handler finds it.
func withConn(ctx context.Context, served net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, connOf(served))
}

// complete fills in the defaults and reports what is missing or impossible.
func (c *Config) complete() error {
	switch {
	case len(c.Keys) == 0 && !c.SkipVerify:
		return errors.New("ingest: no public key")
	case len(c.Keys) > 0 && c.SkipVerify:
		return errors.New("ingest: a public key is given, and that nothing is to be verified")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("ingest: TLS needs both a certificate and a key")
	case c.Path != "" && !ValidPath(c.Path):
		return errors.New("ingest: the path has to begin with a slash, and to have letters, digits and ._~- between its slashes")
	case c.Journal == nil:
		return errors.New("ingest: no journal")
	case c.Parking == nil:
		return errors.New("ingest: no parking")
	case c.Tolerance < 0 || c.MaxBody < 0 || c.MaxInFlight < 0 || c.MaxConnections < 0:
		return errors.New("ingest: tolerance, body, in-flight and connection limits cannot be negative")
	}
	if err := checkKeys(c.Keys); err != nil {
		return err
	}
	c.Path = cmp.Or(c.Path, Path)
	c.Tolerance = cmp.Or(c.Tolerance, defaultTolerance)
	c.MaxBody = cmp.Or(c.MaxBody, DefaultMaxBody)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, defaultMaxInFlight)
	// The log needs files too, and without any left nobody could be let in or sent away.
	c.MaxConnections = max(1, min(cmp.Or(c.MaxConnections, defaultMaxConnections), openFiles()/2))
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Registerer = cmp.Or[prometheus.Registerer](c.Registerer, prometheus.NewRegistry())
	return nil
}

func checkKeys(keys []ed25519.PublicKey) error {
	for i, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("ingest: public key %d has %d bytes, not %d", i+1, len(key), ed25519.PublicKeySize)
		}
	}
	return nil
}

// SetKeys makes later webhooks be checked with other keys. It fails when there is none, or one that is none, and
// where nothing is checked; then all stays as it is.
func (s *Server) SetKeys(keys []ed25519.PublicKey) error {
	if len(keys) == 0 || s.verifier.Load() == nil {
		return errors.New("ingest: no public key, or nothing that is checked with one")
	}
	if err := checkKeys(keys); err != nil {
		return err
	}
	s.verifier.Store(telnyx.NewVerifier(keys))
	return nil
}

// RereadCertificate looks at the files of the certificate at once, where there are any.
func (s *Server) RereadCertificate() {
	if s.certificate != nil {
		s.certificate.reread()
	}
}

// routes returns the handler of every request.
func (s *Server) routes() http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	e.HTTPErrorHandler = answerProblem
	e.Use(s.probe, s.observe, s.elsewhere)
	e.POST(s.path, s.receive)
	// Echo would answer OPTIONS by itself, with 204.
	e.OPTIONS(s.path, func(echo.Context) error { return refuse(resultMethod, nil) })
	return e
}

// Addr returns the address that the listener is bound to.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers requests until Shutdown is called; then it returns nil at once, while Shutdown still waits for the
// requests in flight. It fails when the listener does. It is called once.
func (s *Server) Serve() error {
	err := s.http.Serve(s.listener)
	if errors.Is(err, http.ErrServerClosed) || s.handling.isClosed() {
		return nil
	}
	return fmt.Errorf("ingest: serve: %w", err)
}

// Shutdown stops accepting connections, lets requests in flight finish, and answers 503 to those that come
// meanwhile on open connections. It returns when the last one in flight is answered; connections that never sent
// anything are closed then. When ctx is done before that, it closes what is left and returns an error that wraps ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.handling.close()
	closeErr := unlessClosed(s.listener.Close())
	s.http.SetKeepAlivesEnabled(false)
	err := s.handling.wait(ctx)
	if err == nil {
		// The HTTP server by itself waits for them for 5 s.
		s.newcomers.close(func(c *conn) bool { return !c.heard.Load() })
		slow := time.AfterFunc(newcomerPatience, func() { s.newcomers.close(func(*conn) bool { return true }) })
		err = unlessClosed(s.http.Shutdown(ctx))
		slow.Stop()
	}
	if err != nil {
		err = fmt.Errorf("ingest: shut down: %w", errors.Join(err, s.http.Close()))
	}
	return errors.Join(err, closeErr)
}

// unlessClosed passes over the error of closing the listener a second time:
// Serve, Shutdown and the HTTP server each close it, and whoever is first counts.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// enter takes a place among the webhooks that are verified and stored, and reports whether there was one.
func (s *Server) enter() bool {
	select {
	case s.places <- struct{}{}:
		return true
	default:
		return false
	}
}

// leave gives the place back.
func (s *Server) leave() { <-s.places }

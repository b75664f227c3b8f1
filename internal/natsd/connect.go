package natsd

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/synadia-io/orbit.go/natscontext"
	"golang.org/x/time/rate"
)

// ConnectConfig says how to reach NATS outside the process.
type ConnectConfig struct {
	// URLs are the servers: nats://, tls://, ws:// or wss://, with user:password or
	// a token where the server wants them; without a scheme, nats://. Required, unless Context says where.
	URLs []string
	// Context is the name of a context of the nats command-line client, or the path of its file: it says where to connect
	// and how to log in. Empty: the other fields do.
	Context string
	// Auth is a user and password, or a token, beside the URLs. At most one of
	// Auth, Creds, Nkey and what stands in the URLs is given.
	Auth Auth
	// Creds is the path of a credentials file. Empty: none.
	Creds string
	// Nkey is the path of a file that holds the seed of a user's nkey. Empty: none.
	Nkey string
	// CA is the path of the certificates, in PEM, of which one must have signed the server's. Empty: the system's.
	// Cert and Key are the paths of the client's own certificate and its key. Any of them makes TLS a must. All are
	// read again at each reconnect.
	CA, Cert, Key string
	// TLSFirst begins with TLS, for a server that says nothing before (handshake_first). It makes TLS a must.
	TLSFirst bool
	// Domain is the domain of JetStream that the streams are in. Empty: the one that the server itself uses.
	Domain string
	// Name appears in the server's connection list.
	Name string
	// Waiting is called with each attempt to connect that failed and will be made
	// again, with an error without secrets. Nil: nobody asks.
	Waiting func(error)
	// Refused is told of each operation that the user may not do, with its subject; from a goroutine of the
	// connection. Nil: nobody asks.
	Refused func(error)
	// Logger receives disconnects, reconnects and asynchronous errors. Nil: discarded.
	Logger *slog.Logger
}

// Pauses between attempts to connect for the first time; they double, with jitter.
const (
	connectFirstPause = 250 * time.Millisecond
	connectMaxPause   = 5 * time.Second
	// warnEvery is how often a wait that goes on is logged.
	warnEvery = time.Minute
)

// Connect connects to NATS and its JetStream, and keeps trying until ctx ends when no server is reachable: services are started in any
// order. It fails at once when trying again cannot help: a URL that is none, a credentials file that cannot be
// read, a server that refuses them. It logs the first failed attempt, and then one a minute. Once connected, the
// connection reconnects forever by itself. No error contains a password, a token or the content of the file.
func Connect(ctx context.Context, cfg ConnectConfig) (*nats.Conn, jetstream.JetStream, error) {
	log := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	way, err := cfg.way(log)
	if err != nil {
		return nil, nil, err
	}
	warned := rate.Sometimes{Interval: warnEvery}
	pauses := Pauses(connectFirstPause, connectMaxPause)
	for {
		nc, js, err := way.dial()
		if err == nil {
			log.Info("connected to NATS", slog.String("server", nc.ConnectedServerName()),
				slog.String("version", nc.ConnectedServerVersion()))
			return nc, js, nil
		}
		err = scrub(err, way.secrets)
		if !worthRetrying(err) {
			return nil, nil, fmt.Errorf("connect to NATS at %s: %w", way.where, err)
		}
		warned.Do(func() {
			log.Warn("NATS is not reachable, trying again", slog.String("url", way.where), slog.Any("error", err))
		})
		if cfg.Waiting != nil {
			cfg.Waiting(fmt.Errorf("connect to NATS at %s: %w", way.where, err))
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("connect to NATS at %s: %w (last: %w)", way.where, ctx.Err(), err)
		case <-time.After(pauses.NextBackOff()):
		}
	}
}

// Pauses returns pauses that double from the first to a longest one, with jitter: replicas that failed together
// do not try again together.
func Pauses(first, longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: longest, Multiplier: 2, RandomizationFactor: 0.5}
}

// way is how a connection is made.
type way struct {
	// where is the server for people, without secrets.
	where string
	// secrets are to be kept out of errors.
	secrets []string
	dial    func() (*nats.Conn, jetstream.JetStream, error)
}

// way fails as options and inspectURLs do.
func (cfg ConnectConfig) way(log *slog.Logger) (w way, err error) {
	if cfg.Context != "" {
		return cfg.wayOfContext(log)
	}
	if w.where, w.secrets, err = inspectURLs(cfg.URLs); err != nil {
		return w, err
	}
	opts, err := cfg.options(log, len(w.secrets) > 0)
	if err != nil {
		return w, err
	}
	w.secrets = append(w.secrets, cfg.Auth.Password, cfg.Auth.Token)
	w.dial = func() (*nats.Conn, jetstream.JetStream, error) {
		nc, err := nats.Connect(strings.Join(cfg.URLs, ","), opts...)
		if err != nil {
			return nil, nil, err
		}
		return withJetStream(nc, cfg.Domain, "")
	}
	return w, nil
}

// withJetStream returns a connection with the JetStream of a domain, or that of a prefix of its API; the server's own
// where both are empty. It closes the connection when it fails.
func withJetStream(nc *nats.Conn, domain, prefix string) (*nats.Conn, jetstream.JetStream, error) {
	var js jetstream.JetStream
	var err error
	switch {
	case prefix != "":
		js, err = jetstream.NewWithAPIPrefix(nc, prefix)
	case domain != "":
		js, err = jetstream.NewWithDomain(nc, domain)
	default:
		js, err = jetstream.New(nc)
	}
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use JetStream: %w", err)
	}
	return nc, js, nil
}

// options turns the configuration into that of nats.go. It fails on files that
// cannot be used and on contradictions, by their name and never by their content.
func (cfg ConnectConfig) options(log *slog.Logger, authInURL bool) ([]nats.Option, error) {
	if err := cfg.Auth.check(); err != nil {
		return nil, err
	}
	ways := []bool{authInURL, cfg.Auth != (Auth{}), cfg.Creds != "", cfg.Nkey != ""}
	if first := slices.Index(ways, true); first >= 0 && slices.Contains(ways[first+1:], true) {
		return nil, errors.New("more than one way to log in to NATS is given: a URL with a password, a user, a token, a credentials file and an nkey exclude each other")
	}
	opts := append(connOptions(cfg.Name, log, cfg.Refused), cfg.Auth.options()...)
	if cfg.Creds != "" {
		if err := checkCreds(cfg.Creds); err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	if cfg.Nkey != "" {
		nkey, err := nats.NkeyOptionFromSeed(cfg.Nkey)
		if unread, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, fmt.Errorf("NATS nkey file: %w", unread)
		}
		if err != nil {
			return nil, fmt.Errorf("NATS nkey file %s holds no seed of a user", cfg.Nkey)
		}
		opts = append(opts, nkey)
	}
	return cfg.tlsOptions(opts)
}

// tlsOptions appends those of TLS.
func (cfg ConnectConfig) tlsOptions(opts []nats.Option) ([]nats.Option, error) {
	if (cfg.Cert == "") != (cfg.Key == "") {
		return nil, errors.New("a client certificate for NATS needs both a certificate and a key file")
	}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("NATS CA file: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("NATS CA file %s holds no certificate", cfg.CA)
		}
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		if _, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key); err != nil {
			return nil, fmt.Errorf("NATS client certificate %s with key %s: %w", cfg.Cert, cfg.Key, err)
		}
		opts = append(opts, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	if cfg.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return opts, nil
}

// checkCreds fails when the file holds no credentials. nats.go reads it at each
// handshake, where a broken one looks like trouble with the connection.
func checkCreds(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("NATS credentials file: %w", err)
	}
	if _, err := nkeys.ParseDecoratedJWT(content); err != nil {
		return fmt.Errorf("NATS credentials file %s holds no user JWT", path)
	}
	key, err := nkeys.ParseDecoratedNKey(content)
	if err != nil {
		return fmt.Errorf("NATS credentials file %s holds no user key", path)
	}
	key.Wipe()
	return nil
}

// worthRetrying reports whether a first connect may succeed later without anybody changing the configuration.
func worthRetrying(err error) bool {
	final := []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
		nats.ErrNkeysNotSupported, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted, errContext,
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return !untrusted && !isAny(err, final)
}

// inspectURLs returns the servers without their secrets, for people, and the secrets, to be kept out of errors. Its
// own errors name a URL by its place only: one that cannot be parsed cannot be stripped of its password either.
func inspectURLs(urls []string) (where string, secrets []string, err error) {
	if len(urls) == 0 {
		return "", nil, errors.New("connect to NATS: no URL given")
	}
	hosts := make([]string, len(urls))
	for i, text := range urls {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return "", nil, fmt.Errorf("connect to NATS: URL %d of %d is not of the form nats://host:port", i+1, len(urls))
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", nil, fmt.Errorf("connect to NATS: URL %d of %d has scheme %q, want nats, tls, ws or wss", i+1, len(urls), u.Scheme)
		}
		hosts[i] = u.Scheme + "://" + u.Host
		if password, ok := u.User.Password(); ok {
			secrets = append(secrets, password, url.QueryEscape(password), url.PathEscape(password))
		} else if user := u.User.Username(); user != "" {
			// A user without a password is a token.
			secrets = append(secrets, user, url.QueryEscape(user), url.PathEscape(user))
		}
	}
	return strings.Join(hosts, ","), secrets, nil
}

// scrubbed is an error whose text lost its secrets; errors.Is still sees the cause.
type scrubbed struct {
	text  string
	cause error
}

func (e *scrubbed) Error() string { return e.text }
func (e *scrubbed) Unwrap() error { return e.cause }

func scrub(err error, secrets []string) error {
	text := err.Error()
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	if text == err.Error() {
		return err
	}
	return &scrubbed{text: text, cause: err}
}

// connOptions are what every connection of Legato has in common. refused may be nil.
func connOptions(name string, log *slog.Logger, refused func(error)) []nats.Option {
	faults := asyncErrors{log: log, refused: refused, said: make(map[string]*rate.Sometimes)}
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(2 * time.Second),
		nats.MaxReconnects(-1),
		// A server that refuses the login has perhaps not read its users yet, or the
		// credentials are about to be replaced; by itself the client would give up for good.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		// While disconnected a publish fails at once instead of being kept: a webhook
		// whose append waits in a buffer would be answered too late or not stored at all.
		nats.ReconnectBufSize(-1),
		// A server that died without closing its sockets is noticed within 2 × 5 s.
		// A socket that takes nothing would otherwise hold the connection's lock for a minute.
		nats.FlusherTimeout(2 * time.Second),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // Nil: closed by us.
				log.Warn("disconnected from NATS", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("reconnected to NATS", slog.String("server", nc.ConnectedServerName()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { faults.handle(sub, err) }),
	}
}

// codeNoPeers: too few servers of the cluster are up for the replicas that are wanted.
const codeNoPeers jetstream.ErrorCode = 10005

// Transient reports whether an exchange with NATS failed for what ends without anybody changing the configuration:
// a server that is away, a cluster without a quorum. It is false for the rest: JetStream that is not enabled, an
// account's limits, permissions, streams that are not as wanted.
func Transient(err error) bool {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == http.StatusServiceUnavailable || api.ErrorCode == codeNoPeers
	}
	return isAny(err, []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrStaleConnection,
	})
}

func isAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// Where names servers for people, without their secrets; empty when a URL is none.
func Where(urls []string) string {
	where, _, err := inspectURLs(urls)
	if err != nil {
		return ""
	}
	return where
}

// errContext is wrapped by errors of a context that no other attempt would help.
var errContext = errors.New("it cannot be used")

// wayOfContext fails when the context is not the only thing that says where to connect.
func (cfg ConnectConfig) wayOfContext(log *slog.Logger) (way, error) {
	w := way{where: "context " + cfg.Context}
	if len(cfg.URLs) > 0 || cfg.Auth != (Auth{}) || cfg.Creds+cfg.Nkey+cfg.CA+cfg.Cert+cfg.Key+cfg.Domain != "" || cfg.TLSFirst {
		return w, errors.New("a context says where NATS is and how to log in: leave out what else does")
	}
	w.dial = func() (*nats.Conn, jetstream.JetStream, error) {
		nc, settings, err := natscontext.Connect(cfg.Context, connOptions(cfg.Name, log, cfg.Refused)...)
		if err == nil {
			return withJetStream(nc, settings.JSDomain, settings.JSAPIPrefix)
		}
		// An error of a URL counts as one of the network, and repeats what stands in the URL.
		if _, ok := errors.AsType[*url.Error](err); ok {
			err = errors.New("its URL is none")
		}
		if !passing(err) {
			err = fmt.Errorf("%w: %w", err, errContext)
		}
		return nil, nil, err
	}
	return w, nil
}

// passing reports whether an error is of the network, and not of the context or the login.
func passing(err error) bool {
	var network net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network)
}

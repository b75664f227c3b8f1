// Package console is the pages that people look at calls with: one call with its ladder, finding one, the last ones,
// the live ones, what is parked, and how the service does.
//
// In goes what the service knows (Config); out comes HTML, on a listener of its own. It guarantees that numbers,
// names, texts and addresses of recordings are masked unless a user who may see them asks for it, of which it logs a
// line; that nobody beyond loopback gets in without a login; that what a caller or a sender wrote is text on a page
// and never markup; and that everything it reads is bounded, whoever looks.
//
// It decides nothing about calls. It makes three things happen, each only when somebody posts a form: what is parked
// is put back, an event is forwarded once more, a test call is sent.
package console

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish/forward"
)

// Config is what a console needs. Without a comment on it a field is required.
type Config struct {
	// Listen is the address of the listener. Beyond loopback it needs a login.
	Listen string
	Access
	// TraceURL is the address of a trace, with {trace} for its id. Empty: traces are named, and lead nowhere.
	TraceURL string
	// Sources are where a call is read, with the live table.
	Sources *story.Sources
	// JetStream and Layout are where summaries stand.
	JetStream jetstream.JetStream
	Layout    natsd.Layout
	// Forwarding knows how far applications are. Nil: there is nobody to forward to.
	Forwarding *forward.Desk
	// PutBack puts a parked message back, or on a dry run says what would become of it, and whether it has left what is
	// parked. Its error means that no other need be tried.
	PutBack func(ctx context.Context, seq uint64, dryRun bool) (outcome string, left bool, err error)
	// Health and Webhooks tell of this process, Check looks at what it depends on.
	Health   func(ctx context.Context) Health
	Webhooks func() Webhooks
	Check    func(ctx context.Context) []Finding
	// TestCall sends a test call, and returns its session. Nil: that is not allowed.
	TestCall func(ctx context.Context) (session string, err error)
	// Quick bounds the search of the log for a page that is shown at once, and then completed; 0: 60 ms.
	Quick time.Duration
	// Logger takes a line each time that somebody sees what is masked, or makes something happen.
	Logger *slog.Logger
}

// Bounds of what readers may use at once.
const (
	// maxReads bounds the pages that are being made, beside each other; more wait.
	maxReads = 8
	// maxStreams bounds the pages that are kept up to date.
	maxStreams = 64
	// maxForm is the longest form, and formWithin how long it may take to arrive.
	maxForm    = 64 << 10
	formWithin = 10 * time.Second
	// readWithin bounds the making of one page.
	readWithin = 15 * time.Second
)

//go:embed pages assets
var files embed.FS

// Console serves the pages. Its life: New binds, Serve answers, Shutdown ends.
type Console struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	server   *http.Server
	pages    map[string]*template.Template // by the name of the page
	reads    chan struct{}
	streams  chan struct{}
	files    chan struct{} // one element while a file is made
	follower *follower
	recent   *recent
	outcomes *outcomes
	index    *index
	searches searches
	// liveDrawn are the live legs as all readers see them.
	liveDrawn shared

	// stopping ends what lasts: streams and searches.
	stopping context.Context //nolint:containedctx // it is the server's life, and no request's
	stop     context.CancelFunc
}

// New checks the configuration and binds the listener, so that Addr is known. It fails with ErrOpen, when a login is
// incomplete, and when the address cannot be bound.
func New(ctx context.Context, cfg Config) (*Console, error) {
	cfg.Quick = cmp.Or(cfg.Quick, quickScan)
	if err := cfg.Access.Check(cfg.Listen); err != nil {
		return nil, err
	}
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the console: %w", err)
	}
	c := &Console{
		cfg: cfg, log: cfg.Logger, listener: listener, pages: pages,
		reads: make(chan struct{}, maxReads), streams: make(chan struct{}, maxStreams), files: make(chan struct{}, 1),
	}
	c.stopping, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.follower = &follower{life: c.stopping, js: cfg.JetStream, stream: cfg.Layout.Calls, log: cfg.Logger, now: make(chan struct{}, 1)}
	c.recent, c.outcomes, c.index = c.newRecent(), c.newOutcomes(), c.newIndex()
	c.server = &http.Server{
		Handler: c.handler(),
		// There is no ReadTimeout and no WriteTimeout: they would end every stream. guard bounds the reading of forms, and
		// whoever writes bounds that.
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return c, nil
}

// Addr is where it listens.
func (c *Console) Addr() net.Addr { return c.listener.Addr() }

// Serve answers until Shutdown. Its error is why it ended otherwise.
func (c *Console) Serve() error {
	if err := c.server.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the console: %w", err)
	}
	return nil
}

// Shutdown ends streams and searches, and waits for the pages that are being made.
func (c *Console) Shutdown(ctx context.Context) error {
	c.stop()
	err := c.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, c.server.Close())
	}
	if err := c.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) { // it was not served
		return err
	}
	c.follower.wait()
	c.searches.wg.Wait()
	return err
}

func (c *Console) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page(c.showRecent))
	mux.HandleFunc("GET /stream/calls", c.streamRecent)
	mux.HandleFunc("GET /calls/{session}", c.page(c.showCall))
	mux.HandleFunc("POST /calls/{session}", c.page(c.showCall))
	mux.HandleFunc("GET /calls/{session}/entries/{seq}", c.page(c.showEntry))
	mux.HandleFunc("POST /calls/{session}/entries/{seq}", c.page(c.showEntry))
	mux.HandleFunc("GET /calls/{session}/revisions/{seq}", c.page(c.showRevision))
	mux.HandleFunc("POST /calls/{session}/revisions/{seq}", c.page(c.showRevision))
	mux.HandleFunc("GET /find", c.page(c.showFind))
	mux.HandleFunc("POST /find", c.page(c.find))
	mux.HandleFunc("GET /find/{token}", c.page(c.showSearch))
	mux.HandleFunc("POST /find/{token}/cancel", c.page(c.cancelSearch))
	mux.HandleFunc("GET /live", c.page(c.showLive))
	mux.HandleFunc("GET /stream/live", c.streamLive)
	mux.HandleFunc("GET /parked", c.page(c.showParked))
	mux.HandleFunc("POST /parked/retry", c.page(c.retryParked))
	mux.HandleFunc("GET /parked/{seq}", c.page(c.showParkedBody))
	mux.HandleFunc("POST /parked/{seq}", c.page(c.showParkedBody))
	mux.HandleFunc("GET /forward", c.page(c.showForward))
	mux.HandleFunc("POST /forward/retry", c.page(c.retryForward))
	mux.HandleFunc("GET /webhooks", c.page(c.showWebhooks))
	mux.HandleFunc("POST /webhooks/check", c.page(c.check))
	mux.HandleFunc("POST /webhooks/test", c.page(c.sendTest))
	mux.HandleFunc("GET /outcomes", c.page(c.showOutcomes))
	mux.HandleFunc("GET /outcomes/data", c.outcomesData)
	mux.HandleFunc("GET /health", c.page(c.showHealth))
	mux.HandleFunc("POST /download", c.download)
	mux.Handle("GET /assets/", http.HandlerFunc(c.asset))
	return c.guard(http.NewCrossOriginProtection().Handler(mux))
}

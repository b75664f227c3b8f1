// Package natsd is where Legato meets NATS: it runs one nats-server inside the process or connects to a cluster
// outside, and sees to the three streams that a deployment lives on, or four where it forwards.
//
// In go addresses, a data directory, a subject prefix and limits; out come a
// *nats.Conn and a [Layout] of stream and subject names that exist as wanted.
//
// What it guarantees:
//   - An embedded server acknowledges a message when it has written it, and syncs it within [SyncedAfter]. What it has lost
//     with the power it does not count as deleted: the next message has the first sequence that is free. It has its data
//     directory to itself, and does not listen beyond loopback unless it asks its clients for a login.
//   - A connection never buffers a publish while it is disconnected: what is not
//     sent fails at once, and the caller decides.
//   - [Manage] never takes over a stream that is not Legato's, never lowers a
//     replica count, and leaves alone what Legato does not depend on.
//   - A server that is away is waited for; [Transient] tells what else is worth waiting for.
//   - No error and no log line shows a password, a token, or what is in a file of secrets.
//
// It does not know what is in a message.
package natsd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// EmbeddedVersion is the version of the nats-server that is built in.
const EmbeddedVersion = server.VERSION

// Config says how to run the embedded server.
type Config struct {
	// DataDir is where the streams are stored; it is made when it is not there.
	// One server at a time: Start fails when another process holds it. Required.
	DataDir string
	// Listen is the host:port on which subscribers outside the process connect. Port 0 picks a free one, which
	// ClientURL tells. Empty: nowhere; only Connect reaches the server.
	Listen string
	// Auth is what every client must show, the process's own included, which
	// Connect sees to. None: everybody is let in, and Listen must be loopback.
	Auth Auth
	// Own are subjects on which no client outside the process may publish, as those of a log that is copied in order.
	Own []string
	// Logger receives the server's log, warnings and errors as such, its notices as debug. Nil: discarded.
	Logger *slog.Logger
}

// Server is a running embedded nats-server.
type Server struct {
	nats   *server.Server
	dir    string
	listen string
	auth   Auth
	lock   *dirLock
	log    *slog.Logger

	stop    sync.Once
	stopped chan struct{}
	stopErr error // Set before stopped is closed.
}

// serverName is how the embedded server names itself in its own log and in
// connection information. Stream storage on a single server does not depend on it.
const serverName = "legato"

const (
	// syncEvery is how often the embedded server syncs what it has stored. Were it a second, nats-server's timer could
	// run while a store that takes long is still being opened, which its race detector sees.
	syncEvery = 10 * time.Second
	// SyncedAfter is how long after its acknowledgement a message is surely synced: a round begins syncEvery after the
	// one before has ended, and may take long on a slow disk.
	SyncedAfter = 2*syncEvery + 5*time.Second
	// readyTimeout bounds the wait for the server to accept connections after the streams are recovered.
	readyTimeout = 10 * time.Second
)

// Start runs an embedded nats-server with JetStream and returns when it accepts connections, its streams recovered.
// It fails when Listen is no address, is taken, or is open to everybody ([ErrOpen]), when the data directory cannot
// be written or is held by another process ([ErrDirInUse]), and when the server does not get ready.
func Start(cfg Config) (*Server, error) {
	log := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	opts, err := serverOptions(cfg)
	if err != nil {
		return nil, err
	}
	if err := prepareDir(opts.StoreDir); err != nil {
		return nil, err
	}
	lock, err := lockDir(opts.StoreDir)
	if err != nil {
		return nil, err
	}
	ns, err := startServer(opts, cfg, log)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return &Server{nats: ns, dir: opts.StoreDir, listen: cfg.Listen, auth: cfg.Auth, lock: lock, log: log, stopped: make(chan struct{})}, nil
}

func serverOptions(cfg Config) (*server.Options, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("start embedded NATS: no data directory given")
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: data directory %q: %w", cfg.DataDir, err)
	}
	opts := &server.Options{
		ServerName: serverName,
		NoSigs:     true, // Signals are the command's.
		JetStream:  true,
		StoreDir:   dir,
		// Webhooks are answered on the strength of the log, which is not here: what is here can be made again from it
		// for long enough.
		SyncInterval: syncEvery,
		// The streams' own limits bound the disk. A server-wide limit would also refuse every later change of a
		// stream once the disk has become smaller than what was reserved before.
		JetStreamMaxStore: math.MaxInt64,
		DontListen:        cfg.Listen == "",
	}
	if err := cfg.Auth.check(); err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	if cfg.Auth != (Auth{}) || len(cfg.Own) > 0 {
		opts.CustomClientAuthentication = gate{cfg.Auth, cfg.Own}
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: listen address %q is not host:port: %w", cfg.Listen, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: listen address %q: %q is not a port number", cfg.Listen, portText)
	}
	if cfg.Auth == (Auth{}) && !loopback(host) {
		return nil, fmt.Errorf("start embedded NATS: listen address %q: %w", cfg.Listen, ErrOpen)
	}
	opts.Host, opts.Port = host, int(port)
	if port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// prepareDir makes the directory and proves that it can be written to, since the
// server's own message for that names neither the directory nor the user's remedy.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make NATS data directory: %w", err)
	}
	return probeWrite(dir)
}

// probeWrite proves that files can be made in dir.
func probeWrite(dir string) error {
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("NATS data directory %s is not writable: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// probeAddress fails when the address cannot be listened on. The server would
// say so only after it has recovered its streams, which can take minutes, and as text.
func probeAddress(addr string) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for NATS clients on %s: %w", addr, err)
	}
	return l.Close()
}

func startServer(opts *server.Options, cfg Config, log *slog.Logger) (*server.Server, error) {
	if !opts.DontListen && opts.Port > 0 {
		if err := probeAddress(cfg.Listen); err != nil {
			return nil, err
		}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("make embedded NATS in %s: %w", opts.StoreDir, err)
	}
	dropped, err := dropIndexes(opts.StoreDir)
	if err != nil {
		return nil, err
	}
	if dropped > 0 {
		log.Info("NATS was not stopped in order: what it noted of its streams is made again from all their messages", "streams", dropped)
	}
	bridge := &logBridge{log: log}
	ns.SetLoggerV2(bridge, false, false, false)
	ns.Start()

	// A fatal error leaves a half-started server that would never get ready.
	fatal := bridge.fatal()
	if fatal == "" && ns.ReadyForConnections(readyTimeout) {
		return ns, nil
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	if fatal = bridge.fatal(); fatal != "" {
		return nil, fmt.Errorf("start embedded NATS in %s: %s", opts.StoreDir, fatal)
	}
	return nil, fmt.Errorf("start embedded NATS in %s: not ready for connections after %s", opts.StoreDir, readyTimeout)
}

// ClientURL returns the URL under which clients on this machine reach the server, empty when it does not listen.
func (s *Server) ClientURL() string {
	if s.listen == "" {
		return ""
	}
	addr, ok := s.nats.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP.String()
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// Connect returns a connection that does not leave the process. The caller
// closes it before Shutdown. name appears in the server's connection list.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	opts := append(connOptions(name, s.log, nil), nats.InProcessServer(s.nats))
	opts = append(opts, s.auth.options()...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS: %w", err)
	}
	return nc, nil
}

// Sync syncs what the server has stored of a stream and acknowledged; of the empty name, everything. It is for what is
// promised to be on the disk and stored seldom.
func (s *Server) Sync(stream string) error {
	dir := s.nats.StoreDir()
	if stream != "" {
		dir = filepath.Join(dir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream, "msgs")
	}
	return syncBelow(dir, time.Time{})
}

// syncBelow syncs what lies below a directory and was written since then.
func syncBelow(dir string, since time.Time) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.Type().IsRegular() || d.IsDir()) {
			err = syncIfNewer(path, d, since)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removes files as it goes
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sync what NATS has stored: %w", err)
	}
	return nil
}

func syncIfNewer(path string, d fs.DirEntry, since time.Time) error {
	info, err := d.Info()
	if err != nil || info.ModTime().Before(since) {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Shutdown stops the server, waits until its streams are closed and on the disk, and gives the data directory free. When
// ctx ends first it returns ctx's error and the directory stays held until the stop is complete or the process ends. A
// second call waits for the same stop.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() {
		go func() {
			defer close(s.stopped)
			works := s.nats.JetStreamEnabled() // it ends where the disk cannot be written
			s.nats.Shutdown()
			s.nats.WaitForShutdown()
			if works {
				s.stoppedInOrder()
			}
			s.stopErr = s.lock.release()
		}()
	})
	select {
	case <-s.stopped:
		return s.stopErr
	case <-ctx.Done():
		return fmt.Errorf("stop embedded NATS: %w", ctx.Err())
	}
}

// stoppedInOrder has the next start go by what the server has noted of its streams.
func (s *Server) stoppedInOrder() {
	// What was written before that the server has synced itself: to sync each file would take longer than a stop may.
	err := syncBelow(filepath.Join(s.dir, server.JetStreamStoreDir), time.Now().Add(-SyncedAfter))
	if err == nil {
		err = markStopped(s.dir)
	}
	if err != nil {
		s.log.Warn("NATS was stopped, and what it has stored may not be on the disk: the next start reads all of it", "error", err)
	}
}

// logBridge hands the server's log to slog. The server's own logger ends the
// process on a fatal error; this one remembers it, so that Start can return it.
type logBridge struct {
	log *slog.Logger

	mu        sync.Mutex
	fatalText string
}

var _ server.Logger = (*logBridge)(nil)

func (b *logBridge) fatal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatalText
}

// Fatalf records the first fatal error of a start.
func (b *logBridge) Fatalf(format string, v ...any) {
	b.mu.Lock()
	if b.fatalText == "" {
		b.fatalText = fmt.Sprintf(format, v...)
	}
	b.mu.Unlock()
	b.write(slog.LevelError, format, v)
}

// Errorf logs an error.
func (b *logBridge) Errorf(format string, v ...any) { b.write(slog.LevelError, format, v) }

// Warnf logs a warning.
func (b *logBridge) Warnf(format string, v ...any) { b.write(slog.LevelWarn, format, v) }

// Noticef logs a notice as debug: the server has some thirty a start, for its operator rather than ours.
func (b *logBridge) Noticef(format string, v ...any) { b.write(slog.LevelDebug, format, v) }

// Debugf is never called: the server runs without debugging.
func (b *logBridge) Debugf(format string, v ...any) { b.write(slog.LevelDebug, format, v) }

// Tracef is never called: a trace holds whole messages, which must not be logged.
func (b *logBridge) Tracef(string, ...any) {}

func (b *logBridge) write(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if !b.log.Enabled(ctx, level) {
		return
	}
	b.log.Log(ctx, level, "nats-server", slog.String("detail", fmt.Sprintf(format, v...)))
}

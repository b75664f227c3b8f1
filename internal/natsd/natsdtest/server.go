// Package natsdtest gives tests a real NATS: an embedded server on a directory
// of its own with the streams of a deployment, or a cluster of three, stopped when the test ends.
package natsdtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// Server is an embedded server of a test, and a connection to it.
type Server struct {
	// Layout names the streams.
	Layout natsd.Layout
	// Conn is a connection inside the process, and JS its JetStream. Restart replaces them.
	Conn *nats.Conn
	JS   jetstream.JetStream

	tb     testing.TB
	cfg    natsd.Config
	nats   *natsd.Server
	opened []*nats.Conn
}

// Option changes what Run starts.
type Option func(*settings)

type settings struct {
	prefix  string
	limits  natsd.Limits
	streams bool
	config  natsd.Config
}

// WithPrefix sets the subject prefix instead of "calls".
func WithPrefix(prefix string) Option { return func(s *settings) { s.prefix = prefix } }

// WithLimits sets the streams' limits instead of the defaults.
func WithLimits(l natsd.Limits) Option { return func(s *settings) { s.limits = l } }

// WithoutStreams leaves the server empty.
func WithoutStreams() Option { return func(s *settings) { s.streams = false } }

// WithDataDir stores in dir instead of a temporary directory.
func WithDataDir(dir string) Option { return func(s *settings) { s.config.DataDir = dir } }

// WithListen makes the server listen, best on "127.0.0.1:0"; URL tells where.
func WithListen(addr string) Option { return func(s *settings) { s.config.Listen = addr } }

// Run starts an embedded server with the streams of a deployment and fails the
// test when it cannot. Everything is closed when the test ends.
func Run(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	set := settings{prefix: natsd.DefaultPrefix, streams: true}
	for _, o := range opts {
		o(&set)
	}
	if set.config.DataDir == "" {
		set.config.DataDir = tb.TempDir()
	}
	layout, err := natsd.NewLayout(set.prefix)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Layout: layout, tb: tb, cfg: set.config}
	tb.Cleanup(s.Stop)
	s.start()
	if set.streams {
		if _, err := natsd.Manage(tb.Context(), s.JS, layout, set.limits); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

func (s *Server) start() {
	s.tb.Helper()
	var err error
	if s.nats, err = natsd.Start(s.cfg); err != nil {
		s.tb.Fatal(err)
	}
	s.Conn, s.JS = s.Dial()
}

// Dial returns a further connection inside the process, closed with the server.
func (s *Server) Dial() (*nats.Conn, jetstream.JetStream) {
	s.tb.Helper()
	nc, err := s.nats.Connect(s.tb.Name())
	if err != nil {
		s.tb.Fatal(err)
	}
	s.opened = append(s.opened, nc)
	return nc, JetStream(s.tb, nc)
}

// JetStream returns the JetStream of a connection.
func JetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// URL returns where the server listens, empty without WithListen.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Stop closes the connections and stops the server. A second Stop does nothing.
func (s *Server) Stop() {
	s.tb.Helper()
	for _, nc := range s.opened {
		closeAndWait(nc)
	}
	s.opened = nil
	if s.nats == nil {
		return
	}
	// Not the test's context: that has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.nats.Shutdown(ctx); err != nil {
		s.tb.Errorf("stop NATS: %v", err)
	}
	s.nats = nil
}

// Restart stops the server and starts it again on the same directory, on
// another port when it listens on a free one. Connections from before are closed.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.start()
}

// closeAndWait closes a connection and waits until its callbacks are done, so
// that a test that looks for leaked goroutines finds none of them.
func closeAndWait(nc *nats.Conn) {
	if nc.IsClosed() {
		return
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	nc.Close()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
	}
}

// RunConfig starts a server of its own with a configuration as nats-server reads it, JetStream's directory and port
// excepted, and returns a connection to it and its URL. Everything is closed when the test ends.
func RunConfig(tb testing.TB, config string) (*nats.Conn, jetstream.JetStream, string) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	opts.Host, opts.Port, opts.JetStream, opts.StoreDir, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, tb.TempDir(), true, true
	s, err := server.NewServer(opts)
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		tb.Fatal("the server does not take connections")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeAndWait(nc) })
	return nc, JetStream(tb, nc), s.ClientURL()
}

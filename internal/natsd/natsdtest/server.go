// Package natsdtest gives tests a real NATS: an embedded server on a directory
// of its own with the streams of a deployment, or a cluster of three, stopped when the test ends.
package natsdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// clusterSize is the least number of servers that survives the loss of one.
const clusterSize = 3

// Cluster is three NATS servers of one process, with the streams of a deployment in three copies.
type Cluster struct {
	// Layout names the streams.
	Layout natsd.Layout
	// Conns are a connection to each server, JS their JetStreams.
	Conns []*nats.Conn
	JS    []jetstream.JetStream

	servers []*server.Server
	options []*server.Options
}

// RunCluster starts a cluster on loopback and fails the test when it is not
// usable within half a minute; two seconds are usual. Everything is closed when the test ends.
func RunCluster(tb testing.TB) *Cluster {
	tb.Helper()
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		tb.Fatal(err)
	}
	// Before the clean-up of the servers: what is registered later is removed earlier.
	dir := tb.TempDir()
	c := &Cluster{Layout: layout}
	tb.Cleanup(c.stop)
	c.start(tb, dir)
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	// The servers elect a leader first; until then each request runs into its own time limit.
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := natsd.Manage(try, c.JS[0], layout, natsd.Limits{Replicas: clusterSize})
		cancel()
		if err == nil {
			return c
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("NATS cluster is not usable: %v", err)
		case <-time.After(50 * time.Millisecond): // Not a guess that it suffices: a pause between tries.
		}
	}
}

func (c *Cluster) start(tb testing.TB, dir string) {
	tb.Helper()
	addrs, err := freeAddrs(clusterSize)
	if err != nil {
		tb.Fatal(err)
	}
	routes := make([]*url.URL, len(addrs))
	for i, a := range addrs {
		routes[i] = &url.URL{Scheme: "nats", Host: a.String()}
	}
	for i, a := range addrs {
		c.options = append(c.options, &server.Options{
			ServerName: fmt.Sprintf("n%d", i),
			// Routes wait for the client listener: with DontListen they never start, nor does a shutdown end.
			Host:       a.IP.String(),
			Port:       server.RANDOM_PORT,
			NoSigs:     true,
			NoLog:      true,
			JetStream:  true,
			StoreDir:   filepath.Join(dir, strconv.Itoa(i)),
			SyncAlways: true,
			Cluster:    server.ClusterOpts{Name: "legato", Host: a.IP.String(), Port: a.Port},
			Routes:     routes,
		})
		c.servers = append(c.servers, nil)
		c.run(tb, i)
	}
	for i, s := range c.servers {
		c.ready(tb, i)
		nc, err := nats.Connect("", nats.InProcessServer(s), nats.ReconnectBufSize(-1))
		if err != nil {
			tb.Fatal(err)
		}
		c.Conns = append(c.Conns, nc)
		c.JS = append(c.JS, JetStream(tb, nc))
	}
}

func (c *Cluster) run(tb testing.TB, i int) {
	tb.Helper()
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		tb.Fatal(err)
	}
	c.servers[i] = s
	s.Start()
}

func (c *Cluster) ready(tb testing.TB, i int) {
	tb.Helper()
	if !c.servers[i].ReadyForConnections(10 * time.Second) {
		tb.Fatalf("NATS server %d of the cluster is not ready", i)
	}
	c.options[i].Port = c.servers[i].Addr().(*net.TCPAddr).Port // it stays its own
}

// URLs are where the servers listen, separated by commas.
func (c *Cluster) URLs() string {
	urls := make([]string, len(c.servers))
	for i, s := range c.servers {
		urls[i] = s.ClientURL()
	}
	return strings.Join(urls, ",")
}

// Restart stops one of the servers and starts it again where it was. Of Conns, that to it is lost.
func (c *Cluster) Restart(tb testing.TB, i int) {
	tb.Helper()
	c.servers[i].Shutdown()
	c.servers[i].WaitForShutdown()
	c.run(tb, i)
	c.ready(tb, i)
}

func (c *Cluster) stop() {
	for _, nc := range c.Conns {
		closeAndWait(nc)
	}
	for _, s := range c.servers {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// freeAddrs returns n free loopback addresses. Servers of a cluster must know
// each other's ports before they start, so these are free only very likely.
func freeAddrs(n int) (addrs []*net.TCPAddr, err error) {
	for range n {
		l, lerr := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if lerr != nil {
			return nil, errors.Join(err, lerr)
		}
		// Held until all are known, so that none is given twice.
		defer func() { err = errors.Join(err, l.Close()) }()
		addrs = append(addrs, l.Addr().(*net.TCPAddr))
	}
	return addrs, err
}

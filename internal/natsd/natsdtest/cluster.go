package natsdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
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

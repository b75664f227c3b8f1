package chaos_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// hosts lays out the processes and where they listen.
func (c *chaos) hosts() {
	c.t.Helper()
	path, err := legatotest.RaceProgram()
	if err != nil {
		c.t.Fatal(err)
	}
	addrs := legatotest.FreeAddrs(c.t, 2*c.setup.nats+3*c.setup.serves+2)
	take := func() string {
		a := addrs[0]
		addrs = addrs[1:]
		return a
	}
	c.targets = []*target{{name: "app", addr: take()}, {name: "crm", addr: take()}}
	c.nats = c.natsHosts(take)
	var urls []string
	for _, h := range c.nats {
		urls = append(urls, h.url)
	}
	for i := range c.setup.serves {
		h := c.host(fmt.Sprintf("serve %d", i), path)
		h.env = append(c.world.Env(), "GORACE=atexit_sleep_ms=100")
		h.webhooks, h.admin = take(), take()
		h.args = append([]string{
			"serve", "--listen=" + h.webhooks, "--admin-listen=" + h.admin,
			"--settle=200ms", "--session-settle=1s", "--status-deadline=3s", "--sweep-after=6s",
			// Its calendar, half a second and two and ten, ends well before a run gives up.
			"--gap-repair-after=500ms",
			"--amend-window=" + c.tempo.amend.String(),
			"--forward=app=http://" + c.targets[0].addr, "--forward=crm=http://" + c.targets[1].addr,
		}, c.setup.flags...)
		if len(urls) > 0 {
			h.args = append(h.args, "--nats-url="+strings.Join(urls, ","))
		} else {
			h.url = take()
			h.args = append(h.args, "--nats-listen="+h.url, "--data-dir="+filepath.Join(c.dir, "legato-data"))
			h.url = "nats://" + h.url
		}
		c.serves = append(c.serves, h)
	}
}

func (c *chaos) host(name, path string) *host {
	h := &host{tb: c.t, name: name, path: path, log: c.file(strings.ReplaceAll(name, " ", "-") + ".log")}
	h.due = time.Now().Add(time.Hour) // until up
	c.t.Cleanup(func() {
		if h.Process != nil && h.condition != hostDown {
			h.crash(time.Now(), 0)
		}
	})
	return h
}

func (c *chaos) natsHosts(take func() string) (hosts []*host) {
	c.t.Helper()
	if c.setup.nats == 0 {
		return nil
	}
	path, err := legatotest.NATSServer()
	if err != nil {
		c.t.Fatal(err)
	}
	config := c.account()
	var routes []string
	for i := range c.setup.nats {
		h := c.host(fmt.Sprintf("nats %d", i), path)
		addr := take()
		_, port, _ := net.SplitHostPort(addr)
		h.url = "nats://" + addr
		h.args = []string{
			"--addr=127.0.0.1", "--port=" + port, "--jetstream", "--store_dir=" + filepath.Join(c.dir, fmt.Sprintf("nats-data-%d", i)),
			fmt.Sprintf("--server_name=n%d", i), "--config=" + config,
		}
		if c.setup.nats > 1 {
			route := "nats://" + take()
			routes = append(routes, route)
			h.args = append(h.args, "--cluster_name=legato", "--cluster="+route)
		}
		hosts = append(hosts, h)
	}
	for _, h := range hosts {
		if len(routes) > 0 {
			h.args = append(h.args, "--routes="+strings.Join(routes, ","))
		}
	}
	return hosts
}

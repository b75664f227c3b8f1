package chaos_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// condition is how a host is.
type condition int

const (
	hostDown     condition = iota // until due, then it is started again
	hostUp                        // it runs
	hostFrozen                    // stopped by SIGSTOP until due
	hostStopping                  // it was sent SIGTERM, by due at the latest it must have ended
)

// host is a place of a program that ends and is started again at the same
// address and on the same data. Only the goroutine of the chaos touches it.
type host struct {
	tb   testing.TB
	name string
	// webhooks, admin and url are where it listens; what it does not have is empty.
	webhooks, admin, url string

	env  []string
	path string
	args []string
	// log receives the log of all its lives.
	log io.Writer

	*legatotest.Process
	condition condition
	due       time.Time
	// since is when its life began; taken when a balancer has taken it off.
	since   time.Time
	removed bool
	// pause is how long it stays away after it has stopped.
	pause time.Duration
	// frozen are the times from when to when it was stopped by SIGSTOP.
	frozen [][2]time.Time
}

func (h *host) start(now time.Time) {
	h.Process = legatotest.Spawn(h.tb, h.log, h.env, h.path, h.args...)
	h.condition, h.since, h.removed = hostUp, now, false
}

// ended reports whether the process has.
func (h *host) ended() bool {
	select {
	case <-h.Done:
		return true
	default:
		return false
	}
}

// bury ends a life in the log and returns what it has logged.
func (h *host) bury(now time.Time, pause time.Duration) string {
	<-h.Done
	text := h.Text()
	_, _ = fmt.Fprintf(h.log, "== %s from %s to %s: %v\n\n", h.name, h.since.Format(time.TimeOnly), now.Format(time.TimeOnly), h.Err)
	h.condition, h.due = hostDown, now.Add(pause)
	h.thawed()
	return text
}

func (h *host) signal(s syscall.Signal) {
	h.tb.Helper()
	if err := h.Cmd.Process.Signal(s); err != nil && !h.ended() {
		h.tb.Errorf("%s: %v: %v", h.name, s, err)
	}
}

// crash kills a process as a failure of its machine would, frozen or not.
func (h *host) crash(now time.Time, pause time.Duration) string {
	h.Kill()
	return h.bury(now, pause)
}

func (h *host) stop(now time.Time, pause time.Duration) {
	h.signal(syscall.SIGTERM)
	h.condition, h.due, h.pause = hostStopping, now.Add(legatotest.Patience), pause
}

func (h *host) freeze(now time.Time, pause time.Duration) {
	h.signal(syscall.SIGSTOP)
	h.condition, h.due = hostFrozen, now.Add(pause)
	h.frozen = append(h.frozen, [2]time.Time{now, {}})
}

func (h *host) thaw() {
	h.signal(syscall.SIGCONT)
	h.condition = hostUp
	h.thawed()
}

// thawed notes that it is frozen no more, if it was.
func (h *host) thawed() {
	if last := len(h.frozen) - 1; last >= 0 && h.frozen[last][1].IsZero() {
		h.frozen[last][1] = time.Now()
	}
}

// frozenBetween is how long it was frozen in a span of time.
func (h *host) frozenBetween(from, to time.Time) (sum time.Duration) {
	for _, f := range h.frozen {
		began, ended := f[0], f[1]
		if began.Before(from) {
			began = from
		}
		if ended.IsZero() || ended.After(to) {
			ended = to
		}
		sum += max(0, ended.Sub(began))
	}
	return sum
}

// served reports whether this life got as far as to take webhooks.
func served(text string) bool { return strings.Contains(text, "taking webhooks") }

// gaveUp reports whether this life ended, as it must, because its embedded log could not be written.
func gaveUp(text string) bool { return strings.Contains(text, "has refused to be written") }

// secrets may stand in no log: every number of the fake, the beginning of every client_state, the API key.
var secrets = []string{"+1202555", "eyJ0aWNrZXQiO", "KEY-of-a-test"}

// misdeeds returns what no log may show: a race, a panic, a secret.
func misdeeds(name, text string) []string {
	var found []string
	for _, sign := range []string{"WARNING: DATA RACE", "panic:", "fatal error:", "panicked"} {
		if at := strings.Index(text, sign); at >= 0 {
			found = append(found, fmt.Sprintf("%s: %.4000s", name, text[at:]))
		}
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			found = append(found, fmt.Sprintf("the log of %s shows %q", name, secret))
		}
	}
	return found
}

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
	h := &host{tb: c.t, name: name, path: path, log: c.file(logName(name))}
	h.due = time.Now().Add(time.Hour) // until up
	c.t.Cleanup(func() {
		if h.Process != nil && h.condition != hostDown {
			h.crash(time.Now(), 0)
		}
	})
	return h
}

// logName is the file of a host's log.
func logName(host string) string { return strings.ReplaceAll(host, " ", "-") + ".log" }

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

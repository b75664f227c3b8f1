package chaos_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish/forward"
)

// target is an application that webhooks are forwarded to.
type target struct {
	name, addr string

	mu       sync.Mutex
	server   *http.Server
	served   chan error
	arrivals []arrival
	kills    int
}

// arrival is one forwarded webhook.
type arrival struct {
	seq uint64
	at  time.Time
}

// ServeHTTP implements http.Handler.
func (g *target) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the sender is gone
	}
	seq, err := strconv.ParseUint(r.Header.Get("Legato-Event-Seq"), 10, 64)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.arrivals = append(g.arrivals, arrival{seq, time.Now()})
}

func (g *target) start() error {
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	server, served := &http.Server{Handler: g, ReadHeaderTimeout: 5 * time.Second}, make(chan error, 1)
	g.server, g.served = server, served
	go func() { served <- server.Serve(l) }()
	return nil
}

// kill cuts off every connection, answered or not.
func (g *target) kill() {
	g.mu.Lock()
	server, served := g.server, g.served
	g.mu.Unlock()
	_ = server.Close()
	<-served //nolint:errcheck // that it was closed
}

// feed is the raw feed as it was read while the run went on: the log is trimmed by its end.
type feed struct {
	mu     sync.Mutex
	events map[uint64]call.Entry
	last   uint64
}

// applications starts the targets and what reads the log beside them, which stop ends: while NATS is there, for
// nats.go's ordered consumer may not end without it.
func (c *chaos) applications() (stop func()) {
	c.t.Helper()
	for _, g := range c.targets {
		if err := g.start(); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(g.kill)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	var reading sync.WaitGroup
	stop = func() { cancel(); reading.Wait() }
	c.t.Cleanup(stop)
	reading.Go(func() {
		for from := uint64(1); ctx.Err() == nil; from = c.feed.next() {
			c.readFeed(ctx, from)
		}
	})
	return stop
}

func (f *feed) next() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last + 1
}

// readFeed reads until something goes wrong.
func (c *chaos) readFeed(ctx context.Context, from uint64) {
	pause := time.NewTimer(200 * time.Millisecond)
	defer func() { <-pause.C }() // what fails is tried again, and not at once
	consumer, err := c.js.OrderedConsumer(ctx, "CALL_EVENTS", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"calls.event.>"}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
	})
	if err != nil {
		return
	}
	messages, err := consumer.Messages()
	if err != nil {
		return
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return
		}
		meta, err := m.Metadata()
		if err != nil {
			return
		}
		if strings.HasPrefix(string(m.Data()), foreign) {
			continue
		}
		e := call.ReadEntry("calls", m.Subject(), m.Headers())
		e.ReceivedAt = meta.Timestamp
		c.feed.mu.Lock()
		c.feed.events[meta.Sequence.Stream], c.feed.last = e, meta.Sequence.Stream
		c.feed.mu.Unlock()
	}
}

// killApplications kills the first target again and again, until the faults are over.
func (c *chaos) killApplications() {
	rng := c.source(9, 0)
	g := c.targets[0]
	for {
		select {
		case <-time.After(time.Until(c.soon(rng, time.Now()))):
		case <-c.over:
			return
		}
		g.kill()
		g.kills++
		<-time.After(within(rng, c.tempo.pause))
		for g.start() != nil { // its address is free in a moment
			<-time.After(10 * time.Millisecond)
		}
	}
}

// forwarded reports what the targets still wait for.
func (c *chaos) forwarded(ctx context.Context) error {
	states, err := forward.NewDesk(c.js, c.layout).List(ctx)
	if err != nil {
		return err
	}
	if len(states) != len(c.targets) {
		return fmt.Errorf("%d targets are known", len(states))
	}
	for _, s := range states {
		if s.Waiting+s.Held+s.SetAside > 0 {
			return fmt.Errorf("for %s %d wait, %d are held and %d are set aside", s.Name, s.Waiting, s.Held, s.SetAside)
		}
	}
	return nil
}

// checkTargets holds what the targets got against the raw feed.
func (c *chaos) checkTargets(began time.Time) {
	c.t.Helper()
	if len(c.ops.rolledBack) > 0 {
		return // a place in the log has meant two things
	}
	c.feed.mu.Lock()
	defer c.feed.mu.Unlock()
	hungUp := make(hangups)
	seqs := make([]uint64, 0, len(c.feed.events))
	for seq, e := range c.feed.events {
		seqs = append(seqs, seq)
		if e.EventType() == call.TypeHangup {
			hungUp.add(e)
		}
	}
	slices.Sort(seqs)
	c.checkFeed()
	ctx, cancel := context.WithTimeout(c.t.Context(), legatotest.Patience)
	defer cancel()
	ended, complete, err := forward.NewDesk(c.js, c.layout).Attempts(ctx, began, time.Time{}, seqs...)
	if err != nil || !complete {
		c.find("wrong", "the attempts cannot be read: %v", err)
		return
	}
	logged := c.loggedEnds()
	for _, g := range c.targets {
		g.mu.Lock()
		c.checkTarget(g, seqs, hungUp, ended, logged)
		g.mu.Unlock()
	}
}

// ending is the end of an event without success, as a replica logs it.
type ending struct {
	Target string         `json:"target"`
	Seq    uint64         `json:"seq"`
	Result forward.Result `json:"result"`
}

// loggedEnds are the ends that the replicas have logged: one that is killed may not have recorded them yet.
func (c *chaos) loggedEnds() map[ending]bool {
	c.t.Helper()
	ends := make(map[ending]bool)
	for _, h := range c.serves {
		log, err := os.ReadFile(filepath.Join(c.dir, logName(h.name)))
		if err != nil {
			c.t.Fatal(err)
		}
		for line := range bytes.Lines(log) {
			var e ending
			if json.Unmarshal(line, &e) == nil { // a line that a kill has cut is no JSON
				ends[e] = true
			}
		}
	}
	return ends
}

// checkFeed looks for every webhook that was stored in the raw feed.
func (c *chaos) checkFeed() {
	c.t.Helper()
	fed := make(map[string]bool, len(c.feed.events))
	for _, e := range c.feed.events {
		fed[e.ID] = true
	}
	for _, e := range c.sentInOrder() {
		if e.words["stored"] > 0 && e.words["parked"] == 0 && !fed[e.ID+"/"+e.Type] {
			c.find("lost", "%s %s (%s, answered %s) never came to CALL_EVENTS", e.Type, e.ID, e.Deed, e.First.Format(time.TimeOnly))
		}
	}
}

// hangups tells when the first hangup of a leg came, by each id that an event can name it by. An event that names no
// leg can be over by its session.
type hangups map[string]time.Time

func (h hangups) add(e call.Entry) {
	for _, id := range []string{string(e.Ref.Leg), string(e.Ref.Control), string(e.Ref.Session)} {
		if at, ok := h[id]; id != "" && (!ok || e.ReceivedAt.Before(at)) {
			h[id] = e.ReceivedAt
		}
	}
}

// inHand is how long after a hangup a command may still arrive: it was on its way when the hangup was stored. A process that is
// starved, or wakes up to all that came meanwhile, needs seconds for what takes it milliseconds.
const inHand = 5 * time.Second

// frozenBetween is how long a process of the service was frozen in a span of time, with a command in hand perhaps: it cannot know
// what came meanwhile. It is that of the one which was frozen longest, which may have been frozen several times.
func (c *chaos) frozenBetween(from, to time.Time) (longest time.Duration) {
	for _, h := range c.serves {
		longest = max(longest, h.frozenBetween(from, to))
	}
	return longest
}

// names reports whether what an event is about was hung up: its leg or, where it names none, one of its session.
func (h hangups) names(ref call.Ref) bool {
	id := cmp.Or(string(ref.Leg), string(ref.Control), string(ref.Session))
	_, ok := h[id]
	return ok
}

func (c *chaos) checkTarget(g *target, seqs []uint64, hungUp hangups, ended forward.History, logged map[ending]bool) {
	c.t.Helper()
	first, newest := make(map[uint64]bool), make(map[call.SessionID]uint64)
	removed := c.ops.removedSessions()
	twice, stale, unrecorded := 0, 0, 0
	for _, a := range g.arrivals {
		e, known := c.feed.events[a.seq]
		if !known {
			c.find("phantom", "%s got event %d, which is not in the log", g.name, a.seq)
			continue
		}
		if first[a.seq] {
			twice++
			continue
		}
		first[a.seq] = true
		if forward.Reports(e.EventType()) {
			continue // one that failed comes later than its followers
		}
		over, ok := hungUp[string(e.Ref.Leg)]
		// A call.initiated that is repeated when its call is forgotten begins a new one, for whoever has forgotten it.
		again := e.EventType() == call.TypeInitiated && e.ReceivedAt.Sub(over) > c.tempo.amend
		// Of a call that is forgotten its summary tells that it is over, unless an operator has removed that.
		untold := e.ReceivedAt.Sub(over) > c.tempo.amend && removed[string(e.Ref.Session)]
		if ok && !again && !untold && !forward.Outlives(e.EventType()) && a.at.Sub(over) > inHand+max(c.tempo.longFrozen, c.frozenBetween(over, a.at)) {
			c.find("wrong", "%s got %s %d of a leg that was over for %v", g.name, e.EventType(), a.seq, a.at.Sub(over))
		}
		// One that a replica had under way when another took over, which found its leg over and went on.
		passed := logged[ending{g.name, a.seq, forward.Stale}]
		if e.Ref.Session != "" && a.seq < newest[e.Ref.Session] && !passed {
			c.find("wrong", "%s got event %d of session %s after event %d", g.name, a.seq, e.Ref.Session, newest[e.Ref.Session])
		}
		newest[e.Ref.Session] = max(newest[e.Ref.Session], a.seq)
	}
	for _, seq := range seqs {
		e := c.feed.events[seq]
		if first[seq] || e.Backfill {
			continue
		}
		over := hungUp.names(e.Ref)
		recorded := slices.ContainsFunc(ended[seq][g.name], func(a forward.Attempt) bool {
			return a.Result == forward.Stale || a.Result == forward.Expired // it came to be forwarded a minute late
		})
		switch {
		case recorded:
			stale++
		case logged[ending{g.name, seq, forward.Expired}], logged[ending{g.name, seq, forward.Stale}], !forward.Reports(e.EventType()) && over:
			unrecorded++ // what a killed replica had not recorded yet
		default:
			c.find("lost", "%s never got %s %d", g.name, e.EventType(), seq)
		}
	}
	if faults := c.drawn + g.kills; unrecorded > 64*faults {
		c.find("wrong", "of %d events that %s never got nothing is recorded, around %d faults", unrecorded, g.name, faults)
	}
	c.result.Forwarded += len(first)
	c.result.ForwardedTwice += twice
	c.result.ForwardedStale += stale + unrecorded
	c.t.Logf("%s: %d of %d events came, %d a second time, %d were stale and %d more are not recorded; it was killed %d times",
		g.name, len(first), len(seqs), twice, stale, unrecorded, g.kills)
}

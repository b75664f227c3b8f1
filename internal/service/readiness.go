package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/disk"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// heartbeatEvery keeps the log's clock and the knowledge whether the log can be
	// written fresh while no webhooks come.
	heartbeatEvery = 5 * time.Second
	// outage: where the log has nothing for so long, nobody was there to write it.
	outage = 4 * heartbeatEvery
	// writtenWithin is how recent a successful write must be for the service to be ready.
	writtenWithin = 3 * heartbeatEvery
	// natsOutage is how long the embedded NATS may store nothing before the process gives up, as for the log itself: a
	// stream whose disk was full takes nothing until it is opened again.
	natsOutage = 20 * time.Second
	// copyOutage is the same for the log's copy, which an operator may have taken away for a while.
	copyOutage = time.Minute
	// failingFor is how long writes may fail before the service is not ready: a
	// cluster that chooses another leader is back sooner.
	failingFor = 2 * time.Second
	// lastingFor is how long the log may not be followed, or its queue not be worked, before the service is not
	// ready: consumers are lost with their server, and made again within seconds.
	lastingFor = 10 * time.Second
)

// heartbeat appends an entry that says nothing whenever nothing else was appended
// for a while, or the last write failed. It ends with ctx, or when the embedded log is beyond help.
func (s *Service) heartbeat(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := rate.Sometimes{Interval: sayEvery}
	var beaten time.Time // when the settings were last said
	for {
		if s.nc.IsClosed() && ctx.Err() == nil {
			return errors.New("the connection to NATS is closed for good; it needs a restart")
		}
		since := s.journal.FailingSince()
		speaks := time.Since(beaten) >= beatEvery || s.peers.wanted()
		if !since.IsZero() || speaks || time.Since(s.journal.LastStored()) >= heartbeatEvery {
			// A heartbeat has no id: each one is to be stored.
			_, err := s.journal.Append(ctx, s.peers.entry(speaks))
			if speaks && err == nil {
				beaten = time.Now()
			}
			// That there is no room the journal says itself.
			if err != nil && ctx.Err() == nil && !errors.Is(err, call.ErrFull) {
				said.Do(func() { s.log.Error("the log cannot be written", "error", err) })
			}
		}
		since = s.journal.FailingSince()
		if s.embedded != nil && !since.IsZero() && time.Since(since) > embeddedOutage {
			return fmt.Errorf("the embedded log in %s has refused to be written for %v (is the disk full?); it needs a restart",
				s.settings.DataDir, embeddedOutage)
		}
		if err := s.natsFailed(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// natsFailed reports that the embedded NATS has stored nothing for too long, neither of the log's copy nor summaries.
func (s *Service) natsFailed() error {
	if s.copying == nil {
		return nil
	}
	failed := func(after time.Duration, err error) error {
		return fmt.Errorf("the embedded NATS in %s has stored nothing for %v (is the disk full?); it needs a restart: %w",
			s.settings.DataDir, after, err)
	}
	t := s.copying()
	if disk.ServerFails(t.Err) && time.Since(t.Since) > copyOutage {
		return failed(copyOutage, t.Err)
	}
	if s.unanswered() > natsOutage {
		return failed(natsOutage, context.DeadlineExceeded)
	}
	return nil
}

// freeDisk asks for the room on the disk of the embedded server; nil: the disk is not this machine's.
func (s *Service) freeDisk() func() (int64, error) {
	if s.embedded == nil {
		return nil
	}
	return func() (int64, error) { return natsd.FreeSpace(s.settings.DataDir) }
}

// unready makes the service not ready for a reason.
func (s *Service) unready(why error) {
	s.admin.setReadiness(func() ([]string, error) { return nil, why })
}

// ready reports why the service is not ready, nil when it is.
func (s *Service) ready() error {
	if !s.nc.IsConnected() {
		err := errors.New("not connected to NATS")
		if where := natsd.Where(s.settings.URLs()); where != "" {
			err = fmt.Errorf("not connected to NATS at %s", where)
		}
		if last := s.nc.LastError(); last != nil {
			err = fmt.Errorf("%w: %w", err, last)
		}
		return err
	}
	if _, fault := s.watched.broken(); fault != nil {
		return fmt.Errorf("calls cannot be finished: %w", fault)
	}
	if since := s.journal.FailingSince(); !since.IsZero() && time.Since(since) > failingFor {
		return fmt.Errorf("the log has not been writable for %v: %w", time.Since(since).Round(time.Second), s.journal.Failure())
	}
	if err := lasting("the log cannot be followed", s.journal.Following()); err != nil {
		return err
	}
	if err := lasting("the queue cannot be worked", s.journal.Working()); err != nil {
		return err
	}
	if err := s.acknowledged(); err != nil {
		return err
	}
	limit, all := s.journal.Refuses()
	switch {
	case !s.worker.Table().HasCaughtUp():
		return fmt.Errorf("replaying the log, at %d", s.worker.Table().Position())
	case time.Since(s.worker.QueueReached()) > writtenWithin:
		return errors.New("the queue cannot be reached")
	case all:
		return fmt.Errorf("there is no room for webhooks: the limit of the storage (%s) is reached", limit)
	case limit != "":
		return nil // heartbeats are refused as well: when something was last written says nothing
	case s.journal.LastStored().IsZero():
		return errors.New("the log has not been written yet")
	case time.Since(s.journal.LastStored()) > writtenWithin:
		return errors.New("the log cannot be written")
	}
	return nil
}

// lasting returns the newest cause of a trouble that does not pass by itself.
func lasting(what string, t journal.Trouble) error {
	if t.Err == nil || time.Since(t.Since) < lastingFor {
		return nil
	}
	return fmt.Errorf("%s for %v: %w", what, time.Since(t.Since).Round(time.Second), t.Err)
}

// warnings are what an operator must see to while the service takes webhooks all the same.
func (s *Service) warnings() []string {
	var found []string
	if at, denied := s.status.LastDenied(); denied {
		found = append(found, fmt.Sprintf("Telnyx refuses the API key (last at %s): calls go unconfirmed until it is put right",
			at.Format(time.RFC3339)))
	}
	if behind := s.statusBehind(); behind != "" {
		found = append(found, behind)
	}
	if differ := s.watched.differences(); len(differ) > 0 {
		found = append(found, "streams are not as wanted: "+strings.Join(differ, ", "))
	}
	if s.copying != nil {
		if t := s.copying(); t.Err != nil && time.Since(t.Since) > lastingFor {
			found = append(found, fmt.Sprintf("the log is not copied into %s: %v", s.layout.Events, t.Err))
		}
	}
	if limit, _ := s.journal.Refuses(); limit != "" {
		found = append(found, fmt.Sprintf("webhooks that begin a call are refused for want of room (%s)", limit))
	}
	if skew := s.ingest.Skew(); skew != "" {
		found = append(found, "webhooks are refused for their timestamp, the last one "+skew+": check this machine's clock")
	}
	found = append(found, s.peers.warnings()...)
	if s.forward != nil {
		found = append(found, s.forward.Warnings()...)
	}
	return found
}

// statusBehind tells when legs wait so long to be asked about that their summaries go out without; empty: they do not.
func (s *Service) statusBehind() string {
	age, perSecond := s.status.Backlog()
	if age <= s.settings.StatusDeadline {
		return ""
	}
	return fmt.Sprintf("Telnyx is asked about legs %v after their end, at %.3g a second (--status-rate %v): summaries go out as pending",
		age.Round(time.Second), perSecond, s.settings.StatusRate)
}

const (
	// insecureWarning is said in the log and in /readyz: a service that believes
	// anybody must not pass for one in order.
	insecureWarning = "SIGNATURES ARE NOT CHECKED (--insecure-skip-verify): anybody who reaches the webhook listener can invent calls"
	shoutEvery      = time.Minute
)

// shout repeats what there is to warn of until ctx ends.
func (s *Service) shout(ctx context.Context) error {
	tick := time.NewTicker(shoutEvery)
	defer tick.Stop()
	for {
		if s.settings.InsecureSkipVerify {
			s.log.Error(insecureWarning)
		}
		if behind := s.statusBehind(); behind != "" {
			s.log.Warn(behind)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

const (
	// awaitPause is the first wait before what NATS could not do is tried again; it doubles up to awaitMost.
	awaitPause = 250 * time.Millisecond
	awaitMost  = 5 * time.Second
	// sayEvery is how often a wait that goes on, or a warning that stands, is logged.
	sayEvery = time.Minute
)

// passes reports whether what failed may go well later. An embedded NATS is there or is broken, but for a stream that only
// a person can mend: in a server that ends with the service nobody could.
func (s *Service) passes(err error) bool {
	if s.embedded != nil {
		mismatch, ok := errors.AsType[*natsd.MismatchError](err)
		return ok && len(mismatch.Permanent) > 0
	}
	return natsd.Transient(err)
}

// await does what needs NATS, again and again while it fails for what passes by
// itself: a cluster may still be starting.
func (s *Service) await(ctx context.Context, what string, try func(context.Context) error) error {
	said := rate.Sometimes{Interval: sayEvery}
	for pause := awaitPause; ; pause = min(2*pause, awaitMost) {
		err := try(ctx)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if ctx.Err() != nil || !s.passes(err) {
			return err
		}
		if last := s.nc.LastError(); last != nil {
			// A permission that is missing shows only here.
			err = fmt.Errorf("%w (the connection's last error: %w)", err, last)
		}
		s.unready(err)
		said.Do(func() { s.log.Warn("NATS is not usable yet, trying again", "error", err, "nats", s.NATSURL()) })
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		}
	}
}

// ackEvery is how often it is tried whether acknowledgements that were refused are taken by now.
const ackEvery = 5 * time.Second

// refusedAcks knows whether NATS refuses acknowledgements: all work is then done again and again.
type refusedAcks struct {
	mu sync.Mutex
	// err is the newest refusal, since when the first of them; nil: they are taken.
	err   error
	since time.Time
	// count is how many there were.
	count int
}

// note takes a refusal of any operation; those of others than acknowledgements are passed over.
func (r *refusedAcks) note(err error) {
	if !natsd.RefusedAck(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.since = time.Now()
	}
	r.err = err
	r.count++
}

// state returns the newest refusal, nil when acknowledgements are taken, and since when.
func (r *refusedAcks) state() (since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, r.err
}

// refusals is how many there were.
func (r *refusedAcks) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// clear says that they are taken, unless one was refused since there were so many.
func (r *refusedAcks) clear(count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == count {
		r.err, r.since = nil, time.Time{}
	}
}

// tryAck sends an acknowledgement that the server passes over, a sign of life for a message that was never handed
// out, and returns what it is sent to. Whether it was refused the connection is told afterwards.
func tryAck(nc *nats.Conn, layout natsd.Layout) (to string, err error) {
	to = "$JS.ACK." + layout.Events + "." + queueName
	if err := nc.Publish(to+".1.0.0.0.0", []byte("+WPI")); err != nil {
		return to, fmt.Errorf("try an acknowledgement: %w", err)
	}
	return to, nil
}

// watchAcks tries an acknowledgement at the start, and again while they are refused, until ctx ends. The connection
// logs the refusals.
func (s *Service) watchAcks(ctx context.Context) error {
	if s.embedded != nil {
		return nil // its own connection may do everything
	}
	tick := time.NewTicker(ackEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		count := s.refused.refusals()
		_, refused := s.refused.state()
		tried := first || refused != nil
		if tried {
			if _, err := tryAck(s.nc, s.layout); err != nil {
				tried = false // NATS is away, which others tell
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		// By now a refusal has come.
		if tried && s.nc.IsConnected() {
			s.refused.clear(count)
		}
	}
}

// acknowledged reports why acknowledgements are not taken, nil when they are.
func (s *Service) acknowledged() error {
	since, err := s.refused.state()
	if err == nil {
		return nil
	}
	return fmt.Errorf("NATS has refused acknowledgements for %v, so that all work is done again and again: %w",
		time.Since(since).Round(time.Second), err)
}

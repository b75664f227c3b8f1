package forward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
)

// upkeepEvery is how often a target's place is looked at.
const upkeepEvery = 2 * time.Second

// maxFailedLooks is how many looks must have failed in a row before a target's place is not known any more: what came
// meanwhile may be needed.
const maxFailedLooks = 3

// standing is how far a target has come, as it was when it was last looked at.
type standing struct {
	known bool
	// floor: everything up to and including it is through, but for what is set aside.
	floor uint64
	// waiting, held and later are what is not handed out, what is, and the messages of what is set aside.
	waiting, held, later uint64
	// elsewhere tells that another replica works the target.
	elsewhere bool
	// oldest is when the oldest event was received that is not through; zero: there is none, another replica knows, or it
	// could not be read.
	oldest time.Time
}

// keepUp looks after the target's place until ctx ends.
func (r *runner) keepUp(ctx context.Context) {
	for failed := 0; ; {
		s, err := r.look(ctx)
		if failed++; err == nil {
			failed = 0
			r.mu.Lock()
			r.standing = s
			r.mu.Unlock()
			r.meter.show(s, r.pinned())
		} else if ctx.Err() == nil {
			r.log.Debug("the place of a target could not be looked at", "error", err)
			r.mu.Lock()
			r.standing.known = r.standing.known && failed < maxFailedLooks
			r.mu.Unlock()
		}
		if !sleep(ctx, upkeepEvery) {
			return
		}
	}
}

func (r *runner) look(ctx context.Context) (standing, error) {
	ctx, cancel := context.WithTimeout(ctx, upkeepEvery)
	defer cancel()
	consumer, err := r.cfg.JetStream.Consumer(ctx, r.cfg.Layout.Events, consumerName(r.target.Name))
	if err != nil {
		return standing{}, fmt.Errorf("look at the place of %s: %w", r.target.Name, err)
	}
	info := consumer.CachedInfo()
	s := standing{
		known: true, floor: info.AckFloor.Stream, waiting: info.NumPending, held: uint64(max(info.NumAckPending, 0)),
	}
	for i := range r.cfg.Pauses {
		later, err := r.cfg.JetStream.Consumer(ctx, r.cfg.Layout.Forward, laterName(r.target.Name, className(i)))
		if err != nil {
			return standing{}, fmt.Errorf("look at what %s gets later: %w", r.target.Name, err)
		}
		s.later += later.CachedInfo().NumPending + uint64(max(later.CachedInfo().NumAckPending, 0))
	}
	r.mu.Lock()
	for _, it := range r.held {
		if it.msg != nil && (s.oldest.IsZero() || it.entry.ReceivedAt.Before(s.oldest)) {
			s.oldest = it.entry.ReceivedAt
		}
	}
	mine := r.pin
	r.mu.Unlock()
	for _, g := range info.PriorityGroups {
		s.elsewhere = s.elsewhere || g.PinnedClientID != "" && g.PinnedClientID != mine
	}
	if s.oldest.IsZero() && !s.elsewhere && s.waiting > 0 {
		// Everything else is known without it.
		if at, err := r.cfg.firstAbove(ctx, filters(info.Config), s.floor); err != nil {
			r.log.Debug("the oldest event that a target waits for could not be read", "error", err)
		} else {
			s.oldest = at
		}
	}
	return s, nil
}

// firstAbove returns when the first event above a floor was received that has one of some subjects; the zero time: there
// is none.
func (s *setup) firstAbove(ctx context.Context, subjects []string, floor uint64) (at time.Time, err error) {
	stream, err := s.events(ctx)
	if err != nil {
		return at, err
	}
	least := uint64(math.MaxUint64)
	for _, subject := range subjects {
		m, err := stream.GetMsg(ctx, floor+1, jetstream.WithGetMsgSubject(subject))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return at, err
		case m.Sequence < least:
			least, at = m.Sequence, call.ReadPlaced("", m.Subject, m.Header, nil, m.Sequence, m.Time).ReceivedAt
		}
	}
	return at, nil
}

func (m *meter) show(s standing, pinned bool) {
	m.waiting.Set(float64(s.waiting))
	m.held.Set(float64(s.held))
	m.later.Set(float64(s.later))
	m.oldest.Set(0)
	if !s.oldest.IsZero() {
		m.oldest.Set(max(time.Since(s.oldest).Seconds(), 0))
	}
	m.here.Set(0)
	if pinned {
		m.here.Set(1)
	}
}

func (r *runner) pinned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pin != ""
}

// standsBy reports whether another replica works the target.
func (r *runner) standsBy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pin == "" && r.standing.elsewhere
}

// Needed returns the lowest sequence of the stream that a target still needs, and math.MaxUint64 when none needs
// any. A target is waited for as long as its events are worth trying; what it did not get by then does not hold
// the log back, and that is logged and counted. It fails when it is not known how far a target is: then all is needed.
func (f *Forwarder) Needed(ctx context.Context) (uint64, error) {
	least := uint64(math.MaxUint64)
	var patience uint64 // the first event that is young enough for a report
	for _, r := range f.runners {
		r.mu.Lock()
		s := r.standing
		r.mu.Unlock()
		switch {
		case !s.known:
			return 0, fmt.Errorf("forward: how far %s is is not known yet", r.target.Name)
		case s.waiting+s.held+s.later == 0:
			continue
		}
		if patience == 0 {
			var err error
			if patience, err = f.cfg.firstSince(ctx, time.Now().Add(-f.cfg.ReportsFor)); err != nil {
				return 0, err
			}
		}
		needed := s.floor + 1
		switch {
		case s.later > 0:
			// They stand in the order in which they are due, not in that of the log: all that is young enough may be among them.
			needed = min(needed, patience)
		case s.waiting+s.held == 0:
			continue
		}
		if needed < patience {
			needed = patience
			// What lies between the floor and a new event may be of others.
			if !s.oldest.IsZero() && time.Since(s.oldest) > f.cfg.ReportsFor {
				r.impatient()
			}
		}
		least = min(least, needed)
	}
	return least, nil
}

// impatient tells that the log goes on without a target.
func (r *runner) impatient() {
	r.meter.trimmed.Inc()
	r.log.Warn("the log is not kept any longer for events that the target did not get in time", "patience", r.cfg.ReportsFor.String())
}

// firstSince returns the sequence of the first message that the stream received at a time or later.
func (s *setup) firstSince(ctx context.Context, at time.Time) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	// A consumer that is made for a time begins there: the server finds the place in its index.
	c, err := s.JetStream.CreateConsumer(ctx, s.Layout.Events, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at, AckPolicy: jetstream.AckNonePolicy,
		InactiveThreshold: 5 * time.Second, MemoryStorage: true,
	})
	if err != nil {
		return 0, fmt.Errorf("forward: find the events since a time: %w", err)
	}
	info := c.CachedInfo()
	if err := s.JetStream.DeleteConsumer(ctx, s.Layout.Events, info.Name); err != nil {
		s.Logger.Debug("a consumer could not be removed; the server does in a moment", "error", err)
	}
	return info.Delivered.Stream + 1, nil
}

// Dead reports whether no application waits for events: each that is not in proxy mode does not answer, or there is none.
func (f *Forwarder) Dead() bool {
	for _, r := range f.runners {
		r.mu.Lock()
		dead := r.breaker.open
		r.mu.Unlock()
		if !dead {
			return false
		}
	}
	return true
}

// Warnings are what an operator must see to, a sentence each; empty when there is nothing.
func (f *Forwarder) Warnings() []string {
	var found []string
	for _, r := range f.runners {
		r.mu.Lock()
		s, dead, since := r.standing, r.breaker.open, r.breaker.since
		r.mu.Unlock()
		switch {
		case dead:
			found = append(found, fmt.Sprintf("the application %s at %s has not answered since %s: events wait for it",
				r.target.Name, r.target.Where(), since.UTC().Format(time.RFC3339)))
		case !s.oldest.IsZero() && time.Since(s.oldest) > f.cfg.For:
			found = append(found, fmt.Sprintf("the application %s at %s is behind: an event of %s waits for it",
				r.target.Name, r.target.Where(), s.oldest.UTC().Format(time.RFC3339)))
		}
	}
	return found
}

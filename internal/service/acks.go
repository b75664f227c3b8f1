package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/internal/natsd"
)

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

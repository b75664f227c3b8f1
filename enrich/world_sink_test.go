package enrich_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/internal/call"
)

// fault is what the sink does wrong with a publication.
type fault int

const (
	noFault fault = iota
	// notStored: an error, and nothing was stored.
	notStored
	// ackLost: an error, and yet it was stored.
	ackLost
	// diesAfter: it was stored, and then the replica died.
	diesAfter
	// diesBefore: the replica died before anything was sent.
	diesBefore
	// tooLarge: it will never be stored.
	tooLarge
	// inProcess: refused for another that is being stored and cannot be read.
	inProcess
	// noRoom: the stream is full.
	noRoom
)

// message is one message of the stream of summaries.
type message struct {
	summary.Stored
	at time.Time
	by *replica
}

// fakeSink stores summaries under the conditions of the design: the first
// revision where nothing is completed, the second where nothing is amended, each
// further one where the last amendment is the one that it was told of.
type fakeSink struct {
	t *testing.T

	mu       sync.Mutex
	messages []message
	ids      map[string]time.Time
	// publishes, lasts and refused count the calls.
	publishes, lasts, refused int
	// readings say what was read and when, for tests that want none.
	readings []string

	// fault is asked for every publication, n counting them from 1. Nil: none.
	fault func(r *replica, d summary.Draft, n int) fault
	// latency is how long a publication is on its way. Nil: no time.
	latency func(r *replica, d summary.Draft) time.Duration
	// aged are the keys of which every message has left the stream.
	aged map[summary.Key]bool
	// failLast is asked for every reading. Nil: none fails.
	failLast func(r *replica, k summary.Key) error
}

func newFakeSink(t *testing.T) *fakeSink { return &fakeSink{t: t, ids: make(map[string]time.Time)} }

// last returns the newest message of a key. The lock is held.
func (s *fakeSink) last(k summary.Key, amended bool) (summary.Stored, bool) {
	for _, v := range slices.Backward(s.messages) {
		if m := v; m.Key == k && (!amended || m.Revision > 1) {
			return m.Stored, true
		}
	}
	return summary.Stored{}, false
}

// failing sets fault.
func (s *fakeSink) failing(f func(r *replica, d summary.Draft, n int) fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// age lets every message of a key leave the stream.
func (s *fakeSink) age(k summary.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aged == nil {
		s.aged = make(map[summary.Key]bool)
	}
	s.aged[k] = true
}

// all returns the messages so far.
func (s *fakeSink) all() []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]message(nil), s.messages...)
}

// of returns the messages of a key.
func (s *fakeSink) of(k summary.Key) []message {
	var found []message
	for _, m := range s.all() {
		if m.Key == k {
			found = append(found, m)
		}
	}
	return found
}

// counts returns publishes, lasts and refused.
func (s *fakeSink) counts() (publishes, lasts, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publishes, s.lasts, s.refused
}

func (s *fakeSink) store(r *replica, d summary.Draft, prev summary.Stored) (summary.Stored, error) {
	id := fmt.Sprintf("%s/%s/%s/%d", d.Key.Kind, d.Key.Session, d.Key.Leg, d.Revision)
	if at, ok := s.ids[id]; ok && time.Since(at) < duplicateWindow {
		s.refused++
		return summary.Stored{}, fmt.Errorf("duplicate: %w", summary.ErrRefused)
	}
	var expected, found uint64
	if last, ok := s.last(d.Key, d.Revision > 1); ok {
		found = last.Seq
	}
	if d.Revision > 2 {
		expected = prev.Seq
	}
	if expected != found {
		s.refused++
		return summary.Stored{}, fmt.Errorf("wrong last sequence: %w", summary.ErrRefused)
	}
	if d.Revision > 1 {
		d.Connection = prev.Connection
	}
	s.ids[id] = time.Now()
	stored := summary.Stored{Draft: d, Seq: uint64(len(s.messages) + 1)}
	stored.Body = bytes.Clone(d.Body)
	s.messages = append(s.messages, message{Stored: stored, at: time.Now(), by: r})
	return stored, nil
}

// valid fails the test on a draft that the real sink would never take.
func (s *fakeSink) valid(d summary.Draft, prev summary.Stored) {
	if d.Revision != prev.Revision+1 || d.Revision > 1 && prev.Key != d.Key {
		s.t.Errorf("revision %d of %+v follows revision %d of %+v", d.Revision, d.Key, prev.Revision, prev.Key)
	}
	if d.Position.Log == "" || d.Position.Seq == 0 || d.PublishedAt.IsZero() {
		s.t.Errorf("draft of %+v says not where it stands: %+v", d.Key, d.Position)
	}
	schematest.Check(s.t, d.Key.Kind, d.Body)
	var body struct {
		Kind     string `json:"kind"`
		Revision int    `json:"revision"`
		Session  string `json:"call_session_id"`
	}
	if err := json.Unmarshal(d.Body, &body); err != nil ||
		body.Kind != d.Key.Kind || body.Revision != d.Revision || body.Session != d.Key.Session {
		s.t.Errorf("draft of %+v has the body %s (%v)", d.Key, d.Body, err)
	}
}

// sinkOf is the sink as one replica has it.
type sinkOf struct {
	*fakeSink
	r *replica
}

// Last implements enrich.Sink.
func (s sinkOf) Last(ctx context.Context, k summary.Key) (summary.Stored, bool, error) {
	if err := s.r.alive(ctx); err != nil {
		return summary.Stored{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasts++
	s.readings = append(s.readings, fmt.Sprintf("%s of %s/%s at %s", k.Kind, k.Session, k.Leg, time.Now().Format("15:04:05.000")))
	if s.failLast != nil {
		if err := s.failLast(s.r, k); err != nil {
			return summary.Stored{}, false, err
		}
	}
	stored, ok := s.last(k, false)
	return stored, ok && !s.aged[k], nil
}

// Publish implements enrich.Sink.
func (s sinkOf) Publish(ctx context.Context, d summary.Draft, prev summary.Stored) (summary.Stored, error) {
	if err := s.r.alive(ctx); err != nil {
		return summary.Stored{}, err
	}
	if s.latency != nil {
		pass(s.latency(s.r, d))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishes++
	s.valid(d, prev)
	var f fault
	if s.fault != nil {
		f = s.fault(s.r, d, s.publishes)
	}
	switch f {
	case notStored:
		return summary.Stored{}, errDown
	case noRoom:
		return summary.Stored{}, fmt.Errorf("publish: %w", call.ErrFull)
	case tooLarge:
		return summary.Stored{}, fmt.Errorf("publish: %w", summary.ErrInvalid)
	case inProcess:
		s.refused++
		return summary.Stored{}, fmt.Errorf("in process: %w", summary.ErrRefused)
	case diesBefore:
		s.r.die()
		return summary.Stored{}, errDown
	case noFault, ackLost, diesAfter:
	}
	stored, err := s.store(s.r, d, prev)
	switch {
	case err != nil:
		return summary.Stored{}, err
	case f == ackLost:
		return summary.Stored{}, errDown
	case f == diesAfter:
		s.r.die()
	}
	return stored, nil
}

// fakeParking keeps what is parked.
type fakeParking struct {
	mu     sync.Mutex
	parked []call.Parked
	// fail is how many more times parking fails.
	fail int
	// silent: it gives no answer.
	silent bool
}

// Park implements enrich.Parking.
func (p *fakeParking) Park(ctx context.Context, what call.Parked) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		<-ctx.Done()
		p.mu.Lock()
		return ctx.Err()
	}
	if p.fail > 0 {
		p.fail--
		return errDown
	}
	p.parked = append(p.parked, what)
	return nil
}

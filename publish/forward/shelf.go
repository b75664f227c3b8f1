package forward

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// Events that only report and failed are set aside, so that they never stand in the way of those on which the
// application commands. What is stored is where they stand in the log, not what they say, and one message holds
// many: a dead target costs a message every quarter of a second, not one for each event.
//
// There is one subject for each target and pause. All that stands under a subject pauses equally long, so that its
// order is the order in which it is due: whoever takes the first message and waits for it has missed none, and
// needs neither a heap nor memory for the others.
const (
	// maxRefs bounds a message: some 10 KB, and the work that a crash would repeat.
	maxRefs = 256
	// handClass is the class of what somebody asks for by hand; it does not pause.
	handClass = "hand"
)

// ref is an event that was set aside.
type ref struct {
	Seq uint64 `json:"seq"`
	// At is when the event was received, in Unix milliseconds: an event whose time is over need not be read.
	At int64 `json:"at"`
	// Attempts are those made so far, and Rounds how often it was set aside.
	Attempts int `json:"attempts,omitempty"`
	Rounds   int `json:"rounds,omitempty"`
}

// refs is a message of events that were set aside.
type refs struct {
	Refs []ref `json:"refs"`
}

// laterSubject is where what is to be tried later stands.
func laterSubject(prefix, target, class string) string {
	return prefix + ".internal.later." + target + "." + class
}

func className(class int) string { return strconv.Itoa(class) }

// shelf gathers what is being set aside until it is stored.
type shelf struct {
	cfg    *setup
	target string

	mu      sync.Mutex
	classes [][]*item
}

func newShelf(cfg *setup, target string) *shelf {
	return &shelf{cfg: cfg, target: target, classes: make([][]*item, len(cfg.Pauses))}
}

// add takes an item that is to pause, for at least so long.
func (s *shelf) add(it *item, atLeast time.Duration) {
	class := min(it.rounds, len(s.cfg.Pauses)-1)
	for class < len(s.cfg.Pauses)-1 && s.cfg.Pauses[class] < atLeast {
		class++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.classes[class] = append(s.classes[class], it)
}

// take returns what waits to be stored in a class, at most one message.
func (s *shelf) take(class int) []*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.classes[class]), maxRefs)
	items := s.classes[class][:n:n]
	if s.classes[class] = s.classes[class][n:]; len(s.classes[class]) == 0 {
		s.classes[class] = nil
	}
	return items
}

func (s *shelf) putBack(class int, items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.classes[class] = append(items, s.classes[class]...)
}

// storeTimeout bounds the storing of a record.
const storeTimeout = 2 * time.Second

// store publishes what was set aside, less what another replica has by now, and hands to stored what is stored. What
// could not be is kept for the next time.
func (s *shelf) store(ctx context.Context, ours func([]*item) []*item, stored func([]*item)) error {
	for class := range s.classes {
		for items := s.take(class); len(items) > 0; items = s.take(class) {
			if items = ours(items); len(items) == 0 {
				continue
			}
			var r refs
			for _, it := range items {
				r.Refs = append(r.Refs, ref{
					Seq: it.entry.Seq, At: it.entry.ReceivedAt.UnixMilli(), Attempts: it.attempts, Rounds: it.rounds + 1,
				})
			}
			if err := putLater(ctx, s.cfg, s.target, className(class), r); err != nil {
				s.putBack(class, items)
				return err
			}
			stored(items)
		}
	}
	return nil
}

func putLater(ctx context.Context, cfg *setup, target, class string, r refs, opts ...jetstream.PublishOpt) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode what %s gets later: %w", target, err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ack, err := cfg.JetStream.Publish(ctx, laterSubject(cfg.Layout.Prefix, target, class), body, opts...)
	if err == nil {
		err = natsd.StoredIn(ack, cfg.Layout.Forward)
	}
	if err != nil {
		return fmt.Errorf("set aside what %s gets later: %w", target, err)
	}
	return nil
}

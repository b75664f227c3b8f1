package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// streamsEvery is how often the streams are looked at: an operator may remove, seal or edit them at any time.
const streamsEvery = 10 * time.Second

// streamWatch is what the last look at the streams has found.
type streamWatch struct {
	mu sync.Mutex
	// fault is why calls cannot be finished, since when; nil: they can.
	fault error
	since time.Time
	// differ are the settings that are not as wanted and do no harm at once.
	differ []string
}

// note takes what a look has found.
func (w *streamWatch) note(fault error, differ []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fault == nil {
		w.since = time.Time{}
	} else if w.since.IsZero() {
		w.since = time.Now()
	}
	w.fault, w.differ = fault, differ
}

// broken returns why calls cannot be finished, nil when they can, and since when.
func (w *streamWatch) broken() (since time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, w.fault
}

// differences returns the settings that are not as wanted and do no harm at once.
func (w *streamWatch) differences() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.differ
}

// watchStreams looks at the streams from time to time until ctx ends.
func (s *Service) watchStreams(ctx context.Context) error {
	tick := time.NewTicker(streamsEvery)
	defer tick.Stop()
	var said time.Time
	var before []jetstream.StreamConfig
	for {
		look, cancel := context.WithTimeout(ctx, streamsEvery/2)
		report, err := natsd.Check(look, s.js, s.layout, s.limits)
		cancel()
		mismatch, isMismatch := errors.AsType[*natsd.MismatchError](err)
		switch {
		case err == nil:
			s.watched.note(nil, nil)
		case !isMismatch:
			// What cannot be asked is nothing that is known to be wrong; whether NATS is there others tell.
			s.log.Debug("the streams could not be looked at", "error", err)
		default:
			s.watched.note(unusable(mismatch), mismatch.Problems)
		}
		for _, line := range natsd.Changes(before, report.Have) {
			s.log.Warn("a stream was changed while the service runs", "change", line)
		}
		if len(report.Have) > 0 {
			before = report.Have
		}
		_, fault := s.watched.broken()
		differ := s.watched.differences()
		switch due := time.Since(said) >= sayEvery; {
		case due && fault != nil:
			said = time.Now()
			s.log.Error("calls cannot be finished", "error", fault)
		case due && len(differ) > 0:
			said = time.Now()
			s.log.Warn("streams are not as wanted; a restart with --streams manage changes them", "differences", differ)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// unusable is the part of a mismatch without which no call can be finished.
func unusable(m *natsd.MismatchError) error {
	var lines []string
	for _, name := range m.Missing {
		lines = append(lines, fmt.Sprintf("stream %s does not exist: a start makes it", name))
	}
	if lines = append(lines, m.Permanent...); len(lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(lines, "; "))
}

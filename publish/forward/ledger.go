package forward

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// recordEvery bounds how late attempts are recorded, and maxRecorded how many stand in one message.
	recordEvery = 250 * time.Millisecond
	maxRecorded = 512
	// maxUnrecorded bounds those that wait while the record cannot be written; older ones are left out.
	maxUnrecorded = 8192
	// maxAnswers bounds the answers in one message, which JSON may make several times as long: the server
	// takes messages of 1 MiB.
	maxAnswers = 128 << 10
)

// Attempt is what is recorded of one attempt at an event, or of its end without one.
type Attempt struct {
	// Seq is the event's place in the stream, and its Legato-Event-Seq.
	Seq uint64 `json:"seq"`
	// Number counts the attempts, from 1. On an end without an attempt it is that of the one before, or 0.
	Number int `json:"attempt,omitempty"`
	// At is when the result was there.
	At time.Time `json:"at"`
	// Millis is how long the attempt took · ms.
	Millis int64 `json:"ms,omitempty"`
	// Status is the answer's HTTP status, 0 when there was no answer.
	Status int `json:"status,omitempty"`
	// Result is what it means.
	Result Result `json:"result"`
	// Answer is the first KiB of an answer that was not 2xx.
	Answer string `json:"answer,omitempty"`
	// Error is why there was no answer, or none of use: the beginning of what the system says, with nothing of what the
	// application sent.
	Error string `json:"error,omitempty"`
}

// attempt is what is recorded of an answer that is there by now.
func (a answer) attempt(seq uint64, number int) Attempt {
	return Attempt{
		Seq: seq, Number: number, At: time.Now().UTC().Truncate(time.Millisecond), Millis: a.took.Milliseconds(),
		Status: a.status, Result: a.result, Answer: strings.ToValidUTF8(string(a.body), "\uFFFD"), Error: a.err,
	}
}

// record is one message of attempts.
type record struct {
	Attempts []Attempt `json:"attempts"`
	// Dead tells that the breaker was open.
	Dead bool `json:"dead,omitempty"`
}

// attemptsSubject is where attempts are recorded.
func attemptsSubject(prefix, target string) string { return prefix + ".internal.forward." + target }

// ledger gathers the attempts at a target, many to a message: a message for each would cost as much as the attempt.
type ledger struct {
	cfg    *setup
	target string
	log    *slog.Logger
	full   chan struct{}

	mu      sync.Mutex
	waiting []Attempt
	lost    int
}

func newLedger(cfg *setup, target string, log *slog.Logger) *ledger {
	return &ledger{cfg: cfg, target: target, log: log, full: make(chan struct{}, 1)}
}

// note takes down an attempt, or the end of an item without one.
func (l *ledger) note(it *item, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, a.attempt(it.entry.Seq, it.attempts))
	l.bound()
	if len(l.waiting) == maxRecorded {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// bound leaves out the oldest of too many. l.mu is held.
func (l *ledger) bound() {
	if n := len(l.waiting) - maxUnrecorded; n > 0 {
		l.waiting = l.waiting[n:]
		l.lost += n
	}
}

// take returns what fits one message.
func (l *ledger) take() []Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.waiting) && n < maxRecorded && size < maxAnswers {
		size += len(l.waiting[n].Answer) + len(l.waiting[n].Error)
		n++
	}
	batch := l.waiting[:n:n]
	if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	return batch
}

// store publishes what was recorded. What cannot be published is kept for the next time.
func (l *ledger) store(ctx context.Context, dead bool) error {
	for batch := l.take(); len(batch) > 0; batch = l.take() {
		body, err := json.Marshal(record{Attempts: batch, Dead: dead})
		if err != nil {
			return fmt.Errorf("encode attempts at %s: %w", l.target, err)
		}
		if err := l.publish(ctx, body); err != nil {
			l.mu.Lock()
			l.waiting = append(batch, l.waiting...)
			l.bound()
			l.mu.Unlock()
			return fmt.Errorf("record attempts at %s: %w", l.target, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		l.log.Warn("attempts could not be recorded", "attempts", l.lost)
		l.lost = 0
	}
	return nil
}

func (l *ledger) publish(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ack, err := l.cfg.JetStream.Publish(ctx, attemptsSubject(l.cfg.Layout.Prefix, l.target), body)
	if err != nil {
		return err
	}
	return natsd.StoredIn(ack, l.cfg.Layout.Forward)
}

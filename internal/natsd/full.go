package natsd

import (
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// Error codes with which nats-server refuses a message for want of room.
const (
	codeAccountFull jetstream.ErrorCode = 10002 // the account's storage is used up
	codeServerFull  jetstream.ErrorCode = 10023 // the server's storage is used up
	codeStreamFull  jetstream.ErrorCode = 10077 // the stream's is; failures of the disk are never answered, so it means nothing else
)

// IsFull reports whether a server refused a message because the stream, the account or the server itself has no room.
func IsFull(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeAccountFull || api.ErrorCode == codeServerFull || api.ErrorCode == codeStreamFull)
}

// Pauses of a Breaker.
const (
	breakerFirstPause = time.Second
	breakerMaxPause   = 30 * time.Second
)

// Breaker keeps what was refused for want of room from being tried by everybody at once: after a refusal one
// caller tries again when a pause has passed, which doubles up to half a minute, and the others are refused here.
// The zero value lets everybody through. It is safe for concurrent use.
type Breaker struct {
	mu      sync.Mutex
	refusal error
	until   time.Time
	pauses  *backoff.ExponentialBackOff
}

// Allow returns nil for a caller that may try, and the last refusal for one that is to wait.
func (b *Breaker) Allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal == nil {
		return nil
	}
	if time.Now().Before(b.until) {
		return b.refusal
	}
	// This one tries; the others wait for what comes of it.
	b.until = time.Now().Add(b.pauses.NextBackOff())
	return nil
}

// Note takes what came of a try: a refusal for want of room, or nil for a message that was stored.
func (b *Breaker) Note(refusal error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case refusal == nil:
		b.refusal, b.pauses = nil, nil
		return
	case b.pauses == nil:
		b.pauses = &backoff.ExponentialBackOff{
			InitialInterval: breakerFirstPause, Multiplier: 2, MaxInterval: breakerMaxPause, RandomizationFactor: 0.2,
		}
	case b.refusal != nil && time.Now().Before(b.until):
		b.refusal = refusal
		return // one of several that were under way when the first was refused
	}
	b.refusal, b.until = refusal, time.Now().Add(b.pauses.NextBackOff())
}

// Open reports whether the last try was refused, and why.
func (b *Breaker) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusal
}
